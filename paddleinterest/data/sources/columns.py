"""The values of a column: each function takes an Arrow column, its name and file, and names the
first row that is wrong. Rows count from 1, without the header."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say

LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}


def bad_row(mask):
    """1-based number of the first row where the boolean column is true, 0 if none; the header does
    not count."""
    return pc.index(mask, True).as_py() + 1


def first_true(mask):
    """Index of the first true value of a numpy array, None if there is none."""
    row = int(mask.argmax())
    return row if mask[row] else None


def first_failure(column, kind):
    """Index of the first value that cannot be cast to `kind`; the length where all can."""
    good, bad = 0, len(column) + 1  # the first `good` values can be cast, the first `bad` cannot
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            column[:middle].cast(kind)
            good = middle
        except pa.ArrowInvalid:
            bad = middle
    return good


def plain(column):
    """The column without dictionary encoding, texts as large_string."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.large_string())
    return column


def whole(column):
    """The column as int64 where that loses nothing ("007" and 2.5 would), else None. Missing values
    stay missing."""
    text = pa.types.is_large_string(column.type)
    if not text and not pa.types.is_floating(column.type) and not pa.types.is_integer(column.type):
        return None
    try:
        if (
            text and pc.all(pc.ends_with(column, ".0")).as_py()
        ):  # how pandas writes integers with gaps
            column = pc.utf8_slice_codeunits(column, 0, -2)
        numbers = column.cast(pa.int64())
    except pa.ArrowInvalid:
        return None
    return (
        None
        if text and not pc.all(pc.equal(numbers.cast(pa.large_string()), column)).as_py()
        else numbers
    )


def id_values(column, name, path):
    """Ids as int64 or large_string."""
    column = plain(column)
    missing = pc.is_null(column, nan_is_null=True)
    if row := bad_row(missing):
        raise InputError(
            f"{path}: {name} is missing in row {row:,} ({pc.sum(missing).as_py():,} such rows); "
            "every row needs an id: fill it or drop the row"
        )
    ids = column if pa.types.is_large_string(column.type) else whole(column)
    if ids is not None:
        return ids
    if pa.types.is_integer(column.type):  # uint64 hashes
        return column.cast(pa.large_string())
    raise InputError(
        f"{path}: {name} holds {column.type} values such as {column[0].as_py()!r}; ids are integers"
        " or texts"
    )


def label_values(column, name, path):
    """Labels as int8 0 and 1."""
    codes = plain(column).dictionary_encode(null_encoding="encode").combine_chunks()
    values = codes.dictionary.to_pylist()
    found = np.array([LABELS.get(str(value).strip().lower(), -1) for value in values], np.int8)
    labels = found[codes.indices.to_numpy()]
    row = first_true(labels < 0)
    if row is not None:
        value = values[codes.indices[row].as_py()]
        raise InputError(
            f"{path}: {name} is {'missing' if value is None else repr(value)} in row {row + 1:,}; "
            "labels are 0 or 1"
        )
    return pa.chunked_array([labels])


def number_values(column, name, path):
    """A dense column as float64, missing values as NaN."""
    column = plain(column)
    text = pa.types.is_large_string(column.type)
    try:
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.int8())
        numbers = column.cast(pa.float64(), safe=False)  # integers beyond 2**53 may round
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        row = first_failure(column, pa.float64()) if text else 0
        raise InputError(
            f"{path}: {name} is {column[row].as_py()!r} in row {row + 1:,}, but --dense says that"
            " it is a number; leave missing numbers empty"
        ) from None
    if row := bad_row(pc.is_inf(numbers)):
        raise InputError(
            f"{path}: {name} is infinite in row {row:,}; dense values are finite, empty where"
            " missing"
        )
    return numbers.fill_null(float("nan"))


def category_values(column, name, path):
    """A column of categories as int64 or large_string, missing values as nulls."""
    column = plain(column)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    text = pa.types.is_large_string(column.type)
    numbers = None if text else whole(column)
    if numbers is not None:
        return numbers
    if pa.types.is_nested(column.type):
        raise InputError(
            f"{path}: {name} holds {column.type} values; an attribute has one value a row:"
            " choose one"
        )
    if pa.types.is_floating(column.type) or text and fractions(column):
        say(
            f"{path}: {name} holds fractions and is read as categories; if it is a number, name it"
            " with --dense"
        )
    return column.cast(pa.large_string())


def fractions(column):
    """Whether all texts of the column are numbers, and some have a decimal point."""
    try:
        column.cast(pa.float64())
        return pc.any(pc.match_substring(column, ".")).as_py()
    except pa.ArrowInvalid:
        return False


def concatenate(columns):
    """One column after the other; as texts where their types differ."""
    if len({c.type for c in columns}) > 1:
        columns = [c.cast(pa.large_string()) for c in columns]
    return pa.chunked_array([chunk for c in columns for chunk in c.chunks], columns[0].type)


def to_pandas(column):
    """A pandas Series; integers with missing values as Int64, that 3 stays 3 and does not become
    3.0."""
    if pa.types.is_integer(column.type) and column.null_count:
        return pd.Series(
            pd.arrays.IntegerArray(column.fill_null(0).to_numpy(), column.is_null().to_numpy())
        )
    return pd.Series(column.to_pandas())
