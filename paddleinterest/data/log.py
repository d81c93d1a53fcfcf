"""What every source yields and the builder takes: a raw event log."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas


@dataclass
class Log:
    """What a source yields: a raw event log, before any splitting or indexing.

    Attributes:
        events: columns ``user``, ``item`` (strings or integers), ``time`` (int64), optionally
            ``label`` (0/1), then the columns named in ``context``. Ties in time keep the row order.
        items: ``item`` (unique), then one column for each attribute. Items of the log that are not
            listed get missing attributes; listed items that the log never mentions can still be
            scored.
        users: ``user`` (unique), then attributes; None when nothing is known of users.
        context: columns of ``events`` (and ``samples``) that describe the moment of the impression.
        dense: those columns of items, users or events that are numbers to be standardised. All
            other columns are categories.
        time: ``seconds`` when ``events.time`` is a clock, ``order`` when it only orders.
        samples: only for sources whose lines are samples already (protocol ``given``): ``user``,
            ``item``,
            ``label``, ``split``; the history of a sample is all of its user's events.
        truth: name of an ``events`` column with the true click probability (synthetic data only).
        note: one sentence to print beside every figure made from this data; may be empty.
    """

    events: "pandas.DataFrame"
    items: "pandas.DataFrame"
    users: "pandas.DataFrame" = None
    context: list = field(default_factory=list)
    dense: list = field(default_factory=list)
    time: str = "seconds"
    samples: "pandas.DataFrame" = None
    truth: str = ""
    note: str = ""
