"""Parquet files and their columns as checked NumPy arrays; every fault is reported in one line."""

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from paddleinterest.core.errors import InputError
from paddleinterest.data.schema import LATEST


def read_parquet(path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A Parquet file, or some of its columns, as an Arrow table.

    Raises:
        InputError: the file is missing or damaged.
    """
    with readable(path):
        return pq.read_table(path, columns=columns, memory_map=True, partitioning=None)


def footer(path: str) -> tuple[int, pa.Schema]:
    """Number of rows and Arrow schema of a Parquet file."""
    with readable(path), pq.ParquetFile(path) as file:
        return file.metadata.num_rows, file.schema_arrow


@contextlib.contextmanager
def readable(path: str) -> Iterator[None]:
    """Within the block, pyarrow's errors about a Parquet file become InputErrors."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path} is missing; create its folder again") from None
    except (pa.ArrowException, OSError) as e:
        raise InputError(
            f"{path} is not a readable Parquet file ({' '.join(str(e).split())[:160]}); create"
            " its folder again"
        ) from None


def one_column(table: pa.Table, name: str, where: str) -> pa.ChunkedArray:
    """The Arrow column of that name. Raises InputError unless there is exactly one.

    Args:
        table: the table that was read.
        name: of the column.
        where: the file, for the message.
    """
    if table.column_names.count(name) != 1:
        raise InputError(
            f"{where} has {'two columns' if name in table.column_names else 'no column'} {name}; "
            f"it has {', '.join(table.column_names)}"
        )
    return table[name]


def numbers(table: pa.Table, name: str, where: str, dense: bool = False) -> np.ndarray:
    """A column as a NumPy array of integers or, with `dense`, of numbers with gaps.

    Raises:
        InputError: the column has another type, or gaps that are not allowed.
    """
    column = one_column(table, name, where)
    if not (pa.types.is_integer(column.type) or dense and pa.types.is_floating(column.type)):
        raise InputError(
            f"{where}, column {name} holds {column.type}, must be"
            f" {'numbers' if dense else 'integers'}"
        )
    if column.null_count and not dense:
        raise InputError(f"{where}, column {name} has {column.null_count:,} missing values")
    values = column.to_numpy()
    if values.dtype.kind == "u":  # NumPy makes floats of uint64 and int64
        return values.astype(np.int64)
    return values


def check_range(index: np.ndarray, size: int, where: str, first: int = 0) -> None:
    """Raise InputError unless all of `index`, an array of integers, are in [0, size). The message
    counts rows from `first`."""
    if len(index) and not (0 <= index.min() and index.max() < size):
        bad = int(np.flatnonzero((index < 0) | (index >= size))[0])
        raise InputError(
            f"{where}, row {first + bad}: index {int(index[bad])} is outside 0…{size - 1}"
        )


def check_times(times: np.ndarray, where: str) -> None:
    """Raise InputError unless the difference of any two fits int64."""
    if len(times) and not (-LATEST < times.min() and times.max() < LATEST):
        row = int(np.argmax(np.abs(times.astype(np.float64))))
        raise InputError(f"{where}, row {row}: time {times[row]} is outside ±2**62")
