"""The samples of one split: its files, and the columns of the part that is in memory."""

import glob
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from paddleinterest.core.errors import InputError
from paddleinterest.data.columns import (
    check_range,
    check_times,
    footer,
    numbers,
    read_parquet,
)
from paddleinterest.data.schema import Field, Schema
from paddleinterest.data.sequences import Sequences
from paddleinterest.data.tables import standardise

COLUMNS = ("sequence", "end", "user", "item", "label", "time")


@dataclass
class Part:
    """The unit that is in memory: some files, the number of their first row, and their rows."""

    files: list[str]
    first: int
    rows: int


class Split:
    """Columns of the samples of one split, of one part at a time.

    Args:
        directory: a prepared dataset.
        schema: its schema.
        name: train, valid or test.
        in_parts: every file is a part; else all files are one part.
        users, items: number of rows of the tables.
        sequences: the dataset's.

    Attributes:
        parts: every `Part`, in file order.
        rows: samples in all of them.
        start: number of the first row in memory; the columns below hold the rows from there on.
        sequence, end, user, item, label, time: the columns of the files.
        context: {name: column} of every context field, dense ones standardised.
    """

    def __init__(
        self,
        directory: str,
        schema: Schema,
        name: str,
        in_parts: bool,
        users: int,
        items: int,
        sequences: Sequences,
    ) -> None:
        self.directory = directory
        self.schema = schema
        self.name = name
        self.users = users
        self.items = items
        self.sequences = sequences
        files, rows = self._find_files()
        self.rows = sum(rows)
        if not self.rows:
            raise InputError(f"the {name} split of {directory} is empty")
        self._hold(self._nothing, 0)  # refuses missing columns and wrong types
        if name in schema.rows and self.rows != schema.rows[name]:
            raise InputError(
                f"{directory}, {name} has {self.rows:,} rows, but schema.yaml says"
                f" {schema.rows[name]:,}; prepare the dataset again"
            )
        if in_parts and len(files) > 1:
            first = np.cumsum([0, *rows[:-1]]).tolist()
            self.parts = [
                Part([path], lo, n) for path, lo, n in zip(files, first, rows, strict=True)
            ]
        else:
            self.parts = [Part(files, 0, self.rows)]
        self._loaded: int | None = None  # number of the part that is in memory
        if len(self.parts) == 1:
            self.load(0)

    def _find_files(self) -> tuple[list[str], list[int]]:
        """The files and their rows; only the footers are read."""
        directory, name = self.directory, self.name
        files = sorted(glob.glob(os.path.join(glob.escape(directory), name, "part-*.parquet")))
        if not files:
            raise InputError(
                f"{directory} has no {name} split; it has {', '.join(self.schema.rows)}"
            )
        rows = []
        for path in files:
            n, schema = footer(path)
            rows.append(n)
            if path == files[0]:
                self._empty = schema.empty_table()
            elif not schema.equals(self._empty.schema):
                raise InputError(
                    f"the files of {directory}, {name} differ in their columns: {files[0]} and"
                    f" {path}"
                )
        return files, rows

    def load(self, part: int) -> None:
        """Read the columns of a part; they replace those of the part before."""
        if part == self._loaded:
            return
        now = self.parts[part]
        self._loaded = None
        self._hold(self._nothing, 0)  # so the two are never in memory together
        names = [f"{self.name}/{os.path.basename(path)}" for path in now.files]
        self.schema.verify(self.directory, *names)  # may be hours after the start
        self._hold(lambda column: self._read(now, column), now.first)
        self.schema.verify(self.directory, *names)  # the data that was read was checked
        self._loaded = part

    def _nothing(self, column: str) -> pa.Table:
        return self._empty

    @staticmethod
    def _read(part: Part, column: str) -> pa.Table:
        """One column of a part at a time, so not all columns are in memory twice."""
        return pa.concat_tables([read_parquet(path, [column]) for path in part.files])

    def _hold(self, read: Callable[[str], pa.Table], first: int) -> None:
        """Store read(name), a table with that column, for every column of the samples; the rows
        begin at `first`."""
        self.start = first
        self.sequence, self.end, self.user, self.item, self.label, self.time = (
            numbers(read(c), c, self.name) for c in COLUMNS
        )
        sizes = {
            "sequence": len(self.sequences),
            "user": self.users,
            "item": self.items,
            "label": 2,
        }
        for column, size in sizes.items():
            check_range(getattr(self, column), size, f"{self.name}, column {column}", first)
        check_times(self.time, f"{self.name}, column time")
        if (self.end < 0).any() or (self.end > self.sequences.lengths(self.sequence)).any():
            raise InputError(
                f"{self.name}: a history ends beyond its sequence; prepare the dataset again"
            )
        self.context = {
            f.name: self._context(read(f.name), f, first)
            for f in self.schema.fields
            if f.of == "context"
        }

    def _context(self, table: pa.Table, field: Field, first: int) -> np.ndarray:
        column = numbers(table, field.name, self.name, field.kind == "dense")
        if field.kind == "dense":
            return standardise(column, field)
        check_range(column, field.size, f"{self.name}, column {field.name}", first)
        return column

    def context_counts(self, field: Field) -> np.ndarray:
        """Number of rows of each index of a context field, int64 [size], in all parts."""
        counts = np.zeros(field.size, np.int64)
        for part in self.parts:
            index = self._context(self._read(part, field.name), field, part.first)
            counts += np.bincount(index, minlength=field.size)
        return counts
