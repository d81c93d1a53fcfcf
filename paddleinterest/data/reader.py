"""From a prepared dataset to padded batches: seeded order, buckets by length, shared by processes,
resumable.

A batch is a dict of NumPy arrays (B rows, T the longest history among them, at least 1):

    history_<item field>   int64 [B, T]    right padded with 0; [B, T, M] for several values
    target_<item field>    int64 [B]       [B, M] for several values
    user_<user field>      int64 [B]       [B, M] for several values
    context_<field>        int64 [B]
    event_<event field>    int64 [B, T]    0 for padding
    event_dense            float32 [B, T, N]  standardised, 0 for padding or missing
    history_vector_<field> float32 [B, T, W]  and target_vector_<field> [B, W]; zeros if missing
    dense                  float32 [B, N]  standardised, missing = 0; absent without dense columns
    history_time           int64 [B, T]    only with times=True
    target_time            int64 [B]       only with times=True
    negative_<item field>  int64 [B, T]    for DIEN's auxiliary loss, only with negatives; 0 for
                                           padding or if none was found
    label                  float32 [B]
    weight                 float32 [B]     only with several negatives per positive
    user                   int64 [B]       for gAUC
"""

from collections.abc import Iterator
from typing import Optional

import numpy as np

from paddleinterest.data.negatives import HistoryNegatives
from paddleinterest.data.order import Order
from paddleinterest.data.schema import Schema
from paddleinterest.data.sequences import Sequences
from paddleinterest.data.split import Split
from paddleinterest.data.tables import ItemTable, UserTable, standardise
from paddleinterest.data.targets import TargetNegatives

Batch = dict[str, np.ndarray]


class Reader:
    """Batches of one split.

    The columns of the samples are read into memory, all of them if the split is one file (of about
    `builder.PART_EVENTS` events at most) or is read in file order. With `shuffle` a split of
    several files is read file by file: each file is shuffled within itself, the files come in a new
    order every epoch, a file's last batch may be short, and only one file's columns are in memory.
    Rows are numbered through all files; `user`, `item` … begin with row `start`.

    Args:
        directory: a prepared dataset.
        split: train, valid or test.
        batch_size: rows per batch, of all processes together.
        history_cap: number of most recent events kept of a history.
        shuffle: a new order every epoch, which depends on `seed` and the epoch's number only; else
            file order.
        bucket_batches: sort windows of this many batches by history length (see `Order`).
        seed: seed of order and negatives.
        process_index, process_count: this process takes rows process_index, process_index +
            process_count, … of every batch, padded like the whole batch and with the negatives that
            the whole batch gives them. Each process gets the whole last batch if it has fewer rows
            than there are processes.
        times: also give history_time and target_time.
        negatives: uniform or popularity: also give negatives (paddleinterest/data/negatives.py),
            which depend on `seed`, the epoch and the batch number only.
        tables_of: a Reader of a different split of the same dataset, whose tables and sequences
            this one shares.
        targets: fresh: the samples' negatives are drawn every epoch; once: as stored.
        per_positive: samples with label 0 for each with label 1, each of weight 1 / per_positive
            (paddleinterest/data/targets.py). A batch then has `batch_size` stored samples, followed
            by the further ones.
        vectors: also give the items' vectors; False if they only start the item table.

    Attributes:
        rows: samples in the split.  batches: batches per epoch.
        items, users, sequences: the tables and sequences of the samples.
        schema: the dataset's.

    Example:
        >>> reader = Reader("data/beauty", "train", 1024, shuffle=True)          # doctest: +SKIP
        >>> for batch in reader.epoch(0): batch["history_item"].shape            # doctest: +SKIP
        (1024, 7)
    """

    def __init__(
        self,
        directory: str,
        split: str,
        batch_size: int,
        history_cap: int = 50,
        shuffle: bool = False,
        bucket_batches: int = 0,
        seed: int = 0,
        process_index: int = 0,
        process_count: int = 1,
        times: bool = False,
        negatives: str = "",
        tables_of: Optional["Reader"] = None,
        targets: str = "once",
        per_positive: int = 1,
        vectors: bool = True,
    ) -> None:
        self.schema = Schema.load(directory)
        self.directory = directory
        self.split = split
        self.batch_size = batch_size
        self.cap = history_cap
        self.gives_vectors = vectors
        self.seed = seed
        self.process_index = process_index
        self.process_count = process_count
        self.times = times
        shared = ("items.parquet", "users.parquet", "vectors/", "sequences")
        self.schema.verify(directory, *shared, f"{split}/")
        self.items: ItemTable
        self.users: UserTable
        self.sequences: Sequences
        if tables_of:
            self.schema.check_same(tables_of.schema, directory)
            self.items = tables_of.items
            self.users = tables_of.users
            self.sequences = tables_of.sequences
        else:
            self.items = ItemTable(directory, self.schema)
            self.users = UserTable(directory, self.schema)
            files = self.schema.sequence_files(directory)
            fields = [f for f in self.schema.fields if f.of == "event"]
            self.sequences = Sequences(files, self.items.rows, fields)
        self.negatives = None
        if negatives:
            self.negatives = HistoryNegatives(self.sequences, self.items.count, negatives)
        self.targets: TargetNegatives | None = None
        if targets != "once" or per_positive > 1:
            self.targets = TargetNegatives(
                self.schema, self.sequences, self.items.count, targets, per_positive, seed
            )
        self.samples = Split(
            directory,
            self.schema,
            split,
            shuffle,
            self.users.rows,
            self.items.rows,
            self.sequences,
        )
        self.schema.verify(directory, *shared, f"{split}/")  # the data that was read was checked
        self._order = Order(batch_size, shuffle, bucket_batches, seed, history_cap)
        self.rows = self.samples.rows
        self.batches = len(self.sizes(0))

    @property
    def start(self) -> int:
        """Number of the first row in memory, the first of the columns below."""
        return self.samples.start

    @property
    def user(self) -> np.ndarray:
        """Users' rows of the samples in memory, [S]."""
        return self.samples.user

    @property
    def item(self) -> np.ndarray:
        """Items' rows of the samples in memory, [S]."""
        return self.samples.item

    @property
    def label(self) -> np.ndarray:
        """0 or 1 of the samples in memory, [S]."""
        return self.samples.label

    @property
    def time(self) -> np.ndarray:
        """Times of the samples in memory, [S]."""
        return self.samples.time

    @property
    def sequence(self) -> np.ndarray:
        """Sequences of the samples in memory, [S]."""
        return self.samples.sequence

    @property
    def end(self) -> np.ndarray:
        """Events that came before each sample in memory, [S]."""
        return self.samples.end

    @property
    def length(self) -> np.ndarray:
        """Events in the history of each sample in memory, at most `history_cap`, [S]."""
        return np.minimum(self.samples.end, self.cap)

    @property
    def context(self) -> dict[str, np.ndarray]:
        """{name: column} of the context fields of the samples in memory."""
        return self.samples.context

    def counts(self) -> dict[str, np.ndarray]:
        """Occurrences in train of every embedding row, {category field: int64 [size]}; n_j of DIN's
        regularisation."""
        counts = {}
        sizes = {f.name: f.size for f in self.schema.fields}
        for table in (self.items, self.users):
            for name, index in table.fields.items():
                found = np.bincount(index, weights=table.count, minlength=sizes[name])
                counts[name] = found.astype(np.int64)
            for name, lists in table.lists.items():
                weight = np.repeat(table.count, np.diff(lists.offsets))
                found = np.bincount(lists.values, weights=weight, minlength=sizes[name])
                counts[name] = found.astype(np.int64)
        for f in self.schema.categories("context"):
            counts[f.name] = self.samples.context_counts(f)
        for f in self.schema.event_fields:
            counts[f.name] = self.sequences.counts(f)
        return counts

    def sizes(self, epoch: int) -> np.ndarray:
        """Rows of every batch of one epoch, of all processes together, [batches]."""
        return self._order.sizes(self.samples, epoch)

    def order(self, epoch: int, start_batch: int = 0) -> Iterator[np.ndarray]:
        """Yield the row numbers of one batch of an epoch after another, from `start_batch` on; all
        together a permutation."""
        return self._order.batches(self.samples, epoch, start_batch)

    def epoch(self, epoch: int = 0, start_batch: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch, from `start_batch` on."""
        for b, rows in enumerate(self.order(epoch, start_batch), start_batch):
            rng = np.random.default_rng([self.seed, epoch, b, 0]) if self.negatives else None
            part = slice(None)
            if len(rows) >= self.process_count:
                part = slice(self.process_index, None, self.process_count)
            yield self.batch(rows, rng, part, epoch)

    def history(self, row: int, longest: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Items' rows and times of the history of a row in memory, oldest first, [n] each.

        Args:
            row: number of the row.
            longest: number of most recent events kept; default all, without the reader's cap.
        """
        end = int(self.end[row - self.start])
        events = slice(0 if longest is None else max(0, end - longest), end)
        sequence = self.sequences.one(int(self.sequence[row - self.start]))
        return sequence["item"][events], sequence["time"][events]

    def next_item(self, row: int) -> int | None:
        """The item's row of the event after a sample's history; None at the end of the sequence."""
        items = self.sequences.one(int(self.sequence[row - self.start]))["item"]
        end = int(self.end[row - self.start])
        return int(items[end]) if end < len(items) else None

    def batch(
        self,
        rows: np.ndarray,
        rng: np.random.Generator | None = None,
        part: slice = slice(None),
        epoch: int = 0,
    ) -> Batch:
        """The padded batch of the given rows, which are in memory; without a Python loop over them.

        Args:
            rows: their numbers, [B].
            rng: generator for negatives; None for no negatives.
            part: rows of the batch to return; the padding is that of the whole batch.
            epoch: number of the epoch, for fresh negatives.
        """
        rows = rows - self.start
        length = np.minimum(self.end[rows], self.cap).astype(np.int64)  # [B]
        step = np.arange(max(1, int(length.max(initial=0))))  # [T]
        real = step < length[:, None]  # [B, T]
        negative = None
        if rng is not None and self.negatives is not None:
            negative = self.negatives(self.sequence[rows], real, rng)[part]  # [B, T]
        rows, length, real = rows[part], length[part], real[part]
        target = self.item[rows]  # [B]
        weight = None
        if self.targets is not None:
            places, number = self.targets.copies(self.label[rows])
            rows, length, real = rows[places], length[places], real[places]
            negative = None if negative is None else negative[places]
            facts = (self.item[rows], self.label[rows], self.sequence[rows], self.end[rows])
            target = self.targets.draw(*facts, number, epoch)
            if self.targets.per_positive > 1:
                weight = self.targets.weights(self.label[rows])
        begin = self.end[rows] - length  # position of each history's first event, [B]
        history = self._window("item", rows, begin, real)  # [B, T]
        out = self._items(history, target, negative)
        out.update(self._events(rows, begin, real))
        out.update(self._moment(rows, target))
        if self.times:
            out["history_time"] = self._window("time", rows, begin, real).astype(np.int64)
            out["target_time"] = self.time[rows]
        out["label"] = self.label[rows].astype(np.float32)
        out["user"] = self.user[rows].astype(np.int64)
        if weight is not None:
            out["weight"] = weight
        return out

    def _window(
        self, column: str, rows: np.ndarray, begin: np.ndarray, real: np.ndarray
    ) -> np.ndarray:
        """A column of the histories, [B, T]; 0 for padding."""
        return self.sequences.window(column, self.sequence[rows], begin, real)

    def _items(self, history: np.ndarray, target: np.ndarray, negative: np.ndarray | None) -> Batch:
        """Fields of the items: history, target and negatives.

        Args:
            history: items' rows [B, T], 0 for padding.
            target: items' rows [B].
            negative: items' rows [B, T], or None.
        """
        rows_of = {"history": history, "target": target}
        if negative is not None:
            rows_of["negative"] = negative
        out = {}
        for what, rows in rows_of.items():
            for name, column in self.items.fields.items():
                out[f"{what}_{name}"] = column[rows]
            for name, lists in self.items.lists.items():
                out[f"{what}_{name}"] = lists.padded(rows)
            for name, vectors in self.items.vectors.items() if self.gives_vectors else ():
                out[f"{what}_vector_{name}"] = vectors[rows]
        return out

    def _events(self, rows: np.ndarray, begin: np.ndarray, real: np.ndarray) -> Batch:
        """Event fields of the histories."""
        out = {}
        for f in self.schema.event_fields:
            index = self._window(f.name, rows, begin, real)
            out[f"event_{f.name}"] = index.astype(np.int64)
        columns = []
        for f in self.schema.event_dense:
            column = standardise(self._window(f.name, rows, begin, real), f)
            columns.append(np.where(real, column, np.float32(0)))
        if columns:
            out["event_dense"] = np.stack(columns, 2)
        return out

    def _moment(self, rows: np.ndarray, target: np.ndarray) -> Batch:
        """Fields of the user and of the moment, and the dense matrix, which includes the target's
        columns."""
        out = {}
        user = self.user[rows]
        for name, column in self.users.fields.items():
            out[f"user_{name}"] = column[user]
        for name, lists in self.users.lists.items():
            out[f"user_{name}"] = lists.padded(user)
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
        return out
