"""Run a tool in its own process, for tools that run others many times."""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from typing import Any, TextIO

from paddleinterest.core import settings

PATIENCE = 60  # seconds that a tool has to clean up when it is stopped


class Tool:
    """A tool that runs in its own process.

    It ends with this process, however that ends, so nothing keeps writing into its run's directory.

    Args:
        tool: its path in the repository, such as tools/trainer.py.
        arguments: its command line.
        stderr: an open file for its standard error; None = this process's standard error.
    """

    def __init__(self, tool: str, arguments: list[str], stderr: TextIO | None = None) -> None:
        command = [sys.executable, *_program(tool), *arguments]
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=stderr,
            encoding="utf-8",
            preexec_fn=_end_with_parent,
        )

    def is_running(self) -> bool:
        return self._process.poll() is None

    def result(self) -> tuple[int, dict[str, Any] | None]:
        """Wait until it ends. Returns its exit status and its result; None if it failed."""
        try:
            out, _ = self._process.communicate()
        except BaseException:  # Ctrl-C or SIGTERM
            self.stop()
            raise
        status = self._process.returncode
        return status, None if status else json.loads(out.splitlines()[-1])

    def stop(self) -> None:
        """Stop it and wait until it has ended."""
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._process.communicate()


def run(
    tool: str, arguments: list[str], stderr: TextIO | None = None
) -> tuple[int, dict[str, Any] | None]:
    """Run a `Tool` to its end. Returns its exit status and its result; None if it failed."""
    return Tool(tool, arguments, stderr).result()


def _program(tool: str) -> list[str]:
    """Python's arguments for a tool: its file or, without a checkout, the package's verb."""
    path = os.path.join(settings.ROOT, tool)
    if os.path.isfile(path):
        return [path]
    verb = os.path.basename(tool).removesuffix(".py")
    return ["-m", "paddleinterest", verb]


def _end_with_parent() -> None:
    """In the new process: ask Linux to kill it when its parent dies, since SIGKILL leaves the
    parent no time for that."""
    set_parent_death_signal = 1  # its number in prctl.h
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
