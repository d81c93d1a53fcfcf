"""Columns that reveal the label: a drawn negative, or a row with label 0, lacks their values."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.data.log import Log
from paddleinterest.data.protocols import PAIRED

PAIRS = 20  # pairs of events of one item that are enough to see whether a column is the item's
NEAR = 0.3  # explained share above which a column is suspect
LACKING = 0.95  # share of rows with label 0 without a value that makes a column suspect


@dataclass(frozen=True)
class Dependence:
    """How much a column is a function of a key.

    Attributes:
        pairs: neighbouring events of the same key that were compared.
        share: 0 if two events of one key agree no more often than any two, 1 if they always do.
    """

    pairs: int
    share: float

    @property
    def exact(self) -> bool:
        return self.pairs >= PAIRS and self.share == 1


def check(log: Log, protocol: str) -> None:
    """Check the context columns of a log under a protocol.

    Under a protocol that draws negatives, a negative repeats the row of its positive. A column that
    belongs to the item then has the value of the positive in both rows, and reveals which row was
    drawn.

    Raises:
        InputError: a context column is a function of the item under such a protocol.
    """
    events = log.some_events("item")
    if events is None or not len(events):
        return
    if log.samples is None:
        _check_labels(events, log.context)
    if protocol not in PAIRED:
        return
    if "label" in events:
        events = events[events["label"] == 1]
    for name in log.context:
        dense = name in log.dense
        of_item = dependence(events["item"], events[name], dense)
        if of_item.exact:
            raise InputError(
                f"the context column {name!r} is the same for all events of an item. Under"
                f" {protocol} a drawn negative repeats the row of its positive, so the column"
                f" reveals the label. It belongs to the item: use --item-columns {name} in place"
                " of --context (or --dense)"
            )
        if of_item.pairs >= PAIRS and of_item.share >= NEAR:
            say(
                f"warning: the context column {name!r} depends on the item ({of_item.share:.0%}"
                f" of what could differ within an item does not). Under {protocol} a drawn"
                " negative repeats the row of its positive, so the column reveals the label and"
                f" the figures are too good; if it belongs to the item, use --item-columns {name}"
            )
            continue
        of_user = dependence(events["user"], events[name], dense)
        if of_user.exact:
            say(
                f"warning: the context column {name!r} is the same for all events of a user: it"
                f" describes the user, not the moment; use --user-columns {name}"
            )


def dependence(key: pd.Series, values: pd.Series, dense: bool) -> Dependence:
    """How much `values` are a function of `key`, from pairs of neighbouring events of one key.

    Args:
        key: the item or user of each event, [E].
        values: the column, [E]; a missing value counts as one more value.
        dense: they are numbers, which may be close without being equal.
    """
    owner = pd.factorize(key)[0]
    code = pd.factorize(values, use_na_sentinel=True)[0]
    # in random order, because an item's events of one minute agree in the hour anyway
    mixed = np.random.default_rng(0).permutation(len(owner))
    order = mixed[np.argsort(owner[mixed], kind="stable")]
    same_owner = owner[order][1:] == owner[order][:-1]
    pairs = int(same_owner.sum())
    if not pairs:
        return Dependence(0, 0.0)
    left = order[:-1][same_owner]
    right = order[1:][same_owner]
    counts = np.bincount(code + 1)
    by_chance = float(((counts / len(code)) ** 2).sum())
    if by_chance == 1:  # a constant reveals nothing
        return Dependence(pairs, 0.0)
    agree = float((code[left] == code[right]).mean())
    share = (agree - by_chance) / (1 - by_chance)
    if dense and share < 1:
        share = max(share, _explained(values, left, right))
    return Dependence(pairs, share)


def _explained(values: pd.Series, left: np.ndarray, right: np.ndarray) -> float:
    """The share of the variance of numbers that is between keys, from the differences of pairs
    within a key."""
    numbers = values.to_numpy(np.float64, na_value=np.nan)
    differences = numbers[left] - numbers[right]
    variance = np.nanvar(numbers)
    if not np.isfinite(differences).any() or not variance > 0:
        return 0.0
    within = np.nanmean(differences**2) / 2
    return min(float(1 - within / variance), 0.999)  # only equal values are exact


def _check_labels(events: pd.DataFrame, context: list[str]) -> None:
    """Warn of columns that are missing in rows with label 0, or if those have one time only."""
    if "label" not in events:
        return
    clicked = events["label"].to_numpy() == 1
    if clicked.all() or not clicked.any():
        return
    for name in context:
        present = events[name].notna().to_numpy()
        if present[clicked].mean() >= LACKING and (~present[~clicked]).mean() >= LACKING:
            say(
                f"warning: the context column {name!r} is missing in nearly all rows with label 0"
                " and in nearly none with label 1: it reveals the label; leave it out"
            )
    times = events["time"].to_numpy()
    of_others = np.unique(times[~clicked])
    if len(of_others) == 1 and (~clicked).sum() >= PAIRS and len(np.unique(times[clicked])) > 1:
        say(
            f"warning: all {int((~clicked).sum()):,} rows with label 0 have one time,"
            f" {of_others[0]}, and those with label 1 have other times: the time reveals the"
            " label; give negatives the time of the impression"
        )
