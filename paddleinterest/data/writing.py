"""The files of a prepared dataset."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from paddleinterest.data import entities
from paddleinterest.data.events import Events
from paddleinterest.data.fields import Category
from paddleinterest.data.protocols import Samples
from paddleinterest.data.schema import FIRST_ID, Field

ROW_GROUP = 1 << 20  # samples


def write_vocabularies(
    made: str,
    items: entities.Entities,
    users: entities.Entities,
    columns: dict[str, Category | Field],
) -> None:
    tables = {**items.vocabularies, **users.vocabularies}
    for name, column in columns.items():
        if isinstance(column, Category) and column.vocabulary is not None:
            tables[name] = column.vocabulary
    os.makedirs(os.path.join(made, "vocab"))
    for name, table in tables.items():
        pq.write_table(table, os.path.join(made, "vocab", f"{name}.parquet"), compression="zstd")


def write_sequences(
    path: str, history: Events, first: int, last: int, values: dict[str, np.ndarray]
) -> None:
    """Row u − first holds the events of user u, oldest first. One record batch, so the reader can
    map it directly."""
    offsets = pa.array(np.searchsorted(history.user, np.arange(first, last + 1)), pa.int32())
    columns = {
        "item": FIRST_ID + history.item.astype(np.int32),
        "time": history.time,
        **values,
    }
    table = pa.table(
        {
            name: pa.ListArray.from_arrays(offsets, pa.array(column))
            for name, column in columns.items()
        }
    )
    with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def write_samples(
    path: str, s: Samples, values: dict[str, np.ndarray], truth: np.ndarray | None
) -> None:
    columns = {
        "sequence": s.events.user.astype(np.int32),
        "end": s.end.astype(np.int32),
        "user": FIRST_ID + s.events.user.astype(np.int32),
        "item": FIRST_ID + s.events.item.astype(np.int32),
        "label": s.label,
        "time": s.events.time,
        **values,
    }
    if truth is not None:
        columns["probability"] = truth
    pq.write_table(pa.table(columns), path, compression="zstd", row_group_size=ROW_GROUP)
