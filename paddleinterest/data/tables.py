"""The items and the users of a prepared dataset as arrays, for training and serving."""

import os
from collections.abc import Collection

import numpy as np
import pyarrow as pa

from paddleinterest.core.errors import InputError
from paddleinterest.data.columns import check_range, numbers, one_column, read_parquet
from paddleinterest.data.lists import Lists
from paddleinterest.data.schema import UNKNOWN, Field, Schema

# standard deviations: a number beyond that is a mistake, and its square may overflow float32
FARTHEST = 1e6


class ItemTable:
    """items.parquet as arrays, as the models read it.

    Args:
        directory: a prepared dataset, or a bundle.
        schema: its schema.
        vectors: names of the vectors to map; None = all.

    Attributes:
        fields: {name: int64 [rows]}, the embedding index of every category with one value,
            including ``item``. Items that train never saw keep their row and their attributes, but
            share item index 1, unless items are hashed.
        lists: {name: `Lists` of rows}, the indices of every category with several values.
        vectors: {name: float32 [rows, width]}, mapped from disk; zeros for missing vectors.
        dense: float32 [rows, number of dense item columns], standardised.
        count: int64 [rows], events in train.
        rows: number of rows, padding and unknown included.
    """

    def __init__(
        self, directory: str, schema: Schema, vectors: Collection[str] | None = None
    ) -> None:
        table = read_parquet(os.path.join(directory, "items.parquet"))
        self.rows: int = table.num_rows
        self.count = _count(table, "item")
        own = schema.item_fields[0]
        if own.hashed:
            item = numbers(table, "index", "items.parquet")
            check_range(item, own.size, "items.parquet, column index")
        else:
            item = np.arange(self.rows)
            item[own.size :] = UNKNOWN
        self.fields = {"item": item.astype(np.int64), **_categories(table, schema, "item")}
        self.lists = _lists(table, schema, "item")
        self.dense = _dense(table, schema, "item")
        self.vectors = {
            f.name: _vectors(directory, f, self.rows)
            for f in schema.vector_fields
            if vectors is None or f.name in vectors
        }


class UserTable:
    """users.parquet as arrays; the attributes are those of `ItemTable`."""

    def __init__(self, directory: str, schema: Schema) -> None:
        table = read_parquet(os.path.join(directory, "users.parquet"))
        self.rows: int = table.num_rows
        self.count = _count(table, "user")
        self.fields = _categories(table, schema, "user")
        self.lists = _lists(table, schema, "user")
        self.dense = _dense(table, schema, "user")


def standardise(values: np.ndarray, field: Field) -> np.ndarray:
    """(value − mean) / std with the numbers of train, kept within ±FARTHEST; missing values become
    0, the mean. float32 [N]."""
    with np.errstate(over="ignore"):
        z = (np.asarray(values, np.float64) - field.mean) / field.std
    return np.clip(np.nan_to_num(z, nan=0.0), -FARTHEST, FARTHEST).astype(np.float32)


def _count(table: pa.Table, of: str) -> np.ndarray:
    count = numbers(table, "count", f"{of}s.parquet")
    if (count < 0).any():
        row = int(np.argmin(count))
        raise InputError(
            f"{of}s.parquet, row {row}: count is {count[row]}, must not be negative; prepare the"
            " dataset again"
        )
    return count


def _categories(table: pa.Table, schema: Schema, of: str) -> dict[str, np.ndarray]:
    """`fields` of `ItemTable`, without the item's own."""
    fields = {}
    for f in schema.categories(of):
        if f.name == "item":
            continue
        column = numbers(table, f.name, f"{of}s.parquet")
        check_range(column, f.size, f"{of}s.parquet, column {f.name}")
        fields[f.name] = column.astype(np.int64)
    return fields


def _lists(table: pa.Table, schema: Schema, of: str) -> dict[str, Lists]:
    """`lists` of `ItemTable`."""
    out = {}
    for f in schema.multiple(of):
        where = f"{of}s.parquet, column {f.name}"
        column = one_column(table, f.name, f"{of}s.parquet")
        kind = column.type
        if not pa.types.is_list(kind) or not pa.types.is_integer(kind.value_type):
            raise InputError(f"{where} holds {kind}, must be lists of integers")
        lists = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], kind)
        if lists.null_count or lists.values.null_count:
            raise InputError(f"{where} has missing values")
        values = lists.values.to_numpy()
        check_range(values, f.size, f"{where}, in the lists")
        out[f.name] = Lists(lists.offsets.to_numpy().astype(np.int64), values)
    return out


def _dense(table: pa.Table, schema: Schema, of: str) -> np.ndarray:
    """`dense` of `ItemTable`."""
    columns = [
        standardise(numbers(table, f.name, f"{of}s.parquet", True), f)
        for f in schema.dense_fields
        if f.of == of
    ]
    if not columns:
        return np.zeros((table.num_rows, 0), np.float32)
    return np.stack(columns, 1)


def _vectors(directory: str, field: Field, rows: int) -> np.ndarray:
    """A field of `vectors` of `ItemTable`."""
    path = os.path.join(directory, "vectors", f"{field.name}.npy")
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path} is missing; create its folder again") from None
    except (OSError, ValueError, EOFError) as e:
        raise InputError(
            f"{path} is not a readable NumPy file ({e}); create its folder again"
        ) from None
    if vectors.shape != (rows, field.width) or vectors.dtype != np.float32:
        raise InputError(
            f"{path} holds {vectors.dtype} {list(vectors.shape)}, must be float32"
            f" {[rows, field.width]}; prepare the dataset again"
        )
    return vectors
