"""From a prepared dataset to padded batches: in a seeded order, bucketed by length, sharded by rank, resumable.

A batch is a dict of NumPy arrays (B rows, T the longest history among them, at least 1):

    history_<item field>  int64 [B, T]   right padded with 0       target_<item field>   int64 [B]
    user_<user field>     int64 [B]                                context_<field>       int64 [B]
    dense                 float32 [B, N] standardised, missing = 0 (absent when the dataset has no dense column)
    history_time          int64 [B, T]   and target_time [B]       (only with times=True)
    negative_<item field> int64 [B, T]   for DIEN's auxiliary loss (only with negatives; 0 where padded or none was found)
    label                 float32 [B]                              user                  int64 [B], for gAUC
"""
import glob
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datasets.negatives import HistoryNegatives
from datasets.schema import LATEST, UNKNOWN, InputError, Schema


def read_parquet(path):
    """A Parquet file as an Arrow table, or InputError in one line."""
    try:
        return pq.read_table(path, memory_map=True, partitioning=None)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (pa.ArrowException, OSError) as e:
        raise InputError(f"{path} is not a readable Parquet file: {' '.join(str(e).split())[:160]}") from None


class ItemTable:
    """items.parquet as arrays: what a catalogue row looks like to the models.

    Attributes:
        fields: {name: int64 [rows]}, the embedding index of every category field, ``item`` itself included.
            Items that train never saw keep their row and their attributes, but share item index 1.
        dense: float32 [rows, number of dense item columns], standardised.
        count: int64 [rows], events in train.
    """

    def __init__(self, directory, schema):
        table = read_parquet(os.path.join(directory, "items.parquet"))
        self.fields, self.dense, self.count = _entity(table, schema, "item")
        rows = np.arange(table.num_rows)
        self.fields = {"item": np.where(rows < schema.item_fields[0].size, rows, UNKNOWN), **self.fields}
        self.rows = table.num_rows


class UserTable:
    """users.parquet as arrays; `fields` and `dense` as in `ItemTable`."""

    def __init__(self, directory, schema):
        table = read_parquet(os.path.join(directory, "users.parquet"))
        self.fields, self.dense, self.count = _entity(table, schema, "user")
        self.rows = table.num_rows


FARTHEST = 1e6  # standard deviations: beyond that a number is a mistake, and its square soon no float32


def standardise(values, field):
    """(value − mean) / std with the numbers of train, kept within ±FARTHEST; missing values become 0, the mean. float32 [N]."""
    with np.errstate(over="ignore"):
        z = (np.asarray(values, np.float64) - field.mean) / field.std
    return np.clip(np.nan_to_num(z, nan=0.0), -FARTHEST, FARTHEST).astype(np.float32)


def _entity(table, schema, of):
    fields, dense = {}, []
    for f in schema.fields:
        if f.of != of or f.name == "item":
            continue
        column = _column(table, f.name, f"{of}s.parquet", f.kind == "dense")
        if f.kind == "dense":
            dense.append(standardise(column, f))
        else:
            _check_range(column, f.size, f"{of}s.parquet, column {f.name}")
            fields[f.name] = column.astype(np.int64)
    dense = np.stack(dense, 1) if dense else np.zeros((table.num_rows, 0), np.float32)
    count = _column(table, "count", f"{of}s.parquet")
    if (count < 0).any():
        raise InputError(f"{of}s.parquet, column count has a negative number")
    return fields, dense, count


def _column(table, name, where, dense=False):
    """A column as a NumPy array: of integers, or of numbers with gaps where `dense`; InputError where it is none."""
    if table.column_names.count(name) != 1:
        raise InputError(f"{where} has {'two columns' if name in table.column_names else 'no column'} {name}; "
                         f"it has {', '.join(table.column_names)}")
    column = table[name]
    if not (pa.types.is_integer(column.type) or dense and pa.types.is_floating(column.type)):
        raise InputError(f"{where}, column {name} holds {column.type}, must be {'numbers' if dense else 'integers'}")
    if column.null_count and not dense:
        raise InputError(f"{where}, column {name} has {column.null_count:,} missing values")
    values = column.to_numpy()
    return values.astype(np.int64) if values.dtype.kind == "u" else values  # of uint64 and int64 NumPy makes floats


def _check_range(index, size, where):
    """InputError unless all of `index`, an array of integers, are in [0, size)."""
    if len(index) and not (0 <= index.min() and index.max() < size):
        bad = int(np.flatnonzero((index < 0) | (index >= size))[0])
        raise InputError(f"{where}, row {bad}: index {int(index[bad])} is outside 0…{size - 1}")


def _check_times(times, where):
    """InputError unless the difference of any two fits int64."""
    if len(times) and not (-LATEST < times.min() and times.max() < LATEST):
        raise InputError(f"{where} has times beyond ±2**62")


class Reader:
    """Batches of one split.

    Args:
        directory: a prepared dataset.
        split: train, valid or test.
        batch_size: rows a batch, over all ranks together.
        history_cap: most recent events kept of a history.
        shuffle: a new order every epoch, from `seed` and the epoch's number alone; else file order.
        bucket_batches: sort windows of this many batches by history length before they are cut into batches (then
            shuffle the batches), so that little is padded; 0 = do not. No row is dropped or repeated.
        rank, ranks: this process takes rows rank, rank + ranks, … of every batch, padded like the whole batch and with the
            negatives that the whole batch gives them. A last batch of fewer rows than there are ranks goes to each whole.
        times: also give history_time and target_time.
        negatives: uniform or popularity: also give negatives (datasets/negatives.py), drawn from `seed`, the epoch's
            and the batch's number alone.

    Example:
        >>> reader = Reader("data/beauty", "train", 1024, shuffle=True)          # doctest: +SKIP
        >>> for batch in reader.epoch(0): batch["history_item"].shape            # doctest: +SKIP
        (1024, 7)
    """

    def __init__(self, directory, split, batch_size, history_cap=50, shuffle=False, bucket_batches=0, seed=0,
                 rank=0, ranks=1, times=False, negatives=""):
        self.schema = schema = Schema.load(directory)
        self.directory, self.split = directory, split
        schema.verify(directory, "items.parquet", "users.parquet", "sequences.arrow", f"{split}/")
        self.batch_size, self.cap, self.shuffle = batch_size, history_cap, shuffle
        self.bucket_batches, self.seed, self.rank, self.ranks, self.times = bucket_batches, seed, rank, ranks, times
        self.items, self.users = ItemTable(directory, schema), UserTable(directory, schema)
        self._map_sequences(os.path.join(directory, "sequences.arrow"))
        self._read_samples(directory, split)
        self.negatives = (HistoryNegatives(self.offsets, self.event_item, self.items.count, negatives)
                          if negatives else None)
        self.rows = len(self.label)
        self.batches = -(-self.rows // batch_size)
        self.length = np.minimum(self.end, history_cap)  # of each sample's history, [rows]

    def _map_sequences(self, path):
        try:
            table = pa.ipc.open_file(pa.memory_map(path)).read_all()
            table.validate(full=True)  # lists within their values, above all
        except (pa.ArrowException, OSError) as e:
            raise InputError(f"{path} is not a readable Arrow file: {' '.join(str(e).split())[:160]}") from None
        item, time = (self._lists(table, name, path) for name in ("item", "time"))
        self.offsets = item.offsets.to_numpy().astype(np.int64)
        self.event_item, self.event_time = item.values.to_numpy(), time.values.to_numpy()
        if not np.array_equal(self.offsets, time.offsets.to_numpy()):
            raise InputError(f"{path}: the lists of item and time differ in length; prepare the dataset again")
        _check_range(self.event_item, self.items.rows, f"{path}, column item")
        _check_times(self.event_time, f"{path}, column time")

    @staticmethod
    def _lists(table, name, path):
        """A column of lists of integers, in one piece."""
        if table.column_names.count(name) != 1:
            raise InputError(f"{path} has {'two columns' if name in table.column_names else 'no column'} {name}; "
                             f"it has {', '.join(table.column_names)}")
        kind = table[name].type
        if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not pa.types.is_signed_integer(kind.value_type):
            raise InputError(f"{path}, column {name} holds {kind}, must be lists of integers")
        lists = table[name].combine_chunks()
        if isinstance(lists, pa.ChunkedArray):  # of no rows
            lists = pa.array([], kind)
        if lists.null_count or lists.values.null_count:
            raise InputError(f"{path}, column {name} has missing values")
        return lists

    def _read_samples(self, directory, split):
        paths = sorted(glob.glob(os.path.join(glob.escape(directory), split, "part-*.parquet")))
        if not paths:
            raise InputError(f"{directory} has no {split} split; it has {', '.join(self.schema.rows)}")
        try:
            table = pa.concat_tables([read_parquet(p) for p in paths])
        except pa.ArrowException as e:
            raise InputError(f"the files of {directory}, {split} differ in their columns: {' '.join(str(e).split())[:160]}") from None
        if not table.num_rows:
            raise InputError(f"the {split} split of {directory} is empty")
        self.sequence, self.end, self.user, self.item, self.label, self.time = (
            _column(table, c, split) for c in ("sequence", "end", "user", "item", "label", "time"))
        if split in self.schema.rows and table.num_rows != self.schema.rows[split]:
            raise InputError(f"{directory}, {split} has {table.num_rows:,} rows where schema.yaml says {self.schema.rows[split]:,}; "
                             "prepare the dataset again")
        lengths = np.diff(self.offsets)
        _check_range(self.sequence, len(lengths), f"{split}, column sequence")
        _check_range(self.user, self.users.rows, f"{split}, column user")
        _check_range(self.item, self.items.rows, f"{split}, column item")
        _check_range(self.label, 2, f"{split}, column label")
        _check_times(self.time, f"{split}, column time")
        if (self.end < 0).any() or (self.end > lengths[self.sequence]).any():
            raise InputError(f"{split}: a history ends beyond its sequence; prepare the dataset again")
        self.context = {}
        for f in self.schema.fields:
            if f.of == "context":
                column = _column(table, f.name, split, f.kind == "dense")
                if f.kind == "dense":
                    self.context[f.name] = standardise(column, f)
                else:
                    _check_range(column, f.size, f"{split}, column {f.name}")
                    self.context[f.name] = column

    def counts(self):
        """Occurrences in train of every embedding row, {category field: int64 [size]}; n_j of DIN's regularisation."""
        counts = {}
        for table in (self.items, self.users):
            for name, index in table.fields.items():
                size = next(f.size for f in self.schema.fields if f.name == name)
                counts[name] = np.bincount(index, weights=table.count, minlength=size).astype(np.int64)
        for f in self.schema.categories("context"):
            counts[f.name] = np.bincount(self.context[f.name], minlength=f.size)
        return counts

    def order(self, epoch):
        """Row numbers of the split in the order of one epoch, [rows]: a permutation, batch after batch."""
        if not self.shuffle:
            return np.arange(self.rows)
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(self.rows)
        if not self.bucket_batches:
            return order
        window = self.bucket_batches * self.batch_size
        for lo in range(0, self.rows, window):
            part = order[lo:lo + window]
            order[lo:lo + window] = part[np.argsort(self.length[part], kind="stable")]
        whole = self.rows // self.batch_size  # the short last batch stays last
        head = order[:whole * self.batch_size].reshape(whole, self.batch_size)
        return np.concatenate([head[rng.permutation(whole)].ravel(), order[whole * self.batch_size:]])

    def epoch(self, epoch=0, start_batch=0):
        """Yield the batches of one epoch, from `start_batch` on."""
        order = self.order(epoch)
        for b in range(start_batch, self.batches):
            rows = order[b * self.batch_size:(b + 1) * self.batch_size]
            rng = np.random.default_rng([self.seed, epoch, b, 0]) if self.negatives else None
            yield self.batch(rows, rng, slice(self.rank, None, self.ranks) if len(rows) >= self.ranks else slice(None))

    def batch(self, rows, rng=None, part=slice(None)):
        """The padded batch of the given rows of the split; no Python loop over them. With `rng` also its negatives. Of the
        whole, `part` is given."""
        length = self.length[rows].astype(np.int64)
        width = max(1, int(length.max(initial=0)))
        step = np.arange(width)
        real = step < length[:, None]                                                # [B, T]
        negative = self.negatives(self.sequence[rows], real, rng)[part] if rng is not None else None
        rows, length, real = rows[part], length[part], real[part]
        first = self.offsets[self.sequence[rows]] + self.end[rows] - length          # [B]
        at = np.where(real, first[:, None] + step, 0)
        if len(self.event_item):
            history = np.where(real, self.event_item[at], 0)
        else:
            history = np.zeros(real.shape, np.int32)
        target, user = self.item[rows], self.user[rows]
        out = {}
        for f in self.schema.item_fields:
            column = self.items.fields[f.name]
            out[f"history_{f.name}"] = column[history]
            out[f"target_{f.name}"] = column[target]
            if negative is not None:
                out[f"negative_{f.name}"] = column[negative]
        for f in self.schema.categories("user"):
            out[f"user_{f.name}"] = self.users.fields[f.name][user]
        for f in self.schema.categories("context"):
            out[f"context_{f.name}"] = self.context[f.name][rows].astype(np.int64)
        if self.schema.dense_fields:
            context = [self.context[f.name][rows, None] for f in self.schema.dense_fields if f.of == "context"]
            out["dense"] = np.concatenate([self.items.dense[target], self.users.dense[user], *context], 1)
        if self.times:
            out["history_time"] = np.where(real, self.event_time[at], 0) if len(self.event_time) else history * 0
            out["target_time"] = self.time[rows]
        out["label"], out["user"] = self.label[rows].astype(np.float32), user.astype(np.int64)
        return out
