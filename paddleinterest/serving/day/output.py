"""The file of scores: CSV, JSON lines or Parquet, whole or not at all."""

import contextlib
import csv
import os
from collections.abc import Iterator
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from paddleinterest.core import json_text
from paddleinterest.core.atomic import whole_file
from paddleinterest.core.errors import InputError

KINDS = {
    "row": pa.int64(),
    "user": pa.string(),
    "time": pa.int64(),
    "place": pa.int64(),
    "item": pa.string(),
    "score": pa.float32(),
}
GROUP = 65_536  # rows of a row group of Parquet, about
ENDINGS = (".csv", ".jsonl", ".parquet")

Columns = dict[str, list[Any]]


class Writer(Protocol):
    """Takes rows, a block at a time."""

    def write(self, columns: Columns) -> None:
        """Write rows.

        Args:
            columns: those that the writer was opened with, of equal length; None = missing.
        """


def check(path: str, source: str, overwrite: bool) -> None:
    """Check that scores can be written to a path.

    Args:
        path: the file to write.
        source: the file that is read.
        overwrite: whether an existing file may be replaced.

    Raises:
        InputError: the ending is none of `ENDINGS`, or something there would be lost.
    """
    if os.path.splitext(path)[1].lower() not in ENDINGS:
        raise InputError(f"--out is {path}, must end in one of {', '.join(ENDINGS)}")
    if os.path.isdir(path):
        raise InputError(f"--out is {path}, which is a folder; name a file")
    if not os.path.lexists(path):
        return
    if os.path.exists(source) and os.path.samefile(path, source):
        raise InputError(f"--out and --events are both {path}; choose another --out")
    if not overwrite:
        raise InputError(f"{path} exists; choose another --out, or replace it with --overwrite")


@contextlib.contextmanager
def opened(path: str, names: list[str]) -> Iterator[Writer]:
    """Yield a writer of `path`, which appears when the block ends well.

    Args:
        path: the file; its ending says the form.
        names: of the columns, among `KINDS`.
    """
    ending = os.path.splitext(path)[1].lower()
    with whole_file(path) as made:
        if ending == ".parquet":
            schema = pa.schema([(name, KINDS[name]) for name in names])
            with pq.ParquetWriter(made, schema, compression="zstd") as parquet:
                gathering = _Parquet(parquet, schema)
                yield gathering
                gathering.flush()
            return
        with open(made, "w", encoding="utf-8", newline="") as f:
            yield _Csv(f, names) if ending == ".csv" else _JsonLines(f)


class _Csv:
    def __init__(self, f: Any, names: list[str]) -> None:
        self._writer = csv.writer(f, lineterminator="\n")
        self._writer.writerow(names)

    def write(self, columns: Columns) -> None:
        self._writer.writerows(zip(*columns.values(), strict=True))


class _JsonLines:
    def __init__(self, f: Any) -> None:
        self._file = f

    def write(self, columns: Columns) -> None:
        for values in zip(*columns.values(), strict=True):
            self._file.write(json_text.dumps(dict(zip(columns, values, strict=True))) + "\n")


class _Parquet:
    """Gathers rows: a row group of Parquet should have many."""

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema) -> None:
        self._writer = writer
        self._schema = schema
        self._waiting: list[pa.Table] = []
        self._rows = 0

    def write(self, columns: Columns) -> None:
        table = pa.table(columns, schema=self._schema)
        self._waiting.append(table)
        self._rows += table.num_rows
        if self._rows >= GROUP:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered."""
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting))
        self._waiting = []
        self._rows = 0
