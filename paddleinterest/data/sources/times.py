"""The times of events, in any form that logs have them: unix times, dates written as digits, texts,
timestamps. All become whole microseconds since 1970 (UTC), or numbers that only give an order."""

import zoneinfo
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.data.schema import LATEST_SECOND
from paddleinterest.data.sources.columns import SPACES, bad_row, first_true, plain, shown, whole

# clock times are held in microseconds until events with fractions of a second are in order
SECOND = 1_000_000
UNITS = {"s": SECOND, "ms": 1000, "us": 1, "ns": 1 / 1000}  # microseconds in each
FIRST, LAST = 631_152_000, 4_102_444_800  # seconds at the start of 1990 and of 2100
DIGITS = (
    "yyyyMMddHHmmssSSS",
    "yyyyMMddHHmmss",
    "yyyyMMddHHmm",
    "yyMMddHHmmss",
    "yyyyMMddHH",
    "yyyyMMdd",
    "yyMMddHH",
)
FAST = (
    pa.timestamp("us"),
    pa.timestamp("us", "UTC"),
    pa.timestamp("ns"),
    pa.timestamp("ns", "UTC"),
)
INTEGERS, NUMBERS, PARTS = "integers", "numbers", "parts"
WAYS = (INTEGERS, NUMBERS, *map(str, FAST), PARTS)  # in which texts are read; the first that fits
NUMBER = r"^[+-]?\d+(\.\d*)?$"
TEXT = (
    r"^(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})"
    r"(?:[T ]+(?P<hour>\d{1,2})(?::(?P<minute>\d{1,2})(?::(?P<second>\d{1,2})"
    r"(?:[.,](?P<fraction>\d{1,9}))?)?)?)?"
    r" ?(?P<zone>Z|z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?$"
)
SET_UNIT = (
    f"set --time-unit: {', '.join(UNITS)}, one of {', '.join(DIGITS)}, or order for numbers that"
    " only give an order"
)
EXAMPLES = "2017-01-31 23:59:59, 2017-01-31T23:59:59Z, 2017/1/31 or 20170131235959"


@dataclass(frozen=True)
class Clock:
    """How times are to be read.

    Attributes:
        unit: of numbers: s, ms, us or ns since 1970; one of `DIGITS`; `order` if they only give an
            order; empty to detect it.
        zone: the time zone of times without one, such as Asia/Shanghai; empty for UTC.
        form: form of texts, in strptime's letters, such as %d/%m/%Y; empty to detect it.
        way: one of `WAYS`, how texts are read; empty to detect it.
    """

    unit: str = ""
    zone: str = ""
    form: str = ""
    way: str = ""


def check_clock(clock: Clock) -> None:
    """Raise InputError unless Python knows the time zone."""
    if not clock.zone:
        return
    try:
        zoneinfo.ZoneInfo(clock.zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise InputError(
            f"--time-zone is {clock.zone!r}, must be a name such as"
            " Asia/Shanghai, Europe/Berlin or UTC"
        ) from None


def time_values(
    column: pa.ChunkedArray, name: str, path: str, clock: Clock
) -> tuple[str, np.ndarray]:
    """Times as ("clock", int64 microseconds) or ("order", int64).

    Raises:
        InputError: a time is missing or cannot be read, or can be read two ways; it names the row.
    """
    column = plain(column)
    if row := bad_row(pc.is_null(column, nan_is_null=True)):
        raise InputError(
            f"{path}: {name} is missing in row {row:,}; every event needs a time: fill it, or"
            " leave out such rows with --drop-missing"
        )
    of = f"{path}: {name}"
    kind = column.type
    if pa.types.is_large_string(kind):
        return _texts(pc.utf8_trim(column, characters=SPACES), of, clock)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "clock", _timestamps(column, of, clock)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _numbers(column, of, clock)
    raise InputError(f"{of} holds {kind} values such as {column[0].as_py()!r}, not times")


# texts --------------------------------------------------------------------------------------------


def _texts(column: pa.ChunkedArray, of: str, clock: Clock) -> tuple[str, np.ndarray]:
    if clock.form:
        return "clock", _by_form(column, of, clock)
    way = clock.way or next(way for way in WAYS if fits(column, way))
    if way == PARTS:
        return "clock", _by_parts(column, of, clock)
    if way == INTEGERS:
        return _numbers(column.cast(pa.int64()), of, clock)
    if way == NUMBERS:
        return _numbers(column.cast(pa.float64()), of, clock)
    return "clock", _timestamps(column.cast(FAST[WAYS.index(way) - 2]), of, clock)


def fits(column: pa.ChunkedArray, way: str) -> bool:
    """True if all texts of a column, without blanks at their ends, can be read in that way; `parts`
    always fits, and finds the wrong row."""
    if way == PARTS:
        return True
    if way == NUMBERS:
        return bool(pc.all(pc.match_substring_regex(column, NUMBER)).as_py())
    try:
        column.cast(pa.int64() if way == INTEGERS else FAST[WAYS.index(way) - 2])
    except pa.ArrowInvalid:
        return False
    return True


def zones(column: pa.ChunkedArray) -> set[bool]:
    """Find out if texts of times have a time zone: the answers that occur."""
    found = pc.struct_field(pc.extract_regex(pc.unique(column), TEXT), "zone")
    return set(pc.unique(pc.not_equal(found, "").drop_null()).to_pylist())


def _by_form(column: pa.ChunkedArray, of: str, clock: Clock) -> np.ndarray:
    """Texts by the strptime form that the user gives."""
    try:
        times = pd.to_datetime(
            column.to_pandas(), format=clock.form, errors="coerce", utc="%z" in clock.form.lower()
        )
    except ValueError as e:
        raise InputError(f"--time-format {clock.form!r}: {' '.join(str(e).split())}") from None
    row = first_true(times.isna().to_numpy())
    if row is not None:
        raise InputError(
            f"{of} is {column[row].as_py()!r} in row {row + 1:,}, not of the form"
            f" {clock.form!r} of --time-format"
        )
    if times.dt.tz is not None:
        return times.dt.tz_convert(None).to_numpy("datetime64[us]").astype(np.int64)
    return _in_zone(times.to_numpy("datetime64[us]").astype(np.int64), of, clock)


def _by_parts(column: pa.ChunkedArray, of: str, clock: Clock) -> np.ndarray:
    """Texts of year, month, day and so on, in the varieties of `TEXT`."""
    encoded = column.combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy()
    values = encoded.dictionary
    parts = pc.extract_regex(values, TEXT)
    wrong = pc.is_null(parts).to_numpy(zero_copy_only=False)
    if wrong.any():
        numbers = pc.match_substring_regex(values, NUMBER).to_numpy(zero_copy_only=False)
        if numbers[codes].mean() >= 0.5:
            wrong = ~numbers
        raise _not_a_time(values, codes, wrong, of)

    def number(part: str, default: int) -> np.ndarray:
        text = pc.struct_field(parts, part)
        return pc.if_else(pc.equal(text, ""), str(default), text).cast(pa.int64()).to_numpy()

    fields = {"year": number("year", 0), "month": number("month", 0), "day": number("day", 0)}
    for part in ("hour", "minute", "second"):
        fields[part] = number(part, 0)
    ticks, valid = _moment(fields)
    if not valid.all():
        raise _not_a_time(values, codes, ~valid, of)
    fraction = pc.utf8_rpad(pc.struct_field(parts, "fraction"), 6, "0")
    ticks += pc.utf8_slice_codeunits(fraction, 0, 6).cast(pa.int64()).to_numpy()
    zones = pc.struct_field(parts, "zone")
    bare = pc.equal(zones, "").to_numpy(zero_copy_only=False)
    if bare.all():
        return _in_zone(ticks, of, clock)[codes]
    if bare.any() and not clock.zone:
        row = int(np.argmax(bare[codes] != bare[codes[0]]))
        raise InputError(
            f"{of} is {values[int(codes[row])].as_py()!r} in row {row + 1:,} and"
            f" {values[int(codes[0])].as_py()!r} in row 1: one has a time zone, the other does"
            " not; set --time-zone to the zone that is meant"
        )
    offsets = np.array([_offset(zone) for zone in zones.to_pylist()]) * SECOND
    return np.where(bare, _in_zone(ticks, of, clock), ticks - offsets)[codes]


def _offset(zone: str) -> int:
    """Seconds that a zone such as +08:00 is ahead of UTC."""
    if not zone or zone[0] not in "+-":
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    seconds = 3600 * int(digits[:2]) + 60 * int(digits[2:])
    return seconds if zone[0] == "+" else -seconds


def _not_a_time(values: pa.Array, codes: np.ndarray, wrong: np.ndarray, of: str) -> InputError:
    """The error for the first row whose value is wrong."""
    row = int(np.argmax(wrong[codes]))
    value = values[int(codes[row])].as_py()
    return InputError(
        f"{of} is {value!r} in row {row + 1:,}, which is not a time of a known form, such as"
        f" {EXAMPLES}; --time-format describes others, such as --time-format '%d/%m/%Y %H:%M'"
    )


# timestamps ---------------------------------------------------------------------------------------


def _timestamps(column: pa.ChunkedArray, of: str, clock: Clock) -> np.ndarray:
    zone = getattr(column.type, "tz", None)
    ticks = column.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64()).to_numpy()
    return ticks if zone else _in_zone(ticks, of, clock)


def _in_zone(ticks: np.ndarray, of: str, clock: Clock) -> np.ndarray:
    """Microseconds of a local clock as microseconds in UTC."""
    if clock.zone in ("", "UTC"):
        return ticks
    local = pd.DatetimeIndex(ticks.astype("datetime64[us]"))
    zone = zoneinfo.ZoneInfo(clock.zone)
    try:
        zoned = local.tz_localize(zone)
    except ValueError:  # an hour that occurs twice, or not at all
        first = np.ones(len(local), bool)
        zoned = local.tz_localize(zone, ambiguous=first, nonexistent="shift_forward")
        say(
            f"{of}: some times are in the hour when the clocks of {clock.zone} change; if it"
            " occurs twice, the first is used, if it does not occur, the next"
        )
    return zoned.tz_convert(None).to_numpy("datetime64[us]").astype(np.int64)


# numbers ------------------------------------------------------------------------------------------


def _numbers(column: pa.ChunkedArray, of: str, clock: Clock) -> tuple[str, np.ndarray]:
    integers = whole(column)
    values = (column if integers is None else integers).to_numpy()
    row = first_true(~np.isfinite(values))
    if row is not None:
        raise InputError(f"{of} is {values[row]} in row {row + 1:,}, which is not a time")
    unit = clock.unit or _unit(values, of)
    if unit == "order" or unit in DIGITS:
        if integers is None:
            row = int(np.argmax(values != np.floor(values)))
            raise InputError(
                f"{of} is {values[row]} in row {row + 1:,}; --time-unit {unit} takes whole numbers"
            )
        if unit == "order":
            return "order", values
        return "clock", _in_zone(_from_digits(values, unit, of), of, clock)
    limit = LATEST_SECOND * (SECOND / UNITS[unit])
    row = first_true(np.abs(values.astype(np.float64)) > limit)
    if row is not None:
        raise InputError(
            f"{of} is {values[row]} in row {row + 1:,}, too large for --time-unit {unit};"
            f" {_right_unit(values)}"
        )
    if unit == "ns":
        return "clock", np.floor_divide(values, 1000).astype(np.int64)
    if integers is None:
        return "clock", np.rint(values * UNITS[unit]).astype(np.int64)
    return "clock", values * UNITS[unit]


def _unit(values: np.ndarray, of: str) -> str:
    """The unit of numbers, detected."""
    seen = Units()
    seen.add(values)
    return seen.unit(of)


class Units:
    """The units that fit the numbers of a column, seen piece by piece: dates written as digits, or
    unix times by their size.

    Attributes:
        rows: numbers seen.
        first: the first of them.
        forms: those of `DIGITS` that all numbers have.
        fit: numbers that are times in each unit.
        misfit: {unit: the first that is not: its row from 0, and the number}.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.first: Any = None
        self.forms = list(DIGITS)
        self.fit = dict.fromkeys(UNITS, 0)
        self.misfit: dict[str, tuple[int, Any]] = {}

    def add(self, values: np.ndarray) -> None:
        """See more numbers."""
        if not len(values):
            return
        if not self.rows:
            self.first = values[0]
        self.forms = [form for form in self.forms if _are_digits(values, form)]
        small = np.abs(values.astype(np.float64)) <= LATEST_SECOND
        none = np.zeros(len(values), bool)
        seconds_only = bool(small.all())  # those of 1990 to 2100 in other units are larger
        for unit in UNITS:
            fine = none
            if unit == "s":
                fine = small
            elif not seconds_only:
                fine = _between(values, unit)
            self.fit[unit] += int(fine.sum())
            if unit not in self.misfit and not fine.all():
                row = int(np.argmin(fine))
                self.misfit[unit] = (self.rows + row, values[row])
        self.rows += len(values)

    def unit(self, of: str) -> str:
        """The unit or form of all numbers.

        Raises:
            InputError: no unit fits, or two do.
        """
        forms = self.forms
        if len(forms) > 1:
            raise InputError(
                f"{of} holds numbers such as {self.first}, which can be read as"
                f" {' and as '.join(forms)}; --time-unit {forms[0]} or --time-unit {forms[1]} says"
                " which"
            )
        if forms:
            say(f"{of}: numbers such as {self.first} are read as {forms[0]}")
            return forms[0]
        found = [unit for unit in UNITS if self.fit[unit] == self.rows]
        if found:
            if found[0] != "s":
                say(f"{of}: numbers such as {self.first} are read as --time-unit {found[0]}")
            return found[0]
        guess = max(UNITS, key=lambda unit: self.fit[unit])
        row, value = self.misfit[guess]
        raise InputError(
            f"{of} is {value} in row {row + 1:,}, but most others are unix times in {guess};"
            f" {SET_UNIT}"
        )


def _between(values: np.ndarray, unit: str) -> np.ndarray:
    """A boolean array: which numbers are times from 1990 to 2100 in that unit."""
    seconds = values.astype(np.float64) * (UNITS[unit] / SECOND)
    return (seconds >= FIRST) & (seconds <= LAST)


def _right_unit(values: np.ndarray) -> str:
    """The end of a message: which --time-unit to use."""
    for form in DIGITS:
        if _are_digits(values, form):
            return f"these are dates written as digits: use --time-unit {form}"
    for unit in UNITS:
        if _between(values, unit).all():
            return f"use --time-unit {unit}, which puts all between 1990 and 2100"
    return SET_UNIT


def _are_digits(values: np.ndarray, form: str) -> bool:
    """True if all numbers are dates of the form, of the years 1970 to 2099."""
    if values.dtype.kind != "i":
        return False
    limit = 10 ** len(form)
    if not ((values >= 0) & (values < limit)).all():
        return False
    if form.startswith("yyyy") and (values < limit // 10).any():
        return False
    few = values[:1000]  # nearly always enough to see that they are not
    return bool(_digits(few, form)[1].all() and _digits(values, form)[1].all())


def _from_digits(values: np.ndarray, form: str, of: str) -> np.ndarray:
    ticks, valid = _digits(values, form)
    row = first_true(~valid)
    if row is not None:
        raise InputError(
            f"{of} is {shown(int(values[row]))} in row {row + 1:,}, which is not {form}"
        )
    return ticks


def _digits(values: np.ndarray, form: str) -> tuple[np.ndarray, np.ndarray]:
    """Numbers such as 20170131 as microseconds, and a boolean array: which are dates."""
    letters = {"y": "year", "M": "month", "d": "day", "H": "hour", "m": "minute", "s": "second"}
    fields = {}
    rest = values
    milliseconds = np.zeros(len(values), np.int64)
    for letter in "SsmHdMy":
        width = form.count(letter)
        if not width:
            continue
        part = rest % 10**width
        rest = rest // 10**width
        if letter == "S":
            milliseconds = part
        else:
            fields[letters[letter]] = part
    if form.startswith("yyM"):
        fields["year"] = fields["year"] + 2000
    ticks, valid = _moment(fields)
    valid &= (rest == 0) & (fields["year"] >= 1970) & (fields["year"] < 2100)
    return ticks + 1000 * milliseconds, valid


def _moment(fields: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Microseconds since 1970 of years, months, days, hours, minutes and seconds, and a boolean
    array: which of them exist."""
    nothing = np.zeros(len(fields["year"]), np.int64)
    hour, minute, second = (fields.get(part, nothing) for part in ("hour", "minute", "second"))
    valid = (fields["year"] >= 1) & (fields["month"] >= 1) & (fields["month"] <= 12)
    valid &= (fields["day"] >= 1) & (hour < 24) & (minute < 60) & (second < 60)
    months = np.where(valid, 12 * (fields["year"] - 1970) + fields["month"] - 1, 0)
    month = months.astype("datetime64[M]")
    days = month.astype("datetime64[D]") + np.where(valid, fields["day"] - 1, 0)
    valid &= days.astype("datetime64[M]") == month  # such as the 31st of June
    seconds = days.astype(np.int64) * 86400 + hour * 3600 + minute * 60 + second
    return seconds * SECOND, valid
