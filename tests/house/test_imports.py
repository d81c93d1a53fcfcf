"""Who imports whom: CONTRIBUTING.md draws the floors, and no import goes up or round in a
circle."""

import ast
import os

from helpers import ROOT

FLOORS = ["core", "data", "nets", "training", "serving", "study", "commands"]
LIBRARY = os.path.join(ROOT, "paddleinterest")


def modules():
    """{module name: path} of the library."""
    found = {}
    for folder, _, files in os.walk(LIBRARY):
        for file in files:
            if file.endswith(".py"):
                path = os.path.join(folder, file)
                name = os.path.relpath(path, ROOT)[:-3].replace(os.sep, ".")
                found[name.removesuffix(".__init__")] = path
    return found


def imports(path, known):
    """Modules that a file imports, those inside functions too; of the library those of `known`."""
    with open(path, encoding="utf-8") as f:
        tree = ast.parse(f.read())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                found.add(inner if inner in known else node.module)
        elif isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
    return found


def floor(module):
    return FLOORS.index(module.split(".")[1])


def graph():
    known = modules()
    return {name: imports(path, known) for name, path in known.items()}


def test_the_floors_are_all_there():
    folders = {name.split(".")[1] for name in modules() if name.count(".")}
    assert folders == {*FLOORS, "__main__"}


def test_no_import_goes_up():
    for module, others in graph().items():
        if module.count(".") < 1 or module == "paddleinterest.__main__":
            continue
        for other in others:
            if other.startswith("paddleinterest."):
                assert floor(other) <= floor(module), f"{module} imports {other}"


def test_the_library_imports_none_of_the_folders_around_it():
    around = {"models", "tools", "tests", "benchmarks", "datasets", "configs"}
    for module, others in graph().items():
        assert not {name.split(".")[0] for name in others} & around, module


def test_no_circle():
    arrows = {m: {o for o in others if o in modules()} for m, others in graph().items()}
    done, path = set(), []

    def visit(module):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module in done:
            return
        path.append(module)
        for other in sorted(arrows[module]):
            visit(other)
        done.add(path.pop())

    for module in arrows:
        visit(module)
