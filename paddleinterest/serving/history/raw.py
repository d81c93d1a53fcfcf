"""Events of a prepared dataset as a request gives them: raw ids and raw values."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from paddleinterest.data.schema import FIRST_ID, UNKNOWN, Field
from paddleinterest.serving.history.events import Event
from paddleinterest.serving.ids import Ids
from paddleinterest.serving.values import Index, fits


class RawEvents:
    """Turns rows and indices back into raw values.

    Args:
        items: the item ids.
        fields: of the schema; those of events are used.
        vocabularies: {field: {raw value: index}}.
    """

    def __init__(
        self,
        items: Ids,
        fields: Sequence[Field],
        vocabularies: Mapping[str, Mapping[str, int]],
    ) -> None:
        self._items = items
        self.fields = [f for f in fields if f.of == "event"]
        self._words = {
            f.name: {index: raw for raw, index in vocabularies[f.name].items()}
            for f in self.fields
            if f.name in vocabularies
        }

    def events(self, columns: Mapping[str, np.ndarray]) -> list[Event]:
        """The events of some columns of one sequence: item, time and event fields, [n] each. An
        event whose item is unknown is left out."""
        rows = {name: values.tolist() for name, values in columns.items()}
        return [
            Event(self._items[item - FIRST_ID], rows["time"][k], self._said(rows, k))
            for k, item in enumerate(rows["item"])
            if item > UNKNOWN
        ]

    def _said(self, rows: Mapping[str, list], k: int) -> dict[str, Any]:
        """The fields of the kth event; a hashed one by its index."""
        found: dict[str, Any] = {}
        for f in self.fields:
            value = rows[f.name][k]
            if f.kind == "dense":
                if fits(f, value):  # neither missing nor so far off that a request may not have it
                    found[f.name] = value
            elif value > UNKNOWN:
                found[f.name] = Index(value) if f.hashed else self._words[f.name][value]
        return found
