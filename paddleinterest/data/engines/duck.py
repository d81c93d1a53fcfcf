"""The engine for logs larger than memory, on one machine: DuckDB keeps the events on disk."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from paddleinterest.core.errors import InputError
from paddleinterest.data.events import Events
from paddleinterest.data.log import Log
from paddleinterest.data.store import TIE, EventStore
from paddleinterest.data.values import MISSING, are_whole

BUCKETS = 1 << 16  # of times, to find the k-th without sorting all


class DuckEngine:
    """Events of any range of users, out of a database on disk; see `Engine`.

    Args:
        log: what a source gave.
        store: the events of the log.
    """

    name = "duckdb"

    def __init__(self, log: Log, store: EventStore) -> None:
        if log.samples is not None:
            raise InputError("protocol given is prepared in memory; leave out --engine duckdb")
        self._store = store
        self._names = log.columns_of_events()
        self.rows = store.rows
        self.labels = store.labels
        self.item_ids, self.items = self._ids("item", log.items)
        self.user_ids, self.users = self._ids("user", log.users)
        self.texts: dict[str, pa.Array] = {}
        for name in self._names:
            if not log.is_number(name):
                column = store.column[name]
                self.texts[name] = store.array(
                    f"SELECT DISTINCT {column} FROM events WHERE {column} IS NOT NULL ORDER BY 1"
                ).cast(pa.large_string())

    def _ids(self, of: str, listed: pd.DataFrame | None) -> tuple[pa.Array, np.ndarray | None]:
        """Every id in rising order, and the places of those that are listed."""
        store = self._store
        if listed is None:
            return store.ids(of), None
        whole = store.whole_ids(of) and are_whole([listed[of]])
        if not whole:
            store.ids_to_texts(of)
        own = pa.array(
            listed[of].astype(np.int64 if whole else str).to_numpy(),
            pa.int64() if whole else pa.string(),
        )
        store.lend("listed", pa.table({"id": own}))
        store.lend("logged", pa.table({"id": store.ids(of)}))
        ids = store.array("SELECT id FROM (FROM logged UNION FROM listed) ORDER BY id")
        store.take_back("listed")
        store.take_back("logged")
        if not whole:
            ids = ids.cast(pa.large_string())
        return ids, pc.index_in(own.cast(ids.type), ids).to_numpy().astype(np.int64)

    def number_users(self, row: np.ndarray, key: np.ndarray) -> None:
        """Write the events to the table `coded`: ids and texts by code, sorted by user."""
        self._key = key
        self._lend("user_rows", self.user_ids, row)
        self._lend("item_codes", self.item_ids, np.arange(len(self.item_ids)))
        select = ["u.code AS user", "i.code AS item", "e.time AS time"]
        select += ["e.label AS label"] if self.labels else []
        select += [f"e.{TIE} AS {TIE}"] if self._store.tied else []
        joins = 'JOIN user_rows u ON e."user" = u.id JOIN item_codes i ON e.item = i.id'
        for name, column in self._store.column.items():
            if name not in self.texts:
                select.append(f"e.{column} AS {column}")
                continue
            texts = self.texts[name]
            self._lend(f"texts_{column}", texts, np.arange(len(texts)))
            select.append(f"coalesce(t_{column}.code, {MISSING}) AS {column}")
            joins += f" LEFT JOIN texts_{column} t_{column} ON e.{column} = t_{column}.id"
        self._store.run(
            f"CREATE TABLE coded AS SELECT {', '.join(select)} FROM events e {joins} ORDER BY 1"
        )
        self._store.drop_events()

    def _lend(self, name: str, ids: pa.Array, code: np.ndarray) -> None:
        values = ids if pa.types.is_integer(ids.type) else ids.cast(pa.string())
        self._store.lend(name, pa.table({"id": values, "code": code.astype(np.int32)}))

    # what the builder asks ------------------------------------------------------------------------

    def events_of_users(self) -> tuple[np.ndarray, np.ndarray]:
        """All events, and those with label 1, of every user's row."""
        positive = "count(*) FILTER (label = 1)" if self.labels else "count(*)"
        found = self._store.table(
            f'SELECT "user", count(*) AS n, {positive} AS p FROM coded GROUP BY ALL'
        )
        n = np.zeros(len(self._key), np.int64)
        p = np.zeros(len(self._key), np.int64)
        n[found["user"].to_numpy()] = found["n"].to_numpy()
        p[found["user"].to_numpy()] = found["p"].to_numpy()
        return n, p

    def time_of_rank(self, ranks: list[int]) -> list[int]:
        """The times at these places in rising order."""
        first, last = self._store.row("SELECT min(time), max(time) FROM coded")
        width = (last - first) // BUCKETS + 1
        bucket = f"(time - {first}) // {width}"
        found = self._counts(bucket, "true")
        return [self._time_in(found, bucket, rank) for rank in ranks]

    def _time_in(self, found: pa.Table, bucket: str, rank: int) -> int:
        """The time at a place, looked for in the bucket that holds it."""
        ends = np.cumsum(found["n"].to_numpy())
        k = int(np.searchsorted(ends, rank, side="right"))
        before = int(ends[k - 1]) if k else 0
        times = self._counts("time", f"{bucket} = {found['x'][k].as_py()}")
        at = np.searchsorted(np.cumsum(times["n"].to_numpy()), rank - before, side="right")
        return times["x"][int(at)].as_py()

    def _counts(self, what: str, where: str) -> pa.Table:
        return self._store.table(
            f"SELECT {what} AS x, count(*) AS n FROM coded WHERE {where} GROUP BY x ORDER BY x"
        )

    def part(self, first: int, last: int) -> Events:
        """Events of the users' rows [first, last)."""
        found = self._store.table(
            f'SELECT * FROM coded WHERE "user" >= {first} AND "user" < {last}'
        )
        columns = {name: found[name].to_numpy() for name in found.column_names}
        user = columns["user"].astype(np.int64)
        return Events(
            user,
            columns["item"].astype(np.int64),
            columns["time"],
            self._key[user],
            columns.get("label"),
            columns.get(TIE),
            {name: columns[self._store.column[name]] for name in self._names},
        )

    def given(self, first: int, last: int) -> Events:
        """There are none: protocol given is prepared in memory."""
        raise NotImplementedError

    def close(self) -> None:
        """Remove the database."""
        self._store.close()
