"""HTTP connections that cannot hold the server up: each has limits in time, size and number."""

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from paddleinterest.serving.server.limits import Limits
from paddleinterest.serving.server.telemetry import Telemetry

LONGEST_HEAD = 32 << 10  # bytes of a request line with its headers


def connection_class(limits: Limits, telemetry: Telemetry) -> type[HttpToolsProtocol]:
    """The class of connections that uvicorn is to use."""

    class Limited(Connection):
        pass

    Limited.limits = limits
    Limited.telemetry = telemetry
    return Limited


class Connection(HttpToolsProtocol):
    """A connection whose headers must be complete in time, and short.

    If too many are open, that which has waited longest without a request makes room.
    """

    limits: Limits
    telemetry: Telemetry
    _timer: asyncio.TimerHandle | None = None
    _in_head = False
    _head_bytes = 0
    since = 0.0  # when it began to wait for a request

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.telemetry.connections = len(self.connections)
        self.since = self.loop.time()
        if len(self.connections) > self.limits.max_connections:
            self._make_room()
        if not transport.is_closing():
            self._start_timer()

    def _make_room(self) -> None:
        waiting = [c for c in self.connections if isinstance(c, Connection) and not c.is_active()]
        others = [c for c in waiting if c is not self]
        if others:
            self.telemetry.refusal("connection closed for another")
            min(others, key=lambda c: c.since).transport.abort()
        else:
            self.refuse(503, "too many connections", "too many connections")

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)
        self.telemetry.connections = len(self.connections)

    def is_active(self) -> bool:
        """True while a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        if not self._in_head:
            self._head_bytes = 0
        self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head and self._head_bytes > LONGEST_HEAD:
            words = f"the headers are longer than {LONGEST_HEAD:,} bytes"
            self.refuse(431, words, "headers too long")
        elif not self._in_head and not self.is_active() and self._timer is None:
            if self.timeout_keep_alive_task is None:
                self._start_timer()  # line breaks between two requests, and nothing else

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        if self._timer is None:
            self._start_timer()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_timer()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        self.since = self.loop.time()
        super().on_response_complete()

    def _start_timer(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(self.limits.patience, self._too_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if self.is_active() or self.transport.is_closing():
            return
        if self._in_head:
            words = f"the headers were not complete after {self.limits.patience:g} seconds"
            self.refuse(408, words, "slow headers")
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        self.refuse(400, "this is not HTTP", "not HTTP")

    def refuse(self, status: int, words: str, reason: str) -> None:
        """Answer without the application, and close."""
        self._stop_timer()
        self.telemetry.refusal(reason)
        body = json.dumps({"error": words}).encode()
        lines = [
            STATUS_LINE[status],
            b"content-type: application/json\r\n",
            b"content-length: " + str(len(body)).encode() + b"\r\n",
            b"connection: close\r\n",
            *([b"retry-after: 1\r\n"] if status == 503 else []),
            b"\r\n",
            body,
        ]
        self.transport.write(b"".join(lines))
        self.transport.close()
