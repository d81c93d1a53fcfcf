"""Raw columns as integer codes of sorted texts, or as checked numbers."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from paddleinterest.core.errors import InputError

MISSING = -1  # the code of a missing value


def ranked_ids(columns: Sequence[pd.Series]) -> tuple[list[np.ndarray], pa.Array]:
    """Ids of several columns as numbers of one sorted list.

    Ids are compared as integers if all columns hold integers, else as texts.

    Args:
        columns: columns without missing values.

    Returns:
        for every column the position of each id in the list, int64; the list, int64 or
        large_string, without repeats, in ascending order (texts by their UTF-8 bytes).
    """
    whole = are_whole(columns)
    columns = [c.astype(np.int64 if whole else str) for c in columns]
    codes, found = pd.factorize(pd.concat(columns, ignore_index=True))
    ids = pa.array(found.to_numpy(np.int64)) if whole else pa.array(found, pa.large_string())
    order = pc.sort_indices(ids).to_numpy()
    rank = np.empty(len(ids), np.int64)
    rank[order] = np.arange(len(ids))
    cuts = np.cumsum([len(c) for c in columns])[:-1]
    return np.split(rank[codes], cuts), ids.take(pa.array(order))


def are_whole(columns: Sequence[pd.Series]) -> bool:
    """True if ids in these columns are compared as integers."""
    return all(c.dtype.kind == "i" for c in columns if len(c))


def ranked_texts(column: pd.Series) -> tuple[np.ndarray, pa.Array]:
    """A category as numbers of a sorted list of texts.

    Returns:
        the position of each value in the list, int32, MISSING for missing values; the list,
        large_string in ascending order.
    """
    codes, raw = pd.factorize(column)
    same, texts = pd.factorize(np.array(_text(raw), object))  # 7 and "7" are the same value
    found = pa.array(texts, pa.large_string())
    order = pc.sort_indices(found).to_numpy()
    rank = np.empty(len(order) + 1, np.int32)
    rank[order] = np.arange(len(order))
    rank[-1] = MISSING
    return rank[np.append(same, -1)[codes]], found.take(pa.array(order))


def _text(values: pd.Index) -> list[str]:
    """Distinct category values as text; if all are whole floats (integers with gaps) they lose
    their '.0'."""
    if values.dtype.kind == "f" and (np.abs(values) < 2**53).all() and (values % 1 == 0).all():
        values = values.astype(np.int64)
    return [str(v) for v in values]


def ranked_lists(column: pd.Series) -> tuple[np.ndarray, np.ndarray, pa.Array]:
    """A column of lists of category values. A value counts once per list; missing values do not
    count.

    Args:
        column: cells are lists, tuples or arrows' lists; or None or NaN for an empty one.

    Returns:
        offsets int64 [N + 1]; codes int32 [V], list by list in the given order; the texts.
    """
    lists = column.astype(object).reset_index(drop=True)
    for at, cell in enumerate(lists):
        if isinstance(cell, (str, bytes, dict)):
            raise InputError(
                f"column {column.name!r} is declared as multiple, but row {at + 1} is {cell!r},"
                " must be a list"
            )
    flat = lists.explode()
    codes, texts = ranked_texts(flat.infer_objects())
    row = flat.index.to_numpy()
    real = codes != MISSING
    row, codes = row[real], codes[real]
    _, first = np.unique(row * max(1, len(texts)) + codes, return_index=True)
    first = np.sort(first)
    offsets = np.zeros(len(lists) + 1, np.int64)
    np.cumsum(np.bincount(row[first], minlength=len(lists)), out=offsets[1:])
    return offsets, codes[first], texts


def checked_numbers(column: pd.Series, name: str) -> np.ndarray:
    """A dense column as float32 [N], NaN for missing values.

    Raises:
        InputError: a value is infinite or beyond float32.
    """
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    largest = np.abs(np.nan_to_num(values)).max(initial=0)
    if np.isinf(values).any() or largest > np.finfo(np.float32).max:
        row = int(np.argmax(np.abs(np.nan_to_num(values))))
        raise InputError(
            f"dense column {name!r}, row {row + 1}: {values[row]:g} is beyond float32, must be at"
            f" most {np.finfo(np.float32).max:.2g}; mend it, or leave it empty"
        )
    return values.astype(np.float32)


def checked_vectors(column: pd.Series, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A column of vectors: their rows in it, int64 [N], and the vectors, float32 [N, W].

    Raises:
        InputError: they differ in width, or a number is missing, infinite or beyond float32.
    """
    known = np.flatnonzero(column.notna().to_numpy())
    cells = pa.array(column.iloc[known])
    if not len(known):
        raise InputError(f"vector column {name!r} is empty in all rows, must have a vector")
    if not (pa.types.is_list(cells.type) or pa.types.is_large_list(cells.type)):
        if not pa.types.is_fixed_size_list(cells.type):
            raise InputError(f"vector column {name!r} holds {cells.type}, must be lists of numbers")
    widths = pc.list_value_length(cells).to_numpy(zero_copy_only=False)
    width = int(widths[0])
    if (widths != width).any() or not width:
        at = int(known[np.argmax(widths != width)])
        raise InputError(
            f"vector column {name!r}: row {at + 1} has {int(widths[np.argmax(widths != width)])}"
            f" numbers, the first has {width}; all must have the same number, at least one"
        )
    flat = pc.list_flatten(cells)
    try:
        numbers = flat.cast(pa.float32()).to_numpy(zero_copy_only=False)
    except pa.ArrowException as e:
        raise InputError(f"vector column {name!r} does not hold numbers: {e}") from None
    if not np.isfinite(numbers).all():
        at = int(known[np.argmax(~np.isfinite(numbers)) // width])
        raise InputError(f"vector column {name!r}, row {at + 1}: a number is missing or infinite")
    return known, numbers.reshape(-1, width)
