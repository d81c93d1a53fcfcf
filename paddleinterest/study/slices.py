"""Where a model fails: groups of test's rows, such as rows whose target is in the history."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from paddleinterest.core.metrics import auc, pcoc
from paddleinterest.data.reader import Reader
from paddleinterest.study.breakdown import Range, equal_bins
from paddleinterest.training.new_items import is_withheld

BINS = 5  # largest number of ranges
MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR
GAPS = [MINUTE, HOUR, DAY, 7 * DAY, 30 * DAY]  # limits between groups of gaps


@dataclass
class Slice:
    """One way to divide the rows.

    Attributes:
        name: history, target, category, popularity, withheld or gap.
        of: the field of `category`, else "".
        groups: each group: a range of numbers, or a word that words/*.yaml translate.
        group: number of each row's group, [N].
    """

    name: str
    of: str
    groups: list[Range | str]
    group: np.ndarray = field(repr=False)


@dataclass
class Figures:
    """The figures of one run in the groups of a slice, [groups] each; NaN if undefined."""

    auc: np.ndarray
    pcoc: np.ndarray


def slices_of(reader: Reader) -> list[Slice]:
    """Every way to divide the rows of a split that is read in file order. A way with one group is
    left out.

    The categories are the items' fields (of several values one in common is enough); the gap is
    the time since the last event, of logs with a clock.
    """
    facts = _facts(reader)
    found = [
        _numbers("history", reader.end, "none"),
        _words("target", "", np.where(facts.seen, 0, 1), ["seen", "new"]),
    ]
    for name, same in facts.same.items():
        found.append(_words("category", name, np.where(same, 0, 1), ["same", "other"]))
    found.append(_numbers("popularity", reader.items.count[reader.item], "unseen"))
    withheld = is_withheld(reader)
    if withheld is not None:
        words = ["not_withheld", "withheld"]
        found.append(_words("withheld", "", withheld.astype(np.int64), words))
    if reader.schema.time == "seconds":
        names = ["none", "minute", "hour", "day", "week", "month", "longer"]
        found.append(_words("gap", "", facts.gap, names))
    return [one for one in found if len(one.groups) > 1]


@dataclass
class _Facts:
    """For each row, [N]: the target is in the history; {field: an item of the target's category
    is}; the number of its gap's group, 0 for an empty history."""

    seen: np.ndarray
    same: dict[str, np.ndarray]
    gap: np.ndarray


def _facts(reader: Reader) -> _Facts:
    names = [f.name for f in reader.schema.item_fields if f.name != "item"]
    several = reader.items.lists
    seen = np.zeros(reader.rows, bool)
    same = {name: np.zeros(reader.rows, bool) for name in [*names, *several]}
    gap = np.zeros(reader.rows, np.int64)
    for row, target in enumerate(reader.item.tolist()):
        items, times = reader.history(row)
        if not len(items):
            continue
        seen[row] = (items == target).any()
        for name in names:
            column = reader.items.fields[name]
            same[name][row] = (column[items] == column[target]).any()
        for name, lists in several.items():
            own = lists.take(np.array([target])).values
            same[name][row] = np.isin(lists.take(items).values, own).any()
        gap[row] = 1 + np.searchsorted(GAPS, reader.time[row] - times[-1], side="right")
    return _Facts(seen, same, gap)


def _numbers(name: str, value: np.ndarray, zero: str) -> Slice:
    """Rows of value 0 apart, the others in ranges of about equally many."""
    positive = value > 0
    ranges: list[Range] = []
    group = np.zeros(len(value), np.int64)
    if positive.any():
        ranges, within = equal_bins(value[positive], BINS)
        group[positive] = within
    if positive.all():
        return Slice(name, "", list(ranges), group)
    group[positive] += 1
    return Slice(name, "", [zero, *ranges], group)


def _words(name: str, of: str, group: np.ndarray, words: list[str]) -> Slice:
    """Groups that have names; those without a row are left out."""
    present, number = np.unique(group, return_inverse=True)
    return Slice(name, of, [words[k] for k in present], number)


def rows_of(one: Slice) -> np.ndarray:
    """Rows of each group, [groups]."""
    return np.bincount(one.group, minlength=len(one.groups))


def rate_of(one: Slice, label: np.ndarray) -> np.ndarray:
    """Click rate of each group, [groups]."""
    return np.bincount(one.group, weights=label, minlength=len(one.groups)) / rows_of(one)


def figures(one: Slice, label: np.ndarray, score: np.ndarray) -> Figures:
    """AUC and PCOC of each group."""
    return Figures(auc=_of_groups(one, auc, label, score), pcoc=_of_groups(one, pcoc, label, score))


def _of_groups(
    one: Slice,
    metric: Callable[[np.ndarray, np.ndarray], float],
    label: np.ndarray,
    score: np.ndarray,
) -> np.ndarray:
    inside = [one.group == g for g in range(len(one.groups))]
    return np.array([metric(label[rows], score[rows]) for rows in inside])
