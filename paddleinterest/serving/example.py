"""The example request of a bundle: a real history of the test split."""

import os
from typing import Any

import numpy as np

from paddleinterest.core import json_text
from paddleinterest.data.columns import read_parquet
from paddleinterest.data.reader import Reader
from paddleinterest.data.schema import FIRST_ID, UNKNOWN, Field, Schema

ROWS = 1000  # of test, among which the example is chosen
EVENTS = 10
CANDIDATES = 5


def write_example(path: str, data: str, schema: Schema) -> None:
    """Write a request as JSON.

    It has the longest history among the first test rows, of a user whose attributes are known if
    there is one, and five popular candidates. The first candidate and the user come with their
    attributes, as a request would give those of a new one.

    Args:
        path: the file to write.
        data: a prepared dataset.
        schema: its schema.
    """
    reader = Reader(data, "test", 1, history_cap=EVENTS)
    row = _choose(reader)
    ids = read_parquet(os.path.join(data, "items.parquet"))["item"]
    users = read_parquet(os.path.join(data, "users.parquet"))["user"]
    user = int(reader.user[row])
    last = min(FIRST_ID + CANDIDATES, reader.items.rows)
    items, times = reader.history(row, reader.cap)
    request: dict[str, Any] = {
        "user": users[user].as_py(),
        "time": int(reader.time[row]),
        "history": [
            {"item": ids[item].as_py(), "time": time}
            for item, time in zip(items.tolist(), times.tolist(), strict=True)
        ],
        "candidates": [ids[k].as_py() for k in range(FIRST_ID, last)],
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
    known = np.zeros(len(length), np.int64)
    for column in columns:
        known += column[reader.user[:ROWS]] > UNKNOWN
    return int(np.argmax(length * (len(columns) + 1) + known))


def _attributes(of: str, file: str, row: int, data: str, schema: Schema) -> dict[str, Any]:
    """{name: raw value} of a row of the dataset's file, without the item's id and lists."""
    fields = [f for f in schema.fields if f.of == of and f.name != "item"]
    fields = [f for f in fields if f.kind != "vector" and not f.multiple]
    if not fields:
        return {}
    table = read_parquet(os.path.join(data, file))
    return {f.name: _raw(table[f.name][row].as_py(), f, data) for f in fields}


def _raw(value: Any, field: Field, data: str) -> Any:
    """A column's value as a request would give it."""
    if field.kind == "dense":
        return value if value == value else None
    if value < FIRST_ID:
        return None
    vocabulary = read_parquet(os.path.join(data, "vocab", f"{field.name}.parquet"))
    return vocabulary["value"][value - FIRST_ID].as_py()
