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
        events: user, item, time on a clock, optionally label; numbered from 0.
        drop: keep only the first of repeated events.
    """
    is_repeat = _repeated(events)
    if not is_repeat.any():
        return events
    repeats = Repeats(drop)
    gone = repeats.add(events[is_repeat])
    repeats.tell(len(events))
    return events.drop(index=gone).reset_index(drop=True) if len(gone) else events


class Repeats:
    """Decisions about repeated events, over all parts of a log.

    Attributes:
        drop: keep only the first of each.
        lost: rows with label 0 that occur with label 1 too.
        repeated: rows that repeat another after that.
        alike: those of them that agree in every column.
        examples: the first row of both kinds, as a message shows it.
    """

    def __init__(self, drop: bool) -> None:
        self.drop = drop
        self.lost = 0
        self.repeated = 0
        self.alike = 0
        self.examples: dict[str, str] = {}

    def add(self, several: pd.DataFrame) -> pd.Index:
        """Decide about some events that share user, item and time with another.

        Args:
            several: all events of these users, items and times, in their order.

        Returns:
            The rows that go, by the index of `several`.
        """
        gone = several.index[:0]
        if "label" in several:
            clicked = several.groupby(KEY, sort=False)["label"].transform("max")
            lost = several[(several["label"] < clicked).to_numpy()]
            gone = lost.index
            self.lost += len(lost)
            self._show("lost", lost)
            several = several.drop(index=gone)
            several = several[several.duplicated(KEY, keep=False).to_numpy()]
        repeated = several[several.duplicated(KEY).to_numpy()]
        self.repeated += len(repeated)
        self.alike += int(several.duplicated().sum())
        self._show("repeated", repeated)
        return gone.append(repeated.index) if self.drop else gone

    def _show(self, what: str, rows: pd.DataFrame) -> None:
        if len(rows) and what not in self.examples:
            self.examples[what] = _alike(rows)

    def tell(self, events: int) -> None:
        """Say what was found among so many events."""
        if self.lost:
            say(
                f"{self.lost:,} of {events:,} rows are impressions that also occur"
                f" with label 1 {self.examples['lost']}: the click wins, the rows with label 0 are"
                " left out"
            )
        if not self.repeated:
            return
        share = f"{self.repeated:,} of {events - self.lost:,} events repeat another"
        what = self.examples["repeated"]
        if self.drop:
            say(f"{share} {what}: only the first of each is kept (--drop-repeats)")
            return
        say(
            f"{share} {what}; {self.alike:,} agree in every column read; --drop-repeats keeps the"
            " first of each"
        )


def _alike(events: pd.DataFrame) -> str:
    """The columns that repeated events share, with an example, for a message."""
    first = events.iloc[:1].to_dict("records")[0]
    return f"(same user, item and time), such as user {first['user']!r}, item {first['item']!r}"
