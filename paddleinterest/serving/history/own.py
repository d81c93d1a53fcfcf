"""The histories of a bundle: the latest events of the prepared dataset, mapped from disk."""

import glob
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from paddleinterest.core.errors import InputError
from paddleinterest.data.schema import FIRST_ID, UNKNOWN
from paddleinterest.data.sequences import Sequences
from paddleinterest.data.tables import ItemTable
from paddleinterest.serving.history.events import Event
from paddleinterest.serving.ids import Ids

FILE = "histories.arrow"  # one row per user, in the order of users.parquet: item, time


class OwnHistories:
    """Reads histories.arrow of a bundle.

    Args:
        bundle: its directory.
        items: its item ids.
        users: its user ids.
    """

    name = "bundle"

    def __init__(self, bundle: str, items: Ids, users: Ids) -> None:
        self._items = items
        self._users = users
        path = os.path.join(bundle, FILE)
        self._sequences = Sequences([path], FIRST_ID + len(items))
        rows = len(self._sequences)
        if rows != len(users):
            raise InputError(f"{path} has {rows:,} rows, must have one per user, {len(users):,}")

    def latest(self, user: str, n: int, until: int | None = None) -> list[Event]:
        """The latest events of a user, oldest first, at most `n`, none after `until`."""
        row = int(self._users.rows([user])[0])
        if row < 0:
            return []
        columns = self._sequences.one(row)
        end = len(columns["time"])
        if until is not None:
            end = int(np.searchsorted(columns["time"], until, side="right"))
        first = max(0, end - n)
        items = columns["item"][first:end].tolist()
        times = columns["time"][first:end].tolist()
        return [
            Event(self._items[item - FIRST_ID], time)
            for item, time in zip(items, times, strict=True)
            if item > UNKNOWN
        ]

    def with_events(self, n: int) -> list[str]:
        """Some users who have events, at most `n`, in the order of users.parquet."""
        lengths = self._sequences.lengths(np.arange(len(self._sequences)))
        rows = np.flatnonzero(lengths)[:n]
        return [self._users[row] for row in rows.tolist()]


def write(made: str, data: str, cap: int) -> None:
    """Write histories.arrow of a bundle.

    Args:
        made: directory of the bundle.
        data: the prepared dataset.
        cap: events kept per user, the latest.
    """
    from paddleinterest.data.schema import Schema

    schema = Schema.load(data)
    items = ItemTable(data, schema)
    sequences = Sequences(schema.sequence_files(data), items.rows)
    users = pq.ParquetFile(os.path.join(data, "users.parquet")).metadata.num_rows - FIRST_ID
    sequence = _sequence_of_user(data, users, list(schema.rows))
    has_one = sequence >= 0
    sequence = np.maximum(sequence, 0)
    all_events = np.where(has_one, sequences.lengths(sequence), 0)
    length = np.minimum(all_events, cap)
    offsets = np.concatenate([[0], np.cumsum(length)])
    columns = {
        name: sequences.events(name, sequence, all_events - length, length)
        for name in ("item", "time")
    }
    table = pa.table(
        {
            name: pa.LargeListArray.from_arrays(offsets, pa.array(values))
            for name, values in columns.items()
        }
    )
    path = os.path.join(made, FILE)
    with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _sequence_of_user(data: str, users: int, splits: list[str]) -> np.ndarray:
    """Number of each user's sequence, int64 [users]; −1 if no sample has the user."""
    found = np.full(users, -1, np.int64)
    for split in splits:
        for path in sorted(glob.glob(os.path.join(glob.escape(data), split, "part-*.parquet"))):
            samples = pq.read_table(path, columns=["user", "sequence"], partitioning=None)
            user = samples["user"].to_numpy()
            known = user > UNKNOWN
            found[user[known] - FIRST_ID] = samples["sequence"].to_numpy()[known]
    return found
