"""Tomorrow's dataset: a log prepared so that what yesterday's dataset knew keeps its index.

A net that was trained on yesterday's dataset has a row for every item and value that it knew. The
new dataset keeps these indices, and the standardisation of dense columns, and appends what is new.
Nothing is removed: an item or value that the new log never mentions keeps its row, with count 0.
"""

import dataclasses
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.data.columns import read_parquet
from paddleinterest.data.log import Log
from paddleinterest.data.schema import FIRST_ID, Field, Schema
from paddleinterest.data.tables import ItemTable
from paddleinterest.data.values import MISSING, ranked_lists, ranked_texts


class Yesterday:
    """The prepared dataset that a new one extends.

    Args:
        directory: of the dataset.

    Raises:
        InputError: no dataset there, or it was changed.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.schema = Schema.load(directory)
        self.schema.verify(directory, "vocab/", "items.parquet", "vectors/")
        self.fields = {f.name: f for f in self.schema.fields}

    def known(self, name: str) -> pa.Array | None:
        """The raw values of a category as texts: value k has the index FIRST_ID + k. None if the
        field is hashed, so that its indices need no list."""
        field = self.fields[name]
        if field.hashed:
            return None
        return raw_values(self.directory, field)

    def check_same_fields(self, made: list[Field]) -> None:
        """Raise InputError unless the new dataset has yesterday's fields."""
        for field in made:
            if field.name not in self.fields:
                raise InputError(
                    f"--extend {self.directory}: that dataset has no field {field.name!r}; leave"
                    " out the column, or prepare without --extend"
                )
        names = [f.name for f in made]
        for before in self.schema.fields:
            if before.name not in names:
                raise InputError(
                    f"--extend {self.directory}: that dataset has the field {before.name!r}, this"
                    " log has not; add the column, or prepare without --extend"
                )
            now = made[names.index(before.name)]
            for part in ("of", "kind", "multiple", "hashed", "width"):
                was, new = getattr(before, part), getattr(now, part)
                if was != new:
                    raise InputError(
                        f"--extend {self.directory}: the field {before.name!r} has {part} {was}"
                        f" there and {new} here; prepare without --extend"
                    )
            if before.hashed and before.size != now.size:
                raise InputError(
                    f"--extend {self.directory}: the field {before.name!r} has"
                    f" {before.size - FIRST_ID:,} hashed rows there and {now.size - FIRST_ID:,}"
                    " here; give --hash the same number"
                )

    def with_items(self, log: Log) -> Log:
        """The log with yesterday's items, and their attributes, that its table of items lacks."""
        ids = self.known("item")
        if ids is None:  # the index of an item is its hash, so nothing is lost
            return log
        own = set(log.items["item"].dropna().astype(str))
        rows = np.flatnonzero([text not in own for text in ids.to_pylist()])
        if not len(rows):
            return log
        listed, past = _alike(log), self._items(log, rows, ids)
        return dataclasses.replace(log, items=pd.concat([listed, past], ignore_index=True))

    def _items(self, log: Log, rows: np.ndarray, ids: pa.Array) -> pd.DataFrame:
        """Some of yesterday's items as a source would give them."""
        table = read_parquet(os.path.join(self.directory, "items.parquet"))
        whole = pa.types.is_integer(table["item"].type)
        taken = ids.take(pa.array(rows))
        columns = {
            "item": pd.Series(taken.cast(pa.int64()).to_pandas() if whole else taken.to_pylist())
        }
        items = ItemTable(self.directory, self.schema)
        at = FIRST_ID + rows
        for name in log.items.columns[1:]:
            field = self.fields.get(name)
            if field is None:
                columns[name] = pd.Series([None] * len(rows), dtype=object)  # refused later
            elif field.kind == "dense":
                columns[name] = pd.Series(table[name].to_numpy()[at].astype(np.float64))
            elif field.kind == "vector":
                columns[name] = _vector_cells(items.vectors[name][at])
            else:
                columns[name] = self._texts(field, items, at)
        return pd.DataFrame(columns)

    def _texts(self, field: Field, items: ItemTable, rows: np.ndarray) -> pd.Series:
        """The raw values of a category, or None for those unknown; lists if it is multiple."""
        known = self.known(field.name)
        if known is None:
            return pd.Series([None] * len(rows), dtype=object)
        value = np.array([None, None, *known.to_pylist()], object)
        if not field.multiple:
            return pd.Series(value[items.fields[field.name][rows]], dtype=object)
        lists = items.lists[field.name].take(rows)
        cells = [
            [text for text in value[lists.values[lo:hi]] if text is not None]
            for lo, hi in zip(lists.offsets[:-1], lists.offsets[1:], strict=True)
        ]
        return pd.Series(cells, dtype=object)

    def item_order(self, ids: pa.Array, order: np.ndarray) -> tuple[np.ndarray, int]:
        """Put yesterday's items before the others.

        Args:
            ids: of every item code.
            order: codes in the order that they would have by themselves.

        Returns:
            the codes in the order of the new rows, and how many of them are yesterday's.
        """
        known = self.known("item")
        if known is None:
            return order, 0
        first = pc.index_in(known, ids.cast(pa.large_string())).to_numpy().astype(np.int64)
        is_first = np.zeros(len(ids), bool)
        is_first[first] = True
        return np.concatenate([first, order[~is_first[order]]]), len(first)

    def keep_scale(self, field: Field) -> None:
        """Give a dense field yesterday's mean and deviation: weights were trained with them."""
        before = self.fields.get(field.name)
        if before is not None and before.kind == "dense":
            field.mean = before.mean
            field.std = before.std

    def report(self, made: list[Field], count: dict[str, np.ndarray]) -> dict[str, dict[str, int]]:
        """Say what was added, and what the new train does not mention.

        Args:
            made: fields of the new dataset.
            count: occurrences in train of every value of a category, [values].

        Returns:
            for every category {"kept", "added", "not_seen"}.
        """
        found = {}
        for field in made:
            if field.name not in count:
                continue
            kept = self.fields[field.name].size - FIRST_ID
            added = field.size - FIRST_ID - kept
            not_seen = int((count[field.name][:kept] == 0).sum())
            found[field.name] = {"kept": kept, "added": added, "not_seen": not_seen}
            say(
                f"{field.name}: {kept:,} indices kept, {added:,} values added; {not_seen:,} kept"
                " ones do not occur in train any more"
            )
        return found


def raw_values(directory: str, field: Field) -> pa.Array:
    """Raw values of a category that is not hashed, as texts in the order of their indices.

    Raises:
        InputError: its file does not hold one value for each index.
    """
    if field.name == "item":
        path = os.path.join(directory, "items.parquet")
        values = read_parquet(path, ["item"])["item"][FIRST_ID : field.size]
    else:
        path = os.path.join(directory, "vocab", f"{field.name}.parquet")
        table = read_parquet(path)
        indices = table["index"].to_numpy()
        if not np.array_equal(indices, FIRST_ID + np.arange(len(indices))):
            raise InputError(f"{path}: its indices do not rise from {FIRST_ID}")
        values = table["value"]
    if len(values) != field.size - FIRST_ID or values.null_count:
        raise InputError(f"{path} does not hold a value for each index of {field.name}")
    texts = values.cast(pa.large_string())
    return pa.concat_arrays(texts.chunks) if texts.num_chunks else pa.array([], pa.large_string())


def _alike(log: Log) -> pd.DataFrame:
    """The table of items with its categories as texts, which yesterday's are. 7.0 in a column of
    whole numbers with gaps is "7", and would not be beside texts."""
    columns = {"item": log.items["item"]}
    for name in log.items.columns[1:]:
        column = log.items[name]
        if name in log.multiple:
            offsets, codes, texts = ranked_lists(column)
            value = np.array(texts.to_pylist(), object)
            cells = [list(value[some]) for some in np.split(codes, offsets[1:-1])]
            column = pd.Series(cells[: len(column)], dtype=object)
        elif name not in log.dense and name not in log.vectors:
            codes, texts = ranked_texts(column)
            value = np.array([*texts.to_pylist(), None], object)
            column = pd.Series(value[np.where(codes == MISSING, len(texts), codes)], dtype=object)
        columns[name] = column.reset_index(drop=True)
    return pd.DataFrame(columns)


def _vector_cells(vectors: np.ndarray) -> pd.Series:
    """Rows of a file of vectors as cells; a row of zeros is a missing one."""
    cells = [row.tolist() if row.any() else None for row in vectors]
    return pd.Series(cells, dtype=object)
