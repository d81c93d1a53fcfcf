"""Messages for people: InputError's in the code, read as one table.

`python tests/house/test_messages.py` prints the table: file, line, whether a test names words of
it, message.
"""

import ast
import os
import re
from collections.abc import Iterator
from glob import glob

import pytest
from helpers import ROOT

PARTS = ("paddleinterest", "datasets", "models")
RAISED = ("InputError", "ArgumentTypeError")
BANNED = {  # {pattern: what to write}
    r"\bplease\b": "leave it out",
    r"\b(?:invalid|illegal|bad)\b": "say what it is and what it must be",
    r"\b(?:should|has to|have to|needs to) be\b": "must be",
    r"\bfailed to\b|\bunable to\b": "cannot",
    r"!$": "no exclamation mark",
}


def text(node: ast.expr) -> str | None:
    """The message of an expression, {} for what is filled in; None if it is made elsewhere."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(v.value if isinstance(v, ast.Constant) else "{}" for v in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return (text(node.left) or "{}") + (text(node.right) or "{}")
    return None


def messages() -> Iterator[tuple[str, int, str]]:
    """(file, line, message) of each message that is written where it is raised."""
    for part in PARTS:
        for path in sorted(glob(f"{part}/**/*.py", root_dir=ROOT, recursive=True)):
            with open(os.path.join(ROOT, path), encoding="utf-8") as f:
                tree = ast.parse(f.read())
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and node.args and ast.unparse(node.func) in RAISED:
                    message = text(node.args[0])
                    if message:
                        yield path, node.lineno, message


def faults(message: str) -> Iterator[str]:
    """What the house does not write in a message."""
    plain = re.sub(r"`[^`]*`|'[^']*'", "", message)
    if not message.isprintable():
        yield "more than one line"
    if message.endswith((".", ":", ";", ",")) and not message.endswith("…"):
        yield "ends with a mark: the tool prints it after `error: `, as a part of a sentence"
    if re.match(r"[A-Z][a-z]", message) and not re.match(r"DuckDB|Redis|Paddle", message):
        yield "begins with a capital letter, which is for names"
    if "  " in message or " ;" in message or " ," in message:
        yield "a space too many"
    for pattern, better in BANNED.items():
        if re.search(pattern, plain, re.I):
            yield f"{pattern}: {better}"


def test_messages_are_written_alike():
    found = list(messages())
    assert len(found) > 350
    wrong = [f"{p}:{n}: {m!r}: {why}" for p, n, m in found for why in faults(m)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "message",
    [
        "x is 3, must be 4.",
        "The file is missing",
        "{} should be a number",
        "invalid value {}",
        "please name a file",
        "two\nlines",
        "{} is missing;",
        "{}  is missing",
        "failed to read {}",
    ],
)
def test_faults_are_found(message):
    assert list(faults(message))


@pytest.mark.parametrize(
    "message", ["{} is 3, must be 4", "DuckDB needs memory; give --memory a larger size"]
)
def test_right_messages_pass(message):
    assert not list(faults(message))


def words_of_tests() -> str:
    """The text of all tests, with strings over several lines joined."""
    found = []
    for path in glob("tests/**/*.py", root_dir=ROOT, recursive=True):
        with open(os.path.join(ROOT, path), encoding="utf-8") as f:
            found.append(re.sub(r'"\s*\n\s*f?"', "", f.read().replace("\\", "")))
    return re.sub(r"\s+", " ", " ".join(found))


def is_named(message: str, tests: str) -> bool:
    """True if some words of a message, three in a row, are in a test."""
    for part in message.split("{}"):
        words = part.split()
        rows = [" ".join(words[k : k + 3]) for k in range(len(words) - 2)]
        if any(len(row) > 11 and row in tests for row in rows):
            return True
    return False


if __name__ == "__main__":
    tests = words_of_tests()
    for path, line, message in messages():
        print(path, line, "tested" if is_named(message, tests) else "", message, sep="\t")
