"""Events of a log larger than memory, in a database on disk (DuckDB)."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from paddleinterest.core import memory
from paddleinterest.core.errors import InputError

LEAST_MEMORY = 256 * 2**20  # bytes; DuckDB fails with less
SHARE = 0.4  # of the memory that preparation may take; NumPy works on a part at the same time
TIE = "tie_"  # the column of `Log.tie`, whatever its name there
ROW = "row_"  # the number of a row of an attached file
WHOLE_ID, TEXT_ID = "BIGINT", "VARCHAR"


class EventStore:
    """Events as rows of the table `events`: user and item (BIGINT or VARCHAR), time, perhaps label
    and the column of ties, then the log's other columns as c0, c1, …, since DuckDB takes Brand and
    brand for one name. Categories are texts, numbers are floats.

    They are appended piece by piece, or are rows of Parquet files that `attach` names.

    Args:
        folder: a directory for the database, made here and removed by `close`.
        names: the log's other columns, in order.
        memory_limit: bytes that preparation may take, of which the database takes a share; None
            for what is free.

    Attributes:
        rows: how many events there are.
        column: {name of another column: its column in the table}.
    """

    def __init__(self, folder: str, names: Sequence[str], memory_limit: int | None = None) -> None:
        self._folder = folder
        os.makedirs(folder)
        self._db = duckdb.connect(os.path.join(folder, "events.duckdb"))
        room = memory_limit or min(memory.available(), 2**40)
        self._db.execute(f"SET memory_limit = '{max(int(SHARE * room), LEAST_MEMORY)}B'")
        spill = os.path.join(folder, "spill").replace("'", "''")
        self._db.execute(f"SET temp_directory = '{spill}'")
        self._db.execute("SET enable_progress_bar = false")
        self._db.execute("SET python_enable_replacements = false")  # names are tables, no variables
        self.column = {name: f"c{k}" for k, name in enumerate(names)}
        self.rows = 0
        self.kinds: dict[str, str] = {}
        self._files: dict[tuple[str, str], list[str]] = {}  # by the types of user and item
        self._dropped = False
        self._ids: dict[str, pa.Array] = {}

    @property
    def labels(self) -> bool:
        """True if the events have labels."""
        return "label" in self.kinds

    @property
    def tied(self) -> bool:
        """True if a column orders events of one user and time."""
        return TIE in self.kinds

    def append(self, piece: pa.Table) -> None:
        """Add events: columns user, item (integers or texts), time, perhaps label and `TIE`, and
        the others by their names. Ids become texts if some are."""
        table = pa.table({self.column.get(name, name): piece[name] for name in piece.column_names})
        self.lend("piece", table)
        if not self.rows:
            self.run("CREATE TABLE events AS SELECT * FROM piece")
            self.kinds = {name: kind for name, kind, *_ in self.run("DESCRIBE events")}
        else:
            for of in ("user", "item"):
                if not pa.types.is_integer(table[of].type):
                    self.ids_to_texts(of)
            self.run("INSERT INTO events BY NAME SELECT * FROM piece")
        self.take_back("piece")
        self.rows += len(table)

    def attach(self, files: Sequence[str], tied: bool) -> None:
        """Let the rows of Parquet files be the events: columns `ROW` (the row's number), user,
        item, time, perhaps label, `TIE` and those of `column`.

        Args:
            files: written by the caller, who leaves them until `drop_events`.
            tied: `TIE` orders events; else it is not read.
        """
        for path in files:
            meta = pq.read_metadata(path)
            schema = meta.schema.to_arrow_schema()
            self.rows += meta.num_rows
            kinds = tuple(_id_kind(schema.field(of).type) for of in ("user", "item"))
            self._files.setdefault((kinds[0], kinds[1]), []).append(path)
            for k, of in enumerate(("user", "item")):
                if self.kinds.get(of) != TEXT_ID:
                    self.kinds[of] = kinds[k]
            self.kinds.update({name: "" for name in schema.names if name not in ("user", "item")})
        if not tied:
            self.kinds.pop(TIE, None)
        self._define()

    def _define(self) -> None:
        """The view `events` of the attached files."""
        selects = []
        for paths in self._files.values():
            columns = []
            for name, kind in self.kinds.items():
                columns.append(f'CAST("{name}" AS {kind}) AS "{name}"' if kind else f'"{name}"')
            listed = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
            source = f"SELECT {', '.join(columns)} FROM read_parquet([{listed}])"
            if self._dropped:
                source += f" ANTI JOIN dropped USING ({ROW})"
            selects.append(source)
        self.run(f"CREATE OR REPLACE VIEW events AS {' UNION ALL '.join(selects)}")

    def drop_rows(self, rows: np.ndarray) -> None:
        """Leave out attached events by their numbers."""
        self.lend("gone", pa.table({ROW: pa.array(rows, pa.int64())}))
        self.run(f"CREATE TABLE IF NOT EXISTS dropped ({ROW} BIGINT)")
        self.run("INSERT INTO dropped SELECT * FROM gone")
        self.take_back("gone")
        self._dropped = True
        self.rows -= len(rows)
        self._define()

    def drop_events(self) -> None:
        """Forget the events, and remove their files."""
        self.run(f"DROP {'VIEW' if self._files else 'TABLE'} events")
        for paths in self._files.values():
            for path in paths:
                os.remove(path)
        self._files.clear()

    def ids(self, of: str) -> pa.Array:
        """Every id of the users or items, in rising order."""
        if of not in self._ids:
            found = self.array(f'SELECT DISTINCT "{of}" AS id FROM events ORDER BY id')
            self._ids[of] = found if self.whole_ids(of) else found.cast(pa.large_string())
        return self._ids[of]

    def sample(self, of: str, most: int) -> pd.DataFrame:
        """All events of some items or users, as a source's frame has them.

        Args:
            of: item or user.
            most: about so many events; all of them if they are fewer.
        """
        share = -(-self.rows // most)
        names = {column: name for name, column in self.column.items()}
        own = [name for name in ("user", "item", "time", "label", TIE) if name in self.kinds]
        columns = ", ".join(f'"{name}"' for name in (*own, *self.column.values()))
        found = self.table(f'SELECT {columns} FROM events WHERE hash("{of}") % {max(share, 1)} = 0')
        return found.rename_columns([names.get(c, c) for c in found.column_names]).to_pandas()

    def whole_ids(self, of: str) -> bool:
        """True if the ids of users or items are integers."""
        return self.kinds[of] == WHOLE_ID

    def ids_to_texts(self, of: str) -> None:
        """Turn the ids of users or items into texts, if they are integers."""
        if not self.whole_ids(of):
            return
        self.kinds[of] = TEXT_ID
        self._ids.pop(of, None)
        if self._files:
            self._define()
        else:
            self.run(f'ALTER TABLE events ALTER "{of}" TYPE VARCHAR')

    def table(self, sql: str) -> pa.Table:
        """The result of a query."""
        with self._one_line():
            return self._db.sql(sql).to_arrow_table()

    def array(self, sql: str) -> pa.Array:
        """The single column of a query."""
        return pa.concat_arrays(self.table(sql).column(0).chunks or [pa.array([], pa.int64())])

    def row(self, sql: str) -> tuple[Any, ...]:
        """The single row of a query."""
        (found,) = self.run(sql)
        return found

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """Execute a statement; its rows, if it has any."""
        with self._one_line():
            return self._db.execute(sql).fetchall()

    @contextlib.contextmanager
    def _one_line(self) -> Iterator[None]:
        """Within, what DuckDB says of memory and disk becomes an InputError."""
        try:
            yield
        except duckdb.OutOfMemoryException as e:
            if "disk" in str(e):  # no room for what does not fit in memory
                raise InputError(
                    f"the disk of {self._folder} is full; free some space, or choose another --out"
                ) from e
            raise InputError(
                "DuckDB needs more memory than it may take; give --memory a larger size"
                f" ({_first_line(e)})"
            ) from e
        except duckdb.IOException as e:
            raise InputError(f"cannot write {self._folder}: {_first_line(e)}") from e

    def lend(self, name: str, table: pa.Table) -> None:
        """Let queries read an Arrow table by a name, until `take_back`."""
        self._db.register(name, table)

    def take_back(self, name: str) -> None:
        """Forget a table that was lent."""
        self._db.unregister(name)

    def close(self) -> None:
        """Remove the database."""
        self._db.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _id_kind(kind: pa.DataType) -> str:
    return WHOLE_ID if pa.types.is_integer(kind) else TEXT_ID


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
