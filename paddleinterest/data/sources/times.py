"""The times of events: numbers, timestamps or texts."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from paddleinterest.core.errors import InputError
from paddleinterest.data.schema import LATEST_SECOND
from paddleinterest.data.sources.columns import bad_row, first_failure, first_true, plain, whole

# clock times are held in microseconds until events with fractions of a second are in order
SECOND = 1_000_000
UNITS = {"s": SECOND, "ms": 1000, "us": 1}
TIME_TYPES = (
    pa.int64(),
    pa.float64(),
    pa.timestamp("us"),
    pa.timestamp("us", "UTC"),
    pa.timestamp("ns"),
    pa.timestamp("ns", "UTC"),
)


def time_values(column, name, path, unit):
    """Times as ("clock", int64 microseconds) or ("order", int64)."""
    column = plain(column)
    if row := bad_row(pc.is_null(column)):
        raise InputError(
            f"{path}: {name} is missing in row {row:,}; every event needs a time: fill it or drop"
            " the row"
        )
    if pa.types.is_large_string(column.type):
        parsed = parse(column)
        if parsed is None:
            row = max(first_failure(column, kind) for kind in TIME_TYPES)
            raise InputError(
                f"{path}: {name} is {column[row].as_py()!r} in row {row + 1:,}; times are whole"
                " numbers, or all of one form, such as 2017-01-31 23:59:59 or 2017-01-31T23:59:59Z"
            )
        column = parsed
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return "clock", column.cast(
            pa.timestamp("us", getattr(column.type, "tz", None)), safe=False
        ).cast(pa.int64())
    if pa.types.is_floating(column.type):
        values = column.to_numpy()
        with np.errstate(invalid="ignore"):
            row = first_true(~(np.isfinite(values) & (values == np.floor(values))))
        if row is not None:
            raise InputError(
                f"{path}: {name} is {values[row]} in row {row + 1:,}; times that are numbers must"
                " be whole: round them, or write milliseconds and --time-unit ms"
            )
    if whole(column) is None:
        raise InputError(
            f"{path}: {name} holds {column.type} values such as {column[0].as_py()!r}, not times"
        )
    values = whole(column).to_numpy()
    if unit == "order":
        return "order", pa.chunked_array([values])
    row = first_true(np.abs(values) > LATEST_SECOND * (SECOND // UNITS[unit]))
    if unit == "s" and dates(values):
        raise InputError(
            f"{path}: {name} holds dates written as whole numbers, such as {values[0]}; write them"
            " as 2017-01-31, or say --time-unit order for numbers that only order"
        )
    if row is not None:
        raise InputError(
            f"{path}: {name} is {values[row]} in row {row + 1:,}, too large for --time-unit {unit}:"
            " write ms for milliseconds, us for microseconds, order for numbers that only order"
        )
    return "clock", pa.chunked_array([values * UNITS[unit]])


def dates(values):
    """Whether all integers read as YYYYMMDD of the years 1900 to 2100."""
    month, day = values // 100 % 100, values % 100
    return bool(
        (
            (values >= 19_000_101)
            & (values <= 21_001_231)
            & (1 <= month)
            & (month <= 12)
            & (1 <= day)
            & (day <= 31)
        ).all()
    )


def parse(column):
    """Texts as numbers or timestamps, by the first of TIME_TYPES that all of them are; None where
    there is none."""
    for kind in TIME_TYPES:
        try:
            return column.cast(kind)
        except pa.ArrowInvalid:
            pass
    return None
