"""The order of a split's rows in an epoch, and their batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from paddleinterest.data.split import Split


@dataclass
class Order:
    """How rows become batches; the same for the same fields and epoch.

    Attributes:
        batch_size: rows per batch, of all processes together.
        shuffle: a new order every epoch, which depends on `seed` and the epoch's number only; else
            file order.
        bucket_batches: sort windows of this many batches by history length before they are cut into
            batches (then shuffle the batches), for less padding; 0 = off. No row is dropped or
            repeated.
        seed: seed of the shuffle.
        history_cap: largest length of a history.
    """

    batch_size: int
    shuffle: bool
    bucket_batches: int
    seed: int
    history_cap: int

    def sizes(self, split: Split, epoch: int) -> np.ndarray:
        """Rows of every batch of one epoch, of all processes together, [batches]."""
        rows = (split.parts[part].rows for part in self._parts(split, epoch))
        return np.concatenate(
            [np.minimum(self.batch_size, n - np.arange(0, n, self.batch_size)) for n in rows]
        )

    def batches(self, split: Split, epoch: int, start_batch: int = 0) -> Iterator[np.ndarray]:
        """Yield the row numbers of an epoch's batches, from `start_batch` on; all together they are
        a permutation. The split has the batch's part in memory."""
        for part in self._parts(split, epoch):
            batches = -(-split.parts[part].rows // self.batch_size)
            if start_batch < batches:
                yield from self._of_part(split, epoch, part, start_batch)
            start_batch = max(0, start_batch - batches)

    def _parts(self, split: Split, epoch: int) -> np.ndarray:
        """Numbers of the parts, in the epoch's order."""
        parts = np.arange(len(split.parts))
        if len(parts) == 1:
            return parts
        return np.random.default_rng([self.seed, epoch, 0, 1]).permutation(parts)

    def _of_part(
        self, split: Split, epoch: int, part: int, start_batch: int
    ) -> Iterator[np.ndarray]:
        split.load(part)
        seed = [self.seed, epoch] if len(split.parts) == 1 else [self.seed, epoch, part, 2]
        rows, numbers = self._shuffled(np.minimum(split.end, self.history_cap), seed)
        for b in numbers[start_batch:]:
            split.load(part)  # again, in case a different epoch was begun meanwhile
            yield split.parts[part].first + rows[b * self.batch_size : (b + 1) * self.batch_size]

    def _shuffled(self, length: np.ndarray, seed: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """The rows of a part in memory as they are cut into batches, and the order of these
        batches; `length` is that of each row's history."""
        n = len(length)
        whole = n // self.batch_size
        batches = -(-n // self.batch_size)
        if not self.shuffle:
            return np.arange(n), np.arange(batches)
        rng = np.random.default_rng(seed)
        order = rng.permutation(n)
        if not self.bucket_batches:
            return order, np.arange(batches)
        window = self.bucket_batches * self.batch_size
        for lo in range(0, n, window):
            some = order[lo : lo + window]
            order[lo : lo + window] = some[np.argsort(length[some], kind="stable")]
        short_last = np.arange(whole, batches)  # a short last batch stays last
        return order, np.append(rng.permutation(whole), short_last)
