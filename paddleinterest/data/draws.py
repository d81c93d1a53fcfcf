"""The negatives that a protocol draws in preparation: from items that the user never touched, that
exist by then, or that are popular."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from paddleinterest.core.errors import InputError
from paddleinterest.data import hashing
from paddleinterest.data.events import Events
from paddleinterest.data.lists import contains
from paddleinterest.data.protocols import Chosen, Facts, Samples, repeated

TRIES = 200  # draws of an untouched item, before the untouched items are listed


def with_negatives(protocol: str, chosen: Chosen, facts: Facts) -> dict[str, Samples]:
    """The samples of a protocol that draws: each positive is followed by its negative, rows 2k and
    2k + 1. The items' codes are rows of the table of items."""
    if protocol == "last_event":
        draw: Draw = PopularItems(facts)
    elif protocol == "by_time":
        draw = ExistingItems(chosen.history, facts)
    else:
        draw = UntouchedItems(chosen.history, facts)
    return {split: _paired(s, draw(s, split)) for split, s in chosen.samples.items()}


Draw = Callable[[Samples, str], np.ndarray]


def _paired(positives: Samples, negatives: np.ndarray) -> Samples:
    """Each positive and its negative, which differs in the item only."""
    twice = np.repeat(np.arange(len(positives)), 2)
    events = positives.events.at(twice)
    item = events.item.copy()
    item[1::2] = negatives
    label = np.zeros(len(twice), np.int8)
    label[0::2] = 1
    return Samples(replace(events, item=item), positives.end[twice], label)


class UntouchedItems:
    """Draws items uniformly from those that a user never touched: for train from those that train
    has seen, else from all.

    Args:
        history: all events of the users of the samples.
        facts: with `events_in_train`. With `matched`, a positive that is in its history gets a
            negative that is also in it, if the history has another item.
    """

    def __init__(self, history: Events, facts: Facts) -> None:
        assert facts.events_in_train is not None
        self.key = hashing.stream(facts.seed, "negatives")
        self.all = len(facts.events_in_train)
        self.in_train = np.flatnonzero(facts.events_in_train)
        self.candidates = np.arange(self.all) if facts.candidates is None else facts.candidates
        self.base = int(history.user[0]) if len(history) else 0  # number of the first user
        pair = np.sort(self._pair(history.user, history.item))
        first = np.ones(len(pair), bool)  # of equal ones; np.unique takes ten times as long
        first[1:] = pair[1:] != pair[:-1]
        self.touched = pair[first]
        self.history = history
        self.matched = facts.matched

    def _pair(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """One number for a user and an item, int64."""
        return (user - self.base) * self.all + item

    def __call__(self, positives: Samples, split: str) -> np.ndarray:
        """Codes of the negatives, int64 [S]."""
        items = self.in_train if split == "train" else self.candidates
        events = positives.events
        drawn = np.empty(len(positives), np.int64)
        todo = np.arange(len(positives))
        if self.matched:
            found = self._from_history(positives)
            drawn = np.maximum(found, 0)
            todo = np.flatnonzero(found < 0)
        for attempt in range(TRIES):
            if not len(todo):
                return drawn
            number = hashing.draw(self.key, events.key[todo], positives.end[todo], attempt)
            drawn[todo] = items[hashing.below(number, len(items))]
            rejected = contains(self.touched, self._pair(events.user[todo], drawn[todo]))
            todo = todo[rejected]
        return self._draw_rare(positives, drawn, todo, items)

    def _draw_rare(
        self, positives: Samples, drawn: np.ndarray, todo: np.ndarray, items: np.ndarray
    ) -> np.ndarray:
        """Users who touched nearly every item: choose among the untouched items, user by user."""
        events = positives.events
        for user in np.unique(events.user[todo]):
            first = self._pair(user, np.int64(0))
            lo, hi = np.searchsorted(self.touched, [first, first + self.all])
            free = np.setdiff1d(items, self.touched[lo:hi] - first)
            if not len(free):
                raise InputError(
                    f"no negatives can be drawn: a user touched all {len(items):,} items; "
                    "use protocol impressions with labels, or a log with more items"
                )
            mine = todo[events.user[todo] == user]
            number = hashing.draw(self.key, events.key[mine], positives.end[mine], TRIES)
            drawn[mine] = free[hashing.below(number, len(free))]
        return drawn

    def _from_history(self, positives: Samples) -> np.ndarray:
        """For a positive in its history another item of the history, else −1, int64 [S]."""
        out = np.full(len(positives), -1, np.int64)
        events = positives.events
        first = np.searchsorted(self.history.user, events.user)  # the user's first event
        todo = np.flatnonzero(repeated(self.history)[first + positives.end])
        for attempt in range(TRIES):
            if not len(todo):
                break
            number = hashing.draw(self.key, events.key[todo], positives.end[todo], TRIES + attempt)
            item = self.history.item[first[todo] + hashing.below(number, positives.end[todo])]
            fine = item != events.item[todo]
            out[todo[fine]] = item[fine]
            todo = todo[~fine]
        return out


class ExistingItems:
    """Draws items uniformly from those that exist by the positive's time and that its user has not
    touched by then.

    An item exists from its first event on. A log does not show what came before it: items of its
    first tenth exist from the beginning.

    Args:
        history: all events of the users of the samples, by user and time.
        facts: with `begin` and `first_seen`.
    """

    def __init__(self, history: Events, facts: Facts) -> None:
        assert facts.first_seen is not None
        self.key = hashing.stream(facts.seed, "negatives")
        since = np.maximum(facts.first_seen, facts.begin)
        self.items = np.argsort(since, kind="stable")  # codes, the oldest items first
        self.since = since[self.items]
        self.begin = facts.begin
        self.base = int(history.user[0]) if len(history) else 0
        pair = self._pair(history.user, history.item)
        self.touched, first = np.unique(pair, return_index=True)  # a pair's first event
        self.touched_at = history.time[first]

    def _pair(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """One number for a user and an item, int64."""
        return (user - self.base) * len(self.items) + item

    def __call__(self, positives: Samples, split: str) -> np.ndarray:
        """Codes of the negatives, int64 [S]."""
        events = positives.events
        time = np.maximum(events.time, self.begin)
        existing = np.searchsorted(self.since, time, "right")
        owner = events.key ^ hashing.mix(events.item.astype(np.uint64))  # a basket's rows differ
        drawn = np.empty(len(positives), np.int64)
        todo = np.arange(len(positives))
        for attempt in range(TRIES):
            if not len(todo):
                return drawn
            number = hashing.draw(self.key, owner[todo], positives.end[todo], attempt)
            drawn[todo] = self.items[hashing.below(number, existing[todo])]
            pair = self._pair(events.user[todo], drawn[todo])
            todo = todo[self._touched_by(pair, events.time[todo])]
        number = hashing.draw(self.key, owner[todo], positives.end[todo], TRIES)
        for row, one in zip(todo.tolist(), number, strict=True):
            drawn[row] = self._draw_rare(events.at(np.array([row])), int(existing[row]), one)
        return drawn

    def _touched_by(self, pair: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Which users have touched their item at `time` or before, bool [S]."""
        place = np.minimum(np.searchsorted(self.touched, pair), len(self.touched) - 1)
        return (self.touched[place] == pair) & (self.touched_at[place] <= time)

    def _draw_rare(self, event: Events, existing: int, number: np.ndarray) -> int:
        """For a user who has touched nearly every item: one of the others."""
        items = self.items[:existing]
        pair = self._pair(np.repeat(event.user, existing), items)
        free = items[~self._touched_by(pair, np.repeat(event.time, existing))]
        if not len(free):
            raise InputError(
                f"no negatives can be drawn: a user had touched all {existing:,} items that"
                f" existed at time {int(event.time[0])}; use a log with more items"
            )
        return int(free[hashing.below(np.array([number]), len(free))[0]])


class PopularItems:
    """Draws items in proportion to their events in train, never the positive itself."""

    def __init__(self, facts: Facts) -> None:
        assert facts.events_in_train is not None
        self.key = hashing.stream(facts.seed, "negatives")
        self.events = facts.events_in_train
        if not self.events.sum():
            raise InputError("the train split is empty: none of its users has an event")
        if np.count_nonzero(self.events) < 2:
            raise InputError(
                "no negatives can be drawn: the train split has only one item, must have at least"
                " 2; use a log with more items"
            )
        self.end = np.cumsum(self.events)  # item i owns the tickets [end[i] − events[i], end[i])

    def __call__(self, positives: Samples, split: str) -> np.ndarray:
        """Codes of the negatives, int64 [S]."""
        item = positives.events.item
        own = self.events[item]
        first = self.end[item] - own
        number = hashing.draw(self.key, positives.events.key, positives.end)
        ticket = hashing.below(number, self.end[-1] - own)
        ticket = np.where(
            ticket < first, ticket, ticket + own
        )  # the positive's tickets are left out
        return np.searchsorted(self.end, ticket, side="right")
