"""Errors for the person at the terminal: one line each."""

import difflib
import os


class InputError(Exception):
    """The user's input is wrong. The tools print its one line and end with exit status 1."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(text: object, longest: int = 2000) -> str:
    """`text` for a terminal: line breaks and control characters escaped, the middle of a long text
    left out."""
    text = str(text)
    if len(text) > longest:
        text = f"{text[: longest * 3 // 4]} … {text[-longest // 5 :]}"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def nearest_path(path: str) -> str:
    """ "; the nearest is X" if a file or folder with a name similar to that of `path` exists, else
    ""."""
    folder = os.path.normpath(path)
    missing: list[str] = []
    while folder and not os.path.exists(folder):
        folder, name = os.path.split(folder)
        missing.insert(0, name)
    if not missing or not os.path.isdir(folder or "."):
        return ""
    stem, end = os.path.splitext(missing[0])
    names = {
        name.removesuffix(end).lower(): name
        for name in os.listdir(folder or ".")
        if os.path.splitext(name)[1] == end
    }
    matches = difflib.get_close_matches(stem.lower(), names, 1, cutoff=0.65)
    found = os.path.join(folder, names[matches[0]], *missing[1:]) if matches else ""
    return f"; the nearest is {found}" if os.path.exists(found) else ""
