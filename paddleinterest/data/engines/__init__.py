"""Who brings the events of some users at a time: from memory, from DuckDB, from a Spark cluster."""

from typing import Protocol

import numpy as np
import pyarrow as pa

from paddleinterest.data.events import Events

ENGINES = ("memory", "duckdb")


class Engine(Protocol):
    """The methods of an engine that the builder uses. Codes of ids and texts are places in their
    sorted lists, so that they are the same whichever engine gives them.

    Attributes:
        name: as `--engine` has it.
        item_ids, user_ids: every id of the log, in rising order.
        items, users: codes of the rows of `log.items` and `log.users` (None without a table).
        texts: {category of the events or samples: its texts in rising order}.
        rows: events of the log.
        labels: whether they have labels.
    """

    name: str
    item_ids: pa.Array
    user_ids: pa.Array
    items: np.ndarray | None
    users: np.ndarray | None
    texts: dict[str, pa.Array]
    rows: int
    labels: bool

    def number_users(self, row: np.ndarray, key: np.ndarray) -> None:
        """Take the users' rows: `row` of each user code, and `key` (the hash) of each row."""

    def events_of_users(self) -> tuple[np.ndarray, np.ndarray]:
        """Events of every row of the users, int64 [U]: all of them, and those with label 1."""

    def time_of_rank(self, ranks: list[int]) -> list[int]:
        """The times at these places among all times in rising order."""

    def part(self, first: int, last: int) -> Events:
        """All events of the users' rows [first, last), in any order; items by code."""

    def close(self) -> None:
        """Let go of what the engine holds; it is asked no more."""

    def given(self, first: int, last: int) -> Events:
        """Likewise the samples of protocol given, with the number of the split in
        values["split"]."""
