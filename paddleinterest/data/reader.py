"""From a prepared dataset to padded batches: in a seeded order, bucketed by length, sharded by
rank, resumable.

A batch is a dict of NumPy arrays (B rows, T the longest history among them, at least 1):

    history_<item field>  int64 [B, T]   right padded with 0       target_<item field>   int64 [B]
    user_<user field>     int64 [B]                                context_<field>       int64 [B]
    dense                 float32 [B, N] standardised, missing = 0 (absent when the dataset has no
    dense column)
    history_time          int64 [B, T]   and target_time [B]       (only with times=True)
    negative_<item field> int64 [B, T]   for DIEN's auxiliary loss (only with negatives; 0 where
    padded or none was found)
    label                 float32 [B]                              user                  int64 [B],
    for gAUC
"""

import contextlib
import glob
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from paddleinterest.core.errors import InputError
from paddleinterest.data.negatives import HistoryNegatives
from paddleinterest.data.schema import LATEST, UNKNOWN, Schema


def read_parquet(path, columns=None):
    """A Parquet file, or some of its columns, as an Arrow table, or InputError in one line."""
    with _readable(path):
        return pq.read_table(path, columns=columns, memory_map=True, partitioning=None)


def _footer(path):
    """What a Parquet file says of itself: its rows and its Arrow schema."""
    with _readable(path), pq.ParquetFile(path) as file:
        return file.metadata.num_rows, file.schema_arrow


@contextlib.contextmanager
def _readable(path):
    """Within, what pyarrow says against a Parquet file is an InputError."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (pa.ArrowException, OSError) as e:
        raise InputError(
            f"{path} is not a readable Parquet file: {' '.join(str(e).split())[:160]}"
        ) from None


class ItemTable:
    """items.parquet as arrays: what a catalogue row looks like to the models.

    Attributes:
        fields: {name: int64 [rows]}, the embedding index of every category field, ``item`` itself
            included. Items that train never saw keep their row and their attributes, but share item
            index 1.
        dense: float32 [rows, number of dense item columns], standardised.
        count: int64 [rows], events in train.
    """

    def __init__(self, directory, schema):
        table = read_parquet(os.path.join(directory, "items.parquet"))
        self.fields, self.dense, self.count = _entity(table, schema, "item")
        rows = np.arange(table.num_rows)
        self.fields = {
            "item": np.where(rows < schema.item_fields[0].size, rows, UNKNOWN),
            **self.fields,
        }
        self.rows = table.num_rows


class UserTable:
    """users.parquet as arrays; `fields` and `dense` as in `ItemTable`."""

    def __init__(self, directory, schema):
        table = read_parquet(os.path.join(directory, "users.parquet"))
        self.fields, self.dense, self.count = _entity(table, schema, "user")
        self.rows = table.num_rows


FARTHEST = (
    1e6  # standard deviations: beyond that a number is a mistake, and its square soon no float32
)


def standardise(values, field):
    """(value − mean) / std with the numbers of train, kept within ±FARTHEST; missing values become
    0, the mean. float32 [N]."""
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
    """A column as a NumPy array: of integers, or of numbers with gaps where `dense`; InputError
    where it is none."""
    column = _one_column(table, name, where)
    if not (pa.types.is_integer(column.type) or dense and pa.types.is_floating(column.type)):
        raise InputError(
            f"{where}, column {name} holds {column.type}, must be"
            f" {'numbers' if dense else 'integers'}"
        )
    if column.null_count and not dense:
        raise InputError(f"{where}, column {name} has {column.null_count:,} missing values")
    values = column.to_numpy()
    return (
        values.astype(np.int64) if values.dtype.kind == "u" else values
    )  # of uint64 and int64 NumPy makes floats


def _one_column(table, name, where):
    """The Arrow column of that name; InputError where there is none, or more than one."""
    if table.column_names.count(name) != 1:
        raise InputError(
            f"{where} has {'two columns' if name in table.column_names else 'no column'} {name}; "
            f"it has {', '.join(table.column_names)}"
        )
    return table[name]


def _check_range(index, size, where, first=0):
    """InputError unless all of `index`, an array of integers, are in [0, size). The message counts
    rows from `first`."""
    if len(index) and not (0 <= index.min() and index.max() < size):
        bad = int(np.flatnonzero((index < 0) | (index >= size))[0])
        raise InputError(
            f"{where}, row {first + bad}: index {int(index[bad])} is outside 0…{size - 1}"
        )


def _check_times(times, where):
    """InputError unless the difference of any two fits int64."""
    if len(times) and not (-LATEST < times.min() and times.max() < LATEST):
        raise InputError(f"{where} has times beyond ±2**62")


COLUMNS = ("sequence", "end", "user", "item", "label", "time")


class Reader:
    """Batches of one split.

    The columns of the samples are read into memory, all of them where the split is one file (of at
    most `builder.PART_ROWS` rows) or is read in file order. With `shuffle` a split of several files
    is read part by part: each file is shuffled within itself, the files come in a new order every
    epoch, a file's last batch may be short, and only one file's columns are in memory. Rows are
    numbered through all files; `user`, `item` … hold those from row `start` on.

    Args:
        directory: a prepared dataset.
        split: train, valid or test.
        batch_size: rows a batch, over all ranks together.
        history_cap: most recent events kept of a history.
        shuffle: a new order every epoch, from `seed` and the epoch's number alone; else file order.
        bucket_batches: sort windows of this many batches by history length before they are cut into
            batches (then shuffle the batches), so that little is padded; 0 = do not. No row is
            dropped or repeated.
        rank, ranks: this process takes rows rank, rank + ranks, … of every batch, padded like the
            whole batch and with the negatives that the whole batch gives them. A last batch of
            fewer rows than there are ranks goes to each whole.
        times: also give history_time and target_time.
        negatives: uniform or popularity: also give negatives (paddleinterest/data/negatives.py),
            drawn from `seed`, the epoch's and the batch's number alone.
        beside: a Reader of another split of the same dataset, whose tables and sequences this one
            shares.

    Example:
        >>> reader = Reader("data/beauty", "train", 1024, shuffle=True)          # doctest: +SKIP
        >>> for batch in reader.epoch(0): batch["history_item"].shape            # doctest: +SKIP
        (1024, 7)
    """

    def __init__(
        self,
        directory,
        split,
        batch_size,
        history_cap=50,
        shuffle=False,
        bucket_batches=0,
        seed=0,
        process_index=0,
        process_count=1,
        times=False,
        negatives="",
        beside=None,
    ):
        self.schema = schema = Schema.load(directory)
        self.directory, self.split = directory, split
        schema.verify(directory, "items.parquet", "users.parquet", "sequences.arrow", f"{split}/")
        self.batch_size, self.cap, self.shuffle = batch_size, history_cap, shuffle
        self.bucket_batches, self.seed, self.process_index, self.process_count, self.times = (
            bucket_batches,
            seed,
            process_index,
            process_count,
            times,
        )
        if beside:
            self.items, self.users = beside.items, beside.users
            self.offsets, self.event_item, self.event_time = (
                beside.offsets,
                beside.event_item,
                beside.event_time,
            )
        else:
            self.items, self.users = ItemTable(directory, schema), UserTable(directory, schema)
            self._map_sequences(os.path.join(directory, "sequences.arrow"))
        self.negatives = (
            HistoryNegatives(self.offsets, self.event_item, self.items.count, negatives)
            if negatives
            else None
        )
        self._find_parts()
        self.batches = len(self.sizes(0))

    def _map_sequences(self, path):
        try:
            table = pa.ipc.open_file(pa.memory_map(path)).read_all()
            table.validate(full=True)  # lists within their values, above all
        except (pa.ArrowException, OSError) as e:
            raise InputError(
                f"{path} is not a readable Arrow file: {' '.join(str(e).split())[:160]}"
            ) from None
        item, time = (self._lists(table, name, path) for name in ("item", "time"))
        self.offsets = item.offsets.to_numpy().astype(np.int64, copy=False)
        self.event_item, self.event_time = item.values.to_numpy(), time.values.to_numpy()
        if not np.array_equal(self.offsets, time.offsets.to_numpy()):
            raise InputError(
                f"{path}: the lists of item and time differ in length; prepare the dataset again"
            )
        _check_range(self.event_item, self.items.rows, f"{path}, column item")
        _check_times(self.event_time, f"{path}, column time")

    @staticmethod
    def _lists(table, name, path):
        """A column of lists of integers, in one piece."""
        column = _one_column(table, name, path)
        kind = column.type
        if not (
            pa.types.is_list(kind) or pa.types.is_large_list(kind)
        ) or not pa.types.is_signed_integer(kind.value_type):
            raise InputError(f"{path}, column {name} holds {kind}, must be lists of integers")
        lists = column.combine_chunks()
        if isinstance(lists, pa.ChunkedArray):  # of no rows
            lists = pa.array([], kind)
        if lists.null_count or lists.values.null_count:
            raise InputError(f"{path}, column {name} has missing values")
        return lists

    def _find_parts(self):
        """Files, first row and rows of every part; a split of one part is read at once, of others
        only the footers."""
        directory, split = self.directory, self.split
        files = sorted(glob.glob(os.path.join(glob.escape(directory), split, "part-*.parquet")))
        if not files:
            raise InputError(
                f"{directory} has no {split} split; it has {', '.join(self.schema.rows)}"
            )
        rows, schemas = zip(*(_footer(path) for path in files))
        other = next(
            (path for path, schema in zip(files, schemas) if not schema.equals(schemas[0])), None
        )
        if other:
            raise InputError(
                f"the files of {directory}, {split} differ in their columns: {files[0]} and {other}"
            )
        self.rows = sum(rows)
        if not self.rows:
            raise InputError(f"the {split} split of {directory} is empty")
        self._empty = schemas[0].empty_table()
        self._hold(
            lambda column: self._empty, 0
        )  # columns that are missing or of the wrong type end it here
        if split in self.schema.rows and self.rows != self.schema.rows[split]:
            raise InputError(
                f"{directory}, {split} has {self.rows:,} rows where schema.yaml says"
                f" {self.schema.rows[split]:,}; prepare the dataset again"
            )
        one = not self.shuffle or len(files) == 1
        self.parts = (
            [(files, 0, self.rows)]
            if one
            else [
                ([path], first, n)
                for path, first, n in zip(files, np.cumsum([0, *rows]).tolist(), rows)
            ]
        )
        self.loaded = None  # number of the part that is in memory
        if one:
            self._load(0)

    def _load(self, part):
        """Read the columns of a part, in place of those of the part before."""
        if part == self.loaded:
            return
        files, first, _ = self.parts[part]
        self.loaded = None
        self._hold(lambda column: self._empty, 0)  # so that the two are never in memory together
        self.schema.verify(
            self.directory, *(f"{self.split}/{os.path.basename(path)}" for path in files)
        )  # may be hours later
        self._hold(lambda column: self._table(files, column), first)
        self.loaded = part

    @staticmethod
    def _table(files, column):
        """One column of samples, so that not all are in memory twice, as read and as held."""
        return pa.concat_tables([read_parquet(path, [column]) for path in files])

    def _hold(self, read, first):
        """Take read(name), a table with that column, for every column of the samples; their rows
        are those from `first` on."""
        split, lengths = self.split, np.diff(self.offsets)
        self.start = first
        self.sequence, self.end, self.user, self.item, self.label, self.time = (
            _column(read(c), c, split) for c in COLUMNS
        )
        for name, size in (
            ("sequence", len(lengths)),
            ("user", self.users.rows),
            ("item", self.items.rows),
            ("label", 2),
        ):
            _check_range(getattr(self, name), size, f"{split}, column {name}", first)
        _check_times(self.time, f"{split}, column time")
        if (self.end < 0).any() or (self.end > lengths[self.sequence]).any():
            raise InputError(
                f"{split}: a history ends beyond its sequence; prepare the dataset again"
            )
        self.context = {
            f.name: self._context(read(f.name), f, first)
            for f in self.schema.fields
            if f.of == "context"
        }
        self.length = np.minimum(self.end, self.cap)  # of each sample's history

    def _context(self, table, field, first):
        column = _column(table, field.name, self.split, field.kind == "dense")
        if field.kind == "dense":
            return standardise(column, field)
        _check_range(column, field.size, f"{self.split}, column {field.name}", first)
        return column

    def counts(self):
        """Occurrences in train of every embedding row, {category field: int64 [size]}; n_j of DIN's
        regularisation."""
        counts = {}
        for table in (self.items, self.users):
            for name, index in table.fields.items():
                size = next(f.size for f in self.schema.fields if f.name == name)
                counts[name] = np.bincount(index, weights=table.count, minlength=size).astype(
                    np.int64
                )
        for f in self.schema.categories("context"):  # of all parts, whichever is in memory
            counts[f.name] = sum(
                np.bincount(self._context(self._table(files, f.name), f, first), minlength=f.size)
                for files, first, _ in self.parts
            )
        return counts

    def sizes(self, epoch):
        """Rows of every batch of one epoch, of all ranks together, [batches]."""
        rows = (self.parts[part][2] for part in self._parts_in_order(epoch))
        return np.concatenate(
            [np.minimum(self.batch_size, n - np.arange(0, n, self.batch_size)) for n in rows]
        )

    def _parts_in_order(self, epoch):
        parts = np.arange(len(self.parts))
        return (
            np.random.default_rng([self.seed, epoch, 0, 1]).permutation(parts)
            if len(parts) > 1
            else parts
        )

    def order(self, epoch, start_batch=0):
        """Yield the row numbers of one batch of an epoch after another, from `start_batch` on; all
        together a permutation."""
        for part in self._parts_in_order(epoch):
            batches = -(-self.parts[part][2] // self.batch_size)
            if start_batch < batches:
                yield from self._order_of_part(epoch, part, start_batch)
            start_batch = max(0, start_batch - batches)

    def _order_of_part(self, epoch, part, start_batch):
        self._load(part)
        _, first, n = self.parts[part]
        rows, numbers = self._shuffled(
            n, [self.seed, epoch] if len(self.parts) == 1 else [self.seed, epoch, part, 2]
        )
        for b in numbers[start_batch:]:
            self._load(part)  # again, should another epoch have been begun meanwhile
            yield first + rows[b * self.batch_size : (b + 1) * self.batch_size]

    def _shuffled(self, n, seed):
        """The n rows of a part in memory as they are cut into batches, and the order of these
        batches."""
        whole, batches = n // self.batch_size, -(-n // self.batch_size)
        if not self.shuffle:
            return np.arange(n), np.arange(batches)
        rng = np.random.default_rng(seed)
        order = rng.permutation(n)
        if not self.bucket_batches:
            return order, np.arange(batches)
        window = self.bucket_batches * self.batch_size
        for lo in range(0, n, window):
            some = order[lo : lo + window]
            order[lo : lo + window] = some[np.argsort(self.length[some], kind="stable")]
        return order, np.append(
            rng.permutation(whole), np.arange(whole, batches)
        )  # a short last batch stays last

    def epoch(self, epoch=0, start_batch=0):
        """Yield the batches of one epoch, from `start_batch` on."""
        for b, rows in enumerate(self.order(epoch, start_batch), start_batch):
            rng = np.random.default_rng([self.seed, epoch, b, 0]) if self.negatives else None
            yield self.batch(
                rows,
                rng,
                slice(self.process_index, None, self.process_count)
                if len(rows) >= self.process_count
                else slice(None),
            )

    def batch(self, rows, rng=None, part=slice(None)):
        """The padded batch of the given rows, all in memory; no Python loop over them. With `rng`
        also its negatives. Of the whole, `part` is given."""
        rows = rows - self.start
        length = self.length[rows].astype(np.int64)
        width = max(1, int(length.max(initial=0)))
        step = np.arange(width)
        real = step < length[:, None]  # [B, T]
        negative = self.negatives(self.sequence[rows], real, rng)[part] if rng is not None else None
        rows, length, real = rows[part], length[part], real[part]
        first = self.offsets[self.sequence[rows]] + self.end[rows] - length  # [B]
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
            context = [
                self.context[f.name][rows, None]
                for f in self.schema.dense_fields
                if f.of == "context"
            ]
            out["dense"] = np.concatenate(
                [self.items.dense[target], self.users.dense[user], *context], 1
            )
        if self.times:
            out["history_time"] = (
                np.where(real, self.event_time[at], 0)
                if len(self.event_time)
                else np.zeros(real.shape, np.int64)
            )
            out["target_time"] = self.time[rows]
        out["label"], out["user"] = self.label[rows].astype(np.float32), user.astype(np.int64)
        return out
