"""A tool in a process of its own, for tools that run others many times."""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys

from paddleinterest.core import settings


def run(tool, arguments, stderr=None):
    """Run a tool with command-line arguments. Returns (exit status, its result; None where it
    failed).

    It ends when this process does, however that ends: nobody is left to write into its run's
    directory.

    Args:
        tool: its path in the repository, such as tools/trainer.py.
        stderr: an open file for what it says; None = it goes on to this process's standard error.
    """
    command = [sys.executable, *_program(tool), *arguments]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=stderr,
        encoding="utf-8",
        preexec_fn=_end_with_parent,
    ) as process:
        try:
            out, _ = process.communicate()
        except BaseException:  # Ctrl-C or SIGTERM
            process.terminate()
            process.wait()
            raise
    return process.returncode, None if process.returncode else json.loads(out.splitlines()[-1])


def _program(tool):
    """What Python runs for a tool: its file, or the installed package's verb if there is no
    checkout."""
    path = os.path.join(settings.ROOT, tool)
    if os.path.isfile(path):
        return [path]
    verb = os.path.basename(tool).removesuffix(".py")
    return ["-m", "paddleinterest", verb]


def _end_with_parent():
    """In the new process: be killed when its parent has gone, which SIGKILL gives no time to
    arrange (Linux)."""
    set_parent_death_signal = 1  # its number in prctl.h
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
