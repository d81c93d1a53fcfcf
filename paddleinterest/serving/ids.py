"""Raw ids to catalogue rows, in arrays that processes share.

A Python dict of a million ids takes 100 MB, and every look-up writes to its objects (their
reference counts), so that forked processes soon hold a copy each. Here the ids stay in Arrow's
buffers, beside their sorted hashes; a look-up reads, and writes nothing.
"""

import os
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from paddleinterest.core.errors import InputError
from paddleinterest.data.columns import read_parquet
from paddleinterest.data.schema import FIRST_ID


class Ids:
    """The raw ids of items.parquet or users.parquet, in row order, without the special rows.

    Args:
        path: the Parquet file.
        column: its column of ids, ``item`` or ``user``.

    Raises:
        InputError: the column is missing, has gaps, or lists an id twice.

    Example:
        >>> ids = Ids("bundle/items.parquet", "item")      # doctest: +SKIP
        >>> ids.rows(["i1", "no such id"])                 # doctest: +SKIP
        array([ 3, -1])
    """

    def __init__(self, path: str, column: str) -> None:
        self._ids = _read(path, column)
        hashes = _hash(self._ids.to_numpy(zero_copy_only=False))
        order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[order]  # sorted, uint64 [n]
        self._rows = order.astype(np.int64)
        twice = np.flatnonzero(self._hashes[1:] == self._hashes[:-1])
        if len(twice):
            self._refuse_duplicates(path, column)

    def _refuse_duplicates(self, path: str, column: str) -> None:
        counts = pc.value_counts(self._ids)
        most = int(np.argmax(counts.field("counts").to_numpy()))
        if counts.field("counts")[most].as_py() > 1:
            raise InputError(
                f"{path} lists {column} {counts[most]['values'].as_py()!r} more than once"
            )

    def rows(self, queries: Sequence[str]) -> np.ndarray:
        """Positions of ids, int64 [n]; −1 for an id that is not here."""
        found = np.full(len(queries), -1, np.int64)
        if not len(queries) or not len(self._ids):
            return found
        hashes = _hash(np.array(queries, dtype=object))
        at = np.searchsorted(self._hashes, hashes)
        near = self._hashes[np.minimum(at, len(self._hashes) - 1)] == hashes
        hits = np.flatnonzero(near)
        rows = self._rows[at[hits]]
        found[hits] = rows
        texts = self._ids.take(pa.array(rows)).to_pylist()
        given = [queries[hit] for hit in hits.tolist()]
        if texts != given:  # ids with the same hash: a comparison of lists is quicker than a loop
            for hit, text in zip(hits.tolist(), texts, strict=True):
                if text != queries[hit]:
                    found[hit] = self._collided(queries[hit], at[hit])
        return found

    def _collided(self, query: str, at: int) -> int:
        """Position of an id whose hash another id has too."""
        same = np.flatnonzero(self._hashes[at:] == self._hashes[at])
        for row in self._rows[at + same].tolist():
            if self._ids[row].as_py() == query:
                return row
        return -1

    def starting_with(self, start: str, n: int) -> list[str]:
        """Ids that start with a text, at most `n`, in row order."""
        if not start.isprintable():
            return []
        return self._ids.filter(pc.starts_with(self._ids, start)).slice(0, n).to_pylist()

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, position: int) -> str:
        return self._ids[position].as_py()

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids.to_pylist())

    def __contains__(self, query: str) -> bool:
        return bool(self.rows([query])[0] >= 0)

    def get_loc(self, query: str) -> int:
        """Position of one id; KeyError if it is not here."""
        position = int(self.rows([query])[0])
        if position < 0:
            raise KeyError(query)
        return position


def item_ids(bundle: str) -> Ids:
    """The raw item ids of a bundle or a prepared dataset."""
    return Ids(os.path.join(bundle, "items.parquet"), "item")


def user_ids(bundle: str) -> Ids:
    """The raw user ids of a bundle or a prepared dataset."""
    return Ids(os.path.join(bundle, "users.parquet"), "user")


def _read(path: str, column: str) -> pa.Array:
    """The ids as one Arrow array of text."""
    table = read_parquet(path)
    if column not in table.column_names or table[column].slice(FIRST_ID).null_count:
        raise InputError(f"{path} must have a column {column} without missing values")
    ids = table[column].slice(FIRST_ID).cast(pa.large_string()).combine_chunks()
    if isinstance(ids, pa.ChunkedArray):  # pyarrow before 14 keeps an empty one
        ids = pa.array([], pa.large_string())
    return ids


def _hash(texts: np.ndarray) -> np.ndarray:
    """A 64-bit hash of each text, the same in every process; uint64 [n]."""
    try:
        return pd.util.hash_array(texts, categorize=False)
    except UnicodeEncodeError:
        return pd.util.hash_array(np.array([_plain(t) for t in texts], object), categorize=False)


def _plain(text: str) -> str:
    """The text itself; or, if it has half of a surrogate pair, one that no Parquet file holds."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode() + "\0"
    return text
