"""From a sorted event log to samples: which events become samples, in which split, against which
negatives.

Every protocol gets the same sorted arrays (`Events`) and gives, for each split, a `Samples`. The
names are part of the contract (README.md, "Protocols"): the same log under two of them can differ
by 0.1 AUC.
"""

import copy
import math
from dataclasses import dataclass

import numpy as np

from paddleinterest.core.errors import InputError
from paddleinterest.data.negatives import contains
from paddleinterest.data.schema import SPLITS


@dataclass
class Events:
    """The log in order of (user, time), ties in file order. All arrays have one entry an event,
    [E].

    Attributes:
        user, item: int64 codes from 0.  time: int64.  label: int8 or None.
        row: position of the event in the source's frame, for its context columns.
        users: number of user codes.  clock: whether `time` can be compared between users.
    """

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray
    label: np.ndarray
    row: np.ndarray
    users: int
    clock: bool

    def positives(self):
        """The events that a history is made of: all of them, or those with label 1."""
        if self.label is None:
            return self
        keep = self.label == 1
        return Events(
            self.user[keep],
            self.item[keep],
            self.time[keep],
            None,
            self.row[keep],
            self.users,
            self.clock,
        )

    def position(self):
        """Each event's position in its user's sequence, from 0, and each user's number of
        events."""
        n = np.bincount(self.user, minlength=self.users)
        start = np.cumsum(n) - n
        return np.arange(len(self.user)) - start[self.user], n


@dataclass
class Samples:
    """One split. `end` counts the events of the user's sequence that came before; arrays are
    [S]."""

    user: np.ndarray
    end: np.ndarray
    item: np.ndarray
    label: np.ndarray
    time: np.ndarray
    row: np.ndarray


def every_prefix(events, rng, paper_split):
    """The DIN paper's: each event after a user's first is a positive; the last is test, the one
    before it valid.

    With `paper_split` there is no valid and the training prefixes go up to the last but one. Users
    with fewer than four events (three with `paper_split`) give no samples. Negatives: one a
    positive, uniform over the items that the user never touched: in train those that train has seen
    (an item of the future must not teach the model that unknown items are never clicked), in valid
    and test all of the log.
    """
    events = events.positives()
    position, n = events.position()
    left = n[events.user] - 1 - position  # events that come after this one
    enough = n[events.user] >= (3 if paper_split else 4)
    first_train = 1 if paper_split else 2
    rows = {"train": (left >= first_train) & (position >= 1), "valid": left == 1, "test": left == 0}
    if paper_split:
        del rows["valid"]
    train = (left >= first_train) | ~enough
    untouched = UntouchedItems(events)
    samples = {
        split: _with_negatives(
            events,
            position,
            np.flatnonzero(keep & enough),
            untouched.among(events.item[train]) if split == "train" else untouched,
            rng[split],
        )
        for split, keep in rows.items()
    }
    return events, samples, train


def last_event(events, rng, paper_split):
    """The DIEN paper's: each user's last event, 80 % of the users in train, 10 % in valid, 10 % in
    test.

    With `paper_split` the valid users go to train. Negatives: one a positive, drawn by popularity
    in train, not the positive itself.
    """
    events = events.positives()
    position, n = events.position()
    users = np.flatnonzero(n >= 2)
    users = rng["train"].permutation(users)
    cut = (
        [int(0.9 * len(users))] * 2
        if paper_split
        else [int(0.8 * len(users)), int(0.9 * len(users))]
    )
    part = np.zeros(events.users, np.int8)
    part[users[cut[0] : cut[1]]] = 1
    part[users[cut[1] :]] = 2
    is_last = (position == n[events.user] - 1) & (position >= 1)
    in_train = part[events.user] == 0
    draw = PopularItems(events.item[in_train])
    samples = {
        split: _with_negatives(
            events, position, np.flatnonzero(is_last & (part[events.user] == k)), draw, rng[split]
        )
        for k, split in enumerate(SPLITS)
        if not (paper_split and split == "valid")
    }
    return events, samples, in_train


def impressions(events, rng, paper_split):
    """The labels of the log: the earliest 80 % of the impressions are train, the next 10 % valid,
    the last 10 % test.

    With `paper_split` the first 90 % are train and there is no valid. Histories as in `_labelled`.
    """
    _needs_label(events, "impressions")
    _needs_clock(events, "impressions")
    return _by_time(
        events, np.quantile(events.time, _shares(paper_split), method="lower"), paper_split
    )


def by_day(events, rng, paper_split):
    """ReChorus 2.0's on MovieLens: the labels of the log, cut at 80 % and 90 % of the days (UTC)
    from the first to the last.

    Every day counts the same, with however many events or none: of a log that thins out, train has
    far more than 80 %. With `paper_split` the first 90 % are train and there is no valid. Histories
    as in `_labelled`.
    """
    _needs_label(events, "by_day")
    _needs_clock(events, "by_day")
    day = events.time // (24 * 3600)
    first, last = day.min(), day.max()
    bounds = [
        first + math.floor(share * (last - first)) for share in _shares(paper_split)
    ]  # the last day of train, of valid
    history, samples, train = _by_time(
        events, [(bound + 1) * 24 * 3600 - 1 for bound in bounds], paper_split
    )
    for split, s in samples.items():
        if not len(s.user):
            dates = " to ".join(str(np.datetime64(int(d), "D")) for d in (first, last))
            raise InputError(
                f"protocol by_day: no label falls on the days of {split}, of {last - first + 1:,}"
                f" days from {dates}; are the times right? Protocol impressions cuts by the number"
                " of labels instead"
            )
    return history, samples, train


def _shares(paper_split):
    """Where train ends, and where valid."""
    return (0.9, 0.9) if paper_split else (0.8, 0.9)


def by_user(events, rng, paper_split):
    """The DIN paper's on MovieLens: the labels of the log, whole users in train (65 %), valid (7 %)
    or test (28 %).

    The paper has 100,000 of 138,493 users in train and the rest in test; that is `paper_split`,
    else a tenth of train is valid. Histories as in `_labelled`.
    """
    _needs_label(events, "by_user")
    users = rng["train"].permutation(np.unique(events.user))
    train = 100_000 / 138_493
    cut = [
        int(share * len(users))
        for share in ((train, train) if paper_split else (0.9 * train, train))
    ]
    part = np.zeros(events.users, np.int8)
    part[users[cut[0] : cut[1]]] = 1
    part[users[cut[1] :]] = 2
    return _labelled(events, part[events.user], paper_split)


def _needs_label(events, protocol):
    if events.label is None:
        raise InputError(
            f"protocol {protocol} needs labels (0/1), by default in a column `label`"
            " (--label-column names another); without any use every_prefix or last_event"
        )


def _needs_clock(events, protocol):
    if not events.clock:
        raise InputError(
            f"protocol {protocol} splits by time, but this log has no clock times, only an order"
        )


def _by_time(events, bounds, paper_split):
    """`_labelled`, with train up to the time bounds[0], valid up to bounds[1]."""
    return _labelled(
        events, (events.time > bounds[0]).astype(np.int8) + (events.time > bounds[1]), paper_split
    )


def _labelled(events, part, paper_split):
    """Every event is a sample with the log's label, in the split number `part` [E].

    A history holds the clicks strictly before the impression, so that impressions of the same
    second do not see each other.
    """
    _, n = events.position()
    start = (np.cumsum(n) - n)[events.user]
    clicks = np.concatenate(
        [[0], np.cumsum(events.label, dtype=np.int64)]
    )  # clicks before event i, all users
    new_moment = np.ones(len(events.user), bool)
    new_moment[1:] = (events.user[1:] != events.user[:-1]) | (events.time[1:] != events.time[:-1])
    moment = np.maximum.accumulate(np.where(new_moment, np.arange(len(new_moment)), 0))
    end = clicks[moment] - clicks[start]
    samples = {}
    for k, split in enumerate(SPLITS):
        i = np.flatnonzero(part == k)
        if not (paper_split and split == "valid"):
            samples[split] = Samples(
                events.user[i],
                end[i],
                events.item[i],
                events.label[i],
                events.time[i],
                events.row[i],
            )
    return events.positives(), samples, (part == 0)


PROTOCOLS = {
    "every_prefix": every_prefix,
    "last_event": last_event,
    "impressions": impressions,
    "by_user": by_user,
    "by_day": by_day,
}
LABELLED = (
    "impressions",
    "by_user",
    "by_day",
)  # these learn from the labels of the log and draw no negatives
NEW_USERS = ("last_event", "by_user")  # these have other users in train than in valid and test


class UntouchedItems:
    """Draws items uniformly from those of the log that a user never touched."""

    def __init__(self, events):
        self.items = np.unique(events.item)
        self.width = int(self.items.max(initial=0)) + 1
        self.touched = np.unique(events.user.astype(np.int64) * self.width + events.item)

    def among(self, items):
        """The same, but only out of `items`."""
        fewer = copy.copy(self)
        fewer.items = np.unique(items)
        return fewer

    def __call__(self, users, positives, rng):
        drawn = np.empty(len(users), np.int64)
        todo = np.arange(len(users))
        for _ in range(200):
            if not len(todo):
                return drawn
            drawn[todo] = self.items[rng.integers(0, len(self.items), len(todo))]
            todo = todo[contains(self.touched, users[todo] * self.width + drawn[todo])]
        return self._draw_rare(users, drawn, todo, rng)

    def _draw_rare(self, users, drawn, todo, rng):
        """Users who touched nearly every item: choose among what is left of the catalogue, user by
        user."""
        for user in np.unique(users[todo]):
            lo, hi = np.searchsorted(self.touched, [user * self.width, (user + 1) * self.width])
            free = np.setdiff1d(self.items, self.touched[lo:hi] - user * self.width)
            if not len(free):
                raise InputError(
                    f"no negatives can be drawn: a user touched all {len(self.items):,} items; "
                    "use protocol impressions with labels, or a log with more items"
                )
            mine = todo[users[todo] == user]
            drawn[mine] = free[rng.integers(0, len(free), len(mine))]
        return drawn


class PopularItems:
    """Draws items in proportion to their events in train, never the positive itself."""

    def __init__(self, items):
        if not len(items):
            raise InputError("the train split is empty: no user of it has an event")
        self.events = np.bincount(items)
        if np.count_nonzero(self.events) < 2:
            raise InputError("no negatives can be drawn: the train split holds a single item")
        self.end = np.cumsum(self.events)  # item i owns the tickets [end[i] − events[i], end[i])

    def __call__(self, users, positives, rng):
        known = positives < len(
            self.events
        )  # others have no events in train, and no tickets to leave out
        own = np.where(known, self.events[np.where(known, positives, 0)], 0)
        first = np.where(known, self.end[np.where(known, positives, 0)] - own, self.end[-1])
        ticket = rng.integers(0, self.end[-1] - own)
        return np.searchsorted(
            self.end, np.where(ticket < first, ticket, ticket + own), side="right"
        )


def _with_negatives(events, position, chosen, draw, rng):
    """Positives at events `chosen`, each followed by its negative: rows 2k and 2k+1."""
    negatives = draw(events.user[chosen], events.item[chosen], rng)
    twice = np.repeat(chosen, 2)
    item = events.item[twice]
    item[1::2] = negatives
    label = np.zeros(len(twice), np.int8)
    label[0::2] = 1
    return Samples(
        events.user[twice], position[twice], item, label, events.time[twice], events.row[twice]
    )
