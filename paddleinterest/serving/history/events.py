"""Events of users, and the interface of what keeps them."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from paddleinterest.core.errors import InputError
from paddleinterest.serving.values import Index

KEEP = 1000  # events of one user that a store keeps, the latest
LONGEST_ID = 1024  # characters of an id that a store takes


class StoreError(OSError):
    """A store cannot be reached or read. It may work again later."""


@dataclass(frozen=True)
class Event:
    """One event of a user's history.

    Attributes:
        item: raw id.
        time: as the dataset counts time, seconds since 1970 as a rule.
        fields: {event field: raw value}, such as the action; those that are missing are left out.
    """

    item: str
    time: int
    fields: dict[str, Any] = field(default_factory=dict)

    def as_request(self) -> dict[str, Any]:
        """The event as a request's history has it."""
        return {"item": self.item, "time": self.time, **self.fields}

    def without_hashes(self) -> "Event":
        """The event without the fields whose raw values nobody knows."""
        known = {name: raw for name, raw in self.fields.items() if not isinstance(raw, Index)}
        return Event(self.item, self.time, known)


class Store(Protocol):
    """Keeps events of users."""

    name: str  # for answers: where a history came from

    def latest(self, user: str, n: int, until: int | None = None) -> list[Event]:
        """The latest events of a user, oldest first, at most `n`.

        Args:
            user: raw id.
            n: how many.
            until: no events after this time; None = all.
        """

    def append(self, events: list[tuple[str, Event]]) -> None:
        """Keep events of users, all or none of them. When this returns they are kept.

        Of events of one user with the same time, those appended later are later.
        """

    def close(self) -> None:
        """Let go of files and connections."""


def check_id(raw: str, where: str) -> str:
    """An id that every store can keep."""
    try:
        raw.encode()
    except UnicodeEncodeError:
        raise InputError(f"{where} has half of a surrogate pair, which no store keeps") from None
    if len(raw) > LONGEST_ID:
        raise InputError(f"{where} has {len(raw):,} characters, more than {LONGEST_ID:,}")
    return raw
