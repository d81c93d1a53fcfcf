"""A server of tools/serve.py that a measurement starts and ends, and its clients."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from types import TracebackType
from typing import Any

from benchmarks.load.client import Plan
from paddleinterest.core.errors import InputError
from paddleinterest.core.settings import ROOT

TOOL = os.path.join(ROOT, "tools", "serve.py")
CLIENT = os.path.join(ROOT, "benchmarks", "load", "client.py")
LAST = 30  # seconds that a server has to end


class Server:
    """tools/serve.py as a process.

    Args:
        bundle: what it serves.
        flags: of tools/serve.py.
        port: 0 takes a free one.

    Attributes:
        process: its process.
        port: where it listens.

    Raises:
        InputError: it did not start.
    """

    def __init__(self, bundle: str, *flags: str, port: int = 0) -> None:
        command = [sys.executable, TOOL, "--bundle", bundle, "--port", str(port), *flags]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.port = self._wait()

    def _wait(self) -> int:
        assert self.process.stderr is not None
        said = ""
        for line in self.process.stderr:
            said = line
            if found := re.search(r"serving .* at http://[^ ]*:(\d+),", line):
                return int(found[1])
        raise InputError(f"the server did not start: {said.strip()}")

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def reload(self) -> None:
        """Let it open the bundle anew, and wait until it says that it has."""
        assert self.process.stderr is not None
        self.process.send_signal(signal.SIGHUP)
        for line in self.process.stderr:
            if "reloaded" in line:
                return
            if "error" in line:
                raise InputError(line.strip())

    def end(self) -> int:
        """SIGTERM; returns the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        self.process.communicate(timeout=LAST)
        return self.process.returncode

    def processes(self) -> list[int]:
        """Its process, the loader and the scorers."""
        found = [self.process.pid]
        for pid in found:
            found += _children(pid)
        return found

    def memory(self) -> dict[str, list[float]]:
        """Resident and anonymous MB of the server, the loader and each scorer, in this order."""
        status = [_status(pid) for pid in self.processes()]
        return {
            "rss": [s["VmRSS"] for s in status],
            "own": [s["RssAnon"] for s in status],
        }


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return [int(child) for child in f.read().split()]


def _status(pid: int) -> dict[str, float]:
    """The sizes in /proc/PID/status, in MB."""
    found = {}
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            name, _, value = line.partition(":")
            if value.strip().endswith(" kB"):
                found[name] = round(int(value.split()[0]) / 1024, 1)
    return found


def start_clients(plan: Plan) -> "subprocess.Popen[str]":
    """A process of clients that does a plan; `counted` waits for it."""
    with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as f:
        json.dump(dataclasses.asdict(plan), f)
    return subprocess.Popen([sys.executable, CLIENT, f.name], stdout=subprocess.PIPE, text=True)


def counted(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """The counts of the clients."""
    out, _ = process.communicate()
    os.unlink(str(process.args[-1]))  # type: ignore[index]
    if process.returncode:
        raise InputError("the clients' process failed")
    return json.loads(out.splitlines()[-1])


def ask(plan: Plan) -> dict[str, Any]:
    """Have a plan done by a process of clients; returns what they counted."""
    return counted(start_clients(plan))
