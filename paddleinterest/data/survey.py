"""The first pass over the parts: it counts what train knows."""

from dataclasses import dataclass, field

import numpy as np

from paddleinterest.data.engines import Engine
from paddleinterest.data.fields import Moments
from paddleinterest.data.log import Log
from paddleinterest.data.protocols import DRAWN, PAIRED, Chosen, count_repeated, count_repeats


@dataclass
class Survey:
    """The counts of all parts.

    Attributes:
        items, users: occurrences in train of each item code and each user's row.
        values: of each code of each category of the events.
        moments: of each dense column.
        rows: samples of each split.
        repeats: events of the histories that repeat another: user, item and time.
        history: events of all histories.
        repeated: {split: positives that stand in their own history}.
        mentioned: whether any event or sample is of the item code, bool.
        first_seen: time of each item code's first event (by_time).
    """

    items: np.ndarray
    users: np.ndarray
    values: dict[str, np.ndarray]
    moments: dict[str, Moments]
    mentioned: np.ndarray
    rows: dict[str, int] = field(default_factory=dict)
    repeats: int = 0
    history: int = 0
    repeated: dict[str, int] = field(default_factory=dict)
    first_seen: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def add(self, chosen: Chosen, protocol: str, log: Log) -> None:
        """Count a part.

        Args:
            chosen: the samples of its users.
            protocol: which chose them.
            log: which columns describe the moment, and the events.
        """
        train = chosen.history.at(chosen.train)
        of_train = chosen.samples["train"].events
        seen = {"given": [train, of_train], "every_prefix": [train], "last_event": [train]}
        for events in seen.get(protocol, [of_train]):
            self.items += np.bincount(events.item, minlength=len(self.items))
            self.users += np.bincount(events.user, minlength=len(self.users))
        for names, events in ((log.context, of_train), (log.event, train)):
            for name in names:
                values = events.values[name]
                if name in self.moments:
                    self.moments[name].add(values)
                else:
                    real = values[values >= 0]
                    self.values[name] += np.bincount(real, minlength=len(self.values[name]))
        self._add_samples(chosen, protocol)

    def _add_samples(self, chosen: Chosen, protocol: str) -> None:
        self.mentioned[chosen.history.item] = True
        for split, s in chosen.samples.items():
            self.mentioned[s.events.item] = True
            each = 2 if protocol in PAIRED else 1
            self.rows[split] = self.rows.get(split, 0) + each * len(s)
        if protocol == "by_time":
            np.minimum.at(self.first_seen, chosen.history.item, chosen.history.time)
        if protocol in DRAWN:
            self.history += len(chosen.history)
            self.repeats += count_repeats(chosen.history)
        if protocol == "every_prefix":
            for split, n in count_repeated(chosen).items():
                self.repeated[split] = self.repeated.get(split, 0) + n


def empty(engine: Engine, names: list[str]) -> Survey:
    """The counts before the first part.

    Args:
        engine: of the log.
        names: columns of context and event.
    """
    items, texts = len(engine.item_ids), engine.texts
    return Survey(
        np.zeros(items, np.int64),
        np.zeros(len(engine.user_ids), np.int64),
        {name: np.zeros(len(texts[name]), np.int64) for name in texts},
        {name: Moments() for name in names if name not in texts},
        np.zeros(items, bool),
        first_seen=np.full(items, np.iinfo(np.int64).max),
    )
