"""The users' sequences of a prepared dataset, mapped from disk."""

import numpy as np
import pyarrow as pa

from paddleinterest.core.errors import InputError
from paddleinterest.data.columns import check_range, check_times, one_column


class Sequences:
    """Items and times of every sequence, oldest first.

    Args:
        path: an Arrow file with one row a sequence: item (list of integers), time (list of
            integers).
        items: rows of the items table, which every item must be one of.

    Attributes:
        offsets: int64 [S + 1]; sequence s is events [offsets[s], offsets[s + 1]).
        item, time: integers [E].
        lengths: int64 [S].
    """

    def __init__(self, path: str, items: int) -> None:
        try:
            table = pa.ipc.open_file(pa.memory_map(path)).read_all()
            table.validate(full=True)  # lists within their values, above all
        except (pa.ArrowException, OSError) as e:
            raise InputError(
                f"{path} is not a readable Arrow file: {' '.join(str(e).split())[:160]}"
            ) from None
        item = _lists(table, "item", path)
        time = _lists(table, "time", path)
        self.offsets: np.ndarray = item.offsets.to_numpy().astype(np.int64, copy=False)
        self.item: np.ndarray = item.values.to_numpy()
        self.time: np.ndarray = time.values.to_numpy()
        self.lengths: np.ndarray = np.diff(self.offsets)
        if not np.array_equal(self.offsets, time.offsets.to_numpy()):
            raise InputError(
                f"{path}: the lists of item and time differ in length; prepare the dataset again"
            )
        check_range(self.item, items, f"{path}, column item")
        check_times(self.time, f"{path}, column time")


def _lists(table: pa.Table, name: str, path: str) -> pa.LargeListArray:
    """A column of lists of integers, in one piece."""
    column = one_column(table, name, path)
    kind = column.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not is_list or not pa.types.is_signed_integer(kind.value_type):
        raise InputError(f"{path}, column {name} holds {kind}, must be lists of integers")
    lists = column.combine_chunks()
    if isinstance(lists, pa.ChunkedArray):  # of no rows
        lists = pa.array([], kind)
    if lists.null_count or lists.values.null_count:
        raise InputError(f"{path}, column {name} has missing values")
    return lists
