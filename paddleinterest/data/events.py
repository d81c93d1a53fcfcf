"""Events of whole users as columns, in the order that the protocols need."""

from dataclasses import dataclass, field

import numpy as np

from paddleinterest.data import hashing


@dataclass
class Events:
    """Events of whole users; all arrays have one entry per event, [E].

    Attributes:
        user: int64, row of the user among all users, from 0.
        item: int64 code.
        time: int64.
        key: uint64, hash of the user's id, for draws and ties.
        label: int8, or None for a log without labels.
        tie: int64, orders equal times, or None.
        values: further columns, {column: integer codes or numbers}.
    """

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray
    key: np.ndarray
    label: np.ndarray | None = None
    tie: np.ndarray | None = None
    values: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.user)

    def at(self, index: np.ndarray) -> "Events":
        """Some of the events, by row numbers or a mask."""
        return Events(
            self.user[index],
            self.item[index],
            self.time[index],
            self.key[index],
            None if self.label is None else self.label[index],
            None if self.tie is None else self.tie[index],
            {name: values[index] for name, values in self.values.items()},
        )

    def positives(self) -> "Events":
        """The events that a history is made of: all of them, or those with label 1."""
        if self.label is None:
            return self
        return self.at(self.label == 1)

    def start(self) -> np.ndarray:
        """Number of the first event of each event's user, int64 [E]."""
        return run_start(self._first())

    def position(self) -> np.ndarray:
        """Each event's position in its user's sequence, from 0, int64 [E]."""
        return np.arange(len(self)) - self.start()

    def sequence_length(self) -> np.ndarray:
        """Events of each event's user, int64 [E]."""
        number = np.cumsum(self._first()) - 1  # number of the user among these
        return np.bincount(number)[number] if len(self) else np.zeros(0, np.int64)

    def moment(self) -> np.ndarray:
        """Number of the first event of the same user and time, int64 [E]."""
        first = self._first()
        first[1:] |= self.time[1:] != self.time[:-1]
        return run_start(first)

    def _first(self) -> np.ndarray:
        """A boolean array: which events are the first of their user."""
        first = np.ones(len(self), bool)
        first[1:] = self.user[1:] != self.user[:-1]
        return first


def run_start(first: np.ndarray) -> np.ndarray:
    """For each event the number of the event that began its run; `first` marks the beginnings."""
    return np.maximum.accumulate(np.where(first, np.arange(len(first)), 0))


def arranged(events: Events, item_hash: np.ndarray) -> Events:
    """The events by user, time and tie, whatever order they came in.

    Equal times are in the order of `tie`, if the log has one, then of a hash of user and item. (In
    order of the items' ids the last event of every basket would be its largest id, which a model
    could learn.) Events of the same user, item and time are ordered by label and the other columns,
    so only identical events can change places.

    Args:
        events: of whole users, in any order.
        item_hash: uint64 of each item code.
    """
    order = _by_user_and_time(events)
    user = events.user[order]
    time = events.time[order]
    same = np.zeros(len(order) + 1, bool)  # has the user and time of the event before
    same[1:-1] = (user[1:] == user[:-1]) & (time[1:] == time[:-1])
    tied = np.flatnonzero(same[:-1] | same[1:])
    if len(tied):
        some = order[tied]
        keys = [events.values[name][some] for name in reversed(list(events.values))]
        if events.label is not None:
            keys.append(events.label[some])
        item = events.item[some]
        keys += [item, hashing.mix(events.key[some] ^ item_hash[item])]
        if events.tie is not None:
            keys.append(events.tie[some])
        keys += [events.time[some], events.user[some]]
        order[tied] = some[np.lexsort(keys)]
    return events.at(order)


def _by_user_and_time(events: Events) -> np.ndarray:
    """The order by user, then time; equal ones stay in the order of their rows."""
    if not len(events):
        return np.zeros(0, np.int64)
    user, time = events.user, events.time
    first, base = int(user.min()), int(time.min())
    span = int(time.max()) - base + 1
    if (int(user.max()) - first + 1) * span >= 2**63:
        return np.lexsort((time, user))
    # one number each: several times as fast as lexsort
    return np.argsort((user - first) * span + (time - base), kind="stable")
