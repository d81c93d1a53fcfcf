"""Where the history of a user comes from: a store, and before its events those of the bundle."""

import time
from collections.abc import Sequence
from typing import Any

from paddleinterest.core import json_text
from paddleinterest.core.errors import InputError
from paddleinterest.core.json_text import shown
from paddleinterest.data.schema import LATEST_SECOND, Field
from paddleinterest.serving.history.events import Event, Store, check_id
from paddleinterest.serving.history.own import OwnHistories
from paddleinterest.serving.history.redis_store import RedisStore
from paddleinterest.serving.history.sqlite_store import SqliteStore
from paddleinterest.serving.values import fits

FORMS = "bundle, none, sqlite:FILE or redis://HOST:PORT/DB"
EVENT_KEYS = ("user", "item", "time")


class Histories:
    """The histories of a server.

    Args:
        own: those of the bundle, if it has some.
        store: what keeps the events that arrive, if there is one.
        clock: times are seconds since 1970, so an event without a time is of now.
        fields: the values of an event besides item and time, such as the action.
    """

    def __init__(
        self,
        own: OwnHistories | None,
        store: Store | None,
        clock: bool,
        fields: Sequence[Field] = (),
    ) -> None:
        self.own = own
        self.store = store
        self.clock = clock
        self.fields = {f.name: f for f in fields}

    def latest(self, user: str, n: int, until: int | None = None) -> tuple[list[Event], str]:
        """The latest events of a user and the names of what they come from.

        The store wins. The bundle adds the events before the oldest one of the store, so that a
        store which was filled from the same dataset repeats nothing.
        """
        kept: list[Event] = []
        names = []
        if self.store is not None:
            kept = [self._readable(event) for event in self.store.latest(user, n, until)]
            names += [self.store.name] if kept else []
        if self.own is not None and len(kept) < n:
            before = kept[0].time - 1 if kept else until
            older = self.own.latest(user, n - len(kept), before)
            names += [self.own.name] if older else []
            kept = older + kept
        return kept, "+".join(names) or "none"

    def append(self, body: Any, most: int) -> int:
        """Keep the events of a request, ``{"user", "item", "time"}`` with event fields, or a list
        of such.

        Args:
            body: the JSON value.
            most: largest number of events.

        Returns:
            How many events were kept.

        Raises:
            InputError: an event is malformed, and none is kept; or there is no store.
            StoreError: the store does not work.
        """
        if self.store is None:
            raise InputError(
                "events are not kept: start the server with --history sqlite:FILE or redis://…"
            )
        events = body if isinstance(body, list) else [body]
        if not 1 <= len(events) <= most:
            raise InputError(f"events: {len(events):,} of them, must be from 1 to {most:,}")
        self.store.append([self._event(event, k) for k, event in enumerate(events)])
        return len(events)

    def _event(self, event: Any, k: int) -> tuple[str, Event]:
        where = f"events[{k}]"
        if not isinstance(event, dict):
            raise InputError(f"{where} is {shown(event)}, must be an object with user and item")
        for key in event:
            if key not in EVENT_KEYS and key not in self.fields:
                known = ", ".join([*EVENT_KEYS, *self.fields])
                raise InputError(f"{where}: unknown key {shown(key)}; an event has {known}")
        ids = []
        for key in ("user", "item"):
            raw = event.get(key)
            if isinstance(raw, bool) or not isinstance(raw, (str, int)):
                raise InputError(f"{where}.{key} is {shown(raw)}, must be an id (text or integer)")
            ids.append(check_id(str(raw), f"{where}.{key}"))
        said = {name: event[name] for name in self.fields if event.get(name) is not None}
        for name, raw in said.items():
            if not fits(self.fields[name], raw):
                words = "a number" if self.fields[name].kind == "dense" else "text or a number"
                raise InputError(f"{where}.{name} is {shown(raw)}, must be {words}")
        return ids[0], Event(ids[1], self._time(event, where), said)

    def _readable(self, event: Event) -> Event:
        """An event of the store without fields that this bundle does not know, or of another
        kind there."""
        said = {
            name: raw
            for name, raw in event.fields.items()
            if name in self.fields and fits(self.fields[name], raw)
        }
        return Event(event.item, event.time, said)

    def _time(self, event: dict[str, Any], where: str) -> int:
        if "time" not in event and self.clock:
            return int(time.time())
        raw = event.get("time")
        if isinstance(raw, bool) or not isinstance(raw, int) or abs(raw) >= 2**62:
            raise InputError(f"{where}.time is {shown(raw)}, must be an integer")
        if self.clock and abs(raw) >= LATEST_SECOND:
            raise InputError(
                f"{where}.time is {raw}, must be seconds since 1970; is it milliseconds?"
            )
        return raw

    def close(self) -> None:
        """Close the store."""
        if self.store is not None:
            self.store.close()


def check_form(text: str) -> str:
    """The value of --history, if it has one of the forms."""
    known = text in ("bundle", "none") or text.startswith(("redis://", "rediss://"))
    if not known and not (text.startswith("sqlite:") and len(text) > len("sqlite:")):
        raise InputError(f"--history is {json_text.shown(text)}, must be {FORMS}")
    return text


def open_store(text: str, check: bool = True) -> Store | None:
    """The store that --history names; None if it names none.

    Args:
        text: the value of --history.
        check: ask the Redis server whether it is there.
    """
    check_form(text)
    if text.startswith("sqlite:"):
        return SqliteStore(text.removeprefix("sqlite:"))
    if text.startswith("redis"):
        return RedisStore(text, check)
    return None
