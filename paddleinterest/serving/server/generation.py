"""One opened bundle, seen from the server: its loader process and its scorers."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import paddleinterest
from paddleinterest.core.errors import InputError
from paddleinterest.serving.server import frames
from paddleinterest.serving.server.limits import Limits
from paddleinterest.serving.server.loader import LONGEST, Options

AGAIN = 0.1  # seconds after which a scorer that did not start is tried again
LAST = 3.0  # seconds that a loader has to end


class Worker:
    """A scorer.

    Attributes:
        pid: its process.
        generation: what it belongs to.
        job: what it works on; None = idle.
    """

    def __init__(self, pid: int, generation: "Generation") -> None:
        self.pid = pid
        self.generation = generation
        self.job: Any = None
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter
        self.task: asyncio.Task[None]

    async def connect(self, connection: socket.socket) -> None:
        """Take the socket that the loader sent, and wait until the scorer is warm."""
        self.reader, self.writer = await asyncio.open_connection(sock=connection)
        await frames.read(self.reader)

    def send(self, head: frames.Head, body: bytes) -> None:
        """Give the scorer a job."""
        self.writer.write(frames.pack(head, body))

    def close(self) -> None:
        """Let the scorer end."""
        with contextlib.suppress(Exception):
            self.writer.close()


class Generation:
    """A loader and its scorers.

    Args:
        options: how to open the bundle.
        limits: for the scorers.
        on_worker: called with every new `Worker`.
        on_lost: called when the loader has ended although nobody closed it.
    """

    def __init__(
        self,
        options: Options,
        limits: Limits,
        on_worker: Callable[[Worker], None],
        on_lost: Callable[["Generation"], None],
    ) -> None:
        self.options = options
        self.facts: dict[str, Any] = {}
        self.workers: set[Worker] = set()
        self.closed = False
        self._on_worker = on_worker
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        with theirs:
            self.process = _start(options.pack(limits), theirs)
        self._loop.add_reader(self._control, self._receive)

    async def opened(self) -> None:
        """Wait for the loader, then for every scorer.

        Raises:
            InputError: the bundle cannot be opened.
        """
        self.facts = await self._ready
        self.fork(self.options.workers)
        while len(self.workers) < self.options.workers:
            if self.closed:
                raise InputError(f"{self.options.bundle}: the process that opened it has ended")
            await asyncio.sleep(0.005)

    def fork(self, n: int) -> None:
        """Ask for more scorers."""
        self._order({"fork": n})

    def kill(self, worker: Worker) -> None:
        """End a scorer that hangs."""
        self._order({"kill": worker.pid})

    def _order(self, order: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the loader has gone, which _receive notices
            self._control.send(json.dumps(order).encode())

    def _receive(self) -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(self._control, LONGEST, 1)
        except BlockingIOError:
            return
        except OSError:
            message, descriptors = b"", []
        if not message:
            self._lost()
            return
        content = json.loads(message)
        if "ready" in content:
            self._ready.set_result(content["ready"])
        elif "error" in content:
            self._ready.set_exception(InputError(content["error"]))
        elif "scorer" in content:
            connection = socket.socket(fileno=descriptors[0])
            connection.setblocking(False)
            task = self._loop.create_task(self._add(content["scorer"], connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _add(self, pid: int, connection: socket.socket) -> None:
        worker = Worker(pid, self)
        try:
            await worker.connect(connection)
        except (asyncio.IncompleteReadError, ConnectionError):
            worker.close()
            if not self.closed:
                self._loop.call_later(AGAIN, self.fork, 1)
            return
        self.workers.add(worker)
        self._on_worker(worker)

    def _lost(self) -> None:
        """The loader has closed its end."""
        was_closed = self.closed
        self.close()
        if not self._ready.done():
            self._ready.set_exception(
                InputError(f"{self.options.bundle}: the process that opened it ended by itself")
            )
        elif not was_closed and not self._ready.exception():
            self._on_lost(self)

    def close(self) -> None:
        """Let loader and scorers end."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._control)
        self._control.close()
        for worker in self.workers:
            worker.close()

    async def ended(self) -> None:
        """Wait until the loader has ended; kill it if it does not."""
        self.close()
        waited = 0.0
        while self.process.poll() is None and waited < LAST:
            await asyncio.sleep(0.02)
            waited += 0.02
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def _start(packed: str, connection: socket.socket) -> "subprocess.Popen[bytes]":
    """The loader's process."""
    above = os.path.dirname(os.path.dirname(os.path.abspath(paddleinterest.__file__)))
    path = os.pathsep.join(p for p in (above, os.environ.get("PYTHONPATH")) if p)
    number = connection.fileno()
    return subprocess.Popen(
        [sys.executable, "-m", "paddleinterest.serving.server.loader", packed, str(number)],
        pass_fds=[number],
        stdin=subprocess.DEVNULL,
        stdout=2,  # standard output is for the result
        env={**os.environ, "PYTHONPATH": path},
    )
