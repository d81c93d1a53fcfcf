"""The engine for logs that fit in memory: NumPy arrays, sorted by user once."""

from collections.abc import Iterable
from typing import cast

import numpy as np
import pandas as pd
import pyarrow as pa

from paddleinterest.core.errors import InputError
from paddleinterest.data.contract import check_events
from paddleinterest.data.events import Events
from paddleinterest.data.log import Log
from paddleinterest.data.schema import SPLITS
from paddleinterest.data.values import checked_numbers, ranked_ids, ranked_texts

NO_KEYS = np.zeros(0, np.uint64)  # they are taken when a part is cut


class MemoryEngine:
    """Events of any range of users, out of arrays; see `Engine`.

    Args:
        log: what a source gave; pieces of events are put together.
    """

    name = "memory"

    def __init__(self, log: Log) -> None:
        frames = [log.events] if isinstance(log.events, pd.DataFrame) else log.events
        pieces = list(cast(Iterable[pd.DataFrame], frames))  # a store is for DuckDB
        events = pieces[0] if len(pieces) == 1 else pd.concat(pieces, ignore_index=True)
        if not len(events):
            raise InputError("the log holds no events")
        check_events(log, events)
        tables = {"events": events, "items": log.items, "users": log.users, "samples": log.samples}
        item, self.item_ids = _ranked(tables, "item", ("events", "items", "samples"))
        user, self.user_ids = _ranked(tables, "user", ("events", "users", "samples"))
        self.items: np.ndarray | None = item["items"]
        self.users = user.get("users")
        self.rows = len(events)
        self.labels = "label" in events
        self.texts: dict[str, pa.Array] = {}
        self._tables = {
            "events": Events(
                user["events"],
                item["events"],
                events["time"].to_numpy(np.int64),
                NO_KEYS,
                events["label"].to_numpy(np.int8) if self.labels else None,
                events[log.tie].to_numpy(np.int64) if log.tie else None,
                self._values(log, events, log.columns_of_events()),
            )
        }
        if log.samples is not None:
            self._tables["samples"] = self._given(
                log, log.samples, user["samples"], item["samples"]
            )

    def _values(self, log: Log, frame: pd.DataFrame, names: list[str]) -> dict[str, np.ndarray]:
        """Codes of categories and numbers of dense columns."""
        out = {}
        for name in names:
            if log.is_number(name):
                out[name] = checked_numbers(frame[name], name)
            else:
                out[name], self.texts[name] = ranked_texts(frame[name])
        return out

    def _given(self, log: Log, samples: pd.DataFrame, user: np.ndarray, item: np.ndarray) -> Events:
        """The samples of protocol given, as events with a column `split`."""
        values = self._values(log, samples, log.context)
        split = pd.Categorical(samples["split"], list(SPLITS)).codes
        time = samples["time"] if "time" in samples else pd.Series(np.zeros(len(samples), np.int64))
        return Events(
            user,
            item,
            time.to_numpy(np.int64),
            NO_KEYS,
            samples["label"].to_numpy(np.int8),
            None,
            {"split": split.astype(np.int8), **values},
        )

    def number_users(self, row: np.ndarray, key: np.ndarray) -> None:
        """Sort everything by the users' rows."""
        self._key = key
        self._first: dict[str, np.ndarray] = {}  # event of each user
        for name, events in self._tables.items():
            events.user = row[events.user]
            order = np.argsort(events.user, kind="stable")
            for column in ("user", "item", "time", "label", "tie"):
                values = getattr(events, column)
                setattr(events, column, None if values is None else values[order])
            for column in events.values:
                events.values[column] = events.values[column][order]
            self._first[name] = np.searchsorted(events.user, np.arange(len(key) + 1))

    def events_of_users(self) -> tuple[np.ndarray, np.ndarray]:
        """All events, and those with label 1, of every user's row."""
        events = self._tables["events"]
        n = np.diff(self._first["events"])
        if events.label is None:
            return n, n
        return n, np.bincount(events.user[events.label == 1], minlength=len(n))

    def time_of_rank(self, ranks: list[int]) -> list[int]:
        """The times at these places in rising order."""
        return np.partition(self._tables["events"].time, ranks)[ranks].tolist()

    def part(self, first: int, last: int) -> Events:
        """Events of the users' rows [first, last)."""
        return self._cut("events", first, last)

    def given(self, first: int, last: int) -> Events:
        """Samples of the users' rows [first, last)."""
        return self._cut("samples", first, last)

    def close(self) -> None:
        """Let go of the events."""
        self._tables.clear()

    def _cut(self, name: str, first: int, last: int) -> Events:
        events = self._tables[name]
        lo, hi = self._first[name][[first, last]].tolist()
        some = slice(lo, hi)
        return Events(
            events.user[some],
            events.item[some],
            events.time[some],
            self._key[events.user[some]],
            None if events.label is None else events.label[some],
            None if events.tie is None else events.tie[some],
            {column: values[some] for column, values in events.values.items()},
        )


def _ranked(
    frames: dict[str, pd.DataFrame | None], column: str, names: tuple[str, ...]
) -> tuple[dict[str, np.ndarray], pa.Array]:
    """Codes of a column of ids in every frame that there is, and the ids."""
    there = {name: frame[column] for name in names if (frame := frames[name]) is not None}
    codes, ids = ranked_ids(list(there.values()))
    return dict(zip(there, codes, strict=True)), ids
