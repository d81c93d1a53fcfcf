"""Requests of raw ids drawn uniformly from a bundle's catalogue."""

from typing import Any

import numpy as np

EPOCH = 1_700_000_000  # the first event of a random history; an hour between two


def random_request(
    bundle: Any, candidates: int, history: int, rng: np.random.Generator
) -> dict[str, Any]:
    """A request with its own history.

    Args:
        bundle: a `Bundle`.
        candidates, history: how many of each.
        rng: draws the items.
    """
    ids = bundle.encoder.item_row
    past = rng.integers(0, len(ids), history)
    chosen = rng.integers(0, len(ids), candidates)
    events = [{"item": ids[int(k)], "time": EPOCH + 3600 * n} for n, k in enumerate(past)]
    return {
        "history": events,
        "time": EPOCH + 3600 * history,
        "candidates": [ids[int(k)] for k in chosen],
    }
