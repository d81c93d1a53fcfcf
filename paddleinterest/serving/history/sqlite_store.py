"""Events in one SQLite file, which several processes read and write at once (write-ahead log)."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator

from paddleinterest.core.errors import InputError
from paddleinterest.serving.history.events import KEEP, Event, StoreError

WAIT = 5  # seconds for another writer
TABLE = """
CREATE TABLE IF NOT EXISTS events
    (id INTEGER PRIMARY KEY, user TEXT NOT NULL, time INTEGER NOT NULL, item TEXT NOT NULL,
    fields TEXT)
"""
COLUMNS = "SELECT name FROM pragma_table_info('events')"
FIELDS = "ALTER TABLE events ADD COLUMN fields TEXT"  # files of version 0.1 lack it
INDEX = "CREATE INDEX IF NOT EXISTS of_user ON events (user, time, id)"
LATEST = """
SELECT item, time, fields FROM events WHERE user = ? AND time <= ?
ORDER BY time DESC, id DESC LIMIT ?
"""
INSERT = "INSERT INTO events (user, time, item, fields) VALUES (?, ?, ?, ?)"
OLDEST_KEPT = (
    "SELECT time, id FROM events WHERE user = ? ORDER BY time DESC, id DESC LIMIT 1 OFFSET ?"
)
TRIM = "DELETE FROM events WHERE user = ? AND (time, id) < (?, ?)"
FAR = 2**63 - 1


class SqliteStore:
    """Keeps events in a file.

    What is appended survives the end of this process, however it ends. A power cut may lose the
    last seconds.

    Args:
        path: the file; made if it is missing.

    Example:
        >>> store = SqliteStore(":memory:")
        >>> store.append([("u1", Event("i1", 5)), ("u1", Event("i2", 3))])
        >>> [event.item for event in store.latest("u1", 10)]
        ['i2', 'i1']
    """

    name = "sqlite"

    def __init__(self, path: str) -> None:
        try:
            self._file = sqlite3.connect(path, timeout=WAIT, isolation_level=None)
            self._file.execute("PRAGMA journal_mode = WAL")
            self._file.execute("PRAGMA synchronous = NORMAL")
            with self._transaction():
                self._file.execute(TABLE)
                self._file.execute(INDEX)
                if ("fields",) not in self._file.execute(COLUMNS).fetchall():
                    self._file.execute(FIELDS)
        except (sqlite3.Error, StoreError) as e:
            raise InputError(f"--history sqlite:{path} cannot be opened: {e}") from None

    def latest(self, user: str, n: int, until: int | None = None) -> list[Event]:
        """The latest events of a user, oldest first, at most `n`, none after `until`."""
        with _errors():
            found = self._file.execute(LATEST, (user, FAR if until is None else until, n))
            return [_event(*row) for row in found][::-1]

    def append(self, events: list[tuple[str, Event]]) -> None:
        """Keep events of users, all or none of them."""
        with _errors(), self._transaction():
            self._file.executemany(INSERT, [_row(user, event) for user, event in events])
            for user in {user for user, _ in events}:
                self._trim(user)

    def _trim(self, user: str) -> None:
        oldest = self._file.execute(OLDEST_KEPT, (user, KEEP - 1)).fetchone()
        if oldest:
            self._file.execute(TRIM, (user, *oldest))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._file.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._file.execute("ROLLBACK")
            raise
        self._file.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _row(user: str, event: Event) -> tuple[str, int, str, str | None]:
    fields = json.dumps(event.fields) if event.fields else None
    return user, event.time, event.item, fields


def _event(item: str, time: int, fields: str | None) -> Event:
    return Event(item, time, json.loads(fields) if fields else {})


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as e:
        raise StoreError(f"the SQLite file of histories: {e}") from None
