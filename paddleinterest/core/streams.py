"""Standard streams that are closed, full, or without a reader."""

import contextlib
import os
import sys
from typing import Any, TextIO

from paddleinterest.core.errors import InputError, one_line


def open_missing() -> None:
    """Let closed standard streams lead to /dev/null.

    Otherwise the next opened file gets the number of the closed stream, and everything printed is
    written into it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)


def keep_talking() -> None:
    """Continue without messages if standard error is full or has no reader."""
    if not isinstance(sys.stderr, _Unfailing):
        stderr: Any = _Unfailing(sys.stderr)
        sys.stderr = stderr


def write_out(stream: TextIO, text: str) -> None:
    """Write to standard output.

    Raises:
        InputError: it is full, or has lost its reader.
    """
    try:
        stream.write(text)
        stream.flush()
    except OSError as e:
        with contextlib.suppress(OSError):
            stream.close()  # so Python does not try again at exit
        raise InputError(f"standard output cannot be written to: {one_line(e)}") from None


class _Unfailing:
    """A text stream that leads to /dev/null after its first failure."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError):
            self._give_up()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._give_up()

    def _give_up(self) -> None:
        self._stream = open(os.devnull, "w", encoding="utf-8")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
