"""Lines for the person at the terminal: on standard error, between progress bars, and in the run's
log.txt."""

import contextlib
import io
import sys
import time
from collections.abc import Iterator
from typing import TextIO

from tqdm import tqdm

from paddleinterest.core import distributed

_files: list[TextIO] = []  # files that `say` also writes to
_held: list[list[str]] = []  # where `say` puts its lines instead


def progress(total: int | None, what: str) -> tqdm:
    """A progress bar of samples on standard error; one frame per minute if that is a file. Of
    several processes only the first one shows it. Without a total it counts."""
    wait = 0.1 if sys.stderr.isatty() else 60
    return tqdm(
        total=total,
        desc=what,
        unit=" samples",
        unit_scale=True,
        leave=False,
        mininterval=wait,
        maxinterval=max(wait, 10),
        disable=distributed.process_index() > 0,
    )


def say(text: str) -> None:
    """Print a line on standard error without tearing a progress bar; copy it to the open log files.
    Of several processes only the first one prints."""
    if _held:
        _held[-1].append(text)
        return
    if distributed.process_index():
        return
    tqdm.write(text, file=sys.stderr)
    for f in _files:
        f.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
        f.flush()


@contextlib.contextmanager
def log_to(path: str, earlier: str = "") -> Iterator[None]:
    """Append what `say` prints to `path` within the block, after `earlier` lines."""
    with open(path, "a", encoding="utf-8") as f:
        f.write(earlier)
        with _copied_to(f):
            yield


@contextlib.contextmanager
def held() -> Iterator[list[str]]:
    """Hold back what `say` would print within the block; the caller decides about it."""
    lines: list[str] = []
    _held.append(lines)
    try:
        yield lines
    finally:
        _held.pop()


@contextlib.contextmanager
def kept() -> Iterator[io.StringIO]:
    """Keep what `say` prints within the block, for a log file that is opened later."""
    lines = io.StringIO()
    with _copied_to(lines):
        yield lines


@contextlib.contextmanager
def _copied_to(f: TextIO) -> Iterator[None]:
    _files.append(f)
    try:
        yield
    finally:
        _files.remove(f)
