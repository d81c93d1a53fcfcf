"""The users' sequences of a prepared dataset, mapped from disk and read without copies."""

import collections
import os
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from paddleinterest.core.errors import InputError
from paddleinterest.data.columns import check_range, check_times, one_column
from paddleinterest.data.lists import Lists
from paddleinterest.data.schema import Field

OPEN = 8  # pieces that stay mapped, unless a batch needs more


class Piece:
    """The sequences of one record batch of a file.

    Attributes:
        offsets: integers [S + 1]; sequence s of the piece is events [offsets[s], offsets[s + 1]).
        columns: {column: [E]}: item, time, and the event fields.
    """

    def __init__(self, path: str, number: int, fields: list[Field]) -> None:
        try:
            batch = _open(path).get_batch(number)
        except (pa.ArrowException, OSError) as e:
            raise _open_fails(path, e) from None
        kinds = {"item": "integers", "time": "integers"}
        kinds |= {f.name: "numbers" if f.kind == "dense" else "integers" for f in fields}
        self.columns: dict[str, np.ndarray] = {}
        table = pa.Table.from_batches([batch])
        for name, kind in kinds.items():
            lists = _lists(table, batch, name, kind, path)
            offsets = lists.offsets.to_numpy()
            if name == "item":
                self.offsets = offsets
            elif not np.array_equal(self.offsets, offsets):
                raise InputError(
                    f"{path}: the lists of item and {name} differ in length; prepare the dataset"
                    " again"
                )
            self.columns[name] = lists.values.to_numpy(zero_copy_only=True)

    def __len__(self) -> int:
        return len(self.offsets) - 1


class Sequences:
    """Items, times and event fields of every sequence, oldest first.

    A file is mapped when one of its sequences is read, and unmapped later: only pages that are read
    are in memory, and the system may drop them. Part k of the sequences belongs to part k of the
    samples, so an epoch reads one part after the other.

    Args:
        files: Arrow files of sequences, in order.
        items: number of rows of the items table.
        fields: event fields in the files.
    """

    def __init__(self, files: list[str], items: int, fields: Iterable[Field] = ()) -> None:
        self._fields = list(fields)
        self._items = items
        self._where: list[tuple[str, int]] = []  # file and record batch of every piece
        self._open: collections.OrderedDict[int, Piece] = collections.OrderedDict()
        self._identities = {path: _identity(path) for path in files}
        sizes: list[int] = []
        for path in files:
            for number in range(_open(path).num_record_batches):
                self._where.append((path, number))
                sizes.append(len(self._checked(len(sizes), path)))
        self.base = np.cumsum([0, *sizes])  # number of each piece's first sequence

    def __len__(self) -> int:
        return int(self.base[-1])

    def lengths(self, sequence: np.ndarray) -> np.ndarray:
        """Events of each sequence, int64 [R]."""
        out = np.zeros(len(sequence), np.int64)
        for piece, rows, local in self._pieces(sequence):
            out[rows] = piece.offsets[local + 1].astype(np.int64) - piece.offsets[local]
        return out

    def window(
        self, name: str, sequence: np.ndarray, first: np.ndarray, real: np.ndarray
    ) -> np.ndarray:
        """A column at some positions of some sequences.

        Args:
            name: item, time or an event field.
            sequence: int [B].
            first: position in its sequence of each row's first event, int64 [B].
            real: bool [B, T]; which of the positions first, first + 1, … are wanted.

        Returns:
            [B, T], 0 at other positions.
        """
        out: np.ndarray | None = None
        for piece, rows, local in self._pieces(sequence):
            values = piece.columns[name]
            if out is None:
                out = np.zeros(real.shape, values.dtype)
            start = piece.offsets[local].astype(np.int64) + first[rows]
            at = np.where(real[rows], start[:, None] + np.arange(real.shape[1]), 0)
            if len(values):
                out[rows] = np.where(real[rows], values[at], 0)
        return np.zeros(real.shape, np.int64) if out is None else out

    def events(
        self, name: str, sequence: np.ndarray, first: np.ndarray, length: np.ndarray
    ) -> np.ndarray:
        """A column of some events of some sequences, joined.

        Args:
            name: item, time or an event field.
            sequence: int [R].
            first: position of the first event wanted in its sequence, int64 [R].
            length: events wanted, int64 [R].
        """
        ends = np.cumsum(length)
        out: np.ndarray | None = None
        for piece, rows, local in self._pieces(sequence):
            values = piece.columns[name]
            if out is None:
                out = np.empty(int(length.sum()), values.dtype)
            start = piece.offsets[local].astype(np.int64) + first[rows]
            some = length[rows]
            step = np.arange(int(some.sum())) - np.repeat(np.cumsum(some) - some, some)
            to = np.repeat(ends[rows] - some, some) + step
            out[to] = values[np.repeat(start, some) + step]
        return np.zeros(0, np.int64) if out is None else out

    def items(self, sequence: np.ndarray) -> Lists:
        """All items of some sequences."""
        length = self.lengths(sequence)
        offsets = np.zeros(len(sequence) + 1, np.int64)
        np.cumsum(length, out=offsets[1:])
        return Lists(offsets, self.events("item", sequence, np.zeros_like(length), length))

    def one(self, sequence: int) -> dict[str, np.ndarray]:
        """All columns of one sequence."""
        ((piece, _, local),) = self._pieces(np.array([sequence]))
        lo, hi = piece.offsets[local[0] : local[0] + 2].tolist()
        return {name: values[lo:hi] for name, values in piece.columns.items()}

    def counts(self, field: Field) -> np.ndarray:
        """Events of each index of an event field, int64 [size]."""
        counts = np.zeros(field.size, np.int64)
        for number in range(len(self._where)):
            counts += np.bincount(self._piece(number, 1).columns[field.name], minlength=field.size)
        return counts

    def _pieces(self, sequence: np.ndarray) -> list[tuple[Piece, np.ndarray, np.ndarray]]:
        """The pieces that hold these sequences: each with its rows, and their numbers within the
        piece."""
        if len(self.base) == 2:
            return [(self._piece(0, 1), np.arange(len(sequence)), sequence)]
        of = np.searchsorted(self.base, sequence, side="right") - 1
        numbers = np.unique(of).tolist()
        if len(numbers) == 1:
            rows = np.arange(len(sequence))
            return [(self._piece(numbers[0], 1), rows, sequence - self.base[numbers[0]])]
        out = []
        for number in numbers:
            rows = np.flatnonzero(of == number)
            piece = self._piece(number, len(numbers))
            out.append((piece, rows, sequence[rows] - self.base[number]))
        return out

    def _piece(self, number: int, needed: int) -> Piece:
        """A piece, mapped again if it was unmapped."""
        piece = self._open.get(number)
        if piece is None:
            path, batch = self._where[number]
            piece = Piece(path, batch, self._fields)
            if _identity(path) != self._identities[path]:
                raise InputError(f"{path} was replaced while it was read; start again")
            self._open[number] = piece
        self._open.move_to_end(number)
        while len(self._open) > max(OPEN, needed):
            self._open.popitem(last=False)
        return piece

    def _checked(self, number: int, path: str) -> Piece:
        """A piece with checked indices and times."""
        piece = self._piece(number, 1)
        check_range(piece.columns["item"], self._items, f"{path}, column item")
        check_times(piece.columns["time"], f"{path}, column time")
        for f in self._fields:
            if f.kind == "category":
                check_range(piece.columns[f.name], f.size, f"{path}, column {f.name}")
        return piece


def _identity(path: str) -> tuple[int, int, int, int]:
    """Facts that distinguish a file from a later one with the same name."""
    if not os.path.isfile(path):
        raise InputError(f"{path} is missing; prepare the dataset again")
    facts = os.stat(path)
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


def _open_fails(path: str, error: Exception) -> InputError:
    return InputError(f"{path} is not a readable Arrow file: {' '.join(str(error).split())[:160]}")


def _open(path: str) -> pa.ipc.RecordBatchFileReader:
    if not os.path.isfile(path):
        raise InputError(f"{path} is missing; prepare the dataset again")
    try:
        return pa.ipc.open_file(pa.memory_map(path))
    except (pa.ArrowException, OSError) as e:
        raise _open_fails(path, e) from None


def _lists(
    table: pa.Table, batch: pa.RecordBatch, name: str, of: str, path: str
) -> pa.ListArray | pa.LargeListArray:
    """A mapped column of lists of integers or numbers."""
    kind = one_column(table, name, path).type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    fine = is_list and (
        pa.types.is_signed_integer(kind.value_type)
        if of == "integers"
        else pa.types.is_floating(kind.value_type)
    )
    if not fine:
        raise InputError(f"{path}, column {name} holds {kind}, must be lists of {of}")
    lists = batch.column(batch.schema.get_field_index(name))
    try:
        lists.validate(full=True)  # mainly: lists are within their values
    except pa.ArrowException as e:
        raise _open_fails(path, e) from None
    if lists.null_count or lists.values.null_count:
        raise InputError(f"{path}, column {name} has missing values")
    return lists
