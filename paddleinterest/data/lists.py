"""Lists of different lengths, joined in one array."""

from dataclasses import dataclass

import numpy as np

from paddleinterest.data.schema import PADDING


@dataclass
class Lists:
    """N lists.

    Attributes:
        offsets: int64 [N + 1]; list k is values [offsets[k], offsets[k + 1]).
        values: [V].

    Example:
        >>> lists = Lists(np.array([0, 2, 2, 3]), np.array([7, 8, 9]))
        >>> lists.padded(np.array([0, 1, 2])).tolist()
        [[7, 8], [0, 0], [9, 0]]
    """

    offsets: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """Number of values of each list, int64 of the shape of `rows`."""
        return self.offsets[rows + 1] - self.offsets[rows]

    def take(self, rows: np.ndarray) -> "Lists":
        """The lists in rows [R], joined."""
        lengths = self.lengths(rows)
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        at = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return Lists(offsets, self.values[at])

    def padded(self, rows: np.ndarray) -> np.ndarray:
        """The lists in rows of any shape, int64 [*rows.shape, M], right padded with 0; M is the
        longest among them, at least 1."""
        lengths = self.lengths(rows)[..., None]
        step = np.arange(max(1, int(lengths.max(initial=0))))
        real = step < lengths
        at = np.where(real, self.offsets[rows][..., None] + step, 0)
        if not len(self.values):
            return np.full(real.shape, PADDING, np.int64)
        return np.where(real, self.values[at], PADDING).astype(np.int64)


def contains(keys: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """A boolean array: which of `queries`, int64 of any shape, are among the sorted `keys`."""
    if not len(keys):
        return np.zeros(np.shape(queries), bool)
    return keys[np.minimum(np.searchsorted(keys, queries), len(keys) - 1)] == queries
