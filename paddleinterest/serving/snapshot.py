"""A directory opened as one thing, although another process may replace it meanwhile."""

import os
import time
from collections.abc import Callable
from typing import TypeVar

from paddleinterest.core.errors import InputError

TRIES = 5
PAUSE = 0.05  # seconds between two tries

T = TypeVar("T")


def consistently(directory: str, read: Callable[[], T]) -> T:
    """`read()`, from files that stayed the same from before its start until after its end.

    Files are opened by name, one after the other. If an export replaces the directory in between,
    some are of the old bundle and some of the new one, so reading starts again.

    Args:
        directory: what `read` reads.
        read: reads it, and raises InputError or OSError if something in it is wrong.

    Raises:
        InputError: as `read` does, or the directory changed at every try.
    """
    for _ in range(TRIES):
        before = _state(directory)
        try:
            made = read()
        except (InputError, OSError):
            if _state(directory) == before:
                raise
        else:
            if _state(directory) == before:
                return made
        time.sleep(PAUSE)
    raise InputError(
        f"{directory} was changed while it was read, {TRIES} times; wait until it is complete"
    )


def _state(directory: str) -> dict[str, tuple[int, ...]]:
    """Identifying facts of a directory and of each file below it, {path: facts}."""
    found: dict[str, tuple[int, ...]] = {}
    for folder, _, names in os.walk(directory):
        for path in (folder, *(os.path.join(folder, name) for name in names)):
            try:
                facts = os.stat(path)
            except OSError:
                continue
            identity = (facts.st_dev, facts.st_ino, facts.st_size)
            found[path] = (*identity, facts.st_mtime_ns, facts.st_ctime_ns)
    return found
