"""The names of columns: in a file, as asked for, and as they are kept."""

import difflib
import re
from collections.abc import Iterable, Sequence

from paddleinterest.core.errors import InputError
from paddleinterest.data.schema import RESERVED

LONGEST = 200  # bytes in the name of an attribute
INDEX = re.compile(r"|Unnamed: \d+|__index_level_\d+__")  # pandas' name of an index


def is_index(name: str) -> bool:
    """True if a column holds the row numbers that pandas (or R) writes with a table."""
    return bool(INDEX.fullmatch(name))


def besides(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """The columns that are not among `known`, without row numbers."""
    known = list(known)
    return [name for name in names if name not in known and not is_index(name)]


def require(name: str, names: Sequence[str], path: str, flag: str = "") -> None:
    """Raise InputError unless the file has exactly one column of that name.

    Args:
        flag: the flag that names the column, for the message.
    """
    count = list(names).count(name)
    if count > 1:
        raise InputError(f"{path} has {count} columns named {name!r}; rename them")
    if count:
        return
    message = f"{path} has no column {name!r}"
    matches = difflib.get_close_matches(name, names, n=1)
    message += f", did you mean {matches[0]!r}?" if matches else "."
    message += f" It has: {', '.join(names)}"
    if flag:
        message += f"; {flag} names a different one"
    if len(names) == 1:
        other = next((c for c in ";\t|," if c in names[0]), "")
        if other:
            message += f"; is it separated by {other!r}? Then use --separator {other!r}"
    if _is_data(names):
        message += "; if that is its first row, and there is no header line, --columns names them"
    raise InputError(message)


def _is_data(names: Sequence[str]) -> bool:
    """True if names look like the values of a row."""
    numbers = sum(bool(re.fullmatch(r"-?\d+(\.\d+)?", name)) for name in names)
    return numbers >= max(1, len(names) // 2)


def renamed(asked: str, names: Sequence[str]) -> tuple[str, str]:
    """The meaning of `COLUMN` or `COLUMN=NAME`: the column in the file, and the name it is kept
    under. A column whose own name has an equals sign takes precedence."""
    if asked in names or "=" not in asked:
        return asked, asked
    column, _, name = asked.partition("=")
    return column, name


def check_name(name: str, where: str) -> None:
    """Raise InputError if `name` cannot be an attribute's."""
    if name in RESERVED:
        raise InputError(
            f"{where} has an attribute named {name!r}, which is reserved; give it a different"
            f" name, such as {name}={name}_1 (reserved: {', '.join(RESERVED)})"
        )
    if len(name.encode()) > LONGEST:
        raise InputError(
            f"{where} has a column whose name has {len(name.encode()):,} bytes, {name[:30]!r}…;"
            f" attributes become files, whose names have at most {LONGEST}: keep it under another"
        )
    if not name or "/" in name or "\\" in name or name.startswith(".") or not name.isprintable():
        raise InputError(
            f"{where} has a column named {name!r}: attributes need a name that can be a file"
            " name; give it a different name, such as COLUMN=NAME"
        )
