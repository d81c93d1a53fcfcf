"""From events to samples: which events become samples, in which split, with which negatives.

This is the one implementation of the protocols. It sees some whole users at a time (`Events`) and
some facts of the whole log (`Facts`); an engine (paddleinterest/data/engines) brings both. No
result depends on which users come together, or on the order of the log.

The names are part of the contract (docs/protocols.md): the same log under two of them can
differ by 0.1 AUC.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from paddleinterest.core.errors import InputError
from paddleinterest.data import hashing
from paddleinterest.data.events import Events
from paddleinterest.data.schema import SPLITS

DAY = 24 * 3600
LABELLED = (
    "impressions",
    "by_user",
    "by_day",
)  # these use the labels of the log and draw no negatives
DRAWN = ("every_prefix", "last_event")  # negatives that can be drawn again without the log
PAIRED = (*DRAWN, "by_time")  # each positive is followed by a drawn negative
UNTOUCHED, MATCHED = "untouched", "matched"  # which items negatives of every_prefix are
NEW_USERS = ("last_event", "by_user")  # their users in train are not in valid and test
PAPER_TRAIN = 100_000 / 138_493  # share of MovieLens' users in train in the DIN paper


@dataclass
class Facts:
    """The facts of the whole log that a protocol needs.

    Attributes:
        seed: of the negatives and the splits of users.
        paper_split: no valid split, as the papers print.
        clock: times can be compared between users.
        user_cuts: beginnings of valid and test among the users' draws (last_event, by_user).
        time_cuts: the last time of train and of valid (impressions, by_day, by_time).
        begin: items seen until this time exist from the beginning (by_time).
        first_seen: time of each item code's first event, in the order of `events_in_train`; of an
            item without events the largest int64 (by_time).
        events_in_train: of each item code; known after train is counted.
        candidates: item codes that negatives of valid and test may be; None for all.
        matched: negatives are as often in the user's history as positives are (every_prefix).
    """

    seed: int
    paper_split: bool = False
    clock: bool = True
    user_cuts: tuple[int, int] = (0, 0)
    time_cuts: tuple[int, int] = (0, 0)
    begin: int = 0
    first_seen: np.ndarray | None = None
    events_in_train: np.ndarray | None = None
    matched: bool = False
    candidates: np.ndarray | None = None


@dataclass
class Samples:
    """Rows of one split, or its positives.

    Attributes:
        events: their events, [S].
        end: events of the user's sequence that came before, int64 [S].
        label: int8 [S].
    """

    events: Events
    end: np.ndarray
    label: np.ndarray

    def __len__(self) -> int:
        return len(self.end)


@dataclass
class Chosen:
    """The samples of some users under a protocol.

    Attributes:
        history: the events that their sequences hold.
        train: which events of `history` belong to train, bool [H].
        samples: {split: positives, to be followed by negatives; or all samples}.
    """

    history: Events
    train: np.ndarray
    samples: dict[str, Samples]


def every_prefix(events: Events, facts: Facts) -> Chosen:
    """The DIN paper's: each event after a user's first is a positive; the last is test, the one
    before it valid.

    With `paper_split` there is no valid and the training prefixes go up to the last but one. Users
    with fewer than four events (three with `paper_split`) give no samples. Negatives: one per
    positive, uniform over the items that the user never touched: in train those that train has seen
    (or the model would learn that unknown items are never clicked), in valid and test all of the
    log.
    """
    events = events.positives()
    position = events.position()
    left = events.sequence_length() - 1 - position  # events that come after this one
    enough = left + position >= fewest_events(facts.paper_split) - 1
    first_train = 1 if facts.paper_split else 2
    rows = {"train": (left >= first_train) & (position >= 1), "valid": left == 1, "test": left == 0}
    if facts.paper_split:
        del rows["valid"]
    samples = {
        split: _positives(events, position, np.flatnonzero(keep & enough))
        for split, keep in rows.items()
    }
    return Chosen(events, (left >= first_train) | ~enough, samples)


def fewest_events(paper_split: bool) -> int:
    """Number of events that a user needs to give samples under every_prefix."""
    return 3 if paper_split else 4


def last_event(events: Events, facts: Facts) -> Chosen:
    """The DIEN paper's: each user's last event, 80 % of the users in train, 10 % in valid, 10 % in
    test.

    With `paper_split` the valid users go to train. Negatives: one per positive, drawn by popularity
    in train, not the positive itself.
    """
    events = events.positives()
    position = events.position()
    length = events.sequence_length()
    part = np.where(length >= 2, _part_of_user(events, facts), 0)  # a single event belongs to train
    is_last = (position == length - 1) & (position >= 1)
    samples = {
        split: _positives(events, position, np.flatnonzero(is_last & (part == k)))
        for k, split in enumerate(SPLITS)
        if not (facts.paper_split and split == "valid")
    }
    return Chosen(events, part == 0, samples)


def impressions(events: Events, facts: Facts) -> Chosen:
    """The labels of the log: the earliest 80 % of the impressions are train, the next 10 % valid,
    the last 10 % test.

    With `paper_split` the first 90 % are train and there is no valid. Histories as in `_labelled`.
    """
    return _by_time(events, facts)


def by_day(events: Events, facts: Facts) -> Chosen:
    """ReChorus 2.0's on MovieLens: the labels of the log, cut at 80 % and 90 % of the days (UTC)
    from the first to the last.

    Every day counts the same, whatever its number of events: of a log that becomes sparse, train
    has far more than 80 %. With `paper_split` the first 90 % are train and there is no valid.
    Histories as in `_labelled`.
    """
    return _by_time(events, facts)


def by_time(events: Events, facts: Facts) -> Chosen:
    """For logs without labels: every event is a positive, the earliest 80 % are train, the next
    10 % valid, the last 10 % test.

    A history holds the events strictly before, so nothing later than a sample is in its features.
    With `paper_split` the first 90 % are train and there is no valid. Negatives: one per positive,
    uniform over the items that exist by then (`ExistingItems`).
    """
    events = events.positives()
    first, second = facts.time_cuts
    part = (events.time > first).astype(np.int8) + (events.time > second)
    end = events.moment() - events.start()
    samples = {
        split: _positives(events, end, np.flatnonzero(part == k))
        for k, split in enumerate(SPLITS)
        if not (facts.paper_split and split == "valid")
    }
    return Chosen(events, part == 0, samples)


def by_user(events: Events, facts: Facts) -> Chosen:
    """The DIN paper's on MovieLens: the labels of the log, whole users in train (65 %), valid (7 %)
    or test (28 %).

    The paper has 100,000 of 138,493 users in train and the rest in test; that is `paper_split`,
    else a tenth of train is valid. Histories as in `_labelled`.
    """
    return _labelled(events, _part_of_user(events, facts), facts)


PROTOCOLS: dict[str, Callable[[Events, Facts], Chosen]] = {
    "every_prefix": every_prefix,
    "last_event": last_event,
    "impressions": impressions,
    "by_user": by_user,
    "by_day": by_day,
    "by_time": by_time,
}


def given(events: Events, samples: Events, timed: bool, facts: Facts) -> Chosen:
    """Samples as the source gives them.

    A sample's history is the whole sequence of its user or, if samples have times, the events
    strictly before. Valid is left out if the source has none; with `paper_split` its samples go to
    train. The histories of the users in train are part of train: most of their items are never a
    target.

    Args:
        events: the events of the histories.
        samples: with the number of their split in values["split"].
        timed: their times have a meaning.
        facts: of the log.
    """
    history = events.positives()
    first = np.searchsorted(history.user, samples.user, "left")
    last = np.searchsorted(history.user, samples.user, "right")
    end = last - first
    if timed:
        end = _events_before(history, samples) - first
    else:
        samples = replace(samples, time=end)
    part = samples.values["split"]
    if facts.paper_split:
        part = np.where(part == SPLITS.index("valid"), SPLITS.index("train"), part)
    assert samples.label is not None
    out = {}
    for k, split in enumerate(SPLITS):
        rows = np.flatnonzero(part == k)
        out[split] = Samples(samples.at(rows), end[rows], samples.label[rows])
    train = np.isin(history.user, out["train"].events.user)
    return Chosen(history, train, out)


def _events_before(history: Events, samples: Events) -> np.ndarray:
    """How many events, of all users, come before each sample's user and time; both are sorted."""
    times = np.concatenate([history.time, samples.time])
    users = np.concatenate([history.user, samples.user])
    is_event = np.arange(len(times)) < len(history)
    order = np.lexsort((is_event, times, users))  # samples come first within one moment
    before = np.cumsum(is_event[order])
    place = np.empty(len(order), np.int64)
    place[order] = before
    return place[len(history) :]


def shares(protocol: str, paper_split: bool) -> tuple[float, float]:
    """The ends of train and valid: of the users, the impressions or the days."""
    if protocol == "by_user":
        return (PAPER_TRAIN if paper_split else 0.9 * PAPER_TRAIN, PAPER_TRAIN)
    return (0.9 if paper_split else 0.8, 0.9)


def user_draw(key: np.ndarray, seed: int) -> np.ndarray:
    """The draw that decides a user's split, uint64 [N]."""
    return hashing.draw(hashing.stream(seed, "split"), key)


def user_cuts(
    protocol: str, key: np.ndarray, events: np.ndarray, seed: int, paper_split: bool
) -> tuple[int, int]:
    """`Facts.user_cuts`, so that the shares hold exactly.

    Args:
        protocol: last_event or by_user.
        key: hash of every user, uint64 [U].
        events: of every user: those with label 1 under last_event, all under by_user.
    """
    drawn = np.sort(user_draw(key[events >= (2 if protocol == "last_event" else 1)], seed))
    never = np.iinfo(np.uint64).max
    first, second = (int(share * len(drawn)) for share in shares(protocol, paper_split))
    ends = [int(drawn[k]) if k < len(drawn) else int(never) for k in (first, second)]
    return ends[0], ends[1]


def day_cuts(first: int, last: int, paper_split: bool) -> tuple[int, int]:
    """`Facts.time_cuts` of by_day, for a log from time `first` to time `last`."""
    begin = first // DAY
    days = last // DAY - begin
    ends = [begin + math.floor(share * days) for share in shares("by_day", paper_split)]
    return (ends[0] + 1) * DAY - 1, (ends[1] + 1) * DAY - 1


def check_fits(protocol: str, labels: bool, clock: bool) -> None:
    """Raise InputError if the log does not have the labels, or the comparable times, that the
    protocol needs."""
    if protocol in LABELLED and not labels:
        raise InputError(
            f"protocol {protocol} needs labels (0/1), by default in a column `label`"
            " (--label-column names a different one); without labels use every_prefix or"
            " last_event"
        )
    if protocol in ("impressions", "by_day", "by_time") and not clock:
        raise InputError(
            f"protocol {protocol} splits by time, but this log has only an order, no clock times;"
            " name a column of times, or use every_prefix or last_event"
        )


def no_such_days(split: str, first: int, last: int) -> str:
    """The message if by_day leaves a split empty."""
    dates = " to ".join(str(np.datetime64(time // DAY, "D")) for time in (first, last))
    return (
        f"protocol by_day: no label falls on the days of {split}, of"
        f" {last // DAY - first // DAY + 1:,} days from {dates}; are the times right? Protocol"
        " impressions cuts by the number of labels instead"
    )


def count_repeats(history: Events) -> int:
    """Events with the user, item and time of an earlier one; events by user and time."""
    same = (history.user[1:] == history.user[:-1]) & (history.time[1:] == history.time[:-1])
    tied = np.zeros(len(history), bool)  # a neighbour has the same user and time
    tied[1:] |= same
    tied[:-1] |= same
    some = history.at(tied)
    order = np.lexsort((some.item, some.time, some.user))
    columns = (some.user[order], some.time[order], some.item[order])
    equal = [column[1:] == column[:-1] for column in columns]
    return int(np.logical_and.reduce(equal).sum())


def count_repeated(chosen: Chosen) -> dict[str, int]:
    """Number of positives of every split that are in their own history."""
    is_repeat = repeated(chosen.history)
    out = {}
    for split, s in chosen.samples.items():
        first = np.searchsorted(chosen.history.user, s.events.user)
        out[split] = int(is_repeat[first + s.end].sum())
    return out


def _part_of_user(events: Events, facts: Facts) -> np.ndarray:
    """0 train, 1 valid, 2 test: the number of the split of each event's user."""
    drawn = user_draw(events.key, facts.seed)
    first, second = (np.uint64(cut) for cut in facts.user_cuts)
    return (drawn >= first).astype(np.int8) + (drawn >= second)


def _by_time(events: Events, facts: Facts) -> Chosen:
    first, second = facts.time_cuts
    return _labelled(events, (events.time > first).astype(np.int8) + (events.time > second), facts)


def _labelled(events: Events, part: np.ndarray, facts: Facts) -> Chosen:
    """Every event is a sample with the log's label, in the split number `part` [E].

    A history holds the clicks strictly before the impression, so impressions of the same second do
    not see each other.
    """
    assert events.label is not None
    clicks = np.zeros(len(events) + 1, np.int64)  # clicks before event i, of all users
    np.cumsum(events.label, out=clicks[1:])
    end = clicks[events.moment()] - clicks[events.start()]
    samples = {}
    for k, split in enumerate(SPLITS):
        if facts.paper_split and split == "valid":
            continue
        rows = np.flatnonzero(part == k)
        samples[split] = Samples(events.at(rows), end[rows], events.label[rows])
    return Chosen(events.positives(), part[events.label == 1] == 0, samples)


def _positives(events: Events, end: np.ndarray, rows: np.ndarray) -> Samples:
    return Samples(events.at(rows), end[rows], np.ones(len(rows), np.int8))


def repeated(history: Events) -> np.ndarray:
    """Which events' items occur earlier in their user's sequence, bool [E]."""
    order = np.lexsort((history.item, history.user))  # stable: the oldest of each item comes first
    user, item = history.user[order], history.item[order]
    is_repeat = np.zeros(len(history), bool)
    is_repeat[order[1:]] = (user[1:] == user[:-1]) & (item[1:] == item[:-1])
    return is_repeat
