"""Raw values of a request: indices of categories, standardised numbers, lists and vectors."""

import collections
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from paddleinterest.core.errors import InputError
from paddleinterest.core.json_text import shown
from paddleinterest.data import hashing
from paddleinterest.data.schema import FIRST_ID, UNKNOWN, Field, Schema
from paddleinterest.data.tables import FARTHEST, standardise
from paddleinterest.serving.vocabulary import read_vocabularies

LARGEST = 1e38  # of a number in a request: float32 ends soon after
LONGEST_TEXT = 1024  # characters of a value that a store of events takes
MOST_VALUES = 256  # of one list, unless the dataset has longer ones

Unknown = collections.Counter[str]  # values of each field that training never saw


class Index(int):
    """The index of a value whose raw form nobody knows: a hashed one, out of a bundle's histories.
    No JSON text gives one."""


class Values:
    """Looks raw values up.

    Args:
        bundle: directory with the vocabularies.
        schema: its schema.

    Attributes:
        vocabularies: {field: {raw value as text: index}} of every category but the item and hashed
            ones.
    """

    def __init__(self, bundle: str, schema: Schema) -> None:
        self.vocabularies = read_vocabularies(bundle, schema)

    def one(self, field: Field, raw: Any, unknown: Unknown) -> float:
        """Index of a raw category value, or a standardised number.

        Null is unknown, as in training. Values that no vocabulary holds are counted in `unknown`.

        Raises:
            InputError: the value is of another kind, or a number that training never saw the like
                of.
        """
        if field.kind == "dense":
            return _number(field, raw)
        check(_is_category(raw), f"{field.name} is {shown(raw)}, must be text or a number")
        if isinstance(raw, Index):
            return int(raw)
        if raw is None:
            return UNKNOWN
        if field.hashed:
            return int(hashed([_spelling(raw)], field)[0])
        known = self.vocabularies[field.name]
        text = str(raw)
        if text not in known and re.fullmatch(r"-?\d+(\.0)?", text):
            # 7 and 7.0 are one value, as in preparation
            text = text.removesuffix(".0") if text.endswith(".0") else f"{text}.0"
        if text not in known:
            unknown[field.name] += 1
        return known.get(text, UNKNOWN)

    def several(self, field: Field, raw: Any, longest: int, unknown: Unknown) -> np.ndarray:
        """Indices of a list of raw values, int64 [M], as in training: in order, none twice.

        Args:
            field: a category of several values.
            raw: a list; null is an empty one.
            longest: how many values it may have.
            unknown: counts the values that no vocabulary holds.
        """
        if raw is None:
            return np.zeros(0, np.int64)
        check(
            isinstance(raw, list),
            f"{field.name} is {shown(raw)}, must be a list of texts or numbers",
        )
        check(
            len(raw) <= longest,
            f"{field.name} has {len(raw):,} values; at most {longest:,} are taken",
        )
        found = [self.one(field, each, unknown) for each in raw if each is not None]
        return np.array(list(dict.fromkeys(found)), np.int64)

    @staticmethod
    def vector(field: Field, raw: Any) -> np.ndarray:
        """A vector, float32 [W]; null gives zeros, as in training."""
        if raw is None:
            return np.zeros(field.width, np.float32)
        check(
            isinstance(raw, list) and len(raw) == field.width and all(map(_is_number, raw)),
            f"{field.name} is {shown(raw)}, must be a list of {field.width} numbers",
        )
        return np.array(raw, np.float32)


def check(fine: Any, message: str) -> None:
    """Raise InputError if something of a request is not fine."""
    if not fine:
        raise InputError(f"request: {message}")


def fits(field: Field, raw: Any) -> bool:
    """True if a request may give this value for a field with one value."""
    if field.kind == "category":
        return _is_category(raw) and len(str(raw)) <= LONGEST_TEXT
    if not _is_number(raw):
        return False
    return abs(float(standardise(np.array([raw], np.float64), field)[0])) < FARTHEST


def hashed(texts: Sequence[str], field: Field) -> np.ndarray:
    """Embedding indices of raw values of a hashed field, int64 [n]."""
    plain = [text.encode("utf-8", "replace").decode() for text in texts]  # JSON has half surrogates
    return hashing.bucket(plain, field.size - FIRST_ID)


def _spelling(raw: Any) -> str:
    """A value as preparation wrote it before it was hashed: 7 and 7.0 are 7."""
    if isinstance(raw, float) and raw.is_integer() and abs(raw) < 2**53:
        return str(int(raw))
    return str(raw)


def _is_category(raw: Any) -> bool:
    if isinstance(raw, float):
        return math.isfinite(raw)
    return raw is None or isinstance(raw, (str, int)) and not isinstance(raw, bool)


def _is_number(raw: Any) -> bool:
    return isinstance(raw, (int, float)) and not isinstance(raw, bool) and abs(raw) < LARGEST


def _number(field: Field, raw: Any) -> float:
    """A number of a request, standardised."""
    check(raw is None or _is_number(raw), f"{field.name} is {shown(raw)}, must be a number")
    value = float(standardise(np.array([math.nan if raw is None else raw], np.float64), field)[0])
    check(
        abs(value) < FARTHEST,
        f"{field.name} is {shown(raw)}, too far outside what training saw",
    )
    return value
