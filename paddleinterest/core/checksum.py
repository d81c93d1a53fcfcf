"""Checksums of files: what was written is what is read."""

import functools
import hashlib
import os
from collections.abc import Iterator
from typing import Any

from paddleinterest.core.errors import InputError


def check_size(path: str, size: int) -> None:
    """Raise InputError unless the file at `path` has `size` bytes."""
    if not os.path.isfile(path):
        raise InputError(f"{path} is missing; prepare the dataset again")
    found = os.path.getsize(path)
    if found != size:
        raise InputError(
            f"{path} has {found:,} bytes, but schema.yaml says {size:,}: it was cut short or"
            " changed; prepare the dataset again"
        )


def check_sha256(path: str, digest: str) -> None:
    """Raise InputError unless the contents of the file at `path` have that sha256."""
    facts = os.stat(path)
    if _sha256(path, facts.st_ino, facts.st_size, facts.st_mtime_ns) != digest:
        raise InputError(
            f"{path} differs from the file that schema.yaml describes (sha256): it was damaged,"
            " exchanged or edited; create the folder again"
        )


@functools.lru_cache(256)
def _sha256(path: str, *_: int) -> str:
    """Cached by path, inode, size and time of the last change."""
    return checksum(path)


def checksum(path: str) -> str:
    """The sha256 of a file, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def hashes(made: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(path below `made`, {bytes, sha256}) of every file, in the order of their names."""
    for folder, _, names in sorted(os.walk(made)):
        for name in sorted(names):
            path = os.path.join(folder, name)
            yield (
                os.path.relpath(path, made),
                {"bytes": os.path.getsize(path), "sha256": checksum(path)},
            )
