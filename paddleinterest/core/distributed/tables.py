"""Embedding tables that are split over the processes: row j is at process j mod P."""

import numpy as np

from paddleinterest.core.distributed.exchange import gather
from paddleinterest.core.distributed.group import process_count, process_index, wait

PIECE = 1 << 16  # rows of a table that travel at a time

_split_from = 0


def split_from(rows: int) -> None:
    """Let tables of so many rows or more be split; 0 = none."""
    global _split_from
    _split_from = rows


def is_split(rows: int) -> bool:
    """Report whether a table of `rows` rows is split over the processes."""
    return process_count() > 1 and 0 < _split_from <= rows and process_count() <= rows


def rows_of_this_process(table: np.ndarray) -> np.ndarray:
    """The rows of a table that this process holds, and one of zeros that is nobody's."""
    return np.concatenate([table[process_index() :: process_count()], np.zeros_like(table[:1])])


def gather_table(own: np.ndarray, rows: int) -> np.ndarray | None:
    """The whole table at the first process; None at the others.

    Args:
        own: what `rows_of_this_process` gave.
        rows: of the whole table.
    """
    import paddle

    own = own[:-1]
    out: np.ndarray | None = None
    if not process_index():
        out = np.empty((rows, *own.shape[1:]), own.dtype)
    wait()  # the first process may be busy with writing the table before
    for low in range(0, -(-rows // process_count()), PIECE):
        pieces = gather(paddle.to_tensor(own[low : low + PIECE].reshape(-1)))
        if out is None:
            continue
        for owner, flat in enumerate(pieces):
            piece = flat.numpy().reshape(-1, *own.shape[1:])
            out[(low + np.arange(len(piece))) * process_count() + owner] = piece
    return out
