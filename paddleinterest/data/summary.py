"""A few lines about a log for the person at the terminal: what preparation understood."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from paddleinterest.core.log import say
from paddleinterest.data.log import Log

if TYPE_CHECKING:
    from paddleinterest.data.store import EventStore

DAY = 24 * 3600
EARLY = 315_532_800  # seconds at the start of 1980; logs are younger
SEPARATORS = ("|", "^", ";", ",")
HEAVY = 0.1  # one user with this share of all events is suspect


def tell(log: Log, protocol: str = "") -> None:
    """Print how many events, users and items a log has, its dates, and what is odd.

    Args:
        log (Log): what the source read.
        protocol (str): under `impressions` several items shown at one moment are usual.
    """
    shown = protocol == "impressions"
    if log.store is not None:
        _tell_store(log.store, log, shown)
    elif isinstance(log.events, pd.DataFrame) and len(log.events):
        _tell_frame(log.events, log, shown)
    else:
        return
    for of, table in (("items", log.items), ("users", log.users)):
        if isinstance(table, pd.DataFrame):
            for name in table.columns[1:]:
                if name in log.multiple:
                    _tell_lists(table[name], of)
                elif name not in log.dense and name not in log.vectors:
                    advice = f"--multiple {name} reads each value by itself"
                    _tell_several(table[name], f"the attribute {name!r} of {of}", advice)


def _tell_frame(events: pd.DataFrame, log: Log, shown: bool) -> None:
    """Print what the events in memory are."""
    code, users = pd.factorize(events["user"])
    labels = f", {events['label'].mean():.1%} with label 1" if "label" in events else ""
    span = (int(events["time"].min()), int(events["time"].max()))
    say(
        f"{len(events):,} events of {len(users):,} users and"
        f" {events['item'].nunique():,} items{labels}{_dates(span, log.time)}"
    )
    if log.time == "seconds":
        _tell_times(events["time"].to_numpy(), code, span, shown)
    counts = np.bincount(code)
    most = int(counts.argmax())
    _tell_heavy(users[most], int(counts[most]), len(users), len(events))
    _tell_columns(events, log)


def _tell_store(store: "EventStore", log: Log, shown: bool) -> None:
    """Print what the events on disk are; equal times and columns are judged by some users."""
    ones, first, last = store.row(
        f"SELECT {'avg(label)' if store.labels else 0}, min(time), max(time) FROM events"
    )
    labels = f", {ones:.1%} with label 1" if store.labels else ""
    users, items = len(store.ids("user")), len(store.ids("item"))
    say(
        f"{store.rows:,} events of {users:,} users and {items:,} items{labels}"
        f"{_dates((first, last), log.time)}"
    )
    some = log.some_events("user")
    assert some is not None
    if log.time == "seconds" and len(some):
        code = pd.factorize(some["user"])[0]
        _tell_times(some["time"].to_numpy(), code, (first, last), shown)
    user, most = store.row(
        'SELECT "user", count(*) AS n FROM events GROUP BY "user" ORDER BY n DESC, "user" LIMIT 1'
    )
    _tell_heavy(user, most, users, store.rows)
    _tell_columns(some, log)


def _tell_columns(events: pd.DataFrame, log: Log) -> None:
    """Warn of columns of the events with several values in a cell."""
    for kind, names in (("context", log.context), ("event", log.event)):
        for name in names:
            if name not in log.dense and name in events:
                advice = "such a column has one value per row"
                _tell_several(events[name], f"the {kind} column {name!r}", advice)


def date(second: int) -> str:
    """A time as 2024-01-31 12:00:00, in UTC."""
    return str(np.datetime64(int(second), "s")).replace("T", " ")


TOO_SHORT = 10  # events
PLACES = (0.0, 0.8, 0.9, 1.0)  # of the events in rising order, where a split by time cuts


def same_times(times: Sequence[int], clock: bool, events: int) -> str:
    """The end of a message about an empty split, if the log is too short or the cuts fall on equal
    times; else "".

    Args:
        times: of the events at PLACES.
        clock: the times are seconds.
        events: number of the log's events.
    """
    first, train, valid, last = times
    at = f", {date(valid)}" if clock else f" ({valid})"
    if first == last:
        return (
            f"; every time is the same{at}, so it cannot be split by time: does --time-column name"
            " the right column?"
        )
    if events < TOO_SHORT:
        return "; so short a log cannot be split by time: give one of some hundreds of events"
    if train == valid or valid == last:
        share = "10" if train != valid or valid != last else "20"
        return (
            f"; {share} % of the events or more share one time{at}, and events of one time are not"
            " split: is the time coarser than it should be? Protocol every_prefix splits by user"
        )
    return ""


def _dates(span: tuple[int, int], kind: str) -> str:
    if kind != "seconds":
        return ", in an order without dates"
    return f", {date(span[0])} to {date(span[1])} (UTC)"


def _tell_times(time: np.ndarray, user: np.ndarray, span: tuple[int, int], shown: bool) -> None:
    """Print how many events share user and time with another, and whether times look wrong.

    Args:
        time (ndarray): seconds, int64 [E].
        user (ndarray): code of the user, int64 [E].
        span (tuple): the first and last time of the log.
        shown (bool): events are shown items, of which one page has several.
    """
    first, last = span
    if first == last:
        say(f"every event has the same time, {date(first)}")
    else:
        share = _equal_share(time, user)
        if share > 0:
            whole = " (times are whole days)" if not (time % DAY).any() else ""
            means = "so their order is unknown"
            if shown and not whole:
                means = "as items shown together do: they get the same history"
            say(
                f"{share:.1%} of the events have the time of another event of their user{whole},"
                f" {means}"
            )
    now = int(pd.Timestamp.now("UTC").timestamp())
    if first < EARLY or last > now + DAY:
        say(
            f"the times go from {date(first)} to {date(last)}, which looks wrong: see --time-unit"
            " and --time-zone"
        )


def _equal_share(time: np.ndarray, user: np.ndarray) -> float:
    """Share of the events whose user has a second event at the same time, by sorted hashes."""
    key = pd.util.hash_array(user.astype(np.uint64)) + time.astype(np.uint64)
    key.sort()
    equal = key[1:] == key[:-1]
    return float((np.append(equal, False) | np.append(False, equal)).mean())


def _tell_heavy(user: Any, most: int, users: int, events: int) -> None:
    """Warn if the user with the most events has a large share of them."""
    if users >= 20 and most > HEAVY * events:
        shown = repr(user.item() if isinstance(user, np.generic) else user)
        say(
            f"user {shown} has {most / events:.1%} of all events: is it a missing"
            " value? Then use --null"
        )


def _tell_lists(column: pd.Series, of: str) -> None:
    """Say how many values the cells of a column of lists have."""
    lists = pa.array(column, from_pandas=True)
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    say(
        f"{column.name}: {lengths.min()} to {lengths.max()} values of each of the {len(column):,}"
        f" {of}, {lengths.mean():.2f} on average"
    )


def _tell_several(column: pd.Series, what: str, advice: str) -> None:
    """Warn if the cells of a column hold several values, such as War|Comedy."""
    values = column.dropna()
    if values.dtype.kind in "iufb" or not len(values):
        return
    values = values.drop_duplicates().astype(str)
    for separator in SEPARATORS:
        several = values[values.str.contains(separator, regex=False)]
        if not len(several):
            continue
        pieces = several.str.split(separator, regex=False).explode().str.strip()
        whole = pieces.isin(values).groupby(level=0).all()  # all pieces are values by themselves
        cell = several.iloc[0]
        if whole.any():
            cell = several[whole].iloc[0]
        elif not _often(pieces, len(several), len(values)):
            continue
        say(
            f"{what} holds several values in a cell, such as {cell!r}: each of the"
            f" {len(values):,} combinations counts as one category of its own; {advice}"
        )
        return


def _often(pieces: pd.Series, several: int, values: int) -> bool:
    """Check that the same pieces stand in many cells.

    Args:
        pieces (Series): the text pieces of the different cells with a separator.
        several (int): such cells.
        values (int): different cells in all.
    """
    if several < max(2, 0.05 * values) or pieces.str.len().max() > 40:
        return False
    return len(pieces) >= 2 * pieces.nunique() and pieces.nunique() <= values
