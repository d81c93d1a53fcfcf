"""The values of a column: each function takes an Arrow column, its name and file, and names the
first row that is wrong. Rows count from 1, without the header."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say

LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
SPACES = "".join(chr(c) for c in range(0x3001) if chr(c).isspace()) + "\ufeff\u200b"
LIKE_MISSING = ("na", "n/a", "#n/a", "nan", "null", "none", "nil", "\\n", "<na>", "undefined")
LARGEST_FLOAT = 2**53  # above it floating-point numbers skip whole numbers
WHOLE = r"^[+-]?\d+(\.0+)?$"
SCIENTIFIC = r"^[+-]?\d+(\.\d+)?[eE]\+\d+$|^[+-]?\d+\.\d+[eE]-?\d+$"  # 3e12 may be a hash


def bad_row(mask: pa.ChunkedArray) -> int:
    """1-based number of the first row where the boolean column is true, 0 if none; the header does
    not count."""
    return pc.index(mask, True).as_py() + 1


def first_true(mask: np.ndarray) -> int | None:
    """Index of the first true value of a numpy array, None without one."""
    row = int(mask.argmax())
    return row if mask[row] else None


def first_failure(column: pa.ChunkedArray, kind: pa.DataType) -> int:
    """Index of the first value that cannot be cast to `kind`; the length if all can be cast."""
    good = 0  # the first `good` values can be cast
    bad = len(column) + 1  # the first `bad` values cannot
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            column[:middle].cast(kind)
            good = middle
        except pa.ArrowInvalid:
            bad = middle
    return good


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column without dictionary encoding, texts as large_string."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.large_string())
    return column


def whole(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array | None:
    """The column as int64 if that loses nothing, else None. Missing values stay missing.

    7 and 7.0 are one number; "007" and 2.5 stay texts.
    """
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        try:
            return column.cast(pa.int64())
        except pa.ArrowInvalid:
            return None
    if not pa.types.is_large_string(kind):
        return None
    if pc.any(pc.match_substring(column, ".")).as_py():  # how pandas writes integers with gaps
        column = pc.replace_substring_regex(column, r"^(-?\d+)\.0+$", r"\1")
    try:
        numbers = column.cast(pa.int64())
    except pa.ArrowInvalid:
        return None
    canonical = pc.all(pc.equal(numbers.cast(pa.large_string()), column)).as_py()
    return numbers if canonical in (True, None) else None


def shown(value: object) -> str:
    """A value for a message: texts in quotes, backslashes unchanged."""
    if isinstance(value, str):
        return value if re.fullmatch(r"-?\d+(\.\d+)?", value) else f"'{value}'"
    return repr(value)


class Texts:
    """A column of texts by its distinct values, so that each is judged once.

    Attributes:
        codes: the number of each row's value, -1 for a missing one.
        values: the distinct values, in order of appearance.
    """

    def __init__(self, column: pa.ChunkedArray):
        encoded = column.combine_chunks().dictionary_encode()
        self.codes = encoded.indices.fill_null(-1).to_numpy()
        self.values = encoded.dictionary

    def row(self, code: int) -> int:
        """1-based number of the first row with that value."""
        return int(np.argmax(self.codes == code)) + 1

    def rows(self, codes: np.ndarray) -> int:
        """How many rows have one of those values."""
        return int(np.isin(self.codes, codes).sum())

    def trim(self, name: str, path: str) -> None:
        """Strip white space and byte order marks from the ends of the values, and report it."""
        trimmed = pc.utf8_trim(self.values, characters=SPACES)
        changed = np.flatnonzero(pc.not_equal(trimmed, self.values).to_numpy(zero_copy_only=False))
        if not len(changed):
            return
        first = int(changed[0])
        say(
            f"{path}: {name} is {self.values[first].as_py()!r} in row {self.row(first):,}: blanks"
            f" at the ends of {self.rows(changed):,} values are removed"
        )
        self.values = trimmed

    def column(self, values: pa.Array) -> pa.ChunkedArray:
        """The rows again, with `values` for the distinct ones."""
        indices = pa.array(self.codes, pa.int32(), mask=self.codes < 0)
        return pa.chunked_array([values.take(indices)])

    def like_missing(self) -> int | None:
        """The index of the first value that looks like a missing value."""
        lower = pc.utf8_lower(self.values)
        found = pc.is_in(lower, value_set=pa.array(LIKE_MISSING, pa.large_string()))
        return first_true(found.to_numpy(zero_copy_only=False)) if len(found) else None


@dataclass(frozen=True)
class Reading:
    """How values are read.

    Attributes:
        null: the texts that mean a missing value; None if --null is not given, and then an id such
            as NULL is refused.
        typed: whether the file says which values are texts (Parquet, JSON): then they stay texts.
    """

    null: tuple[str, ...] | None = None
    typed: bool = False


def id_values(
    column: pa.ChunkedArray, name: str, path: str, reading: Reading = Reading()
) -> pa.ChunkedArray:
    """Ids as int64 or large_string, one spelling for each.

    Raises:
        InputError: an id is missing, looks missing, or has lost digits; or the ids have an
            unsuitable type.
    """
    column = plain(column)
    missing = pc.is_null(column, nan_is_null=True)
    if row := bad_row(missing):
        raise _missing(name, path, row, pc.sum(missing).as_py())
    kind = column.type
    if pa.types.is_large_string(kind):
        numbers = None if reading.typed else whole(column)
        return _id_texts(column, name, path, reading) if numbers is None else numbers
    if pa.types.is_floating(kind):
        values = column.to_numpy()
        row = bad_row(pc.greater_equal(pc.abs(column), LARGEST_FLOAT))
        if row:
            raise InputError(
                f"{path}: {name} is {values[row - 1]:.0f} in row {row:,}, a floating-point"
                " number, which is exact up to 2**53 only: different larger ids have become"
                " equal; write ids as integers or texts"
            )
    ids = whole(column)
    if ids is not None:
        return ids
    if pa.types.is_integer(kind):  # uint64 hashes
        return column.cast(pa.large_string())
    raise InputError(
        f"{path}: {name} holds {kind} values such as {column[0].as_py()!r}; ids are integers or"
        " texts"
    )


def _missing(name: str, path: str, row: int, rows: int) -> InputError:
    return InputError(
        f"{path}: {name} is missing in row {row:,} (rows without one: {rows:,}); every row needs an"
        " id: fill it, or leave out such rows with --drop-missing"
    )


def _id_texts(column: pa.ChunkedArray, name: str, path: str, reading: Reading) -> pa.ChunkedArray:
    texts = Texts(column)
    texts.trim(name, path)
    empty = first_true(pc.equal(texts.values, "").to_numpy(zero_copy_only=False))
    if empty is not None:
        raise _missing(name, path, texts.row(empty), texts.rows(np.array([empty])))
    suspect = texts.like_missing() if reading.null is None else None
    if suspect is not None:
        value = texts.values[suspect].as_py()
        rows = texts.rows(np.array([suspect]))
        raise InputError(
            f"{path}: {name} is '{value}' in row {texts.row(suspect):,} ({rows:,} of"
            f" {len(column):,} rows), which looks like a missing value; use --null '{value}' if it"
            " is one (--drop-missing leaves out such rows), or --null '' if it is an id"
        )
    numbers = whole(texts.values)
    if numbers is not None:
        kind = texts.values.type
        return texts.column(numbers.cast(kind) if reading.typed else numbers)
    lossy = pc.match_substring_regex(texts.values, SCIENTIFIC).to_numpy(zero_copy_only=False)
    code = first_true(lossy)
    if code is not None:
        raise InputError(
            f"{path}: {name} is '{texts.values[code].as_py()}' in row {texts.row(code):,}, an id"
            " that a program wrote as a rounded number, so different ids may have become equal;"
            " export ids as integers or texts"
        )
    pair = two_spellings(texts.values)
    if pair:
        code = texts.values.index(pair[1]).as_py()
        raise InputError(
            f"{path}: {name} is '{pair[1]}' in row {texts.row(code):,} and '{pair[0]}' in row"
            f" {texts.row(texts.values.index(pair[0]).as_py()):,}: one id in two spellings? Write"
            " each id one way"
        )
    return texts.column(texts.values)


def two_spellings(values: pa.Array) -> tuple[str, str] | None:
    """Two distinct texts of a column that are the same whole number, such as 7 and 7.0; None if
    there are none."""
    numbers = values.filter(pc.match_substring_regex(values, WHOLE))
    keys = pc.replace_substring_regex(numbers, r"^\+?(-?\d+?)(\.0+)?$", r"\1")
    counts = pc.value_counts(keys)
    several = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    if not len(several):
        return None
    pair = numbers.filter(pc.equal(keys, several[0]))
    return pair[0].as_py(), pair[1].as_py()


class Labelled:
    """The values of a label column and their labels, over all pieces of a file.

    Attributes:
        rows: labels.
        ones: those that are 1.
        values: {value as text: whether it is 1}.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.ones = 0
        self.values: dict[str, bool] = {}

    def tell(self, name: str, path: str, positive: Sequence[str]) -> None:
        """Say which values are 1.

        Raises:
            InputError: `positive` names a value that the column does not have.
        """
        ones = ", ".join(sorted(value for value, one in self.values.items() if one))
        say(
            f"{path}: {self.ones:,} of {self.rows:,} rows are positive: {name} is"
            f" {ones[:200] or 'none of the values asked for'}"
        )
        found = {value.strip() for value in self.values}
        absent = [each for each in positive if each not in found]
        if absent:
            raise InputError(
                f"{path}: {name} is never {shown(absent[0])}, which --positive names; it is"
                f" {', '.join(sorted(self.values)[:10])}"
            )


def label_values(
    column: pa.ChunkedArray,
    name: str,
    path: str,
    positive: Sequence[str] = (),
    positive_from: float | None = None,
    seen: Labelled | None = None,
) -> pa.ChunkedArray:
    """Labels as int8 0 and 1.

    Args:
        positive: the values that are 1; all others are 0.
        positive_from: numbers from here on are 1, smaller ones 0.
        seen: for one of several pieces of a file: where to count; the caller reports.
    """
    column = plain(column)
    if pa.types.is_floating(column.type) and (numbers := whole(column)) is not None:
        column = numbers
    codes = column.dictionary_encode(null_encoding="encode").combine_chunks()
    values = codes.dictionary.to_pylist()
    found = np.array([_label(value, positive, positive_from) for value in values], np.int8)
    labels = found[codes.indices.to_numpy()]
    row = first_true(labels < 0)
    if row is not None:
        value = values[codes.indices[row].as_py()]
        raise InputError(
            f"{path}: {name} is {'missing' if value is None else shown(value)} in row {row + 1:,};"
            + _labels_are(value, positive, positive_from)
        )
    if positive or positive_from is not None:
        counted = Labelled() if seen is None else seen
        counted.rows += len(labels)
        counted.ones += int(labels.sum())
        counted.values.update({str(v): bool(one) for v, one in zip(values, found, strict=True)})
        if seen is None:
            counted.tell(name, path, positive)
    return pa.chunked_array([labels])


def _label(value: object, positive: Sequence[str], positive_from: float | None) -> int:
    """0 or 1 for a value, -1 if it is neither."""
    if value is None or value != value:
        return -1
    text = str(value).strip()
    if positive:
        return int(text in positive)
    if positive_from is not None:
        try:
            number = float(text)
        except ValueError:
            return -1
        return -1 if number != number else int(number >= positive_from)
    return LABELS.get(text.lower(), -1)


def _labels_are(value: object, positive: Sequence[str], positive_from: float | None) -> str:
    """The end of a message about a label: what it should be."""
    if positive:
        return " --positive must name some of the values"
    if positive_from is not None:
        return " --positive-from compares numbers"
    try:
        float(str(value))
    except ValueError:
        return " labels are 0 or 1; for other values --positive names those that count as 1"
    return " labels are 0 or 1; for ratings --positive-from names the smallest that counts as 1"


def number_values(column: pa.ChunkedArray, name: str, path: str) -> pa.ChunkedArray:
    """A dense column as float64, missing values as NaN."""
    column = plain(column)
    text = pa.types.is_large_string(column.type)
    if text:
        column = pc.utf8_trim(column, characters=SPACES)
    try:
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.int8())
        numbers = column.cast(pa.float64(), safe=False)  # integers beyond 2**53 may round
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        row = first_failure(column, pa.float64()) if text else 0
        value = column[row].as_py()
        advice = "leave missing numbers empty"
        if str(value).lower() in LIKE_MISSING:
            advice = f"use --null '{value}' if it means a missing value"
        raise InputError(
            f"{path}: {name} is {shown(value)} in row {row + 1:,}, but --dense names it as a"
            f" number; {advice}"
        ) from None
    if row := bad_row(pc.is_inf(numbers)):
        raise InputError(
            f"{path}: {name} is infinite in row {row:,}; dense values are finite, empty where"
            " missing"
        )
    return numbers.fill_null(float("nan"))


def category_values(
    column: pa.ChunkedArray, name: str, path: str, reading: Reading = Reading()
) -> pa.ChunkedArray:
    """A column of categories as int64 or large_string, missing values as nulls. Without --null a
    value that looks missing is kept and reported."""
    column = plain(column)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    if pa.types.is_nested(column.type):
        raise InputError(
            f"{path}: {name} holds {column.type}; --multiple {name} reads several values of an"
            f" item or user, --vectors {name} an item's numbers; other columns have one value per"
            " row"
        )
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    if not pa.types.is_large_string(column.type):
        numbers = whole(column)
        if numbers is not None:
            return numbers
        if pa.types.is_floating(column.type):
            _say_fractions(name, path)
        return column.cast(pa.large_string())
    return _category_texts(column, name, path, reading)


def _category_texts(
    column: pa.ChunkedArray, name: str, path: str, reading: Reading
) -> pa.ChunkedArray:
    texts = Texts(column)
    texts.trim(name, path)
    nothing = pa.scalar(None, texts.values.type)
    texts.values = pc.if_else(pc.equal(texts.values, ""), nothing, texts.values)
    numbers = None if reading.typed else whole(texts.values)
    if numbers is not None:
        return texts.column(numbers)
    if _fractions(texts.values):
        _say_fractions(name, path)
    suspect = texts.like_missing() if reading.null is None else None
    if suspect is not None:
        value = texts.values[suspect].as_py()
        say(
            f"{path}: {name} is '{value}' in {texts.rows(np.array([suspect])):,} of {len(column):,}"
            f" rows and is kept as a value; --null '{value}' makes it a missing value"
        )
    return texts.column(texts.values)


def _say_fractions(name: str, path: str) -> None:
    say(
        f"{path}: {name} holds fractions and is read as categories; if it is a number, name it"
        " with --dense"
    )


def _fractions(values: pa.Array) -> bool:
    """True if all texts are numbers and some have a decimal point."""
    try:
        values.cast(pa.float64())
        return bool(pc.any(pc.match_substring(values, ".")).as_py())
    except pa.ArrowInvalid:
        return False


def concatenate(columns: Sequence[pa.ChunkedArray]) -> pa.ChunkedArray:
    """The columns joined; as texts if their types differ."""
    if len({c.type for c in columns}) > 1:
        columns = [c.cast(pa.large_string()) for c in columns]
    return pa.chunked_array([chunk for c in columns for chunk in c.chunks], columns[0].type)


def to_pandas(column: pa.ChunkedArray) -> pd.Series:
    """A pandas Series; integers with missing values as Int64, so 3 does not become 3.0."""
    if pa.types.is_nested(column.type):  # lists stay where they are
        return pd.Series(pd.arrays.ArrowExtensionArray(column))
    if pa.types.is_integer(column.type) and column.null_count:
        return pd.Series(
            pd.arrays.IntegerArray(column.fill_null(0).to_numpy(), column.is_null().to_numpy())
        )
    return pd.Series(column.to_pandas())
