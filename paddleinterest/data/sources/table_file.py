"""Read a table file, CSV or Parquet, as an Arrow table of the columns asked for."""

import codecs
import csv
import difflib
import io
import os
import zlib

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from paddleinterest.core.errors import InputError, nearest_path
from paddleinterest.data.sources.columns import whole
from paddleinterest.data.sources.files import opened, unreadable


def is_parquet(path):
    """Whether `path` names a Parquet file, by its ending. InputError for a missing file or an
    unknown ending."""
    if not os.path.isfile(path):
        raise InputError(
            f"{path} is not a file"
            if os.path.exists(path)
            else f"{path} does not exist{nearest_path(path)}"
        )
    name = path.lower()
    if not name.endswith((".parquet", ".csv", ".csv.gz", ".tsv", ".tsv.gz")):
        raise InputError(
            f"{path}: cannot tell its format; it should end in .csv, .csv.gz, .tsv, .tsv.gz or"
            " .parquet"
        )
    return name.endswith(".parquet")


def delimiter(path, separator):
    """What separates the columns of a CSV file: `separator`, or by the file's ending if that is
    empty."""
    return separator or ("\t" if path.lower().endswith((".tsv", ".tsv.gz")) else ",")


def column_names(path, separator):
    """The column names of a file."""
    try:
        if is_parquet(path):
            return pa.parquet.read_schema(path).names
        with opened(path) as f:
            if f.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                raise InputError(f"{path} is UTF-16; save it as UTF-8")
        with opened(path) as f:  # `read` judges the encoding
            text = io.TextIOWrapper(f, encoding="utf-8-sig", errors="replace", newline="")
            names = next(csv.reader(text, delimiter=delimiter(path, separator)), None)
    except (pa.ArrowException, OSError, EOFError, zlib.error, ValueError, csv.Error) as e:
        raise unreadable(path, e) from None
    if not names:
        raise InputError(
            f"{path} is empty; it should have a header line, then one row an event, item or user"
        )
    return names


def besides(names, known):
    """The columns that are not among `known`, without pandas' index, which Parquet files hold."""
    return [name for name in names if name not in known and not name.startswith("__index_level_")]


def require(name, names, path, flag=""):
    """Raise InputError unless the file has exactly one column of that name; `flag` is the one that
    names it."""
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        other = next((c for c in ";\t|," if len(names) == 1 and c in names[0]), "")
        raise InputError(
            f"{path} has no column {name!r}"
            + (f", did you mean {near[0]!r}?" if near else ".")
            + f" It has: {', '.join(names)}"
            + (f"; {flag} names another" if flag else "")
            + (f"; is it separated by {other!r}? Then say --separator {other!r}" if other else "")
        )
    if names.count(name) > 1:
        raise InputError(f"{path} has {names.count(name)} columns named {name!r}; rename them")


def read(path, columns, separator):
    """Read those columns as an Arrow table; CSV columns become int64 where `whole` says so, else
    large_string."""
    for name in columns:
        require(name, columns, path)
    try:
        if is_parquet(path):
            table = pa.parquet.read_table(path, columns=columns)
        else:
            convert = pa.csv.ConvertOptions(
                column_types={name: pa.large_string() for name in columns},
                include_columns=columns,
                null_values=[""],
                strings_can_be_null=True,
            )
            form = pa.csv.ParseOptions(
                delimiter=delimiter(path, separator), newlines_in_values=True
            )
            try:
                table = pa.csv.read_csv(path, parse_options=form, convert_options=convert)
                check_quotes(path, table.num_rows)
            except pa.ArrowInvalid:  # slower, but its errors name the row
                check_quotes(path, 0)
                table = pa.csv.read_csv(path, pa.csv.ReadOptions(use_threads=False), form, convert)
            table = pa.table(
                [
                    column if (numbers := whole(column)) is None else numbers
                    for column in table.columns
                ],
                names=columns,
            )
    except (pa.ArrowException, OSError, ValueError) as e:
        raise unreadable(path, e) from None
    if not table.num_rows:
        raise InputError(f"{path} has columns but no rows")
    return table


def check_quotes(path, rows):
    """Raise InputError where a quote is never closed: the reader takes all lines after it for one
    text, and says nothing."""
    quotes = lines = 0
    with opened(path) as f:
        while block := f.read(1 << 22):
            quotes, lines = quotes + block.count(b'"'), lines + block.count(b"\n")
    if quotes % 2 and rows + 1 < lines:
        raise InputError(
            f"{path}: a double quote opens a text and is never closed, so that the lines after it"
            " are no rows; close it, or write it twice within quotes"
        )
