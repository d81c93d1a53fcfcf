"""Checks of what every source yields (`Log`), so that a mistake in a new source is found."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from paddleinterest.core.errors import InputError
from paddleinterest.data.log import Log
from paddleinterest.data.schema import LATEST, RESERVED, SPLITS

NEEDED = {
    "events": ("user", "item", "time"),
    "items": ("item",),
    "users": ("user",),
    "samples": ("user", "item", "label", "split"),
}


def check_events(log: Log, events: pd.DataFrame, first_row: int = 0) -> None:
    """Raise InputError unless the events, or a piece of them that begins with row `first_row`, are
    valid."""
    integers = ["time", log.tie] if log.tie else ["time"]
    _check_columns("events", events, [*log.columns_of_events(), *integers], first_row)
    for name in integers:
        if events[name].dtype.kind not in "iu":
            raise InputError(f"events.{name} holds {events[name].dtype} values, must be integers")
        if len(events) and not (-LATEST < events[name].min() and events[name].max() < LATEST):
            raise InputError(f"events.{name} has values beyond ±2**62")
    _check_allowed("events", events, "label", [0, 1], first_row)


def check_tables(log: Log, own: Sequence[str] = ()) -> None:
    """Raise InputError unless items, users, samples and the names of all columns are valid.

    Args:
        log: what the source yields.
        own: names of further attributes of users.
    """
    _check_columns("items", log.items, [])
    if log.users is not None:
        _check_columns("users", log.users, [])
    if log.samples is not None:
        _check_columns("samples", log.samples, log.context)
        _check_allowed("samples", log.samples, "label", [0, 1])
        _check_allowed("samples", log.samples, "split", list(SPLITS))
        if "time" in log.samples and log.samples["time"].dtype.kind not in "iu":
            raise InputError("samples.time must be integers")
    of_items = list(log.items.columns[1:])
    of_users = list(log.users.columns[1:]) if log.users is not None else []
    names = [*of_items, *of_users, *log.context, *log.event, *own]
    for name in names:
        _check_name(name)
        if names.count(name) > 1:
            raise InputError(
                f"column {name!r} occurs in two of items, users, context and event; rename one"
            )
    _check_declared("dense", log.dense, names, "items, users, context and event")
    _check_declared("multiple", log.multiple, of_items + of_users, "items and users")
    _check_declared("vector", log.vectors, of_items, "items")
    _check_declared("hashed", log.hashed, ["item", *names], "items, users, context and event")
    for name in log.hashed:
        if name in log.dense or name in log.vectors:
            raise InputError(f"column {name!r} is both hashed and dense; choose one")
    for kind, columns in (("multiple", log.multiple), ("vector", log.vectors)):
        if both := [name for name in columns if name in log.dense]:
            raise InputError(f"column {both[0]!r} is both {kind} and dense; choose one")
    if both := [name for name in log.multiple if name in log.vectors]:
        raise InputError(f"column {both[0]!r} is both multiple and vector; choose one")


def check_unique(of: str, codes: np.ndarray, ids: pa.Array) -> None:
    """Raise InputError if a table of items or users has two rows for one id.

    Args:
        of: item or user.
        codes: position of each row's id among `ids`, [N].
        ids: every id of the log.
    """
    order = np.argsort(codes, kind="stable")
    repeated = codes[order][1:] == codes[order][:-1]
    if repeated.any():
        twice = ids[int(codes[order[1:][repeated].min()])].as_py()
        raise InputError(
            f"{of}s list {of} {twice!r} more than once ({int(repeated.sum()):,} repeated rows);"
            " keep one row per id"
        )


def _check_columns(what: str, frame: pd.DataFrame, more: Sequence[str], first_row: int = 0) -> None:
    for column in [*NEEDED[what], *more]:
        if column not in frame:
            raise InputError(
                f"{what} have no column {column}; they have {', '.join(map(str, frame.columns))}"
            )
    for column in NEEDED[what]:
        if frame[column].isna().any():
            row = first_row + int(np.flatnonzero(frame[column].isna())[0])
            raise InputError(f"{what}, row {row + 1}: {column} is missing")


def _check_allowed(
    what: str, frame: pd.DataFrame, column: str, allowed: list, first_row: int = 0
) -> None:
    if column not in frame:
        return
    wrong = ~frame[column].isin(allowed).to_numpy()
    if wrong.any():
        at = int(wrong.argmax())
        raise InputError(
            f"{what}, row {first_row + at + 1}: {column} is {shown(frame[column].iloc[at])},"
            f" must be {', '.join(map(str, allowed[:-1]))} or {allowed[-1]}"
        )


def _check_name(name: Any) -> None:
    if name in RESERVED:
        raise InputError(f"a column may not be called {name!r}: the name is reserved; rename it")
    fine = isinstance(name, str) and name and name.isprintable() and not name.startswith(".")
    if not fine or "/" in name or "\\" in name:
        raise InputError(
            f"a column may not be called {name!r}: its vocabulary would be a file of that name;"
            " rename it"
        )


def _check_declared(kind: str, columns: Any, known: Sequence[str], where: str) -> None:
    unknown = [name for name in columns if name not in known]
    if unknown:
        raise InputError(f"{kind} column {unknown[0]!r} is in none of {where}")


def shown(value: Any) -> str:
    """A value for a message: 2, not np.int64(2)."""
    return repr(value.item() if isinstance(value, np.generic) else value)
