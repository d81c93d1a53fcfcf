"""From a JSON request of raw ids to the arrays that an exported program reads, with the bundle's
own vocabularies.

A request:

    {"user": "u1",                                  optional; unknown or absent users have unknown
    attributes
     "user_attributes": {"age": "25-34"},           optional; wins over what users.parquet knows
     "time": 1700000000,                            the moment of the request, and of
     "history": ["i7", {"item": "i9", "time": 1}],  each event, oldest first; may be empty. Only
     models that read times need them
     "candidates": ["i1", {"item": "new", "category": "c3"}],   attributes given here win over
     items.parquet
     "context": {"hour": "12"}}                     optional
"""

import collections
import json
import math
import os
import re
import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd

from paddleinterest.core.errors import InputError, nearest_path
from paddleinterest.data.columns import read_parquet
from paddleinterest.data.schema import FIRST_ID, LATEST_SECOND, PADDING, UNKNOWN
from paddleinterest.data.tables import FARTHEST, ItemTable, UserTable, standardise

NEEDED = (
    "this model reads how long ago each event was, so that the request and every event of its"
    " history need a time"
)
KEYS = ("user", "user_attributes", "time", "history", "candidates", "context")


@dataclass
class Encoded:
    """A request as arrays: history_* [1, T], target_* [N], user_* and context_* [1], dense [N, …],
    history_time [1, T], target_time [1]; with the raw candidate ids, which of them [N] the
    catalogue knows, whether it knows the user (None: none named), how many history events it does
    not, and how many given values of each field, {name: number}, training never saw.
    """

    arrays: dict
    candidates: list
    known: np.ndarray
    known_user: "bool | None"
    unknown_history: int
    unknown_values: dict


class RequestEncoder:
    """Looks raw ids up in a bundle. Anything unknown becomes index 1.

    Args:
        bundle: directory that tools/to_static.py wrote.  schema: its `Schema`.  history_cap: events
            kept.
        needs_times: the program reads times; a history without them is refused.
    """

    def __init__(self, bundle, schema, history_cap, needs_times=False):
        self.schema, self.cap, self.needs_times = schema, history_cap, needs_times
        self.items, self.users = ItemTable(bundle, schema), UserTable(bundle, schema)
        self.item_row = _index(os.path.join(bundle, "items.parquet"), "item")
        self.user_row = _index(os.path.join(bundle, "users.parquet"), "user")
        self.values = {
            f.name: _vocabulary(os.path.join(bundle, "vocab", f"{f.name}.parquet"), f)
            for f in schema.fields
            if f.kind == "category" and f.name != "item"
        }

    def encode(self, request):
        """Check one request; returns `Encoded`."""
        _check(isinstance(request, dict), "a request must be an object with history and candidates")
        for key in request:
            _check(key in KEYS, f"unknown key {key!r}; a request has {', '.join(KEYS)}")
        history, times = self._history(request.get("history", []))
        candidates = request.get("candidates")
        _check(
            isinstance(candidates, list) and candidates,
            "candidates must be a list of at least one item",
        )
        unknown = collections.Counter()
        ids, target, given = self._candidates(candidates, unknown)
        arrays = {}
        for f in self.schema.item_fields:
            column = self.items.fields[f.name]
            row = (
                column[history] if len(history) else np.array([PADDING])
            )  # an empty history is one padded position
            arrays[f"history_{f.name}"] = row[None, :].astype(np.int64)
            arrays[f"target_{f.name}"] = given.get(f.name, column[target]).astype(np.int64)
        known_user = self._side(request, arrays, target, given, len(ids), unknown)
        arrays["history_time"] = (times if len(times) else np.array([0]))[None, :]
        _check(
            "time" in request or not (self.needs_times and len(times)), f"time is missing: {NEEDED}"
        )
        latest = int(times[-1]) if len(times) else 0
        arrays["target_time"] = np.array([_time(request.get("time", latest), "time")])
        _check(
            not self.needs_times
            or self.schema.time != "seconds"
            or abs(arrays["target_time"][0]) < LATEST_SECOND,
            f"time is {request.get('time')}, must be seconds since 1970; is it milliseconds?",
        )
        _check(
            not latest or arrays["target_time"][0] >= latest,
            f"time is {request.get('time')}, before the last event of its history, at {latest}",
        )
        return Encoded(
            arrays,
            ids,
            target > UNKNOWN,
            known_user,
            int((history == UNKNOWN).sum()),
            dict(unknown),
        )

    def _history(self, events):
        _check(isinstance(events, list), "history must be a list, oldest event first")
        ids, times = [], []
        for k, event in enumerate(events[-self.cap :]):
            where = f"history[{max(0, len(events) - self.cap) + k}]"
            if isinstance(event, dict):
                for key in event:
                    _check(
                        key in ("item", "time"),
                        f"{where}: unknown key {key!r}; it must have item and may have time,"
                        " attributes are for candidates",
                    )
                _check("item" in event, f"{where} has no item")
            else:
                event = {"item": event}
            _check("time" in event or not self.needs_times, f"{where} has no time: {NEEDED}")
            ids.append(_id(event["item"], where))
            times.append(_time(event.get("time", 0), f"{where}.time"))
        _check(times == sorted(times), "history must be oldest first, but its times fall")
        return self._rows(self.item_row, ids), np.array(times, np.int64)

    def _candidates(self, candidates, unknown):
        """Raw ids, catalogue rows [N], and the fields that the request overrides {name: [N]}."""
        names = [f.name for f in self.schema.fields if f.of == "item" and f.name != "item"]
        ids, own = [], []
        for k, candidate in enumerate(candidates):
            where = f"candidates[{k}]"
            if isinstance(candidate, dict):
                _check("item" in candidate, f"{where} has no item")
                for key in candidate:
                    _check(
                        key == "item" or key in names,
                        f"{where}: unknown attribute {key!r}; known: {', '.join(names)}",
                    )
            else:
                candidate = {"item": candidate}
            ids.append(candidate["item"])
            _id(candidate["item"], where)
            own.append(candidate)
        rows = self._rows(self.item_row, [str(i) for i in ids])
        given = {}
        for f in self.schema.fields:
            if f.of == "item" and f.name != "item" and any(f.name in c for c in own):
                base = (
                    self.items.fields[f.name][rows]
                    if f.kind == "category"
                    else self._dense_item(f)[rows]
                )
                given[f.name] = np.array(
                    [
                        self._value(f, c[f.name], unknown) if f.name in c else b
                        for c, b in zip(own, base)
                    ]
                )
        return ids, rows, given

    def _side(self, request, arrays, target, given, n, unknown):
        """Adds the columns of user, context and numbers to `arrays`; returns whether the user is
        known, None where none is named."""
        user = request.get("user")
        if user is not None:
            _id(user, "user")
        row = int(self._rows(self.user_row, [str(user)])[0]) if user is not None else UNKNOWN
        own = {
            of: {} if request.get(words) is None else request[words]
            for of, words in (("user", "user_attributes"), ("context", "context"))
        }
        for of, words in (("user", "user_attributes"), ("context", "context")):
            names = [f.name for f in self.schema.fields if f.of == of]
            _check(isinstance(own[of], dict), f"{words} must be an object")
            for key in own[of]:
                _check(
                    key in names,
                    f"{words}: unknown key {key!r}; known: {', '.join(names) or 'none'}",
                )
        dense, position = [], {"item": 0, "user": 0}
        for f in self.schema.fields:
            if f.kind == "category" and f.of != "item":
                index = self.users.fields[f.name][row] if f.of == "user" else UNKNOWN
                if f.name in own[f.of]:
                    index = self._value(f, own[f.of][f.name], unknown)
                arrays[f"{f.of}_{f.name}"] = np.array([index], np.int64)
            elif f.kind == "dense":
                if f.of == "item":
                    column = given.get(f.name, self.items.dense[target, position["item"]])
                else:
                    base = self.users.dense[row, position["user"]] if f.of == "user" else 0.0
                    column = np.full(
                        n,
                        self._value(f, own[f.of][f.name], unknown) if f.name in own[f.of] else base,
                    )
                position[f.of] = position.get(f.of, 0) + 1
                dense.append(column.astype(np.float32))
        if dense:
            arrays["dense"] = np.stack(dense, 1)
        return None if user is None else row > UNKNOWN

    def _dense_item(self, field):
        names = [f.name for f in self.schema.fields if f.of == "item" and f.kind == "dense"]
        return self.items.dense[:, names.index(field.name)]

    def _value(self, field, raw, unknown):
        """Index of a raw category value, or a standardised number; null is unknown, as in training.
        Values that no vocabulary holds are counted in `unknown`."""
        if field.kind == "dense":
            ok = raw is None or (
                isinstance(raw, (int, float)) and not isinstance(raw, bool) and abs(raw) < 1e38
            )
            _check(ok, f"{field.name} is {raw!r}, must be a number")
            value = float(standardise([np.nan if raw is None else raw], field)[0])
            _check(
                abs(value) < FARTHEST, f"{field.name} is {raw!r}, too far outside what training saw"
            )
            return value
        fine = (
            raw is None
            or isinstance(raw, (str, int))
            and not isinstance(raw, bool)
            or isinstance(raw, float)
            and math.isfinite(raw)
        )
        _check(fine, f"{field.name} is {raw!r}, must be text or a number")
        known, text = self.values[field.name], str(raw)
        if text not in known and re.fullmatch(r"-?\d+(\.0)?", text):
            text = (
                text.removesuffix(".0") if text.endswith(".0") else f"{text}.0"
            )  # 7 and 7.0 are one value, as in preparation
        if raw is not None and text not in known:
            unknown[field.name] += 1
        return known.get(text, UNKNOWN) if raw is not None else UNKNOWN

    @staticmethod
    def _rows(index, ids):
        rows = index.get_indexer(pd.Index(ids, dtype=object)) if ids else np.array([], np.int64)
        return np.where(rows < 0, UNKNOWN, rows + FIRST_ID).astype(np.int64)


def _index(path, column):
    """Raw ids as text in row order, without the two special rows."""
    table = read_parquet(path)
    if column not in table.column_names or table[column].slice(FIRST_ID).null_count:
        raise InputError(f"{path} must have a column {column} without missing values")
    ids = pd.Index(table[column].slice(FIRST_ID).to_pandas().astype(str), dtype=object)
    if not ids.is_unique:
        raise InputError(f"{path} lists {column} {ids[ids.duplicated()][0]!r} more than once")
    return ids


def _vocabulary(path, field):
    """{raw value as text: index} of a category field."""
    table = read_parquet(path)
    if not {"value", "index"} <= set(table.column_names):
        raise InputError(
            f"{path} has no columns value and index; it has {', '.join(table.column_names)}"
        )
    value, index = table["value"].to_pylist(), table["index"].to_pylist()
    if not all(isinstance(v, str) for v in value) or len(set(value)) < len(value):
        raise InputError(f"{path}: its values must be texts, each once")
    if not all(type(k) is int and UNKNOWN <= k < field.size for k in index):
        raise InputError(f"{path}: its indices must lie in {UNKNOWN}…{field.size - 1}")
    return dict(zip(value, index))


def _check(fine, message):
    if not fine:
        raise InputError(f"request: {message}")


def _id(raw, where):
    _check(
        isinstance(raw, (str, int)) and not isinstance(raw, bool),
        f"{where} is {raw!r}, must be an id (text or integer)",
    )
    return str(raw)


def _time(raw, where):
    _check(
        isinstance(raw, int) and not isinstance(raw, bool) and abs(raw) < 2**62,
        f"{where} is {raw!r}, must be an integer, as the dataset counts time (seconds since 1970,"
        " as a rule)",
    )
    return raw


def _object(pairs):
    """A JSON object; one that names a key twice leaves open which is meant."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise InputError(
            f"request: the key {next(n for n in names if names.count(n) > 1)!r} occurs twice in one"
            " object"
        )
    return made


def read_requests(path):
    """A request, or a list of them, from a JSON file; - reads standard input."""
    try:
        with sys.stdin if path == "-" else open(path, encoding="utf-8") as f:
            return parse_requests(f.read(), path)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist{nearest_path(path)}") from None
    except UnicodeDecodeError as e:
        raise InputError(f"{path} is not JSON: {e}") from None


def parse_requests(text, where):
    """The same from text or bytes; `where` they come from, for messages."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise InputError(f"{where} is not JSON that can be read: it is nested too deeply") from None
    except ValueError as e:
        raise InputError(f"{where} is not JSON: {' '.join(str(e).split())[:120]}") from None
