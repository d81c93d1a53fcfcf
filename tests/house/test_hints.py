"""What is public in the library has type hints: every argument and every result."""

import ast

from test_imports import modules


def public_functions(node):
    """Functions and methods whose name, and whose class's name, does not start with _."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from public_functions(child)
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            if not child.name.startswith("_"):
                yield child


def without_hint(function):
    """The arguments without a type hint, and "return" if the result has none."""
    a = function.args
    named = [*a.posonlyargs, *a.args, *a.kwonlyargs]
    starred = [x for x in (a.vararg, a.kwarg) if x]
    missing = [x.arg for x in [*named, *starred] if x.annotation is None]
    if function.returns is None:
        missing.append("return")
    return [name for name in missing if name not in ("self", "cls")]


def test_everything_public_has_type_hints():
    missing = {}
    for module, path in modules().items():
        with open(path, encoding="utf-8") as f:
            tree = ast.parse(f.read())
        for function in public_functions(tree):
            names = without_hint(function)
            if names:
                missing[f"{module}.{function.name}"] = names
    assert missing == {}
