"""The tables of items and users: their rows, and their attributes indexed by train's values."""

import os
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from paddleinterest.data import hashing
from paddleinterest.data.extend import Yesterday
from paddleinterest.data.fields import Category, Moments, category, count_far, tell_far
from paddleinterest.data.lists import Lists
from paddleinterest.data.log import Log
from paddleinterest.data.schema import FIRST_ID, PADDING, UNKNOWN, Field
from paddleinterest.data.values import (
    MISSING,
    checked_numbers,
    checked_vectors,
    ranked_lists,
    ranked_texts,
)

ROW_GROUP = 1 << 20


@dataclass
class Rows:
    """Every item or user, in the order of its table.

    Attributes:
        of: item or user.
        ids: raw ids, [N].
        count: occurrences in train, int64 [N].
        source: row in the frame of attributes, −1 for those that are not listed, int64 [N].
        kept: how many of the first ones keep the index that they had in yesterday's dataset.
        yesterday: that dataset; None without one.
    """

    of: str
    ids: pa.Array
    count: np.ndarray
    source: np.ndarray
    kept: int = 0
    yesterday: Yesterday | None = None

    def known(self, name: str) -> pa.Array | None:
        """The values of a category that yesterday's dataset knew."""
        if self.yesterday is None or name not in self.yesterday.fields:
            return None
        field = self.yesterday.fields[name]
        return self.yesterday.known(name) if field.kind == "category" else None


@dataclass
class Entities:
    """The files of items or users.

    Attributes:
        table: items.parquet or users.parquet; rows 0 and 1 are padding and unknown.
        fields: fields of the columns, the item's own first.
        vocabularies: {field: table}.
        vectors: {field: (rows, vectors)}: float32 [V, W], and the table's row of each, int64 [V].
    """

    table: pa.Table
    fields: list[Field] = field(default_factory=list)
    vocabularies: dict[str, pa.Table] = field(default_factory=dict)
    vectors: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


def rows_of(
    of: str, ids: pa.Array, count: np.ndarray, order: np.ndarray, listed: np.ndarray | None
) -> Rows:
    """Put the rows in a new order.

    Args:
        of: item or user.
        ids, count: by code, [N].
        order: codes in the order of the rows, [N].
        listed: code of each row of the frame of attributes; None without a frame.
    """
    source = np.full(len(ids), MISSING, np.int64)
    if listed is not None:
        source[listed] = np.arange(len(listed))
    return Rows(of, ids.take(pa.array(order)), count[order], source[order])


def falling(count: np.ndarray) -> np.ndarray:
    """Codes by descending count, then by code."""
    return np.lexsort((np.arange(len(count)), -count))


def make(
    rows: Rows, frame: pd.DataFrame | None, log: Log, min_count: int, own_id: bool
) -> Entities:
    """Tables, fields and vocabularies of items or users.

    Args:
        rows: the items or users.
        frame: their attributes, one row each, the id in column 0.
        log: which columns are dense, multiple, vectors or hashed.
        min_count: values with fewer occurrences in train share index 1.
        own_id: the id is also an attribute, <of>_id.
    """
    ids = rows.ids if pa.types.is_integer(rows.ids.type) else rows.ids.cast(pa.string())
    out = Entities(
        pa.table(
            {
                rows.of: pa.concat_arrays([pa.nulls(FIRST_ID, ids.type), ids]),
                "count": pa.array(np.append([0, 0], rows.count), pa.int64()),
            }
        )
    )
    if rows.of == "item":
        _add_item(out, rows, log.hashed.get("item", 0), min_count)
    if frame is not None:
        for name in frame.columns[1:]:
            _add_column(out, rows, frame[name], log, min_count)
    if own_id:
        name = f"{rows.of}_id"
        codes, texts = ranked_texts(rows.ids.to_pandas())
        _add_category(out, rows, name, codes, texts, min_count, log.hashed.get(name, 0))
    return out


def _add_item(out: Entities, rows: Rows, buckets: int, min_count: int) -> None:
    """The item's own field: its index is its row, if train knows it, or its hash."""
    if not buckets:
        known = rows.kept + int((rows.count[rows.kept :] >= max(min_count, 1)).sum())
        out.fields.append(Field("item", "item", "category", FIRST_ID + known))
        return
    out.fields.append(Field("item", "item", "category", FIRST_ID + buckets, hashed=True))
    index = hashing.bucket(rows.ids.cast(pa.large_string()), buckets)
    _append(out, "index", np.append([PADDING, UNKNOWN], index).astype(np.int32))


def _add_column(out: Entities, rows: Rows, column: pd.Series, log: Log, min_count: int) -> None:
    name = str(column.name)
    buckets = log.hashed.get(name, 0)
    if name in log.dense:
        _add_dense(out, rows, name, np.append(checked_numbers(column, name), np.float32(np.nan)))
    elif name in log.vectors:
        _add_vectors(out, rows, name, column)
    elif name in log.multiple:
        _add_lists(out, rows, column, min_count, buckets)
    else:
        codes, texts = ranked_texts(column)
        codes = np.append(codes, MISSING)[rows.source]
        _add_category(out, rows, name, codes, texts, min_count, buckets)


def _add_category(
    out: Entities,
    rows: Rows,
    name: str,
    codes: np.ndarray,
    texts: pa.Array,
    min_count: int,
    buckets: int,
) -> None:
    """A column with one value per row; codes [N]."""
    count = _occurrences(codes, rows.count, len(texts))
    made = category(Field(name, rows.of), texts, count, min_count, buckets, rows.known(name))
    _keep(out, made)
    _append(out, name, np.append(np.array([PADDING, UNKNOWN], np.int32), made.index[codes]))


def _add_lists(out: Entities, rows: Rows, column: pd.Series, min_count: int, buckets: int) -> None:
    """A column with several values per row."""
    offsets, values, texts = ranked_lists(column)
    lists = Lists(np.append(offsets, offsets[-1]), values).take(rows.source % (len(column) + 1))
    weight = np.repeat(rows.count, np.diff(lists.offsets))
    count = _occurrences(lists.values, weight, len(texts))
    field = Field(str(column.name), rows.of, multiple=True)
    made = category(field, texts, count, min_count, buckets, rows.known(field.name))
    _keep(out, made)
    index = _distinct(Lists(lists.offsets, made.index[lists.values]))
    out.table = out.table.append_column(
        field.name,
        pa.ListArray.from_arrays(
            pa.array(np.append([0, 0], index.offsets), pa.int32()), pa.array(index.values)
        ),
    )


def _distinct(lists: Lists) -> Lists:
    """The lists without repeats: several values may share an index."""
    row = np.repeat(np.arange(len(lists)), np.diff(lists.offsets))
    _, first = np.unique(row * 2**32 + lists.values, return_index=True)
    first = np.sort(first)
    offsets = np.zeros(len(lists) + 1, np.int64)
    np.cumsum(np.bincount(row[first], minlength=len(lists)), out=offsets[1:])
    return Lists(offsets, lists.values[first])


def _add_dense(out: Entities, rows: Rows, name: str, values: np.ndarray) -> None:
    """A column of numbers; the last of `values` is for rows that are not listed."""
    values = values[rows.source]
    field = Field(name, rows.of, "dense")
    moments = Moments()
    moments.add(values, rows.count)
    moments.set(field)
    if rows.yesterday is not None:
        rows.yesterday.keep_scale(field)
    tell_far(field, count_far(values, field))
    out.fields.append(field)
    _append(out, name, np.append(np.full(FIRST_ID, np.nan, np.float32), values))


def _add_vectors(out: Entities, rows: Rows, name: str, column: pd.Series) -> None:
    """A column of vectors, which has its own file."""
    known, vectors = checked_vectors(column, name)
    row = np.full(len(column), MISSING, np.int64)
    listed = np.flatnonzero(rows.source != MISSING)
    row[rows.source[listed]] = FIRST_ID + listed
    out.fields.append(Field(name, rows.of, "vector", width=vectors.shape[1]))
    out.vectors[name] = (row[known], vectors)


def _occurrences(codes: np.ndarray, weight: np.ndarray, values: int) -> np.ndarray:
    """Occurrences in train of each value, int64."""
    real = codes != MISSING
    return np.bincount(codes[real], weights=weight[real], minlength=values).astype(np.int64)


def _keep(out: Entities, made: Category) -> None:
    out.fields.append(made.field)
    if made.vocabulary is not None:
        out.vocabularies[made.field.name] = made.vocabulary


def _append(out: Entities, name: str, values: np.ndarray) -> None:
    out.table = out.table.append_column(name, pa.array(values))


def write(directory: str, made: Entities) -> None:
    """Write the table, its vocabularies and its vectors below `directory`."""
    of = made.table.column_names[0]
    path = os.path.join(directory, f"{of}s.parquet")
    pq.write_table(made.table, path, compression="zstd", row_group_size=ROW_GROUP)
    for name, (rows, vectors) in made.vectors.items():
        folder = os.path.join(directory, "vectors")
        os.makedirs(folder, exist_ok=True)
        out = np.lib.format.open_memmap(
            os.path.join(folder, f"{name}.npy"),
            "w+",
            np.float32,
            (made.table.num_rows, vectors.shape[1]),
        )
        out[rows] = vectors
        out.flush()
