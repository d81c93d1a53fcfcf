"""The histories of a bundle: the latest events of the prepared dataset, mapped from disk."""

import glob
import os
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from paddleinterest.core.errors import InputError
from paddleinterest.data.schema import FIRST_ID, UNKNOWN, Field, Schema
from paddleinterest.data.sequences import Sequences
from paddleinterest.data.tables import ItemTable
from paddleinterest.serving.history.events import Event
from paddleinterest.serving.history.raw import RawEvents
from paddleinterest.serving.ids import Ids

FILE = "histories.arrow"  # a row per user, in the order of users.parquet: item, time, event fields


class OwnHistories:
    """Reads histories.arrow of a bundle.

    Args:
        bundle: its directory.
        items: its item ids.
        users: its user ids.
        fields: of the schema.
        vocabularies: {field: {raw value: index}}.
    """

    name = "bundle"

    def __init__(
        self,
        bundle: str,
        items: Ids,
        users: Ids,
        fields: Sequence[Field] = (),
        vocabularies: Mapping[str, Mapping[str, int]] | None = None,
    ) -> None:
        self._users = users
        self._raw = RawEvents(items, fields, vocabularies or {})
        path = os.path.join(bundle, FILE)
        self._sequences = Sequences([path], FIRST_ID + len(items), self._raw.fields)
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
        some = slice(max(0, end - n), end)
        return self._raw.events({name: values[some] for name, values in columns.items()})

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
    schema = Schema.load(data)
    items = ItemTable(data, schema)
    fields = [f for f in schema.fields if f.of == "event"]
    sequences = Sequences(schema.sequence_files(data), items.rows, fields)
    users = pq.ParquetFile(os.path.join(data, "users.parquet")).metadata.num_rows - FIRST_ID
    sequence = _sequence_of_user(data, users, list(schema.rows))
    has_one = sequence >= 0
    sequence = np.maximum(sequence, 0)
    all_events = np.where(has_one, sequences.lengths(sequence), 0)
    length = np.minimum(all_events, cap)
    offsets = np.concatenate([[0], np.cumsum(length)])
    columns = {
        name: sequences.events(name, sequence, all_events - length, length)
        for name in ("item", "time", *(f.name for f in fields))
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
