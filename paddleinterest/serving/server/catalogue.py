"""Views of a bundle for the page: users with a history, items with their attributes, and the
reasons for a candidate's score."""

from typing import Any

import numpy as np

from paddleinterest.data.schema import FIRST_ID, UNKNOWN
from paddleinterest.serving.bundle import Bundle
from paddleinterest.serving.history.events import Event


class Catalogue:
    """Looks users and items of a bundle up for people.

    Args:
        bundle: the bundle.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._words: dict[str, dict[int, str]] = {}  # of each attribute, {index: value}

    def users(self, query: str, limit: int) -> list[str]:
        """Users whose id starts with `query`; first those who have events."""
        ids = self.bundle.encoder.user_row
        if query:
            return ids.starting_with(query, limit)
        own = self.bundle.histories.own
        found = own.with_events(limit) if own is not None else []
        return found or [ids[k] for k in range(min(limit, len(ids)))]

    def items(self, query: str, limit: int) -> list[dict[str, Any]]:
        """Items whose id starts with `query`, in the catalogue's order, with their attributes."""
        ids = self.bundle.encoder.item_row
        names = [ids[k] for k in range(min(limit, len(ids)))]
        if query:
            names = ids.starting_with(query, limit)
        return [{"item": name, **self.attributes(name)} for name in names]

    def events(self, events: list[Event]) -> list[dict[str, Any]]:
        """Events of a history with their fields and the attributes of their items."""
        return [
            {**event.without_hashes().as_request(), **self.attributes(event.item)}
            for event in events
        ]

    def attributes(self, item: str) -> dict[str, str]:
        """The category attributes of an item in words; those that are unknown are left out."""
        encoder = self.bundle.encoder
        row = int(encoder.item_row.rows([item])[0])
        if row < 0:
            return {}
        found = {}
        for f in self.bundle.schema.item_fields:
            if f.name == "item":
                continue
            index = int(encoder.items.fields[f.name][row + FIRST_ID])
            if index > UNKNOWN:
                found[f.name] = self._word(f.name, index)
        for f in self.bundle.schema.multiple("item"):
            indices = encoder.items.lists[f.name].take(np.array([row + FIRST_ID])).values
            words = [self._word(f.name, k) for k in indices.tolist() if k > UNKNOWN]
            if words:
                found[f.name] = ", ".join(words)
        return found

    def _word(self, field: str, index: int) -> str:
        """The raw value of an index; of a hashed one nobody knows it."""
        if field not in self._words:
            values = self.bundle.encoder.values.get(field, {})
            self._words[field] = {k: value for value, k in values.items()}
        return self._words[field].get(index, f"#{index}")

    def explained(self, request: Any) -> dict[str, Any]:
        """`Bundle.rank`, with the history that was used and each candidate's attention on it.

        Each candidate gets ``attention``, one weight per event of ``history``, and the attributes
        that the catalogue has of it.
        """
        bundle = self.bundle
        request, source = bundle.with_history(request)
        encoded, score, weight = bundle.scored(request)
        answer = bundle.answer_of(request, source, encoded, score)
        best_first = np.argsort(-score, kind="stable")
        used = encoded.history_events
        for candidate, k in zip(answer["candidates"], best_first.tolist(), strict=True):
            candidate["attention"] = weight[k, :used].tolist()
            candidate["attributes"] = self.attributes(str(candidate["item"]))
        events = request.get("history", [])[-used:] if used else []
        answer["history"] = [self._event(event) for event in events]
        return answer

    def _event(self, event: Any) -> dict[str, Any]:
        made = dict(event) if isinstance(event, dict) else {"item": event}
        return {**made, "attributes": self.attributes(str(made["item"]))}
