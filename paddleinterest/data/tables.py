"""The items and the users of a prepared dataset as arrays: what training and serving share."""

import os

import numpy as np
import pyarrow as pa

from paddleinterest.core.errors import InputError
from paddleinterest.data.columns import check_range, numbers, read_parquet
from paddleinterest.data.schema import UNKNOWN, Field, Schema

FARTHEST = (
    1e6  # standard deviations: beyond that a number is a mistake, and its square soon no float32
)


class ItemTable:
    """items.parquet as arrays: what a catalogue row looks like to the models.

    Args:
        directory: a prepared dataset, or a bundle.
        schema: its schema.

    Attributes:
        fields: {name: int64 [rows]}, the embedding index of every category field, ``item`` itself
            included. Items that train never saw keep their row and their attributes, but share item
            index 1.
        dense: float32 [rows, number of dense item columns], standardised.
        count: int64 [rows], events in train.
        rows: number of rows, padding and unknown included.
    """

    def __init__(self, directory: str, schema: Schema) -> None:
        table = read_parquet(os.path.join(directory, "items.parquet"))
        self.fields, self.dense, self.count = _entity(table, schema, "item")
        rows = np.arange(table.num_rows)
        self.fields = {
            "item": np.where(rows < schema.item_fields[0].size, rows, UNKNOWN),
            **self.fields,
        }
        self.rows: int = table.num_rows


class UserTable:
    """users.parquet as arrays; the attributes are those of `ItemTable`."""

    def __init__(self, directory: str, schema: Schema) -> None:
        table = read_parquet(os.path.join(directory, "users.parquet"))
        self.fields, self.dense, self.count = _entity(table, schema, "user")
        self.rows: int = table.num_rows


def standardise(values: np.ndarray, field: Field) -> np.ndarray:
    """(value − mean) / std with the numbers of train, kept within ±FARTHEST; missing values become
    0, the mean. float32 [N]."""
    with np.errstate(over="ignore"):
        z = (np.asarray(values, np.float64) - field.mean) / field.std
    return np.clip(np.nan_to_num(z, nan=0.0), -FARTHEST, FARTHEST).astype(np.float32)


def _entity(
    table: pa.Table, schema: Schema, of: str
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """fields, dense and count of `ItemTable`, without the item's own index."""
    fields = {}
    dense = []
    for f in schema.fields:
        if f.of != of or f.name == "item":
            continue
        column = numbers(table, f.name, f"{of}s.parquet", f.kind == "dense")
        if f.kind == "dense":
            dense.append(standardise(column, f))
        else:
            check_range(column, f.size, f"{of}s.parquet, column {f.name}")
            fields[f.name] = column.astype(np.int64)
    matrix = np.stack(dense, 1) if dense else np.zeros((table.num_rows, 0), np.float32)
    count = numbers(table, "count", f"{of}s.parquet")
    if (count < 0).any():
        raise InputError(f"{of}s.parquet, column count has a negative number")
    return fields, matrix, count
