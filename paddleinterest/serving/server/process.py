"""The server's process: its socket, its signals, its beginning and its end."""

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import uvicorn

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.serving.server.connections import connection_class
from paddleinterest.serving.server.guard import Access, Guard
from paddleinterest.serving.server.http import Service, application, paths
from paddleinterest.serving.server.limits import Limits
from paddleinterest.serving.server.loader import Options
from paddleinterest.serving.server.pool import Pool
from paddleinterest.serving.server.telemetry import Telemetry

PARTING = 0.5  # seconds that a client between two requests has to hear that its connection ends
LAST = 1  # seconds that clients have to read their answers after the drain
BACKLOG = 1024  # connections that wait for the server to take them


@dataclass(frozen=True)
class Address:
    """Where to listen.

    Attributes:
        host: name or address.
        port: 0 takes a free one.
        shared: other servers may listen at the same port, so that a new one can start before the
            old one ends.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    shared: bool = False


def serve(options: Options, limits: Limits, access: Access, address: Address) -> dict[str, Any]:
    """Serve a bundle until SIGINT or SIGTERM.

    Returns:
        The tool's result.

    Raises:
        InputError: the bundle cannot be opened, or the address is taken.
    """
    try:
        import uvloop

        new_loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    except ImportError:
        new_loop = asyncio.new_event_loop
    loop = new_loop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(Server(options, limits, access, address).run())
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # the result is still to be printed
        loop.close()


class _Uvicorn(uvicorn.Server):
    """Uvicorn, but for signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """Leave them to `Server`."""
        yield


class Server:
    """A pool behind HTTP, and what signals do to it.

    Args:
        options: how to open the bundle.
        limits: of everything.
        access: who may ask.
        address: where to listen.
    """

    def __init__(self, options: Options, limits: Limits, access: Access, address: Address) -> None:
        self.options = options
        self.limits = limits
        self.access = access
        self.address = address
        self.pool = Pool(options, limits)
        self.telemetry = Telemetry(self.pool)
        self.stopping = asyncio.Event()
        self.signals = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self) -> dict[str, Any]:
        """Serve until a signal; returns the tool's result."""
        self._catch_signals()
        listening = listen(self.address)
        url = _url(self.address.host, listening.getsockname()[1])
        try:
            if await self._opened():
                said = f"serving {self.options.bundle} at {url}"
                say(f"{said}, {url}/ui to look at it, {url}/docs to try it; Ctrl-C ends it")
                await self._serve(listening)
        finally:
            listening.close()
            await self.pool.close()
        counts = {"requests": self.telemetry.answered, "refused": self.telemetry.refused}
        return {"bundle": self.options.bundle, "url": url, **counts}

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload_by_signal)

    def _stop(self) -> None:
        self.signals += 1
        self.stopping.set()

    def _reload_by_signal(self) -> None:
        task = asyncio.get_running_loop().create_task(self._reload_and_say())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload_and_say(self) -> None:
        with contextlib.suppress(InputError):
            await self.reload()

    async def reload(self) -> dict[str, Any]:
        """Open the bundle anew, and say how that went."""
        if not self.pool.facts:
            raise InputError("the bundle is just being opened")
        try:
            facts = await self.pool.reload()
        except InputError as e:
            say(f"error: {e}; the old bundle stays in service")
            raise
        say(f"reloaded {self.options.bundle}, version {facts['version']}")
        return facts

    async def _opened(self) -> bool:
        """Open the bundle; False if a signal came first."""
        opening = asyncio.ensure_future(self.pool.start())
        stopping = asyncio.ensure_future(self.stopping.wait())
        await asyncio.wait((opening, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not opening.done():
            opening.cancel()
            return False
        opening.result()
        return not self.stopping.is_set()

    async def _serve(self, listening: socket.socket) -> None:
        service = Service(
            self.pool, self.limits, self.telemetry, self.reload, bool(self.access.token)
        )
        app = application(service)
        config = uvicorn.Config(
            Guard(app, self.access, self.pool, self.telemetry, paths(app)),
            http=connection_class(self.limits, self.telemetry),
            ws="none",
            log_level="critical",
            access_log=False,
            lifespan="off",
            server_header=False,
            date_header=False,
            timeout_keep_alive=self.limits.keep_alive,  # type: ignore[arg-type]  # a float works
            timeout_graceful_shutdown=LAST,
            backlog=BACKLOG,
        )
        server = _Uvicorn(config)
        running = asyncio.ensure_future(server.serve(sockets=[listening]))
        stopping = asyncio.ensure_future(self.stopping.wait())
        await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        await self._drained()
        server.force_exit = self.signals > 1
        await self._left()
        server.should_exit = True
        await running

    async def _drained(self) -> None:
        """Let requests in progress be answered, until the time is over or a second signal comes."""
        self.pool.draining = True
        draining = asyncio.ensure_future(self.pool.drain(self.limits.drain))
        while not draining.done() and self.signals < 2:
            await asyncio.wait((draining,), timeout=0.05)
        if not draining.done():
            draining.cancel()
            await self.pool.drain(0)

    async def _left(self) -> None:
        """Answer the next request of clients with a kept connection, and close it with that answer:
        a connection that ends as a request arrives would lose it."""
        until = time.monotonic() + PARTING
        while self.telemetry.connections and self.signals < 2 and time.monotonic() < until:
            await asyncio.sleep(0.02)


def listen(address: Address) -> socket.socket:
    """A socket that listens at the address.

    Raises:
        InputError: it is taken, or is not one of this machine.
    """
    if not 0 <= address.port <= 65535:
        raise InputError(
            f"--port is {address.port}, must be from 0, which takes a free one, to 65535"
        )
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # the protocol is named, or asyncio leaves Nagle's algorithm on: 40 ms per answer
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if address.shared:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        made.bind((address.host, address.port))
        made.listen(BACKLOG)  # whoever connects from here on waits, and is not refused
    except (OSError, UnicodeError) as e:
        made.close()
        raise InputError(
            f"cannot listen at {address.host}, port {address.port}: {e}; choose another --host or"
            " --port"
        ) from None
    return made


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
