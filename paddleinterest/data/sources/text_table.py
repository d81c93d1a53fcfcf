"""Large tables in text files of public datasets: read columnar, a piece of whole lines at a time,
so that a file of any size needs the memory of its columns and no more. What is wrong with a line is
told with its number.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from paddleinterest.core.errors import InputError
from paddleinterest.data.sources.columns import bad_row, to_pandas, whole
from paddleinterest.data.sources.files import PIECE, opened, pieces, unreadable
from paddleinterest.data.sources.table_file import require

NUMBERS = {"int64": "a whole number", "double": "a number"}
WHOLE, NUMBER, TEXT = pa.int64(), pa.float64(), pa.large_string()


def tables(
    path: str,
    columns: dict[str, pa.DataType],
    member: str = "",
    names: list[str] | None = None,
    delimiter: str = ",",
    quote: str | bool = '"',
    encoding: str = "utf8",
    missing: Sequence[str] = ("",),
    optional: Sequence[str] = (),
    allowed: dict[str, Sequence[Any]] | None = None,
    again: str = "",
) -> Iterator[pa.Table]:
    """Yield the columns of a file as Arrow tables, a piece at a time; at least one row in all.

    Args:
        columns: {name: type}, WHOLE, NUMBER or TEXT; the others of the file are passed over.
        member: which file of the zip file at `path`.
        names: the names of all columns, where the file has no header line.
        delimiter: of one character, or more where no quotes are used.
        quote: False where quotes mean nothing.
        missing: texts that mean a missing value.
        optional: columns that may have missing values.
        allowed: {name: values}, for columns with few values.

    Raises:
        InputError: a column is missing; a line has another number of columns, a value of another
            kind, or none. It names the file and the line.
    """
    where, header, found = f"{path} ({member})" if member else path, 0, False
    with opened(path, member, again) as file:
        if names is None:
            line = file.readline().decode("utf-8-sig", errors="replace")
            names = [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]
            header = 1
            if not names:
                raise InputError(
                    f"{where} is empty; it should have a header line with {', '.join(columns)}"
                )
            for name in columns:
                require(name, names, where)
        form = {
            "parse_options": pa.csv.ParseOptions(
                delimiter="\x01" if len(delimiter) > 1 else delimiter, quote_char=quote
            ),
            "convert_options": pa.csv.ConvertOptions(
                column_types=columns,
                include_columns=list(columns),
                null_values=missing,
                strings_can_be_null=True,
            ),
        }
        for before, piece in pieces(file):
            if len(delimiter) > 1:
                piece = piece.replace(delimiter.encode(), b"\x01")
            try:
                table = parsed(piece, names, encoding, True, form)
            except (pa.ArrowInvalid, UnicodeError) as e:
                raise fault(where, header + before, piece, names, encoding, form, e) from None
            if quote and (line := open_quote(piece, table.num_rows)):
                raise InputError(
                    f"{where}, line {header + before + line:,}: a quoted text does not end on its"
                    " line"
                )
            for name, kind in columns.items():
                values = (allowed or {}).get(name)
                row = bad_row(wrong(table[name], name in optional, values))
                if row:
                    value = table[name][row - 1].as_py()
                    raise InputError(
                        f"{where}, line {header + before + line_of(piece, row):,}: {name} is"
                        f" {'missing' if value is None else repr(value)}; it should be"
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


def parsed(
    piece: bytes, names: list[str], encoding: str, threads: bool, form: dict[str, Any]
) -> pa.Table:
    """The rows of a piece, parsed by one thread or by all."""
    options = pa.csv.ReadOptions(
        column_names=names,
        encoding=encoding,
        use_threads=threads,
        block_size=PIECE if not threads else 1 << 20,
    )
    return pa.csv.read_csv(pa.BufferReader(piece), read_options=options, **form)


def wrong(
    column: pa.ChunkedArray, optional: bool, allowed: Sequence[Any] | None
) -> pa.ChunkedArray:
    """Which values of a column are missing, infinite or not allowed, as an Arrow column."""
    bad = pc.is_null(column, nan_is_null=True)
    if optional:
        bad = pa.chunked_array([np.zeros(len(column), bool)])
    if column.type == NUMBER:
        bad = pc.or_(bad, pc.fill_null(pc.is_inf(column), False))
    if allowed:
        bad = pc.or_(bad, pc.invert(pc.is_in(column, value_set=pa.array(allowed, column.type))))
    return bad


def described(allowed: Sequence[Any] | None, kind: pa.DataType) -> str:
    """What a value should be, in words."""
    if allowed:
        *most, last = map(str, allowed)
        return f"{', '.join(most)} or {last}"
    return NUMBERS.get(str(kind), "a text")


def rows_of(piece: bytes) -> list[tuple[int, bytes]]:
    """The lines of a piece that are rows, as (number from 1, bytes); empty lines are none."""
    return [
        (number, line) for number, line in enumerate(piece.split(b"\n"), 1) if line.strip(b"\r")
    ]


def line_of(piece: bytes, row: int) -> int:
    """The line of a piece, from 1, that its row `row` stands in."""
    return rows_of(piece)[row - 1][0]


def open_quote(piece: bytes, rows: int) -> int:
    """The line of a piece with a quoted text that goes on in the next one, by which rows are lost;
    0 if none is."""
    last = piece[piece.rfind(b"\n", 0, -1) + 1 :]
    if rows == piece.count(b"\n") + (not piece.endswith(b"\n")) and last.count(b'"') % 2 == 0:
        return 0
    lines = rows_of(piece)
    if rows == len(lines) and last.count(b'"') % 2 == 0:
        return 0
    return next((number for number, line in lines if line.count(b'"') % 2), lines[0][0])


def fault(
    where: str,
    before: int,
    piece: bytes,
    names: list[str],
    encoding: str,
    form: dict[str, Any],
    error: Exception,
) -> InputError:
    """The InputError for the first line that cannot be parsed: read again by one thread, which
    counts its rows."""
    try:
        parsed(piece, names, encoding, False, form)
    except (pa.ArrowInvalid, UnicodeError) as e:
        error = e
    told = " ".join(str(error).split())
    row = re.search(r"Row #(\d+): (.*)", told)
    if not row:
        return unreadable(where, error)
    line, what = f"{where}, line {before + line_of(piece, int(row[1])):,}", row[2]
    value = re.search(r"column #(\d+):.* conversion error to (\w+): invalid value '(.*)'", told)
    if value and value[2] in NUMBERS:
        return InputError(
            f"{line}: {names[int(value[1])]} is {value[3]!r}; it should be {NUMBERS[value[2]]}"
        )
    count = re.match(r"Expected (\d+) columns, got (\d+)", what)
    if count:
        return InputError(
            f"{line}: {count[2]} columns where {count[1]} should be: {', '.join(names)}"
        )
    return InputError(f"{line}: {what[:200]}")


def frame(columns: dict[str, pa.ChunkedArray]) -> pd.DataFrame:
    """A dict of Arrow columns as a DataFrame; texts that are all whole numbers become integers."""
    return pd.DataFrame(
        {
            name: to_pandas(column if (numbers := whole(column)) is None else numbers)
            for name, column in columns.items()
        }
    )
