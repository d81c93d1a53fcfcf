"""From a request of raw ids to the arrays that an exported program reads, with the bundle's own
vocabularies.

A request is a JSON object:

    {"user": "u1",
     "user_attributes": {"age": "25-34", "hobbies": ["chess", "go"]},
     "time": 1700000000,
     "history": ["i7", {"item": "i9", "time": 1699990000, "action": "buy", "price": 3.5}],
     "candidates": ["i1", {"item": "new", "category": "c3", "genres": ["War", "Comedy"]}],
     "context": {"hour": "12"}}

- ``candidates``: what to score. Attributes given here win over those of items.parquet. A field of
  several values takes a list, a vector a list of numbers.
- ``user``: optional. An unknown or missing user has unknown attributes.
- ``user_attributes``: optional. They win over those of users.parquet.
- ``history``: events, oldest first; may be empty. ``time`` is the moment of the request and of each
  event. Only models that read times need them. The dataset's event fields are optional; what an
  event lacks is unknown.
- ``context``: optional.
"""

import collections
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from paddleinterest.core import json_text
from paddleinterest.core.errors import InputError, nearest_path
from paddleinterest.core.json_text import shown
from paddleinterest.data.lists import Lists
from paddleinterest.data.schema import (
    FIRST_ID,
    LATEST,
    LATEST_SECOND,
    PADDING,
    UNKNOWN,
    Field,
    Schema,
)
from paddleinterest.data.tables import ItemTable, UserTable
from paddleinterest.serving.ids import Ids, item_ids, user_ids
from paddleinterest.serving.values import MOST_VALUES, Unknown, Values, hashed
from paddleinterest.serving.values import check as _check

NEEDED = (
    "this model reads how long ago each event was, so that the request and every event of its"
    " history need a time"
)
EXAMPLE = '{"user": "u1", "candidates": ["i7", "i9"]}'  # for messages
KEYS = ("user", "user_attributes", "time", "history", "candidates", "context")
PLAIN_EVENT = {"item", "time"}
SIDES = {"user": "user_attributes", "context": "context"}  # of a field → the request's key

Request = dict[str, Any]
Arrays = dict[str, np.ndarray]


@dataclass
class Encoded:
    """A request as arrays.

    Attributes:
        arrays: history_* and event_* [1, T, …], target_* [N, …], user_* and context_* [1, …], dense
            [N, …], history_time [1, T], target_time [1].
        candidates: the raw candidate ids, [N].
        known: which candidates the catalogue knows, bool [N].
        known_user: whether users.parquet knows the user; None if the request names none.
        history_events: events of the history that are used.
        unknown_history: how many of them the catalogue does not know.
        unknown_values: given attribute values that training never saw, {field: number}.
    """

    arrays: Arrays
    candidates: Sequence[str | int]
    known: np.ndarray
    known_user: bool | None
    history_events: int
    unknown_history: int
    unknown_values: dict[str, int]


@dataclass
class _Items:
    """Candidates, or the items of a history.

    Attributes:
        ids: raw, [N].
        rows: of the catalogue, int64 [N]; 1 for an unknown one.
        own: what entry k says itself, {k: {field: raw value}}.
    """

    ids: Sequence[str | int]
    rows: np.ndarray
    own: dict[int, dict[str, Any]] = field(default_factory=dict)

    def given(self, name: str) -> dict[int, Any]:
        """{entry: raw value} of a field."""
        return {k: said[name] for k, said in self.own.items() if name in said}


class RequestEncoder:
    """Looks raw ids up in a bundle. Whatever is unknown becomes index 1.

    Args:
        bundle: directory that tools/to_static.py wrote.
        schema: its schema.
        history_cap: how many events of a history are kept, the latest.
        needs_times: the program reads times, so a history without them is refused.
        unread: vectors that no program reads; the bundle need not have them, and a candidate may
            not give them.
    """

    def __init__(
        self,
        bundle: str,
        schema: Schema,
        history_cap: int,
        needs_times: bool = False,
        unread: Collection[str] = (),
    ) -> None:
        self.schema = schema
        self.cap = history_cap
        self.needs_times = needs_times
        self.unread = frozenset(unread)
        read = [f.name for f in schema.vector_fields if f.name not in self.unread]
        self.items = ItemTable(bundle, schema, read)
        self.users = UserTable(bundle, schema)
        self.item_row: Ids = item_ids(bundle)
        self.user_row: Ids = user_ids(bundle)
        self._values = Values(bundle, schema)
        self.values = self._values.vocabularies
        self._attributes = [f for f in schema.fields if f.of == "item" and f.name != "item"]
        self._attribute_names = {f.name for f in self._attributes}
        self._event_fields = {f.name: f for f in schema.fields if f.of == "event"}
        lists = {**self.items.lists, **self.users.lists}
        self._longest = {name: max(MOST_VALUES, _longest(each)) for name, each in lists.items()}

    def encode(self, request: Any) -> Encoded:
        """Check one request and look it up.

        Raises:
            InputError: the request is malformed; the message says what is wrong in it.
        """
        if not isinstance(request, dict):
            raise InputError(f"request: {shown(request)} must be an object, such as {EXAMPLE}")
        for key in request:
            _check(key in KEYS, f"unknown key {shown(key)}; a request has {', '.join(KEYS)}")
        unknown: Unknown = collections.Counter()
        history, times = self._history(request.get("history", []))
        candidates = self._candidates(request.get("candidates"))
        user = self._user(request)
        given = {of: self._given(request, of) for of in SIDES}
        arrays = self._item_arrays(history, candidates, unknown)
        arrays.update(self._event_arrays(history, unknown))
        arrays.update(self._side_arrays(request.get("user"), user, given, unknown))
        arrays.update(self._dense(user, given, candidates, unknown))
        arrays["history_time"] = (times if len(times) else np.array([0]))[None, :]
        arrays["target_time"] = np.array([self._moment(request, times)])
        return Encoded(
            arrays,
            candidates.ids,
            candidates.rows > UNKNOWN,
            None if request.get("user") is None else user > UNKNOWN,
            len(history.rows),
            int((history.rows == UNKNOWN).sum()),
            dict(unknown),
        )

    # items ----------------------------------------------------------------------------------------

    def _item_arrays(self, history: _Items, candidates: _Items, unknown: Unknown) -> Arrays:
        """history_* [1, T, …] and target_* [N, …]. An empty history is one padded position."""
        past = history.rows if len(history.rows) else np.array([PADDING])
        arrays = {}
        for f in self.schema.item_fields:
            column = self.items.fields[f.name]
            target = column[candidates.rows]
            before = column[past]
            if f.name == "item" and f.hashed:
                before = _with_hashes(before, history, f)
                target = _with_hashes(target, candidates, f)
            for k, raw in candidates.given(f.name).items():
                target[k] = self._values.one(f, raw, unknown)
            arrays[f"history_{f.name}"] = before[None, :]
            arrays[f"target_{f.name}"] = target
        for f in self.schema.multiple("item"):
            lists = self.items.lists[f.name]
            arrays[f"history_{f.name}"] = lists.padded(past)[None]
            arrays[f"target_{f.name}"] = self._target_lists(f, lists, candidates, unknown)
        for f in self.schema.vector_fields:
            if f.name in self.unread:
                continue
            vectors = self.items.vectors[f.name]
            near = vectors[candidates.rows]
            for k, raw in candidates.given(f.name).items():
                near[k] = self._values.vector(f, raw)
            arrays[f"history_vector_{f.name}"] = vectors[past][None]
            arrays[f"target_vector_{f.name}"] = near
        return arrays

    def _target_lists(
        self, field: Field, lists: Lists, candidates: _Items, unknown: Unknown
    ) -> np.ndarray:
        """The catalogue's lists of the candidates, or those that they bring, int64 [N, M]."""
        padded = lists.padded(candidates.rows)
        longest = self._longest[field.name]
        own = {
            k: self._values.several(field, raw, longest, unknown)
            for k, raw in candidates.given(field.name).items()
        }
        more = max((len(values) for values in own.values()), default=0) - padded.shape[1]
        padded = np.pad(padded, ((0, 0), (0, max(0, more))))
        for k, values in own.items():
            padded[k] = 0
            padded[k, : len(values)] = values
        return padded

    def _history(self, events: Any) -> tuple[_Items, np.ndarray]:
        """The latest events, and their times, int64 [T]."""
        if not isinstance(events, list):
            raise InputError(
                f"request: history is {shown(events)}, must be a list, oldest event first"
            )
        first = max(0, len(events) - self.cap)
        ids = []
        times = []
        own: dict[int, dict[str, Any]] = {}
        for k, event in enumerate(events[first:], first):
            if not isinstance(event, dict):
                event = {"item": event}
            elif event.keys() != PLAIN_EVENT:  # words for messages are made for these alone
                self._check_event(event, f"history[{k}]")
            if self._event_fields:
                own[k - first] = event
            if self.needs_times and "time" not in event:
                raise InputError(f"request: history[{k}] has no time: {NEEDED}")
            raw = event["item"]
            ids.append(raw if type(raw) is str else _id(raw, f"history[{k}]"))
            moment = event.get("time", 0)
            fine = type(moment) is int and abs(moment) < LATEST
            times.append(moment if fine else _time(moment, f"history[{k}].time"))
        _check(times == sorted(times), "history must be oldest first, but its times fall")
        rows = _rows(self.item_row, ids)
        return _Items(ids, rows, own), np.array(times, np.int64)

    def _check_event(self, event: dict[str, Any], where: str) -> None:
        for key in event:
            if key in ("item", "time") or key in self._event_fields:
                continue
            may = ", ".join(["time", *self._event_fields])
            raise InputError(
                f"request: {where}: unknown key {shown(key)}; it must have item and may have {may},"
                " attributes are for candidates"
            )
        _check("item" in event, f"{where} has no item")

    def _event_arrays(self, history: _Items, unknown: Unknown) -> Arrays:
        """event_* [1, T] and event_dense [1, T, number of dense event fields]; what an event does
        not say is unknown, or 0 of a number."""
        length = len(history.rows)
        arrays: Arrays = {}
        dense = []
        for f in self._event_fields.values():
            missing = UNKNOWN if f.kind == "category" else 0.0
            column = np.full(max(1, length), missing if length else PADDING, np.float64)
            for k, raw in history.given(f.name).items():
                column[k] = self._values.one(f, raw, unknown)
            if f.kind == "category":
                arrays[f"event_{f.name}"] = column.astype(np.int64)[None]
            else:
                dense.append(column.astype(np.float32))
        if dense:
            arrays["event_dense"] = np.stack(dense, 1)[None]
        return arrays

    def _candidates(self, candidates: Any) -> _Items:
        if not isinstance(candidates, list) or not candidates:
            what = "missing" if candidates is None else shown(candidates)
            raise InputError(f"request: candidates is {what}, must be a list of at least one item")
        if set(map(type, candidates)) == {str}:  # as nearly always, and without a loop
            return _Items(candidates, _rows(self.item_row, candidates))
        ids: list[str | int] = []
        own: dict[int, dict[str, Any]] = {}
        for k, candidate in enumerate(candidates):
            if isinstance(candidate, dict):
                self._check_candidate(candidate, k)
                if len(candidate) > 1:
                    own[k] = {name: raw for name, raw in candidate.items() if name != "item"}
                candidate = candidate["item"]
            if type(candidate) is not str:
                _id(candidate, f"candidates[{k}]")
            ids.append(candidate)
        return _Items(ids, _rows(self.item_row, [str(raw) for raw in ids]), own)

    def _check_candidate(self, candidate: dict[str, Any], k: int) -> None:
        _check("item" in candidate, f"candidates[{k}] has no item")
        for key in candidate:
            if key in self.unread:
                raise InputError(
                    f"request: candidates[{k}]: {key} started the item table (vectors: start), so"
                    " the model does not read it; leave it out"
                )
            if key != "item" and key not in self._attribute_names:
                names = ", ".join(f.name for f in self._attributes)
                raise InputError(
                    f"request: candidates[{k}]: unknown attribute {shown(key)}; known: {names}"
                )

    # user and context -----------------------------------------------------------------------------

    def _user(self, request: Request) -> int:
        """Row of users.parquet."""
        raw = request.get("user")
        if raw is None:
            return UNKNOWN
        return int(_rows(self.user_row, [_id(raw, "user")])[0])

    def _given(self, request: Request, of: str) -> dict[str, Any]:
        """The values that the request gives for its user or its context, {field: raw value}."""
        words = SIDES[of]
        given = request.get(words)
        if given is None:
            return {}
        if not isinstance(given, dict):
            raise InputError(f"request: {words} is {shown(given)}, must be an object")
        names = [f.name for f in self.schema.fields if f.of == of]
        for key in given:
            known = ", ".join(names) or "none"
            _check(key in names, f"{words}: unknown key {shown(key)}; known: {known}")
        return given

    def _side_arrays(
        self, raw_user: Any, user: int, given: dict[str, dict[str, Any]], unknown: Unknown
    ) -> Arrays:
        """The category columns of user and context, int64 [1] each, or [1, M] of several values."""
        arrays = {}
        for f in [*self.schema.categories("user"), *self.schema.categories("context")]:
            index: float = UNKNOWN
            if f.name in given[f.of]:
                index = self._values.one(f, given[f.of][f.name], unknown)
            elif f.of == "user":
                index = self.users.fields[f.name][user]
                if user == UNKNOWN and raw_user is not None and self._is_user_id(f):
                    index = self._values.one(f, str(raw_user), unknown)
            arrays[f"{f.of}_{f.name}"] = np.array([index], np.int64)
        for f in self.schema.multiple("user"):
            values = self.users.lists[f.name].padded(np.array([user]))
            if f.name in given["user"]:
                longest = self._longest[f.name]
                own = self._values.several(f, given["user"][f.name], longest, unknown)
                values = (own if len(own) else np.array([PADDING]))[None]
            arrays[f"user_{f.name}"] = values
        return arrays

    def _is_user_id(self, field: Field) -> bool:
        """True if a field is the user's hashed id, which new users have too."""
        own = field.name == "user_id" and bool(self.schema.recipe.get("user_id"))
        return own and field.hashed

    def _dense(
        self,
        user: int,
        given: dict[str, dict[str, Any]],
        candidates: _Items,
        unknown: Unknown,
    ) -> Arrays:
        """{"dense": float32 [N, number of dense fields]}; {} if the dataset has none."""
        columns = []
        for f in self.schema.dense_fields:
            if f.of == "item":
                column = self._dense_of("item", f)[candidates.rows]
                for k, raw in candidates.given(f.name).items():
                    column[k] = self._values.one(f, raw, unknown)
            else:
                value = 0.0
                if f.name in given[f.of]:
                    value = self._values.one(f, given[f.of][f.name], unknown)
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


def _rows(ids: Ids, raw: list[str]) -> np.ndarray:
    """Rows of the items or users table, int64 [n]; 1 for unknown ids."""
    positions = ids.rows(raw)
    return np.where(positions < 0, UNKNOWN, positions + FIRST_ID)


def _with_hashes(index: np.ndarray, items: _Items, field: Field) -> np.ndarray:
    """Embedding indices of items, those that the catalogue does not know by their hash."""
    new = np.flatnonzero(items.rows == UNKNOWN)
    if len(new):
        index[new] = hashed([str(items.ids[k]) for k in new.tolist()], field)
    return index


def _longest(lists: Lists) -> int:
    """Values of the longest of some lists."""
    return int(np.diff(lists.offsets).max(initial=0))


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
