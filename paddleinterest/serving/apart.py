"""Work done in a fork of this process, which stays as it was."""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from paddleinterest.core.errors import InputError, one_line


def in_fork(work: Callable[[], Any], what: str) -> Any:
    """Compute in a fork and return what `work` returns.

    An engine that has run holds threads, which a later fork would not copy; and it may take its
    process down.

    Args:
        work: returns something that JSON can hold.
        what: for the message if it fails.

    Raises:
        InputError: it raised one, or its process ended by a signal.
    """
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(ours)
        _report(work, theirs)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(pid, 0)
    if not answer:
        code = os.waitstatus_to_exitcode(status)
        how = f"signal {-code}" if code < 0 else f"status {code}"
        raise InputError(f"{what} failed: its process ended with {how}")
    result = json.loads(answer)
    if "error" in result:
        raise InputError(result["error"])
    return result["value"]


def _report(work: Callable[[], Any], pipe: int) -> None:
    """Work in the fork, send the result, and end."""
    status = 1
    try:
        try:
            answer = {"value": work()}
        except (InputError, OSError, MemoryError) as e:
            answer = {"error": one_line(e)}
        with os.fdopen(pipe, "wb") as f:
            f.write(json.dumps(answer).encode())
        status = 0
    finally:
        sys.stderr.flush()
        os._exit(status)
