"""Double quotes in text tables, judged row by row (RFC 4180): a cell that opens with a quote ends
with one, after which comes a separator or the end of the line. The parsers do not check this: a
quote that never closes silently takes the rows after it into one cell.

A quote inside a cell that did not open with one (6" pan) is an ordinary character.
"""

import csv
from collections.abc import Iterator

import numpy as np

from paddleinterest.core.errors import InputError
from paddleinterest.data.sources.files import LONGEST

QUOTE, NEWLINE, RETURN = b'"'[0], b"\n"[0], b"\r"[0]
csv.field_size_limit(LONGEST)
ADVICE = (
    "close the quote, double the quotes within a quoted cell, or use --quote none if the file"
    " does not quote"
)


def whole_rows(
    pieces: Iterator[tuple[int, bytes]], separator: str, columns: int, name: str
) -> Iterator[tuple[int, bytes]]:
    """Cut pieces of whole lines into pieces of whole rows: a quoted cell may have several lines.

    Args:
        pieces: (lines before, whole lines) as `files.pieces` yields them.
        separator: one character.
        columns: cells in a row.
        name: of the file, for messages.

    Yields:
        (lines before, whole rows).

    Raises:
        InputError: a quoted cell does not end correctly; the message names the line.
    """
    rest = b""
    start = 0
    for before, piece in pieces:
        if not rest:
            start = before
        data = rest + piece
        rows = judged(data, separator, columns, name, start)
        if rows:
            yield start, data[:rows]
        start += data.count(b"\n", 0, rows)
        rest = data[rows:]
        if len(rest) > LONGEST:
            raise _never_closed(name, start)
    if rest:
        rows = _exactly(rest, separator, columns, name, start)
        if rows < len(rest):
            raise _never_closed(name, start + rest.count(b"\n", 0, rows))
        yield start, rest


def judged(data: bytes, separator: str, columns: int, name: str, before: int) -> int:
    """Check the rows in `data`, which starts with a row; returns the bytes in whole rows."""
    if b'"' not in data:
        return len(data)
    text = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(text == QUOTE)
    lines = np.flatnonzero(text == NEWLINE)
    if not data.endswith(b"\n"):  # the last line of the file
        lines = np.append(lines, len(data))
    ends = np.flatnonzero(np.searchsorted(quotes, lines) % 2 == 0)  # line ends outside a cell
    if len(ends):
        size = int(lines[ends[-1]])
        lines = lines[: ends[-1] + 1]
        if _alternate(text[:size], quotes[: np.searchsorted(quotes, size)], separator):
            if columns > 1 and len(ends) < len(lines):
                _check_rows_within(text, lines, ends, separator, columns, name, before)
            return min(size + 1, len(data))
    return _exactly(data, separator, columns, name, before)


def _exactly(data: bytes, separator: str, columns: int, name: str, before: int) -> int:
    """As `judged`, if some quotes are ordinary characters: in Python's own parser, first of the
    lines with quotes alone, and only if one of them is not a row by itself of all lines."""
    lines = [line + "\n" for line in data.decode("latin-1").split("\n")]
    last = lines.pop().removesuffix("\n")
    if last:
        lines.append(last)
    quoted = [line for line in lines if '"' in line]
    try:
        if sum(1 for _ in csv.reader(quoted, delimiter=separator, strict=True)) == len(quoted):
            return len(data)
    except csv.Error:
        pass
    return _row_by_row(lines, separator, columns, name, before)


def _alternate(text: np.ndarray, quotes: np.ndarray, separator: str) -> bool:
    """True if the quotes alternate between opening and closing a cell, each at the right place; two
    that touch are one quote within a cell."""
    opening = quotes[0::2]
    closing = quotes[1::2]
    if len(opening) != len(closing):
        return False
    padded = np.concatenate([[NEWLINE], text, [NEWLINE]]).astype(np.uint8)
    edges = np.zeros(256, bool)
    edges[[ord(separator), NEWLINE, RETURN, QUOTE]] = True
    return bool(edges[padded[opening]].all() and edges[padded[closing + 2]].all())


def _check_rows_within(
    text: np.ndarray,
    lines: np.ndarray,
    ends: np.ndarray,
    separator: str,
    columns: int,
    name: str,
    before: int,
) -> None:
    """Raise InputError if a quoted cell covers lines that all look like complete rows: then its two
    quotes are more likely ordinary characters of two cells."""
    cells = np.searchsorted(np.flatnonzero(text == ord(separator)), lines)
    like_rows = np.diff(cells, prepend=0) == columns - 1
    first = np.append(0, ends[:-1] + 1)  # of the lines of each row
    rows = np.minimum.reduceat(like_rows.astype(np.int8), first) == 1
    found = np.flatnonzero(rows & (ends > first))
    if len(found):
        row = found[0]
        raise _looks_like_rows(name, before + int(first[row]) + 1, before + int(ends[row]) + 1)


def _row_by_row(lines: list[str], separator: str, columns: int, name: str, before: int) -> int:
    """As `judged`, row by row."""
    reader = csv.reader(lines, delimiter=separator, strict=True)
    done = 0
    try:
        for _ in reader:
            span = lines[done : reader.line_num]
            if columns > 1 < len(span) and all(
                line.count(separator) == columns - 1 for line in span
            ):
                raise _looks_like_rows(name, before + done + 1, before + reader.line_num)
            done = reader.line_num
    except csv.Error as e:
        if "end of data" not in str(e):
            raise _wrong(name, before + done + 1, before + reader.line_num, e) from None
    return sum(len(line) for line in lines[:done])


def _wrong(name: str, first: int, last: int, error: object) -> InputError:
    if last > first:
        return InputError(
            f"{name}, line {first:,}: a cell opens with a double quote, which the next quote, in"
            f" line {last:,}, does not close; {ADVICE}"
        )
    return InputError(
        f"{name}, line {first:,}: a quoted cell does not end at its closing quote"
        f" ({str(error).strip()}); {ADVICE}"
    )


def _never_closed(name: str, before: int) -> InputError:
    return InputError(
        f"{name}, line {before + 1:,}: a cell opens with a double quote that is never closed;"
        f" {ADVICE}"
    )


def _looks_like_rows(name: str, first: int, last: int) -> InputError:
    return InputError(
        f"{name}, line {first:,}: a quoted cell continues to line {last:,}, over lines that look"
        f" like complete rows; {ADVICE}, or write its text on one line"
    )
