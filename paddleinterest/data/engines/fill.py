"""Fill a store on disk with the events of a log."""

import numpy as np
import pandas as pd
import pyarrow as pa

from paddleinterest.core.errors import InputError
from paddleinterest.data.contract import check_events
from paddleinterest.data.log import Log
from paddleinterest.data.store import TIE, EventStore
from paddleinterest.data.values import MISSING, are_whole, checked_numbers, ranked_texts


def stored(log: Log, folder: str, memory_limit: int | None = None) -> EventStore:
    """The events of a log in a store: one frame, or pieces of which each fits in memory; or the
    store that the source has filled.

    Raises:
        InputError: the events break the contract, or there are none.
    """
    if isinstance(log.events, EventStore):
        return log.events
    store = EventStore(folder, log.columns_of_events(), memory_limit)
    pieces = [log.events] if isinstance(log.events, pd.DataFrame) else log.events
    floats: dict[str, bool] = {}  # whether a category of floats holds whole ones alone
    for piece in pieces:
        check_events(log, piece, store.rows)
        if not len(piece):
            continue
        if store.rows and store.labels != ("label" in piece):
            raise InputError("some pieces of the events have labels, some have none")
        for name in store.column:
            if not log.is_number(name):
                _check_floats(name, piece[name], floats)
        store.append(_arrow(log, piece))
    if not store.rows:
        raise InputError("the log holds no events")
    return store


def _arrow(log: Log, piece: pd.DataFrame) -> pa.Table:
    """A piece as a store takes it."""
    columns = {}
    for name in ("user", "item"):
        whole = are_whole([piece[name]])
        values = piece[name].astype(np.int64 if whole else str)
        columns[name] = pa.array(values.to_numpy(), pa.int64() if whole else pa.string())
    columns["time"] = pa.array(piece["time"].to_numpy(np.int64))
    if "label" in piece:
        columns["label"] = pa.array(piece["label"].to_numpy(np.int8))
    if log.tie:
        columns[TIE] = pa.array(piece[log.tie].to_numpy(np.int64))
    for name in log.columns_of_events():
        if log.is_number(name):
            columns[name] = pa.array(checked_numbers(piece[name], name))
        else:
            codes, texts = ranked_texts(piece[name])
            at = pa.array(codes, mask=codes == MISSING)
            columns[name] = texts.take(at).cast(pa.string())
    return pa.table(columns)


def _check_floats(name: str, column: pd.Series, seen: dict[str, bool]) -> None:
    """InputError if a category is of whole floats in one piece and of others in another: its texts
    would differ."""
    if column.dtype.kind != "f":
        return
    whole = bool((column.dropna() % 1 == 0).all())
    if seen.setdefault(name, whole) != whole:
        raise InputError(
            f"category {name!r} holds 7.0 and 7.5 alike; declare it dense, or write it as text"
        )
