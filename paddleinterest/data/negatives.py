"""Negatives for DIEN's auxiliary loss: one item per history position, drawn for every batch."""

import numpy as np

from paddleinterest.core.errors import InputError
from paddleinterest.data.lists import contains
from paddleinterest.data.schema import FIRST_ID, PADDING
from paddleinterest.data.sequences import Sequences

KINDS = ("uniform", "popularity")
ROUNDS = 20  # redraws of touched items; the rest counts as padding


class HistoryNegatives:
    """Draws items that train has seen and that the history's user never touched.

    Args:
        sequences: the dataset's.
        count: events in train of every catalogue row, [rows].
        kind: uniform, or popularity (in proportion to `count`).
    """

    def __init__(self, sequences: Sequences, count: np.ndarray, kind: str) -> None:
        if kind not in KINDS:
            raise InputError(f"auxiliary_negatives is {kind!r}, must be one of {', '.join(KINDS)}")
        self.width = len(count)
        self.sequences = sequences
        self.items = FIRST_ID + np.flatnonzero(count[FIRST_ID:] > 0)
        weight = count[self.items] if kind == "popularity" else np.ones(len(self.items), np.int64)
        self.tickets = np.cumsum(weight)  # item k owns the tickets [tickets[k − 1], tickets[k])

    def __call__(
        self, sequence: np.ndarray, real: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """sequence [B], real [B, T] → catalogue rows int64 [B, T]; 0 for padding, or if the user
        touched nearly all items."""
        drawn = np.full(real.shape, PADDING, np.int64)
        if not len(self.items):
            return drawn
        owner, touched = self._touched(sequence)
        todo = np.flatnonzero(real)
        owner = owner[todo // real.shape[1]]
        for _ in range(ROUNDS):
            item = self.items[
                np.searchsorted(
                    self.tickets, rng.integers(0, self.tickets[-1], len(todo)), side="right"
                )
            ]
            rejected = contains(touched, owner * self.width + item)
            drawn.flat[todo] = np.where(rejected, PADDING, item)
            todo, owner = todo[rejected], owner[rejected]
            if not len(todo):
                break
        return drawn

    def _touched(self, sequence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Number of each row's sequence among the batch's, [B], and the sorted keys number · width
        + item of all their events.

        For one batch at a time: the keys of all sequences of a large log do not fit in memory.
        """
        distinct, owner = np.unique(sequence, return_inverse=True)
        items = self.sequences.items(distinct)
        number = np.repeat(np.arange(len(distinct)), np.diff(items.offsets))
        return owner, np.sort(number * self.width + items.values)
