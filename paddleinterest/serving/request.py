"""From a request of raw ids to the arrays that an exported program reads, with the bundle's own
vocabularies.

A request is a JSON object:

    {"user": "u1",
     "user_attributes": {"age": "25-34"},
     "time": 1700000000,
     "history": ["i7", {"item": "i9", "time": 1699990000}],
     "candidates": ["i1", {"item": "new", "category": "c3"}],
     "context": {"hour": "12"}}

- ``candidates``: what to score. Attributes given here win over those of items.parquet.
- ``user``: optional. An unknown or missing user has unknown attributes.
- ``user_attributes``: optional. They win over those of users.parquet.
- ``history``: events, oldest first; may be empty. ``time`` is the moment of the request and of each
  event. Only models that read times need them.
- ``context``: optional.
"""

import collections
import math
import re
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from paddleinterest.core import json_text
from paddleinterest.core.errors import InputError, nearest_path
from paddleinterest.core.json_text import shown
from paddleinterest.data.schema import FIRST_ID, LATEST_SECOND, PADDING, UNKNOWN, Field, Schema
from paddleinterest.data.tables import FARTHEST, ItemTable, UserTable, standardise
from paddleinterest.serving.ids import Ids, item_ids, user_ids
from paddleinterest.serving.vocabulary import read_vocabularies

NEEDED = (
    "this model reads how long ago each event was, so that the request and every event of its"
    " history need a time"
)
KEYS = ("user", "user_attributes", "time", "history", "candidates", "context")
SIDES = {"user": "user_attributes", "context": "context"}  # of a field → the request's key
LARGEST = 1e38  # of a number in a request: float32 ends soon after

Request = dict[str, Any]
Unknown = collections.Counter[str]  # values of each field that training never saw


@dataclass
class Encoded:
    """A request as arrays.

    Attributes:
        arrays: history_* [1, T], target_* [N], user_* and context_* [1], dense [N, …],
            history_time [1, T], target_time [1].
        candidates: the raw candidate ids, [N].
        known: which candidates the catalogue knows, bool [N].
        known_user: whether users.parquet knows the user; None if the request names none.
        history_events: events of the history that are used.
        unknown_history: how many of them the catalogue does not know.
        unknown_values: given attribute values that training never saw, {field: number}.
    """

    arrays: dict[str, np.ndarray]
    candidates: list[str | int]
    known: np.ndarray
    known_user: bool | None
    history_events: int
    unknown_history: int
    unknown_values: dict[str, int]


@dataclass
class _Candidates:
    """The candidates of a request.

    Attributes:
        ids: raw, [N].
        rows: of the catalogue, int64 [N].
        given: fields that the request overrides, {name: [N]}.
    """

    ids: list[str | int]
    rows: np.ndarray
    given: dict[str, np.ndarray]


class RequestEncoder:
    """Looks raw ids up in a bundle. Whatever is unknown becomes index 1.

    Args:
        bundle: directory that tools/to_static.py wrote.
        schema: its schema.
        history_cap: how many events of a history are kept, the latest.
        needs_times: the program reads times, so a history without them is refused.
    """

    def __init__(
        self, bundle: str, schema: Schema, history_cap: int, needs_times: bool = False
    ) -> None:
        self.schema = schema
        self.cap = history_cap
        self.needs_times = needs_times
        self.items = ItemTable(bundle, schema)
        self.users = UserTable(bundle, schema)
        self.item_row: Ids = item_ids(bundle)
        self.user_row: Ids = user_ids(bundle)
        self.values = read_vocabularies(bundle, schema)
        self._attributes = [f for f in schema.fields if f.of == "item" and f.name != "item"]
        self._attribute_names = {f.name for f in self._attributes}

    def encode(self, request: Any) -> Encoded:
        """Check one request and look it up.

        Raises:
            InputError: the request is malformed; the message says what is wrong in it.
        """
        _check(isinstance(request, dict), "a request must be an object with history and candidates")
        for key in request:
            _check(key in KEYS, f"unknown key {shown(key)}; a request has {', '.join(KEYS)}")
        unknown: Unknown = collections.Counter()
        history, times = self._history(request.get("history", []))
        candidates = self._candidates(request.get("candidates"), unknown)
        user = self._user(request)
        given = {of: self._given(request, of) for of in SIDES}
        arrays = self._item_arrays(history, candidates)
        arrays.update(self._side_arrays(user, given, unknown))
        arrays.update(self._dense(user, given, candidates, unknown))
        arrays["history_time"] = (times if len(times) else np.array([0]))[None, :]
        arrays["target_time"] = np.array([self._moment(request, times)])
        return Encoded(
            arrays,
            candidates.ids,
            candidates.rows > UNKNOWN,
            None if request.get("user") is None else user > UNKNOWN,
            len(history),
            int((history == UNKNOWN).sum()),
            dict(unknown),
        )

    def _item_arrays(self, history: np.ndarray, candidates: _Candidates) -> dict[str, np.ndarray]:
        """history_* [1, T] and target_* [N]. An empty history is one padded position."""
        arrays = {}
        for f in self.schema.item_fields:
            column = self.items.fields[f.name]
            past = column[history] if len(history) else np.array([PADDING])
            target = candidates.given.get(f.name, column[candidates.rows])
            arrays[f"history_{f.name}"] = past[None, :].astype(np.int64)
            arrays[f"target_{f.name}"] = target.astype(np.int64)
        return arrays

    def _history(self, events: Any) -> tuple[np.ndarray, np.ndarray]:
        """Catalogue rows and times of the latest events, int64 [T] each."""
        _check(isinstance(events, list), "history must be a list, oldest event first")
        first = max(0, len(events) - self.cap)
        ids = []
        times = []
        for k, event in enumerate(events[first:]):
            where = f"history[{first + k}]"
            if isinstance(event, dict):
                self._check_event(event, where)
            else:
                event = {"item": event}
            _check("time" in event or not self.needs_times, f"{where} has no time: {NEEDED}")
            ids.append(_id(event["item"], where))
            times.append(_time(event.get("time", 0), f"{where}.time"))
        _check(times == sorted(times), "history must be oldest first, but its times fall")
        return _rows(self.item_row, ids), np.array(times, np.int64)

    @staticmethod
    def _check_event(event: dict[str, Any], where: str) -> None:
        for key in event:
            _check(
                key in ("item", "time"),
                f"{where}: unknown key {shown(key)}; it must have item and may have time,"
                " attributes are for candidates",
            )
        _check("item" in event, f"{where} has no item")

    def _candidates(self, candidates: Any, unknown: Unknown) -> _Candidates:
        _check(
            isinstance(candidates, list) and candidates,
            "candidates must be a list of at least one item",
        )
        ids = []
        own: dict[int, dict[str, Any]] = {}  # attributes that candidate k brings
        for k, candidate in enumerate(candidates):
            if isinstance(candidate, dict):
                self._check_candidate(candidate, k)
                if len(candidate) > 1:
                    own[k] = candidate
                candidate = candidate["item"]
            if type(candidate) is not str:
                _id(candidate, f"candidates[{k}]")
            ids.append(candidate)
        rows = _rows(self.item_row, [str(raw) for raw in ids])
        given = {}
        for f in self._attributes:
            if any(f.name in candidate for candidate in own.values()):
                given[f.name] = self._overridden(f, rows, own, unknown)
        return _Candidates(ids, rows, given)

    def _check_candidate(self, candidate: dict[str, Any], k: int) -> None:
        _check("item" in candidate, f"candidates[{k}] has no item")
        for key in candidate:
            if key != "item" and key not in self._attribute_names:
                names = ", ".join(f.name for f in self._attributes)
                raise InputError(
                    f"request: candidates[{k}]: unknown attribute {shown(key)}; known: {names}"
                )

    def _overridden(
        self, field: Field, rows: np.ndarray, own: dict[int, dict[str, Any]], unknown: Unknown
    ) -> np.ndarray:
        """The catalogue's column for the candidates, with the values that they bring; [N]."""
        if field.kind == "category":
            column = self.items.fields[field.name][rows]
        else:
            column = self._dense_of("item", field)[rows]
        column = column.copy()
        for k, candidate in own.items():
            if field.name in candidate:
                column[k] = self._value(field, candidate[field.name], unknown)
        return column

    def _user(self, request: Request) -> int:
        """Row of users.parquet."""
        raw = request.get("user")
        if raw is None:
            return UNKNOWN
        return int(_rows(self.user_row, [_id(raw, "user")])[0])

    def _given(self, request: Request, of: str) -> dict[str, Any]:
        """What the request says of its user or its context, {field: raw value}."""
        words = SIDES[of]
        given = request.get(words)
        if given is None:
            return {}
        _check(isinstance(given, dict), f"{words} must be an object")
        names = [f.name for f in self.schema.fields if f.of == of]
        for key in given:
            known = ", ".join(names) or "none"
            _check(key in names, f"{words}: unknown key {shown(key)}; known: {known}")
        return given

    def _side_arrays(
        self, user: int, given: dict[str, dict[str, Any]], unknown: Unknown
    ) -> dict[str, np.ndarray]:
        """The category columns of user and context, int64 [1] each."""
        arrays = {}
        for f in self.schema.fields:
            if f.kind != "category" or f.of == "item":
                continue
            if f.name in given[f.of]:
                index = self._value(f, given[f.of][f.name], unknown)
            elif f.of == "user":
                index = self.users.fields[f.name][user]
            else:
                index = UNKNOWN
            arrays[f"{f.of}_{f.name}"] = np.array([index], np.int64)
        return arrays

    def _dense(
        self,
        user: int,
        given: dict[str, dict[str, Any]],
        candidates: _Candidates,
        unknown: Unknown,
    ) -> dict[str, np.ndarray]:
        """{"dense": float32 [N, number of dense fields]}; {} if the dataset has none."""
        columns = []
        for f in self.schema.dense_fields:
            if f.of == "item":
                column = candidates.given.get(f.name)
                if column is None:
                    column = self._dense_of("item", f)[candidates.rows]
            else:
                value = 0.0
                if f.name in given[f.of]:
                    value = self._value(f, given[f.of][f.name], unknown)
                elif f.of == "user":
                    value = self._dense_of("user", f)[user]
                column = np.full(len(candidates.ids), value)
            columns.append(column.astype(np.float32))
        return {"dense": np.stack(columns, 1)} if columns else {}

    def _dense_of(self, of: str, field: Field) -> np.ndarray:
        """A dense column of the items or users table, float32 [rows]."""
        names = [f.name for f in self.schema.dense_fields if f.of == of]
        table = self.items if of == "item" else self.users
        return table.dense[:, names.index(field.name)]

    def _moment(self, request: Request, times: np.ndarray) -> int:
        """The time of the request; if it names none, that of its last event."""
        _check(
            "time" in request or not (self.needs_times and len(times)), f"time is missing: {NEEDED}"
        )
        latest = int(times[-1]) if len(times) else 0
        moment = _time(request.get("time", latest), "time")
        is_clock = self.needs_times and self.schema.time == "seconds"
        _check(
            not is_clock or abs(moment) < LATEST_SECOND,
            f"time is {moment}, must be seconds since 1970; is it milliseconds?",
        )
        _check(
            not latest or moment >= latest,
            f"time is {moment}, before the last event of its history, at {latest}",
        )
        return moment

    def _value(self, field: Field, raw: Any, unknown: Unknown) -> float:
        """Index of a raw category value, or a standardised number.

        Null is unknown, as in training. Values that no vocabulary holds are counted in `unknown`.
        """
        if field.kind == "dense":
            return _number(field, raw)
        _check(_is_category(raw), f"{field.name} is {shown(raw)}, must be text or a number")
        if raw is None:
            return UNKNOWN
        known = self.values[field.name]
        text = str(raw)
        if text not in known and re.fullmatch(r"-?\d+(\.0)?", text):
            # 7 and 7.0 are one value, as in preparation
            text = text.removesuffix(".0") if text.endswith(".0") else f"{text}.0"
        if text not in known:
            unknown[field.name] += 1
        return known.get(text, UNKNOWN)


def read_requests(path: str) -> Any:
    """A request, or a list of them, from a JSON file.

    Args:
        path: the file; ``-`` reads standard input.
    """
    try:
        with sys.stdin if path == "-" else open(path, encoding="utf-8") as f:
            return json_text.parse(f.read(), path)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist{nearest_path(path)}") from None
    except UnicodeDecodeError as e:
        raise InputError(f"{path} is not JSON: {e}") from None


def _rows(ids: Ids, wanted: list[str]) -> np.ndarray:
    """Rows of the items or users table, int64 [n]; 1 for unknown ids."""
    positions = ids.rows(wanted)
    return np.where(positions < 0, UNKNOWN, positions + FIRST_ID)


def _check(fine: Any, message: str) -> None:
    if not fine:
        raise InputError(f"request: {message}")


def _id(raw: Any, where: str) -> str:
    if isinstance(raw, bool) or not isinstance(raw, (str, int)):
        raise InputError(f"request: {where} is {shown(raw)}, must be an id (text or integer)")
    return str(raw)


def _time(raw: Any, where: str) -> int:
    fine = isinstance(raw, int) and not isinstance(raw, bool) and abs(raw) < 2**62
    if not fine:
        raise InputError(
            f"request: {where} is {shown(raw)}, must be an integer, as the dataset counts time"
            " (seconds since 1970, as a rule)"
        )
    return raw


def _is_category(raw: Any) -> bool:
    if isinstance(raw, float):
        return math.isfinite(raw)
    return raw is None or isinstance(raw, (str, int)) and not isinstance(raw, bool)


def _number(field: Field, raw: Any) -> float:
    """A number of a request, standardised."""
    is_number = isinstance(raw, (int, float)) and not isinstance(raw, bool)
    _check(
        raw is None or is_number and abs(raw) < LARGEST,
        f"{field.name} is {shown(raw)}, must be a number",
    )
    value = float(standardise(np.array([math.nan if raw is None else raw], np.float64), field)[0])
    _check(
        abs(value) < FARTHEST,
        f"{field.name} is {shown(raw)}, too far outside what training saw",
    )
    return value
