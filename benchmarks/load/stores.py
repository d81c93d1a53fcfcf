"""The stores of histories that a measurement fills from a bundle."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.core.settings import ROOT

LOAD = os.path.join(ROOT, "tools", "load_history.py")
STARTED = 20  # seconds that redis-server may take


@contextlib.contextmanager
def filled(bundle: str) -> Iterator[dict[str, str]]:
    """{name: value of --history}: the bundle itself, a SQLite file, and a Redis server if
    redis-server is installed; both hold the bundle's events."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        forms = {"bundle": "bundle", "SQLite": f"sqlite:{os.path.join(folder, 'events.db')}"}
        if shutil.which("redis-server"):
            forms["Redis"] = stack.enter_context(redis_server(folder))
        else:
            say("Redis is left out: there is no redis-server")
        for name in forms.keys() - {"bundle"}:
            _run([sys.executable, LOAD, "--bundle", bundle, "--history", forms[name]])
        yield forms


@contextlib.contextmanager
def redis_server(folder: str) -> Iterator[str]:
    """A redis-server of our own, with an append-only file; its address."""
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = ["--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""]
    flags += ["--appendonly", "yes", "--appendfsync", "always"]
    process = subprocess.Popen(["redis-server", *flags], stdout=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int) -> None:
    until = time.monotonic() + STARTED
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.05)
    raise InputError(f"redis-server did not start within {STARTED} seconds")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise InputError(done.stderr.strip().splitlines()[-1])
