"""Other negatives for a split: those that the protocol draws with a different seed."""

import copy

import numpy as np

from paddleinterest.core.errors import InputError
from paddleinterest.data.lists import contains
from paddleinterest.data.protocols import DRAWN
from paddleinterest.data.reader import Reader
from paddleinterest.data.schema import FIRST_ID

DRAWS = 3  # draws of the negatives, including the prepared ones
ROUNDS = 50  # redraws of touched items; the rest stays as prepared


def draws(reader: Reader, number: int = DRAWS) -> list[Reader]:
    """The split of `reader` with each draw of its negatives.

    Args:
        reader: of a split in file order.
        number: of draws.

    Returns:
        The reader itself, and copies of it with other negatives; only the reader if the labels are
        the log's.
    """
    if reader.schema.protocol not in DRAWN:
        return [reader]
    return [reader, *(_redrawn(reader, seed) for seed in range(1, number))]


def _redrawn(reader: Reader, seed: int) -> Reader:
    """A copy of the reader with other negatives."""
    rng = np.random.default_rng([reader.schema.seed, seed])
    if reader.schema.protocol == "last_event":
        item = _popular(reader, rng)
    else:
        item = _untouched(reader, rng)
    other = copy.copy(reader)
    other.samples = copy.copy(reader.samples)
    other.samples.item = item.astype(reader.item.dtype)
    return other


def _untouched(reader: Reader, rng: np.random.Generator) -> np.ndarray:
    """Items of the rows, negatives uniform over the items of the log that the user never touched.
    A negative that the user touched (prepared with matched repeats) stays."""
    width = reader.items.rows
    every = reader.sequences.items(np.arange(len(reader.sequences))).values
    catalogue = np.unique(every)
    distinct, owner = np.unique(reader.sequence, return_inverse=True)
    lists = reader.sequences.items(distinct)
    number = np.repeat(np.arange(len(distinct)), np.diff(lists.offsets))
    touched = np.sort(number * width + lists.values)
    item = reader.item.astype(np.int64)
    todo = np.flatnonzero(reader.label == 0)
    todo = todo[~contains(touched, owner[todo] * width + item[todo])]
    for _ in range(ROUNDS):
        drawn = catalogue[rng.integers(0, len(catalogue), len(todo))]
        free = ~contains(touched, owner[todo] * width + drawn)
        item[todo[free]] = drawn[free]
        todo = todo[~free]
    return item


def _popular(reader: Reader, rng: np.random.Generator) -> np.ndarray:
    """Items of the rows, negatives in proportion to their events in train, never the positive in
    the row before."""
    count = reader.items.count.copy()
    count[:FIRST_ID] = 0
    tickets = np.cumsum(count)
    if not tickets[-1]:
        raise InputError(f"{reader.directory} has no event in train to draw negatives by")
    item = reader.item.astype(np.int64)
    todo = np.flatnonzero(reader.label == 0)
    for _ in range(ROUNDS):
        drawn = np.searchsorted(tickets, rng.integers(0, tickets[-1], len(todo)), side="right")
        other = drawn != item[todo - 1]
        item[todo[other]] = drawn[other]
        todo = todo[~other]
    return item
