"""Items that train never sees, so that what a model makes of new items can be measured.

A share of the items, chosen by a hash of their ids, is new after train: their events that belong to
train are left out, as samples and in all histories. Their events of valid and test stay, as targets
and in the histories of later samples; their id is unknown there, their attributes are known. So no
sample of train has such an item as its target, its negative or in its history.
"""

import numpy as np
import pyarrow as pa

from paddleinterest.core.errors import InputError
from paddleinterest.data import hashing
from paddleinterest.data.events import Events
from paddleinterest.data.protocols import Chosen, Samples

PURPOSE = "withhold"
IMPOSSIBLE = {
    "last_event": "its negatives are items of train, so no negative is like a withheld positive",
    "given": "its samples come with their splits",
}


def check(share: float, protocol: str, extend: str) -> None:
    """Check that a share of the items can be withheld.

    Raises:
        InputError: it is not a share, or does not fit the other options.
    """
    if not 0 <= share < 1:
        raise InputError(f"--withhold is {share}, must be a share of the items, from 0 to below 1")
    if share and protocol in IMPOSSIBLE:
        raise InputError(
            f"--withhold does not fit protocol {protocol}: {IMPOSSIBLE[protocol]}; use"
            " every_prefix, impressions, by_user, by_day or by_time"
        )
    if share and extend:
        raise InputError(
            "--withhold does not fit --extend: yesterday's dataset may know the withheld items"
        )


def withheld(ids: pa.Array, share: float) -> np.ndarray:
    """The items that a share picks, bool [N]: the same on every machine, in every log and under
    every seed, and of a larger share a superset.

    Args:
        ids: raw ids, texts or integers, [N].
        share: of the items, in [0, 1).

    Example:
        >>> withheld(pa.array([3, 7, 9, 12]), 0.5).tolist()
        [False, True, False, False]
    """
    drawn = hashing.draw(hashing.stream(0, PURPOSE), hashing.of_ids(ids))
    return (drawn >> np.uint64(11)).astype(np.float64) * hashing.TO_UNIT < share


def leave_out(chosen: Chosen, items: np.ndarray) -> Chosen:
    """The samples without the events in train of some items.

    Args:
        chosen: by a protocol.
        items: which item codes are withheld, bool [items].
    """
    history = chosen.history
    gone = chosen.train & items[history.item]
    before = np.append(0, np.cumsum(gone))  # events left out before event i, of all users
    samples = {}
    for split, s in chosen.samples.items():
        first = np.searchsorted(history.user, s.events.user)
        end = s.end - (before[first + s.end] - before[first])
        keep = ~items[s.events.item] if split == "train" else np.ones(len(s), bool)
        samples[split] = _some(s.events, end, s.label, keep)
    return Chosen(history.at(~gone), chosen.train[~gone], samples)


def _some(events: Events, end: np.ndarray, label: np.ndarray, keep: np.ndarray) -> Samples:
    return Samples(events.at(keep), end[keep], label[keep])
