"""Events that occur in a log more than once: with both labels, or identical."""

import numpy as np
import pandas as pd

from paddleinterest.core.log import say

KEY = ["user", "item", "time"]


def _repeated(events: pd.DataFrame) -> np.ndarray:
    """The events that share user, item and time with another event; hashes first, since few do."""
    key = np.zeros(len(events), np.uint64)
    for name in KEY:
        values = events[name].to_numpy()
        codes = values if values.dtype.kind == "i" else pd.factorize(events[name])[0]
        key = pd.util.hash_array(key ^ codes.astype(np.uint64))
    ordered = np.sort(key)
    is_repeat = np.isin(key, ordered[1:][ordered[1:] == ordered[:-1]])
    is_repeat[is_repeat] = events[is_repeat].duplicated(KEY, keep=False).to_numpy()
    return is_repeat


def settle(events: pd.DataFrame, drop: bool) -> pd.DataFrame:
    """Decide what several events of one user, item and moment mean.

    An impression with label 0 and with label 1 was clicked: the rows with 0 are left out. Of other
    repeats all stay, or only the first. Both are reported.

    Args:
        events: user, item, time on a clock, optionally label.
        drop: keep only the first of repeated events.
    """
    is_repeat = _repeated(events)
    if not is_repeat.any():
        return events
    if "label" in events:
        several = events[is_repeat]
        clicked = several.groupby(KEY, sort=False)["label"].transform("max").to_numpy()
        lost = is_repeat.copy()
        lost[is_repeat] = several["label"].to_numpy() < clicked
        if lost.any():
            say(
                f"{int(lost.sum()):,} of {len(events):,} rows are impressions that also occur"
                f" with label 1 {_alike(events[lost])}: the click wins, the rows with label 0 are"
                " left out"
            )
            events = events[~lost].reset_index(drop=True)
    several = events[_repeated(events)]
    repeated = np.zeros(len(events), bool)
    repeated[several.index[several.duplicated(KEY)]] = True
    if not repeated.any():
        return events
    share = f"{int(repeated.sum()):,} of {len(events):,} events repeat another"
    what = _alike(events[repeated])
    if drop:
        say(f"{share} {what}: only the first of each is kept (--drop-repeats)")
        return events[~repeated].reset_index(drop=True)
    alike = int(several.duplicated().sum())
    say(
        f"{share} {what}; {alike:,} agree in every column read; --drop-repeats keeps the first of"
        " each"
    )
    return events


def _alike(events: pd.DataFrame) -> str:
    """The columns that repeated events share, with an example, for a message."""
    first = events.iloc[:1].to_dict("records")[0]
    return f"(same user, item and time), such as user {first['user']!r}, item {first['item']!r}"
