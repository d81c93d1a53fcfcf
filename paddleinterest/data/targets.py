"""Negatives of the samples, drawn in the reader: new ones every epoch, or several per positive.

The prepared dataset stores one negative for each positive. Training that sees only that one
memorises it; more different ones generalise better. A draw depends only on the seed, the epoch, the
user, the position and its own number, not on batch size, buckets, processes, parts or resuming.
"""

import numpy as np

from paddleinterest.core.errors import InputError
from paddleinterest.data import hashing
from paddleinterest.data.lists import contains
from paddleinterest.data.protocols import DRAWN, PAIRED
from paddleinterest.data.schema import FIRST_ID, Schema
from paddleinterest.data.sequences import Sequences

AUTO = "auto"
SEVERAL = 4  # negatives per positive if they are fresh and no number is asked for
TRIES = 20  # redraws of touched items, before the stored one is used


def resolve(kind: str, per_positive: int, protocol: str) -> tuple[str, int]:
    """The meaning of runner.negatives and runner.negatives_per_positive for a dataset.

    Args:
        kind: auto, once or fresh.
        per_positive: negatives for each positive; 0 = chosen by `kind`.
        protocol: of the dataset.

    Returns:
        once or fresh, and the negatives for each positive.

    Example:
        >>> resolve("auto", 0, "every_prefix"), resolve("auto", 0, "impressions")
        (('fresh', 4), ('once', 1))
    """
    if kind == AUTO:
        kind = "fresh" if protocol in DRAWN else "once"
    if not per_positive:
        per_positive = SEVERAL if kind == "fresh" else 1
    return kind, per_positive


class TargetNegatives:
    """Draws the items of samples with label 0.

    Under every_prefix they are uniform over the items of train that the user never touched, under
    last_event by popularity in train and not the positive. The stored one stays if none is found,
    and for negatives that were prepared from the history (--negatives matched).

    Args:
        schema: of the dataset.
        sequences: its sequences.
        count: events in train of every item's row, [rows].
        kind: once: the stored negative, and the same further ones every epoch; fresh: new ones
            every epoch.
        per_positive: negatives for each positive, each of weight 1 / per_positive.
        seed: of the draws.

    Raises:
        InputError: nothing is drawn again under the protocol.
    """

    def __init__(
        self,
        schema: Schema,
        sequences: Sequences,
        count: np.ndarray,
        kind: str,
        per_positive: int,
        seed: int,
    ) -> None:
        if schema.protocol not in DRAWN:
            own = "uses the labels of the log"
            if schema.protocol in PAIRED:
                own = "keeps the negatives as prepared"
            raise InputError(
                f"runner.negatives={kind} with runner.negatives_per_positive={per_positive} draws"
                f" negatives, but protocol {schema.protocol} of {schema.name} {own}; leave out both"
                " settings"
            )
        self.sequences = sequences
        self.kind = kind
        self.per_positive = per_positive
        self.key = hashing.stream(seed, "targets")
        self.popular = schema.protocol == "last_event"
        self.width = len(count)
        self.items = FIRST_ID + np.flatnonzero(count[FIRST_ID:] > 0)
        weight = count[self.items] if self.popular else np.ones(len(self.items), np.int64)
        self.tickets = np.cumsum(weight)  # item k owns the tickets [tickets[k − 1], tickets[k])

    def copies(self, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The samples of a batch, each negative repeated.

        Args:
            label: [B].

        Returns:
            their places in the batch, int64 [B']: first 0 … B − 1, then the further copies; and the
            number of each copy, from 0.
        """
        negative = np.flatnonzero(label == 0)
        more = np.tile(negative, self.per_positive - 1)
        number = np.repeat(np.arange(1, self.per_positive), len(negative))
        places = np.append(np.arange(len(label)), more)
        return places, np.append(np.zeros(len(label), np.int64), number)

    def weights(self, label: np.ndarray) -> np.ndarray:
        """Weight of each sample, float32: 1, for negatives 1 / per_positive."""
        return np.where(label == 0, 1 / self.per_positive, 1).astype(np.float32)

    def draw(
        self,
        stored: np.ndarray,
        label: np.ndarray,
        sequence: np.ndarray,
        end: np.ndarray,
        number: np.ndarray,
        epoch: int,
    ) -> np.ndarray:
        """Items' rows of the samples, int64 [B].

        Args:
            stored: items' rows as prepared.
            label: 0 or 1.
            sequence: sequence of each sample.
            end: events that came before.
            number: number of the copy, from 0.
            epoch: number of the epoch, for `fresh`.
        """
        item = stored.astype(np.int64)
        draws = (label == 0) & ((self.kind == "fresh") | (number > 0))
        if not len(self.items) or not draws.any():
            return item
        distinct, owner = np.unique(sequence, return_inverse=True)
        avoided = self._avoided(distinct, owner, sequence, end)
        pair = owner * self.width
        todo = np.flatnonzero(draws)
        if not self.popular:  # a negative from the history was matched to its positive
            todo = todo[~contains(avoided, pair[todo] + item[todo])]
        epoch = epoch if self.kind == "fresh" else 0
        for attempt in range(TRIES):
            if not len(todo):
                break
            purpose = self.key ^ hashing.mix(np.array([epoch * 2**20 + attempt], np.uint64))
            drawn = hashing.draw(
                purpose, hashing.mix(sequence[todo].astype(np.uint64)), end[todo], number[todo]
            )
            ticket = hashing.below(drawn, int(self.tickets[-1]))
            found = self.items[np.searchsorted(self.tickets, ticket, side="right")]
            fine = ~contains(avoided, pair[todo] + found)
            item[todo[fine]] = found[fine]
            todo = todo[~fine]
        return item

    def _avoided(
        self, distinct: np.ndarray, owner: np.ndarray, sequence: np.ndarray, end: np.ndarray
    ) -> np.ndarray:
        """Sorted numbers owner · width + item of the excluded items: all items of the user or, by
        popularity, the positive."""
        if self.popular:
            real = np.ones((len(sequence), 1), bool)
            positive = self.sequences.window("item", sequence, end.astype(np.int64), real)[:, 0]
            return np.unique(owner * self.width + positive)
        items = self.sequences.items(distinct)
        number = np.repeat(np.arange(len(distinct)), np.diff(items.offsets))
        return np.sort(number * self.width + items.values)
