"""Open raw files: plain, gzipped, or in a zip file, with one error for whatever goes wrong."""

import gzip
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

from paddleinterest.core.errors import InputError

PIECE = 1 << 25  # bytes read at once


def find(directory: str, name: str, where: str) -> str:
    """The path of a file, plain or gzipped; `where` says where a user gets it."""
    path = os.path.join(directory, name)
    for candidate in (path, path + ".gz"):
        if os.path.isfile(candidate):
            return candidate
    raise InputError(
        f"neither {path} nor {path}.gz exists; get {name} from {where} and put it there, or name"
        " its directory with --raw"
    )


@contextmanager
def opened(path: str, member: str = "", again: str = "") -> Iterator[IO[bytes]]:
    """The bytes of a plain or gzipped file, or of one member of a zip file, as a file object.

    Whatever goes wrong while it is read ends in an InputError; `again` is what to do then, if not
    the usual.
    """
    name = f"{path} ({member})" if member else path
    try:
        if member:
            with zipfile.ZipFile(path) as archive, archive.open(member) as f:
                yield f
        else:
            zipped = path.lower().endswith(".gz")
            with cast(IO[bytes], gzip.open(path, "rb") if zipped else open(path, "rb")) as f:
                yield f
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (
        OSError,
        EOFError,
        zlib.error,
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
    ) as e:
        if again:
            raise InputError(
                f"cannot read {name}: {' '.join(str(e).split())[:300]}; {again}"
            ) from None
        raise unreadable(name, e) from None


def pieces(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield (number of lines before, whole lines as bytes), piece by piece."""
    before = 0
    while piece := file.read(PIECE):
        piece += file.readline()
        yield before, piece
        before += piece.count(b"\n")


def unreadable(path: str, error: object) -> InputError:
    """The error for a file that a library cannot read; `error` is what it says."""
    return InputError(
        f"cannot read {path}: {' '.join(str(error).split())[:300]}; is it whole, and of the format"
        " that its name says?"
    )
