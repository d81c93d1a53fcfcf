"""Files and directories that appear whole or not at all."""

import contextlib
import ctypes
import fcntl
import glob
import os
import secrets
import shutil
from collections.abc import Collection, Iterator


@contextlib.contextmanager
def whole_directory(path: str, overwrite: bool = False) -> Iterator[str]:
    """Yield a new directory beside `path`; rename it to `path` on success, remove it on any
    failure.

    Ctrl-C, a full disk and a bug leave `path` as it was. So does a kill, after the next
    `remove_stale`.
    """
    path = os.path.realpath(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    remove_stale(path)
    token = secrets.token_hex(4)
    made = f"{path}.part-{token}"
    old = f"{path}.old-{token}"
    try:
        os.mkdir(made)  # inside the try: Ctrl-C may come as soon as the directory exists
        with _alive(made):
            yield made
            if overwrite and os.path.isdir(path):
                if not _exchange(made, path):
                    os.rename(path, old)
                    os.rename(made, path)
            else:
                os.rename(made, path)
    except BaseException:
        if os.path.isdir(old) and not os.path.exists(path):
            os.rename(old, path)
        for leftover in (made, old):
            shutil.rmtree(leftover, ignore_errors=True)
        raise
    for leftover in (made, old):
        shutil.rmtree(leftover, ignore_errors=True)


@contextlib.contextmanager
def temporary_directory(path: str) -> Iterator[str]:
    """Yield a new directory beside `path`, and remove it at the end. After a kill the next
    `remove_stale` of `path` does so."""
    path = os.path.realpath(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    made = f"{path}.part-{secrets.token_hex(4)}"
    try:
        os.mkdir(made)
        with _alive(made):
            yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _exchange(one: str, other: str) -> bool:
    """Swap the names of two directories in one step, so that a reader always finds one of them.

    Returns False if this system cannot (Linux can, on most file systems).
    """
    current_directory, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    names = (os.fsencode(one), os.fsencode(other))
    return not rename(current_directory, names[0], current_directory, names[1], exchange)


@contextlib.contextmanager
def whole_file(path: str) -> Iterator[str]:
    """Yield the name of a file to write beside `path`; move it onto `path` on success, remove it on
    failure."""
    path = os.path.abspath(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    remove_stale(path)
    made = f"{path}.part-{secrets.token_hex(4)}"
    try:
        with open(made, "xb"):
            pass
        with _alive(made):
            yield made
            with open(made, "rb") as f:
                os.fsync(f.fileno())
            os.replace(made, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(made)
        raise


def foreign_file(directory: str, known: Collection[str]) -> str | None:
    """The first file or link under `directory` that is not among the `known` ones; None if all
    are. Who replaces the directory would lose it.

    Args:
        directory: where to look, in all its folders.
        known: paths in it, without `.` or `..`.
    """
    for folder, folders, files in os.walk(directory):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in (*files, *links):
            inner = os.path.relpath(os.path.join(folder, name), directory)
            if inner not in known:
                return inner
    return None


def remove_stale(path: str) -> None:
    """Remove what killed writers of `path` left next to it. What a running writer writes stays.

    A writer that was killed between the two renames of an overwrite left no `path`; then the old
    directory comes back.
    """
    path = glob.escape(os.path.abspath(path))
    for made in glob.glob(f"{path}.part-*"):
        if not _is_alive(made):
            _remove(made)
    for old in glob.glob(f"{path}.old-*"):
        place, _, token = old.rpartition(".old-")
        if os.path.exists(f"{place}.part-{token}"):
            continue
        if os.path.exists(place):
            _remove(old)
        else:
            os.rename(old, place)


@contextlib.contextmanager
def _alive(path: str) -> Iterator[None]:
    """Hold a lock on `path` within the block. The system releases it when this process dies,
    however it dies."""
    fd = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)


def _is_alive(path: str) -> bool:
    """True if a process holds the lock of `_alive`, or if the system cannot say."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(fd)


def _remove(path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            os.remove(path)
