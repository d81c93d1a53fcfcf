"""Clients of a server, in a process of their own: the standard library alone.

    python benchmarks/load/client.py PLAN

PLAN is a JSON file. The last line of standard output is JSON: requests a second, statuses, p50 and
p99. In a closed loop each client sends its next request when it has its answer. In an open loop
requests come at a fixed rate, whatever the server does, and latency counts from the moment at which
a request was due. A connection is kept for the next request. After SIGTERM no more requests are
sent.
"""

import asyncio
import collections
import contextlib
import json
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import Any

HOST = "127.0.0.1"
PAUSE = 0.02  # seconds after which a client whose connection was refused tries again
LONGEST = 60.0  # seconds that an answer may take


@dataclass
class Plan:
    """The requests to send.

    Attributes:
        port: of the server, on this machine.
        bodies: JSON texts; client k sends them in turn, from number k on.
        path: of the requests.
        clients: in a closed loop, those that ask at once; in an open loop, connections at most.
        rate: requests a second of an open loop; 0 = a closed loop.
        requests: after so many no more are sent; 0 = no such limit.
        seconds: after so many no more are sent; 0 = no such limit.
        warm_up: requests before those that count.
        headers: further headers.
        detailed: give each answer's moments, status and version of the bundle or error.
    """

    port: int
    bodies: list[str]
    path: str = "/rank"
    clients: int = 1
    rate: float = 0.0
    requests: int = 0
    seconds: float = 0.0
    warm_up: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    detailed: bool = False


class Connection(asyncio.Protocol):
    """One request at a time on a kept connection."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.answer: asyncio.Future[tuple[int, bytes]] | None = None
        self.closed = False
        self._got = bytearray()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(ConnectionResetError("closed before the answer was complete"))

    def data_received(self, data: bytes) -> None:
        self._got += data
        end = self._got.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._got[:end]).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(self._got) < end + 4 + length:
            return
        body = bytes(self._got[end + 4 : end + 4 + length])
        del self._got[: end + 4 + length]
        if b"connection: close" in head:
            self.closed = True
            self.transport.close()
        if self.answer is not None and not self.answer.done():
            self.answer.set_result((int(head[9:12]), body))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer.

        Raises:
            ConnectionError: the server closed the connection without an answer.
        """
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await asyncio.wait_for(self.answer, LONGEST)


class Clients:
    """Sends a plan's requests and counts the answers.

    Attributes:
        statuses: {status: answers}; "cut" = the connection closed before an answer, and "none" = no
            answer within `LONGEST` seconds.
        times: milliseconds of each answer, by status.
        answers: [sent, received, status, version or error] of each answer, if the plan asks for
            them; moments of `time.monotonic`, which all processes of a machine share.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.requests = [_request(plan, body) for body in plan.bodies]
        self.statuses: collections.Counter[str] = collections.Counter()
        self.times: dict[str, list[float]] = collections.defaultdict(list)
        self.answers: list[tuple[float, float, str, str]] = []
        self.idle: list[Connection] = []
        self.late = 0.0  # seconds by which the latest request of an open loop was sent too late
        self._sent = 0
        self._stopped = False

    async def run(self) -> dict[str, Any]:
        """Do the plan; returns the counts."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stop)
        for k in range(self.plan.warm_up):
            await self._one(k, count=False)
        started = time.perf_counter()
        await (self._open_loop() if self.plan.rate else self._closed_loop())
        seconds = time.perf_counter() - started
        answers = sum(self.statuses.values())
        return {
            "seconds": round(seconds, 2),
            "requests": answers,
            "a_second": round(answers / seconds, 1),
            "statuses": dict(self.statuses),
            "answered_a_second": round(self.statuses["200"] / seconds, 1),
            "times": {status: _percentiles(found) for status, found in self.times.items()},
            "sent_late_ms": round(1e3 * self.late, 1),
            "answers": self.answers,
        }

    def _stop(self) -> None:
        self._stopped = True

    def _more(self, started: float) -> bool:
        plan = self.plan
        if self._stopped or (plan.requests and self._sent >= plan.requests):
            return False
        return not plan.seconds or time.perf_counter() - started < plan.seconds

    async def _closed_loop(self) -> None:
        started = time.perf_counter()

        async def client(k: int) -> None:
            while self._more(started):
                self._sent += 1
                await self._one(k)
                k += 1

        await asyncio.gather(*(client(k) for k in range(self.plan.clients)))

    async def _open_loop(self) -> None:
        started = time.perf_counter()
        under_way = set()
        while self._more(started):
            due = started + self._sent / self.plan.rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            self.late = max(self.late, time.perf_counter() - due)
            task = asyncio.ensure_future(self._one(self._sent, due))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            self._sent += 1
        await asyncio.gather(*under_way)

    async def _one(self, k: int, due: float = 0.0, count: bool = True) -> None:
        """Send a request and count its answer; without a server, wait for one."""
        connection = await self._connection()
        sent = time.monotonic()
        started = due or time.perf_counter()
        try:
            status, body = await connection.ask(self.requests[k % len(self.requests)])
            name = str(status)
        except ConnectionError:
            body = b""
            name = "cut"
        except asyncio.TimeoutError:
            connection.transport.abort()
            body = b""
            name = "none"
        if not connection.closed:
            self.idle.append(connection)
        if count:
            self.statuses[name] += 1
            self.times[name].append(1e3 * (time.perf_counter() - started))
            if self.plan.detailed:
                said = json.loads(body) if body else {}
                words = said.get("version" if name == "200" else "error", "")
                self.answers.append((sent, time.monotonic(), name, words))

    async def _connection(self) -> Connection:
        while self.idle:
            found = self.idle.pop()
            if not found.closed:
                return found
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(OSError):
                return (await loop.create_connection(Connection, HOST, self.plan.port))[1]
            await asyncio.sleep(PAUSE)


def _request(plan: Plan, body: str) -> bytes:
    content = body.encode()
    headers = {"Host": "localhost", "Content-Length": str(len(content)), **plan.headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {plan.path} HTTP/1.1\r\n{head}\r\n".encode() + content


def _percentiles(found: list[float]) -> dict[str, float]:
    """p50, p99 and the longest, in milliseconds."""
    found = sorted(found)
    last = len(found) - 1
    marks = {"p50_ms": found[last // 2], "p99_ms": found[int(0.99 * last)], "max_ms": found[-1]}
    return {name: round(value, 3) for name, value in marks.items()}


def main() -> None:
    """Read the plan, send its requests, print what was counted."""
    with open(sys.argv[1], encoding="utf-8") as f:
        plan = Plan(**json.load(f))
    print(json.dumps(asyncio.run(Clients(plan).run())))


if __name__ == "__main__":
    main()
