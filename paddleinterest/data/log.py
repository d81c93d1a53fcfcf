"""The raw event log that every source yields and the builder takes."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pandas as pd

if TYPE_CHECKING:
    from paddleinterest.data.store import EventStore

SAMPLED = 1 << 21  # events by which a log on disk is judged


@dataclass
class Log:
    """A raw event log from a source, before any splitting or indexing.

    Nothing depends on the order of the rows, except through a column named in `tie`.

    Attributes:
        events: columns ``user``, ``item`` (strings or integers), ``time`` (int64), optionally
            ``label`` (0/1), then the columns named in ``context`` and ``event``. For logs larger
            than memory: an iterable of such frames, which may allow one pass only, or a store on
            disk that the source has filled.
        items: ``item`` (unique), then one column for each attribute. Items of the log that are not
            listed get missing attributes; listed items that the log never mentions can still be
            scored.
        users: ``user`` (unique), then attributes; None without attributes of users.
        context: columns of ``events`` (and ``samples``) that describe the moment of the impression.
        event: columns of ``events`` that describe an event of a history, such as the action or the
            price paid; the target has none.
        dense: columns of items, users or events that are numbers to be standardised. All other
            columns are categories.
        multiple: columns of items or users whose cells are lists of values.
        vectors: columns of items whose cells are lists of equally many numbers.
        hashed: {category: buckets}, ``item`` among them: its values share this many embedding rows
            by their hash, so values that train never saw have one too.
        tie: name of an ``events`` column of integers that orders events of the same user and time.
        time: ``seconds`` if ``events.time`` is a clock, ``order`` if it only gives an order.
        samples: only for sources whose lines are samples already (protocol ``given``): ``user``,
            ``item``, ``label``, ``split``, and optionally ``time``; the history of a sample is all
            of its user's events, or those strictly before its time.
        truth: name of an ``events`` column with the true click probability (synthetic data only).
        note: one sentence to print with every figure of this data; may be empty.
    """

    events: "pd.DataFrame | Iterable[pd.DataFrame] | EventStore"
    items: pd.DataFrame
    users: pd.DataFrame | None = None
    context: list[str] = field(default_factory=list)
    dense: list[str] = field(default_factory=list)
    time: str = "seconds"
    samples: pd.DataFrame | None = None
    truth: str = ""
    note: str = ""
    event: list[str] = field(default_factory=list)
    multiple: list[str] = field(default_factory=list)
    vectors: list[str] = field(default_factory=list)
    hashed: dict[str, int] = field(default_factory=dict)
    tie: str = ""

    def columns_of_events(self) -> list[str]:
        """Columns of `events` other than ids, time, label and tie."""
        moment = self.context if self.samples is None else []
        return [*moment, *self.event, *([self.truth] if self.truth else [])]

    def is_number(self, column: str) -> bool:
        """True if a column of the events holds numbers, not categories."""
        return column in self.dense or column == self.truth

    @property
    def store(self) -> "EventStore | None":
        """The store on disk that holds the events, if one does."""
        # by a method of its own: to import the class needs duckdb
        return cast("EventStore", self.events) if hasattr(self.events, "drop_events") else None

    def some_events(self, of: str) -> pd.DataFrame | None:
        """Rows to judge the log by: all in memory, or those of some items or users in a store; None
        if the events can be read only once.

        Args:
            of: item or user.
        """
        if isinstance(self.events, pd.DataFrame):
            return self.events
        return None if self.store is None else self.store.sample(of, SAMPLED)
