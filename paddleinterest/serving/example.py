"""The example request of a bundle: a real history of the test split."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from paddleinterest.core import json_text
from paddleinterest.data.columns import read_parquet
from paddleinterest.data.reader import Reader
from paddleinterest.data.schema import FIRST_ID, UNKNOWN, Field, Schema
from paddleinterest.serving.history.raw import RawEvents
from paddleinterest.serving.ids import Ids, item_ids
from paddleinterest.serving.vocabulary import read_vocabularies

ROWS = 1000  # of test, among which the example is chosen
EVENTS = 10
CANDIDATES = 5


def write_example(path: str, data: str, schema: Schema) -> None:
    """Write a request as JSON.

    It has the longest history among the first test rows, of a user whose attributes are known if
    there is one, and five popular candidates. The first candidate and the user come with their
    attributes, as a request would give those of a new one; the events with their fields.

    Args:
        path: the file to write.
        data: a prepared dataset.
        schema: its schema.
    """
    reader = Reader(data, "test", 1, history_cap=EVENTS)
    row = _choose(reader)
    items = item_ids(data)
    users = read_parquet(os.path.join(data, "users.parquet"))["user"]
    user = int(reader.user[row])
    request: dict[str, Any] = {
        "user": users[user].as_py(),
        "time": int(reader.time[row]),
        "history": history_of(reader, row, reader.cap, items, read_vocabularies(data, schema)),
        "candidates": [items[k] for k in range(min(CANDIDATES, len(items)))],
    }
    if own := _attributes("item", "items.parquet", FIRST_ID, data, schema):
        request["candidates"][0] = {"item": request["candidates"][0], **own}
    if own := _attributes("user", "users.parquet", user, data, schema):
        request["user_attributes"] = own
    if own := _attributes("context", os.path.join("test", "part-00000.parquet"), row, data, schema):
        request["context"] = own
    with open(path, "w", encoding="utf-8") as f:
        f.write(json_text.dumps(request, indent=1))


def _choose(reader: Reader) -> int:
    """The row whose history is longest; among equals, that of the user with most known
    attributes."""
    length = reader.length[:ROWS]
    columns = reader.users.fields.values()
    lists = reader.users.lists.values()
    users = reader.user[:ROWS]
    known = np.zeros(len(length), np.int64)
    for column in columns:
        known += column[users] > UNKNOWN
    for each in lists:
        known += each.lengths(users) > 0
    return int(np.argmax(length * (len(columns) + len(lists) + 1) + known))


def history_of(
    reader: Reader,
    row: int,
    longest: int | None,
    items: Ids,
    vocabularies: Mapping[str, Mapping[str, int]],
) -> list[dict[str, Any]]:
    """The history of a row of a split as a request gives it.

    Args:
        reader: of the split.
        row: number of the row, in memory.
        longest: most recent events kept; None: all.
        items: the dataset's item ids.
        vocabularies: {field: {raw value: index}}.
    """
    raw = RawEvents(items, reader.schema.fields, vocabularies)
    end = int(reader.end[row - reader.start])
    some = slice(0 if longest is None else max(0, end - longest), end)
    columns = reader.sequences.one(int(reader.sequence[row - reader.start]))
    events = raw.events({name: values[some] for name, values in columns.items()})
    return [event.without_hashes().as_request() for event in events]


def _attributes(of: str, file: str, row: int, data: str, schema: Schema) -> dict[str, Any]:
    """{name: raw value} of a row of the dataset's file, without the item's id, vectors and hashed
    values."""
    fields = [f for f in schema.fields if f.of == of and f.name != "item"]
    fields = [f for f in fields if f.kind != "vector" and not f.hashed]
    if not fields:
        return {}
    table = read_parquet(os.path.join(data, file))
    return {f.name: _raw(table[f.name][row].as_py(), f, data) for f in fields}


def _raw(value: Any, field: Field, data: str) -> Any:
    """A column's value, or list of values, as a request would give it."""
    if field.kind == "dense":
        return value if value == value else None
    if field.multiple:
        return [_word(index, field, data) for index in value if index >= FIRST_ID]
    return None if value < FIRST_ID else _word(value, field, data)


def _word(index: int, field: Field, data: str) -> str:
    """The raw value of an index."""
    vocabulary = read_parquet(os.path.join(data, "vocab", f"{field.name}.parquet"))
    return vocabulary["value"][index - FIRST_ID].as_py()
