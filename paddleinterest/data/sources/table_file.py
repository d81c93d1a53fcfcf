"""Read the columns of a table, whatever its form: delimited text, JSON lines or Parquet."""

import codecs
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.core.memory import available
from paddleinterest.data.sources import json_table, text_table
from paddleinterest.data.sources.columns import Reading
from paddleinterest.data.sources.files import (
    RawFile,
    check_encoding,
    guessed,
    opened,
    recoded,
    unreadable,
)
from paddleinterest.data.sources.names import require

SEPARATORS = ("::", "\t", ",", ";", "|", " ")  # tried in this order
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
ATOMIC = {
    "token": "",
    "float": "dense",
    "token_seq": "multiple",
    "float_seq": "vector",
}  # RecBole's types, written after a colon
SAMPLED = 20  # lines to detect the separator


@dataclass(frozen=True)
class Form:
    """How text is to be read.

    Attributes:
        separator: between cells; empty = by the file's ending, or by its first lines.
        quote: double quotes enclose cells.
        encoding: empty for UTF-8, or for the encoding of the byte order mark.
        null: texts that mean a missing value, besides the empty cell; None if --null is not given.
        header: the names of all columns of a file without a header line.
    """

    separator: str = ""
    quote: bool = True
    encoding: str = ""
    null: tuple[str, ...] | None = None
    header: tuple[str, ...] = ()


def check_form(form: Form) -> Form:
    """The form with escapes such as \\t undone.

    Raises:
        InputError: the separator or the encoding cannot be one.
    """
    separator = form.separator
    if "\\" in separator and len(separator) > 1:
        separator = separator.encode("ascii", "replace").decode("unicode_escape", "replace")
    bad = not separator.isascii() or len(separator) > 4 or set(separator) & set('\n\r"')
    if separator and bad:
        raise InputError(
            f"--separator is {form.separator!r}, must be one character, several such as ::,"
            " or \\t for a tab"
        )
    if form.encoding:
        check_encoding(form.encoding)
    for name in form.header:
        if form.header.count(name) > 1:
            raise InputError(f"--columns names {name!r} twice; give each column its own name")
    return replace(form, separator=separator)


class Table:
    """One file of rows.

    Attributes:
        file: where it is.
        names: of its columns.
        declared: what the file itself says that they hold: dense, multiple or vector (RecBole's
            `name:float`, `name:token_seq` and `name:float_seq`).
    """

    def __init__(self, file: RawFile, form: Form):
        """Read the names of the columns.

        Raises:
            InputError: the file cannot be read, is empty, or has not as many columns as `form`
                names.
        """
        self.file = file
        self.form = form
        self.declared: dict[str, str] = {}
        if file.form == "parquet":
            self.schema = _parquet(file).schema_arrow
            self.names = list(self.schema.names)
        elif file.form == "json":
            self.names = json_table.names(file, form.encoding)
        else:
            self._read_header()

    def _read_header(self) -> None:
        with opened(self.file.path, self.file.member) as f:
            mark = f.read(2)
        if not self.form.encoding and mark in UTF16:
            self.form = replace(self.form, encoding="utf-16")
        first = _first_lines(self.file, self.form.encoding)
        if not first.strip():
            raise InputError(
                f"{self.name} is empty, must have a header line, then one row per event,"
                " item or user"
            )
        _check_header_text(first, self.name)
        if not self.form.separator:
            self.form = replace(self.form, separator=_separator(self.file, first))
        if len(self.form.separator) > 1:
            self.form = replace(self.form, quote=False)
        self.stored, _ = text_table.header_of(
            io.BytesIO(first), self.form.separator, self.form.quote, self.name
        )
        header = self.form.header
        if header and len(header) != len(self.stored):
            raise InputError(
                f"{self.name} has {len(self.stored)} columns, but {len(header)} are named:"
                f" {', '.join(header)}"
            )
        if header:
            self.stored = list(header)
        self.names = self.stored
        if self.file.form == "atomic" and not header:
            typed = [_atomic(name) for name in self.stored]
            self.names = [name for name, _ in typed]
            self.declared = {name: ATOMIC[kind] for name, kind in typed if ATOMIC.get(kind)}

    @property
    def reading(self) -> Reading:
        """How its values are read."""
        return Reading(self.form.null, self.file.form in ("parquet", "json"))

    @property
    def name(self) -> str:
        """Its name in messages."""
        return self.file.name

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Read those columns as an Arrow table: of text as large_string, of JSON and Parquet as
        they are typed, with null for what is missing.

        Raises:
            InputError: the file cannot be read, lacks a column, or has no rows.
        """
        for name in columns:
            require(name, self.names, self.name)
        if self.file.form == "parquet":
            table = _read_parquet(self.file, columns)
        elif self.file.form == "json":
            table = json_table.read(self.file, columns, self.form.encoding)
        else:
            return self._read_text(columns)
        if not table.num_rows:
            raise InputError(f"{self.name} has columns but no rows")
        return _without_null_texts(table, self.form.null or ())

    def _read_text(self, columns: Sequence[str]) -> pa.Table:
        table = pa.concat_tables(self._text_tables(columns))
        if self.form.header:
            return table
        return _without_headers(table, self._stored(columns), self.name)

    def text_pieces(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The columns of a text file, a piece at a time, as `read` gives them."""
        rows = 0
        for table in self._text_tables(columns):
            found = table
            if not self.form.header:
                found = _without_headers(table, self._stored(columns), self.name, rows)
            rows += table.num_rows
            if found.num_rows:
                yield found

    def parquet_pieces(self, columns: Sequence[str], rows: int) -> Iterator[pa.Table]:
        """The columns of a Parquet file, some rows at a time, as `read` gives them."""
        file = _parquet(self.file)
        if not file.metadata.num_rows:
            raise InputError(f"{self.name} has columns but no rows")
        try:
            for batch in file.iter_batches(rows, columns=list(columns)):
                table = pa.Table.from_batches([batch]).select(list(columns))
                yield _without_null_texts(table, self.form.null or ())
        except (pa.ArrowException, OSError) as e:
            raise unreadable(self.name, e) from None

    def _stored(self, columns: Sequence[str]) -> list[str]:
        """The names of columns as the header line has them."""
        return [self.stored[self.names.index(name)] for name in columns]

    def _text_tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The columns of a text file, a piece at a time, with lines that repeat the header."""
        stored = self._stored(columns)
        for table in text_table.tables(
            self.file.path,
            dict.fromkeys(stored, text_table.TEXT),
            member=self.file.member,
            names=list(self.form.header) or None,
            delimiter=self.form.separator,
            quote=self.form.quote,
            encoding=self.form.encoding,
            missing=("", *(self.form.null or ())),
            optional=stored,
            hint=True,
        ):
            yield table.rename_columns(list(columns))


def _atomic(name: str) -> tuple[str, str]:
    """RecBole's `name:type` as (name, type)."""
    stem, _, kind = name.rpartition(":")
    return (stem, kind) if stem and kind in ATOMIC else (name, "")


def _without_headers(
    table: pa.Table, stored: Sequence[str], name: str, before: int = 0
) -> pa.Table:
    """Leave out rows that repeat the header line: the file was joined from several. `before` rows
    of the file came before the table."""
    kind = table.schema.field(0).type
    first = pa.array([stored[0], "\ufeff" + stored[0]], kind)
    rows = np.flatnonzero(pc.is_in(table.column(0), value_set=first).to_numpy())
    some = table.take(pa.array(rows))
    repeated = np.ones(len(rows), bool)
    for column, text in zip(some.columns[1:], stored[1:], strict=True):
        same = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(column), text), False).to_numpy()
        repeated &= same
    rows = rows[repeated]
    if not len(rows):
        return table
    say(
        f"{name}: {len(rows):,} rows repeat the header line, the first of them row"
        f" {before + rows[0] + 1:,}; they are left out"
    )
    keep = np.ones(table.num_rows, bool)
    keep[rows] = False
    return table.filter(pa.array(keep))


def _without_null_texts(table: pa.Table, null: Sequence[str]) -> pa.Table:
    """The table with null for those texts."""
    for k, field in enumerate(table.schema):
        if null and (pa.types.is_string(field.type) or pa.types.is_large_string(field.type)):
            column = table.column(k)
            missing = pc.is_in(column, value_set=pa.array(null, field.type))
            nothing = pa.scalar(None, field.type)
            table = table.set_column(k, field.name, pc.if_else(missing, nothing, column))
    return table


def _check_header_text(first: bytes, name: str) -> None:
    """Raise InputError unless the first line that is not empty is UTF-8: a message with the names
    of the columns would be unreadable."""
    for number, line in enumerate(first.split(b"\n"), 1):
        if line.strip():
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                raise InputError(f"{name}, line {number:,}: not UTF-8{guessed(line)}") from None
            return


def _separator(file: RawFile, first: bytes) -> str:
    """The separator of the cells of a text file, by its ending or its first lines."""
    if file.form == "csv":
        return ","
    if file.form in ("tsv", "atomic"):
        return "\t"
    text = first.decode("utf-8", errors="replace")
    lines = [line for line in text.split("\n") if line.strip()]
    for candidate in SEPARATORS:
        counts = {line.count(candidate) for line in lines}
        if len(counts) == 1 and counts.pop():
            return candidate
    raise InputError(
        f"{file.name}: it is unclear what separates its columns; set --separator, such as"
        " --separator '|' or '\\t'"
    )


def _first_lines(file: RawFile, encoding: str) -> bytes:
    """The first lines of a text file, as UTF-8 if they are text at all."""
    with opened(file.path, file.member) as raw:
        f = recoded(raw, encoding, file.name) if encoding else raw
        lines = [f.readline(1 << 20) for _ in range(SAMPLED)]
    return b"".join(lines).removeprefix(codecs.BOM_UTF8)


def _parquet(file: RawFile) -> pa.parquet.ParquetFile:
    """An opened Parquet file; one in a zip file is read into memory first."""
    try:
        if not file.member:
            return pa.parquet.ParquetFile(file.path)
        with opened(file.path, file.member) as f:
            return pa.parquet.ParquetFile(io.BytesIO(f.read()))
    except (pa.ArrowException, OSError, ValueError) as e:
        raise unreadable(file.name, e) from None


def parquet_rows(file: RawFile) -> int:
    """The number of rows that a Parquet file declares."""
    return _parquet(file).metadata.num_rows


def _read_parquet(file: RawFile, columns: Sequence[str]) -> pa.Table:
    """The columns, if there is memory for the number of rows that the file declares."""
    parquet = _parquet(file)
    rows = parquet.metadata.num_rows
    need = 8 * rows * len(columns)
    if need > available():
        raise InputError(
            f"{file.name} has {rows:,} rows, which take more than {need >> 30:,} GiB of memory,"
            " more than is free"
        )
    try:
        return parquet.read(columns=list(columns)).select(list(columns))
    except (pa.ArrowException, OSError, ValueError) as e:
        raise unreadable(file.name, e) from None
