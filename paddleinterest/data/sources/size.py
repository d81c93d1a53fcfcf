"""The memory that a log of files would take."""

import os
from collections.abc import Sequence

from paddleinterest.data.sources.files import RawFile, parts
from paddleinterest.data.sources.table_file import parquet_rows

BYTES_OF_EVENT = 230  # in memory, prepared by engine memory (benchmarks/README.md)
TIMES_TEXT = 10  # bytes in memory for each byte of text
PACKED = 5  # bytes of text for each packed byte


def memory_needed(paths: Sequence[str], form: str = "") -> int:
    """About how many bytes it takes to prepare events in memory.

    Args:
        paths: files of events, folders or zip files of them.
        form: their format, if their names do not show it.

    Raises:
        InputError: a file does not exist, or is not of its format.
    """
    files = [file for path in paths for file in parts(path, form)]
    return sum(_needed(file) for file in files)


def _needed(file: RawFile) -> int:
    if file.form == "parquet" and not file.member:
        return BYTES_OF_EVENT * parquet_rows(file)
    packed = bool(file.member) or file.path.endswith(".gz")
    return TIMES_TEXT * os.path.getsize(file.path) * (PACKED if packed else 1)
