"""Checks before and records after each request: who may ask, an id, headers, counts, the access
log."""

import hmac
import re
import secrets
import time
from dataclasses import dataclass, field
from typing import Any, TextIO
from urllib.parse import urlsplit

from paddleinterest.core import json_text
from paddleinterest.serving.server.pool import Pool
from paddleinterest.serving.server.telemetry import Telemetry

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
OPEN = ("/healthz", "/readyz", "/ui", "/docs", "/pages/")  # without a token: nothing of the data
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
    (
        b"content-security-policy",
        b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
]


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        hosts: names that the Host header may have; empty = any.
        token: what Authorization must bear; empty = nobody needs one.
        log: where each answer gets a line; None = nowhere.
    """

    hosts: frozenset[str] = frozenset()
    token: str = ""
    log: TextIO | None = None


class Guard:
    """An ASGI application that wraps the server's.

    Args:
        app: the application.
        access: who may ask.
        pool: says whether the server drains.
        telemetry: counts.
        paths: those that metrics name; others count as "other".
    """

    def __init__(
        self, app: Any, access: Access, pool: Pool, telemetry: Telemetry, paths: set[str]
    ) -> None:
        self.app = app
        self.access = access
        self.pool = pool
        self.telemetry = telemetry
        self.paths = paths

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve one request."""
        headers = dict(scope["headers"])
        state = scope.setdefault("state", {})
        state["id"] = _request_id(headers)
        state["facts"] = {}
        answer = _Answer(state["id"])

        async def tell(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                message["headers"] = self._headers(message.get("headers", []), answer)
            else:
                answer.bytes += len(message.get("body", b""))
                if not message.get("more_body"):
                    self._count(scope, answer)  # now: a client that has its answer finds it counted
            await send(message)

        refused = self._refusal(scope, headers)
        try:
            if refused:
                await _answer(tell, *refused)
            else:
                await self.app(scope, receive, tell)
        finally:
            self._count(scope, answer)

    def _count(self, scope: dict[str, Any], answer: "_Answer") -> None:
        """Count an answer and log it, once."""
        if answer.counted:
            return
        answer.counted = True
        seconds = time.perf_counter() - answer.started
        path = scope["path"] if scope["path"] in self.paths else "other"
        self.telemetry.answer(path, answer.status, seconds)
        if self.access.log is not None:
            self._log(scope, answer, scope["state"]["facts"], seconds)

    def _headers(self, given: Any, answer: "_Answer") -> list[tuple[bytes, bytes]]:
        names = {name for name, _ in given}
        made = [*given, *(pair for pair in HEADERS if pair[0] not in names)]
        made.append((b"x-request-id", answer.id.encode()))
        if self.pool.draining:
            made.append((b"connection", b"close"))
        return made

    def _refusal(
        self, scope: dict[str, Any], headers: dict[bytes, bytes]
    ) -> tuple[int, str] | None:
        """Status and words if the request may not be served."""
        host = _name(headers.get(b"host", b"").decode("latin-1"))
        if self.access.hosts and host not in self.access.hosts:
            self.telemetry.refusal("host")
            return 421, f"{host or 'no host'} is not a name of this server (--allow-host)"
        origin = headers.get(b"origin")
        if origin is not None and not _same(origin.decode("latin-1"), headers):
            self.telemetry.refusal("origin")
            return 403, "pages of other sites may not ask this server"
        token = self.access.token
        if token and not scope["path"].startswith(OPEN):
            given = headers.get(b"authorization", b"")
            if not hmac.compare_digest(given, b"Bearer " + token.encode()):
                self.telemetry.refusal("token")
                return 401, "the header Authorization must be: Bearer, and the server's token"
        return None

    def _log(
        self, scope: dict[str, Any], answer: "_Answer", facts: dict[str, Any], seconds: float
    ) -> None:
        client = scope.get("client") or ("",)
        line = {
            "time": round(time.time(), 3),
            "id": answer.id,
            "client": client[0],
            "method": scope["method"],
            "path": scope["path"][:200],
            "status": answer.status,
            "bytes": answer.bytes,
            "ms": round(1e3 * seconds, 2),
            **{k: v for k, v in facts.items() if k in ("candidates", "version", "events")},
        }
        assert self.access.log is not None
        self.access.log.write(json_text.dumps(line) + "\n")


@dataclass
class _Answer:
    """The answer so far."""

    id: str
    started: float = field(default_factory=time.perf_counter)
    status: int = 0  # until an answer starts
    bytes: int = 0
    counted: bool = False


def _request_id(headers: dict[bytes, bytes]) -> str:
    """The client's id of its request, or a new one."""
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def _name(host: str) -> str:
    """A Host header without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _same(origin: str, headers: dict[bytes, bytes]) -> bool:
    """True if the request comes from a page of this server."""
    try:
        return urlsplit(origin).netloc == headers.get(b"host", b"").decode("latin-1")
    except ValueError:
        return False


async def _answer(send: Any, status: int, words: str) -> None:
    body = json_text.dumps({"error": words}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *([(b"www-authenticate", b"Bearer")] if status == 401 else []),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
