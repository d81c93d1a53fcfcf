"""Messages, --help, docstrings and comments of the code are in plain English."""

import ast
import io
import os
import re
import tokenize
from glob import glob

import pytest
import voice
from helpers import ROOT

PARTS = ("paddleinterest/*", "models", "tools", "benchmarks")
FEWEST = 3  # words that make a text


def files() -> list[str]:
    """Paths of all modules, relative to the root."""
    found = []
    for part in PARTS:
        found += glob(f"{part}/**/*.py", root_dir=ROOT, recursive=True)
    return sorted(set(found))


def docstrings(tree: ast.Module) -> list[ast.Constant]:
    """The nodes of the docstrings."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, kinds)]
    first = [body[0].value for body in bodies if body and isinstance(body[0], ast.Expr)]
    return [n for n in first if isinstance(n, ast.Constant) and isinstance(n.value, str)]


def strings(tree: ast.Module) -> list[tuple[int, str]]:
    """(line, text) of each string; what an f-string fills in is {}."""
    found = []
    inner = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [v.value if isinstance(v, ast.Constant) else "{}" for v in node.values]
            found.append((node.lineno, "".join(parts)))
            inner.update(id(v) for v in node.values)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            found.append((node.lineno, node.value))
    return found


def comments(source: str) -> list[tuple[int, str]]:
    """(line, text) of each comment."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [(t.start[0], t.string.lstrip("# ")) for t in tokens if t.type == tokenize.COMMENT]


@pytest.mark.parametrize("path", files())
def test_plain_english(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        source = f.read()
    tree = ast.parse(source)
    bad = []
    for line, text in strings(tree) + comments(source):
        plain = re.sub(r"`[^`\n]*`", "", text)
        if len(plain.split()) >= FEWEST:
            bad += [f"{path}:{line}: {words}" for words in voice.found(plain)]
    for node in docstrings(tree):
        bad += [f"{path}:{node.lineno}: {words}" for words in voice.openings(node.value)]
    assert not bad, "\n".join(bad)


def test_the_texts_are_found():
    source = '"""Of a net.\n\nIt lies there."""\nx = f"a run {1} goes on"  # it is told so\n'
    tree = ast.parse(source)
    texts = [text for _, text in strings(tree) + comments(source)]
    assert [bool(voice.found(text)) for text in texts] == [True, True, True]
    assert list(voice.openings(docstrings(tree)[0].value)) == ["Of a net.\n\nIt lies there."]
    assert len(files()) > 200
