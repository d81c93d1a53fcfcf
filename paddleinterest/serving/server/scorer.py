"""A process that answers one job after the other, each from its bytes to the answer's bytes."""

import contextlib
import os
import socket
import sys
import time
import traceback
from dataclasses import dataclass, field
from typing import Any

import orjson

from paddleinterest.core import json_text
from paddleinterest.core.errors import InputError, one_line
from paddleinterest.serving.bundle import Bundle
from paddleinterest.serving.history.events import StoreError
from paddleinterest.serving.server import frames
from paddleinterest.serving.server.catalogue import Catalogue
from paddleinterest.serving.server.limits import Limits

WARM = 20  # events and candidates
MOST_SHOWN = 100  # users or items that one look-up lists


@dataclass
class Reply:
    """The answer to a job.

    Attributes:
        status: as of HTTP.
        content: becomes JSON.
        facts: counts for the metrics and the access log.
        finite: the numbers of `content` are known to be finite.
    """

    status: int
    content: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)
    finite: bool = False

    def json(self) -> bytes:
        """`content` as JSON in UTF-8.

        Raises:
            ValueError: a number is not finite.
        """
        if self.finite:
            with contextlib.suppress(orjson.JSONEncodeError):  # long integers, half surrogate pairs
                return orjson.dumps(self.content)  # ten times as fast; writes NaN as null
        return json_text.dumps(self.content).encode()


class Scorer:
    """Answers jobs with a bundle.

    Args:
        bundle: with its histories.
        limits: of one body.
    """

    def __init__(self, bundle: Bundle, limits: Limits) -> None:
        self.bundle = bundle
        self.limits = limits
        self.catalogue = Catalogue(bundle)

    def warm_up(self) -> None:
        """Score something: the first run of a program is slow."""
        ids = self.bundle.encoder.item_row
        items = [ids[k] for k in range(min(WARM, len(ids)))]
        history = [{"item": item, "time": 0} for item in items]
        for candidates in (items[:1], items):
            for _ in range(2):
                with contextlib.suppress(InputError):  # scores that are not finite
                    self.bundle.rank({"history": history, "candidates": candidates, "time": 0})

    def answer(self, head: dict[str, Any], body: bytes) -> Reply:
        """The reply to a job.

        Args:
            head: ``kind`` of the job, and its parameters.
            body: of the request.
        """
        try:
            if head["kind"] == "rank":
                return self._rank(json_text.parse(body, "the request"), head.get("explain", False))
            if head["kind"] == "events":
                return self._events(json_text.parse(body, "the request"))
            if head["kind"] == "users":
                return self._users(head["query"], head["limit"])
            if head["kind"] == "items":
                return self._items(head["query"], head["limit"])
            return self._history(head["user"])
        except InputError as e:
            return Reply(400, {"error": str(e)}, {"refused": "malformed"})
        except StoreError as e:
            return Reply(503, {"error": one_line(str(e))}, {"refused": "history store"})
        except Exception as e:  # a bug: this request fails, the next one does not
            traceback.print_exc(file=sys.stderr)
            words = f"the server has a bug: {type(e).__name__}; its log has the details"
            return Reply(500, {"error": words}, {"refused": "bug"})

    def _rank(self, requests: Any, explain: bool) -> Reply:
        candidates = self._check_size(requests)
        if explain:
            if isinstance(requests, list):
                raise InputError("explain=1 is for one request, not for a list")
            content = self.catalogue.explained(requests)
            answers = [content]
        else:
            content = self.bundle.answer(requests)
            answers = content["answers"] if "answers" in content else [content]
        facts = {"candidates": candidates, "version": self.bundle.version, **_counted(answers)}
        return Reply(200, content, facts, finite=not explain)  # `Bundle.scored` looks at scores

    def _check_size(self, requests: Any) -> int:
        """Number of candidates, if the limits allow it."""
        many = requests if isinstance(requests, list) else [requests]
        most = self.limits.max_requests
        if len(many) > most:
            raise InputError(f"a list of {len(many):,} requests; at most {most:,} are taken")
        total = 0
        for request in many:
            candidates = request.get("candidates") if isinstance(request, dict) else None
            total += len(candidates) if isinstance(candidates, list) else 0
        most = self.limits.max_candidates
        if total > most:
            raise InputError(f"{total:,} candidates; at most {most:,} are taken in one body")
        return total

    def _events(self, body: Any) -> Reply:
        kept = self.bundle.histories.append(body, self.limits.max_events)
        return Reply(200, {"events": kept}, {"events": kept})

    def _users(self, query: str, limit: int) -> Reply:
        return Reply(200, {"users": self.catalogue.users(query, min(limit, MOST_SHOWN))})

    def _items(self, query: str, limit: int) -> Reply:
        return Reply(200, {"items": self.catalogue.items(query, min(limit, MOST_SHOWN))})

    def _history(self, user: str) -> Reply:
        events, source = self.bundle.histories.latest(user, self.bundle.encoder.cap)
        shown = self.catalogue.events(events)
        return Reply(200, {"user": user, "events": shown, "from": source})


def _counted(answers: list[dict[str, Any]]) -> dict[str, int]:
    """The counts of the metrics for some answers."""
    counts = {
        "requests": len(answers),
        "unknown_items": 0,
        "unknown_history": 0,
        "unknown_users": 0,
        "empty_histories": 0,
    }
    for answer in answers:
        counts["unknown_items"] += sum(not c["known"] for c in answer["candidates"])
        counts["unknown_history"] += answer["unknown_history"]
        counts["unknown_users"] += answer["known_user"] is False
        counts["empty_histories"] += not answer["history_events"]
    return counts


def serve(connection: socket.socket, scorer: Scorer) -> None:
    """Say that the scorer is warm, and answer the jobs that come over a socket until the other side
    closes it."""
    scorer.warm_up()
    connection.sendall(frames.pack({"warm": True}))
    while True:
        job = frames.receive(connection)
        if job is None:
            return
        started = time.perf_counter()
        reply = scorer.answer(*job)
        content = reply.json()
        reply.facts["seconds"] = time.perf_counter() - started
        head = {"status": reply.status, "pid": os.getpid(), **reply.facts}
        connection.sendall(frames.pack(head, content))
