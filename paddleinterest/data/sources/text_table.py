"""Tables in text files: read by column, one piece of whole rows at a time, so a file of any size
needs no more memory than its columns. Errors name the line.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from paddleinterest.core.errors import InputError
from paddleinterest.data.sources import quotes
from paddleinterest.data.sources.columns import bad_row, to_pandas, whole
from paddleinterest.data.sources.files import (
    guessed,
    opened,
    pieces,
    recoded,
    unreadable,
)
from paddleinterest.data.sources.names import require

NUMBERS = {"int64": "a whole number", "double": "a number"}
WHOLE, NUMBER, TEXT = pa.int64(), pa.float64(), pa.large_string()
JOINED = "\x01"  # replaces a separator of several characters, since the parser takes one


def tables(
    path: str,
    columns: dict[str, pa.DataType],
    member: str = "",
    names: list[str] | None = None,
    delimiter: str = ",",
    quote: bool = True,
    encoding: str = "",
    missing: Sequence[str] = ("",),
    optional: Sequence[str] = (),
    allowed: dict[str, Sequence[Any]] | None = None,
    advice: str = "",
    hint: bool = False,
) -> Iterator[pa.Table]:
    """Yield the columns of a file as Arrow tables, a piece at a time; at least one row in all.

    Args:
        columns: {name: type}, WHOLE, NUMBER or TEXT; the other columns are skipped.
        member: which file of the zip file at `path`.
        names: the names of all columns, if the file has no header line.
        delimiter: one character, or more if there are no quotes.
        quote: False if quotes are ordinary characters.
        encoding: encoding of the text; empty for UTF-8.
        missing: texts that mean a missing value.
        optional: columns that may have missing values.
        allowed: {name: values}, for columns with few values.
        advice: advice about a file that cannot be read, if not the usual one.
        hint: a message about bytes that are not UTF-8 suggests an --encoding.

    Raises:
        InputError: a column is missing; a line has a wrong number of columns, or a value of a wrong
            kind, or none. The message names the file and the line.
    """
    where = f"{path} ({member})" if member else path
    header = 0
    found = False
    with opened(path, member, advice) as raw:
        file = recoded(raw, encoding, where) if encoding else raw
        if names is None:
            names, header = header_of(file, delimiter, quote, where)
            if not names:
                raise InputError(
                    f"{where} is empty, must have a header line with {', '.join(columns)}"
                )
            for name in columns:
                require(name, names, where)
        separator = delimiter if len(delimiter) == 1 else JOINED
        form = {
            "parse_options": pa.csv.ParseOptions(
                delimiter=separator,
                quote_char='"' if quote else False,
                newlines_in_values=True,
            ),
            "convert_options": pa.csv.ConvertOptions(
                column_types=columns,
                include_columns=list(columns),
                null_values=missing,
                strings_can_be_null=True,
            ),
        }
        rows = pieces(file, where, header)
        if quote and len(delimiter) == 1:
            rows = quotes.whole_rows(rows, separator, len(names), where)
        for before, piece in rows:
            if len(delimiter) > 1:
                piece = piece.replace(delimiter.encode(), JOINED.encode())
            try:
                table = parsed(piece, names, True, form)
            except (pa.ArrowInvalid, UnicodeError) as e:
                raise fault(where, before, piece, names, form, e, hint) from None
            for name, kind in columns.items():
                values = (allowed or {}).get(name)
                row = bad_row(wrong(table[name], name in optional, values))
                if row:
                    value = table[name][row - 1].as_py()
                    line = before + line_of(piece, row, form)
                    raise InputError(
                        f"{where}, line {line:,}: {name} is"
                        f" {'missing' if value is None else repr(value)}, must be"
                        f" {described(values, kind)}"
                    )
            if table.num_rows:
                found = True
                yield table
    if not found:
        raise InputError(f"{where} " + ("has columns but no rows" if header else "is empty"))


def table(*args: Any, **options: Any) -> pa.Table:
    """All of a file's columns, as `tables` reads them, in one Arrow table."""
    return pa.concat_tables(tables(*args, **options))


def header_of(
    file: IO[bytes], delimiter: str, quote: bool = True, where: str = "the file"
) -> tuple[list[str], int]:
    """The column names in the first line that is not empty, and its number; [] if all are empty.
    Bytes that are not UTF-8 are replaced here; the rows are checked, not the header."""
    number = 0
    while line := file.readline():
        number += 1
        text = line.decode("utf-8", errors="replace").lstrip("\ufeff").rstrip("\r\n")
        if text.strip():
            if len(delimiter) > 1:
                return [name.strip() for name in text.split(delimiter)], number
            try:
                cells = next(csv_rows([text], delimiter, quote))
            except csv.Error as e:  # a carriage return that ends no line
                raise InputError(
                    f"{where}: the first line, {text[:60]!r}, is not a header line; do its lines"
                    f" end in carriage returns only? Save it with line feeds ({e})"
                ) from None
            return [name.strip() for name in cells], number
    return [], number


def csv_rows(lines: Iterable[str], delimiter: str, quote: bool) -> Any:
    """Python's own reader of rows."""
    if quote:
        return csv.reader(lines, delimiter=delimiter)
    return csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)


def parsed(piece: bytes, names: list[str], threads: bool, form: dict[str, Any]) -> pa.Table:
    """The rows of a piece, parsed by one thread or by all."""
    options = pa.csv.ReadOptions(
        column_names=names,
        use_threads=threads,
        block_size=len(piece) + 1 if not threads else 1 << 20,
    )
    return pa.csv.read_csv(pa.BufferReader(piece), read_options=options, **form)


def wrong(
    column: pa.ChunkedArray, optional: bool, allowed: Sequence[Any] | None
) -> pa.ChunkedArray:
    """A boolean Arrow column: which values are missing, infinite or not allowed."""
    bad = pc.is_null(column, nan_is_null=True)
    if optional:
        bad = pa.chunked_array([np.zeros(len(column), bool)])
    if column.type == NUMBER:
        bad = pc.or_(bad, pc.fill_null(pc.is_inf(column), False))
    if allowed:
        bad = pc.or_(bad, pc.invert(pc.is_in(column, value_set=pa.array(allowed, column.type))))
    return bad


def described(allowed: Sequence[Any] | None, kind: pa.DataType) -> str:
    """The values allowed, in words."""
    if allowed:
        *most, last = map(str, allowed)
        return f"{', '.join(most)} or {last}"
    return NUMBERS.get(str(kind), "a text")


def line_of(piece: bytes, row: int, form: dict[str, Any]) -> int:
    """The line of a piece, from 1, that its row `row` starts in; empty lines are not rows."""
    parse = form["parse_options"]
    text = io.StringIO(piece.decode("latin-1"), newline="")
    reader = csv_rows(text, parse.delimiter, bool(parse.quote_char))
    before = 0
    for cells in reader:
        if cells:
            row -= 1
        if not row:
            return before + 1
        before = reader.line_num
    return before


def fault(
    where: str,
    before: int,
    piece: bytes,
    names: list[str],
    form: dict[str, Any],
    error: Exception,
    hint: bool = False,
) -> InputError:
    """The InputError for the first line that cannot be parsed: read again by one thread, which
    counts its rows."""
    try:
        piece.decode("utf-8")
    except UnicodeDecodeError as e:
        line = before + piece.count(b"\n", 0, e.start) + 1
        excerpt = piece[max(e.start - 200, 0) : e.start + 200]
        return InputError(f"{where}, line {line:,}: not UTF-8{guessed(excerpt) if hint else ''}")
    try:
        parsed(piece, names, False, form)
    except (pa.ArrowInvalid, UnicodeError) as e:
        error = e
    message = " ".join(str(error).split())
    row = re.search(r"Row #(\d+): (.*)", message)
    if not row:
        return unreadable(where, error)
    at = f"{where}, line {before + line_of(piece, int(row[1]), form):,}"
    what = row[2]
    value = re.search(r"column #(\d+):.* conversion error to (\w+): invalid value '(.*)'", message)
    if value and value[2] in NUMBERS:
        return InputError(
            f"{at}: {names[int(value[1])]} is {value[3]!r}, must be {NUMBERS[value[2]]}"
        )
    cells = re.match(r"Expected (\d+) columns, got (\d+)", what)
    if cells:
        return InputError(
            f"{at}: {cells[2]} columns, but {cells[1]} are needed: {', '.join(names)}"
        )
    return InputError(f"{at}: {what[:200]}")


def frame(columns: dict[str, pa.ChunkedArray]) -> pd.DataFrame:
    """A dict of Arrow columns as a DataFrame; texts that are all whole numbers become integers."""
    return pd.DataFrame(
        {
            name: to_pandas(column if (numbers := whole(column)) is None else numbers)
            for name, column in columns.items()
        }
    )
