"""The rows of a file of any size, a block at a time: delimited text, JSON lines or Parquet."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from paddleinterest.core import json_text
from paddleinterest.core.errors import InputError
from paddleinterest.data.sources import text_table
from paddleinterest.data.sources.files import RawFile, opened, parts, pieces, unreadable
from paddleinterest.data.sources.table_file import Form, Table

MARK = b"\xef\xbb\xbf"  # that UTF-8 files of Windows begin with


@dataclass(frozen=True)
class Block:
    """Some rows of a file that follow each other.

    Attributes:
        file: its name, for messages.
        first: number of the first row, from 1, without the header line.
        columns: {name: a value per row}; None = missing.
    """

    file: str
    first: int
    columns: dict[str, list[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def row(self, k: int) -> dict[str, Any]:
        """The values of row k of the block that are not missing."""
        found = {name: values[k] for name, values in self.columns.items()}
        return {name: value for name, value in found.items() if value is not None}


class Rows:
    """A file, or the parts of a folder in the order of their names.

    Args:
        path: CSV, TSV, JSON lines or Parquet; text also gzipped.

    Attributes:
        names: of the columns of the first part; of JSON lines, the keys of its first lines.
        total: number of rows if it is known without reading them, else None.

    Raises:
        InputError: the path does not exist, or its form is not known.
    """

    def __init__(self, path: str) -> None:
        self._tables = [Table(file, Form()) for file in parts(path)]
        self.names = list(self._tables[0].names)
        files = [table.file for table in self._tables]
        self.total: int | None = None
        if files[0].form == "parquet":
            self.total = sum(_opened_parquet(file).metadata.num_rows for file in files)

    def blocks(self, asked: Sequence[str], size: int) -> Iterator[Block]:
        """Yield the rows in order.

        Args:
            asked: columns that are read, if the file has them; at least one.
            size: rows of one block, at most.

        Raises:
            InputError: a part cannot be read, or has other columns than the first.
        """
        for table in self._tables:
            missing = [name for name in self.names if name in asked and name not in table.names]
            if missing and table.file.form != "json":
                raise InputError(
                    f"{table.name} has no column {missing[0]!r}, but {self._tables[0].name} does"
                )
            first = 1
            for columns in _columns(table, asked, size):
                block = Block(table.name, first, columns)
                first += len(block)
                yield block


def _columns(table: Table, asked: Sequence[str], size: int) -> Iterator[dict[str, list[Any]]]:
    if table.file.form == "json":
        return _of_json(table.file, asked, size)
    there = [name for name in table.names if name in asked]
    if table.file.form == "parquet":
        return _of_parquet(table.file, there, size)
    return _of_text(table, there, size)


def _of_text(table: Table, there: list[str], size: int) -> Iterator[dict[str, list[Any]]]:
    """Cells are texts; an empty one is missing."""
    stored = [table.stored[table.names.index(name)] for name in there]
    for piece in text_table.tables(
        table.file.path,
        dict.fromkeys(stored, text_table.TEXT),
        member=table.file.member,
        delimiter=table.form.separator,
        quote=table.form.quote,
        encoding=table.form.encoding,
        optional=stored,
    ):
        yield from _slices(piece.rename_columns(there), size)


def _of_parquet(file: RawFile, there: list[str], size: int) -> Iterator[dict[str, list[Any]]]:
    try:
        for batch in _opened_parquet(file).iter_batches(batch_size=size, columns=there):
            yield from _slices(pa.Table.from_batches([batch]), size)
    except (pa.ArrowException, OSError) as e:
        raise unreadable(file.name, e) from None


def _opened_parquet(file: RawFile) -> pq.ParquetFile:
    if file.member:
        raise InputError(f"{file.name} is a Parquet file in a zip file; unpack it first")
    try:
        return pq.ParquetFile(file.path)
    except (pa.ArrowException, OSError) as e:
        raise unreadable(file.name, e) from None


def _slices(table: pa.Table, size: int) -> Iterator[dict[str, list[Any]]]:
    for lo in range(0, table.num_rows, size):
        piece = table.slice(lo, size)
        yield {name: piece.column(name).to_pylist() for name in piece.column_names}


def _of_json(file: RawFile, asked: Sequence[str], size: int) -> Iterator[dict[str, list[Any]]]:
    rows: list[dict[str, Any]] = []
    for row in _objects(file):
        rows.append(row)
        if len(rows) == size:
            yield {name: [row.get(name) for row in rows] for name in asked}
            rows = []
    if rows:
        yield {name: [row.get(name) for row in rows] for name in asked}


def _objects(file: RawFile) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file, one per line."""
    with opened(file.path, file.member) as f:
        for before, piece in pieces(f, file.name):
            for number, line in enumerate(piece.split(b"\n"), before + 1):
                if number == 1:
                    line = line.removeprefix(MARK)
                if not line.strip():
                    continue
                where = f"{file.name}, line {number:,}"
                try:
                    row = json_text.parse(line, where)
                except InputError as e:  # a message about a key that occurs twice has no place
                    text = str(e)
                    raise InputError(text if where in text else f"{where}: {text}") from None
                if not isinstance(row, dict):
                    raise InputError(f"{where}: not an object, {{…}}")
                yield row
