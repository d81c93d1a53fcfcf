"""A request (docs/request.md) of each row of a file."""

import math
import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from paddleinterest.core import json_text
from paddleinterest.core.errors import InputError
from paddleinterest.core.json_text import shown
from paddleinterest.data.schema import Field
from paddleinterest.data.sources.columns import LIKE_MISSING
from paddleinterest.data.sources.times import EXAMPLES, SECOND, Clock, time_values
from paddleinterest.serving.day.meaning import CANDIDATES, HISTORY, SIDES, Meaning
from paddleinterest.serving.day.rows import Block
from paddleinterest.serving.ids import Ids
from paddleinterest.serving.request import Request

SEPARATOR = "|"  # of the values in a cell of text
OTHERS = (",", ";", "^")  # which may be meant to separate
FIELD_SIDES = {"user": "user_attributes", "context": "context"}

Made = Request | InputError


class RequestMaker:
    """Makes a request of each row.

    Args:
        meaning: of the columns.
        items: the bundle's item ids.
        users: its user ids.
        candidates: what every row ranks; None = its own item or list.
    """

    def __init__(
        self, meaning: Meaning, items: Ids, users: Ids, candidates: list[Any] | None = None
    ) -> None:
        self._meaning = meaning
        self._items = items
        self._users = users
        self._candidates = candidates

    def requests(self, block: Block) -> list[Made]:
        """The request of every row; an InputError for a row that cannot be one."""
        times: Sequence[int | InputError | None] = [None] * len(block)
        if self._meaning.time:
            name = self._meaning.time
            times = seconds(block.columns[name], name, self._meaning.clock)
        return [self._made(block.row(k), times[k]) for k in range(len(block))]

    def _made(self, row: dict[str, Any], time: int | InputError | None) -> Made:
        if isinstance(time, InputError):
            return time
        try:
            return self._request(row, time)
        except InputError as e:
            return e

    def _request(self, row: dict[str, Any], time: int | None) -> Request:
        m = self._meaning
        request: Request = {} if time is None else {"time": time}
        if m.user and (m.user in row or not m.history):
            request["user"] = identifier(row.get(m.user), m.user, self._users)
        if m.history:
            past = listed(row.get(HISTORY, []), HISTORY)  # a missing one is empty
            request["history"] = [_event(each) for each in past]
        for side in SIDES:
            if side in row:
                request[side] = row[side]
        own = {}
        for column, f in m.fields.items():
            if column not in row:
                continue
            raw = value(row[column], f, column)
            if raw is None:
                continue
            if f.of == "item":
                own[f.name] = raw
                continue
            given = request.setdefault(FIELD_SIDES[f.of], {})
            if isinstance(given, dict):
                given[f.name] = raw
        request["candidates"] = self._of_row(row, own)
        return request

    def _of_row(self, row: dict[str, Any], own: dict[str, Any]) -> list[Any]:
        m = self._meaning
        if self._candidates is not None:
            return self._candidates
        if m.lists:
            return listed(row.get(CANDIDATES), CANDIDATES)
        item = identifier(row.get(m.item), m.item, self._items)
        return [{"item": item, **own} if own else item]


def seconds(values: list[Any], name: str, clock: Clock) -> list[int | InputError | None]:
    """Times as whole numbers: seconds since 1970 (UTC), or the dataset's order. An InputError for
    each that is none."""
    try:
        return list(_times(values, name, clock))
    except (InputError, pa.ArrowException, TypeError, OverflowError):
        return [_one_time(each, name, clock) for each in values]


def _times(values: list[Any], name: str, clock: Clock) -> list[int]:
    column = pa.chunked_array([pa.array(values)])
    kind, ticks = time_values(column, name, "", clock)
    return (ticks // SECOND if kind == "clock" else ticks).tolist()


def _one_time(raw: Any, name: str, clock: Clock) -> int | InputError:
    if raw is None or isinstance(raw, float) and math.isnan(raw):
        return InputError(f"{name} is missing")
    try:
        return _times([raw], name, clock)[0]
    except (InputError, pa.ArrowException, TypeError, OverflowError):
        must = "must be a whole number"
        if clock.unit != "order":
            must = f"must be a number (--time-unit {clock.unit}) or a date such as {EXAMPLES}"
        return InputError(f"{name} is {shown(raw)}, {must}")


def identifier(raw: Any, name: str, known: Ids) -> str:
    """The id of a cell, spelled as preparation spells it: 7.0 is 7.

    Raises:
        InputError: it is missing, looks so, or is not an id.
    """
    if isinstance(raw, float) and raw.is_integer() and abs(raw) < 2**53:
        raw = int(raw)
    if isinstance(raw, int) and not isinstance(raw, bool):
        return str(raw)
    missing = raw is None or isinstance(raw, float) and math.isnan(raw)
    if missing or isinstance(raw, str) and not raw.strip():
        raise InputError(f"{name} is missing")
    if not isinstance(raw, str):
        raise InputError(f"{name} is {shown(raw)}, must be an id (text or integer)")
    text = raw.strip()
    if re.fullmatch(r"-?\d+\.0+", text) and text not in known:
        return text.partition(".")[0]
    if text.lower() in LIKE_MISSING and text not in known:
        raise InputError(f"{name} is {text!r}, which looks like a missing value")
    return text


def value(raw: Any, field: Field, name: str) -> Any:
    """The value of a cell as a request gives it; None if it is missing.

    Raises:
        InputError: text that is not a number, or not a list.
    """
    if isinstance(raw, float) and math.isnan(raw):
        return None
    if field.multiple or field.kind == "vector":
        values = listed(raw, name)
        if field.kind != "vector":
            return [each.strip() if isinstance(each, str) else each for each in values]
        return [_number(each, name) for each in values]
    if not isinstance(raw, str):
        return raw
    text = raw.strip()
    if not text:
        return None
    return _number(text, name) if field.kind == "dense" else text


def _number(raw: Any, name: str) -> Any:
    if not isinstance(raw, str):
        return raw
    try:
        return float(raw)
    except ValueError:
        raise InputError(f"{name} is {shown(raw)}, must be a number") from None


def listed(raw: Any, name: str) -> list[Any]:
    """The values of a cell: a list, or a text such as i1|i2 or ["i1", "i2"].

    Raises:
        InputError: it is missing, or it is unclear what separates the values.
    """
    if isinstance(raw, list):
        return raw
    if raw is None:
        raise InputError(f"{name} is missing")
    if not isinstance(raw, str):
        raise InputError(f"{name} is {shown(raw)}, must be a list")
    text = raw.strip()
    if text.startswith("["):
        found = json_text.parse(text, name)
        return found if isinstance(found, list) else [found]
    if SEPARATOR not in text and any(each in text for each in OTHERS):
        raise InputError(
            f"{name} is {shown(text)}; it is unclear what separates its values: write them as"
            ' i1|i2, or as JSON, ["i1", "i2"]'
        )
    return [each.strip() for each in text.split(SEPARATOR)] if text else []


def _event(raw: Any) -> Any:
    """An event of a history as a request gives it, without what is missing."""
    if not isinstance(raw, dict):
        return raw
    return {name: each for name, each in raw.items() if each is not None}
