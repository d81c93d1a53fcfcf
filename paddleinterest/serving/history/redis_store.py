"""Events in Redis, one sorted set per user."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from paddleinterest.core.errors import InputError
from paddleinterest.serving.history.events import KEEP, Event, StoreError

TIMEOUT = 1.0  # seconds for one command
PREFIX = "paddleinterest:history:"
COUNTER = "paddleinterest:events"
EXACT = 2**53  # scores of Redis are doubles


class RedisStore:
    """Keeps events in a Redis server.

    Whether they survive the server's end is the server's setting (``appendonly yes``).

    Args:
        url: ``redis://host:port/db``.
        check: ask the server whether it is there.
    """

    name = "redis"

    def __init__(self, url: str, check: bool = True) -> None:
        try:
            import redis
        except ImportError:
            raise InputError(
                "--history redis://… needs the package redis; pip install redis"
            ) from None
        self._error = redis.RedisError
        try:
            self._server = redis.Redis.from_url(
                url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT
            )
            if check:
                self._server.ping()
        except (redis.RedisError, ValueError) as e:
            raise InputError(f"--history {url} cannot be reached: {e}") from None

    def latest(self, user: str, n: int, until: int | None = None) -> list[Event]:
        """The latest events of a user, oldest first, at most `n`, none after `until`."""
        with self._errors():
            found = self._server.zrevrangebyscore(
                PREFIX + user, "+inf" if until is None else until, "-inf", 0, n
            )
        return [_event(member) for member in reversed(found)]

    def append(self, events: list[tuple[str, Event]]) -> None:
        """Keep events of users, all or none of them."""
        for _, event in events:
            if abs(event.time) > EXACT:
                raise InputError(f"time is {event.time}, Redis keeps times up to 2**53")
        with self._errors():
            last = self._server.incrby(COUNTER, len(events))
            together = self._server.pipeline(transaction=True)
            for number, (user, event) in enumerate(events, last - len(events) + 1):
                said = [event.item, event.time, *([event.fields] if event.fields else [])]
                member = f"{number:020d}{json.dumps(said)}"
                together.zadd(PREFIX + user, {member: event.time})
            for user in {user for user, _ in events}:
                together.zremrangebyrank(PREFIX + user, 0, -KEEP - 1)
            together.execute()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except self._error as e:
            raise StoreError(f"the Redis server of histories: {e}") from None

    def close(self) -> None:
        """Close the connections."""
        self._server.close()


def _event(member: Any) -> Event:
    return Event(*json.loads(member[20:]))
