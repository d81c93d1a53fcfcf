"""A small batch of random ids, for checks that need no dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from paddleinterest.data.schema import Schema

ROWS = 8
STEPS = 6
VALUES = 2  # of a field of several
OF_EVENTS = ("history_", "event_")  # inputs with one entry per event
DAY = 24 * 3600


def example_batch(
    schema: Schema,
    spec: Mapping[str, Any],
    negatives: bool = False,
    seed: int = 0,
    ids_below: int | None = None,
) -> dict[str, np.ndarray]:
    """A batch as the reader gives it: histories of 0 to STEPS events, right padded.

    Args:
        schema (Schema): the fields and their sizes.
        spec (Mapping[str, Any]): {input: InputSpec}, as `ClickModel.input_spec` returns it.
        negatives (bool): also negative_<item field>, as DIEN's auxiliary loss reads them.
        seed (int): of the random ids; the histories' lengths are always the same.
        ids_below (int | None): take ids below this alone, which are those of frequent values.

    Returns:
        dict[str, ndarray]: {input: [ROWS, …]}, and label [ROWS].
    """
    rng = np.random.default_rng(seed)
    real = np.arange(STEPS) < (np.arange(ROWS) % (STEPS + 1))[:, None]  # [ROWS, STEPS]
    sizes = {f.name: f.size for f in schema.fields if f.kind == "category"}
    if ids_below is not None:
        sizes = {name: min(size, ids_below) for name, size in sizes.items()}
    batch = {}
    for name, declared in spec.items():
        shape = _shape(name, declared.shape)
        batch[name] = _values(name, shape, sizes, rng)
    if negatives:
        for f in schema.item_fields:
            batch[f"negative_{f.name}"] = _values(f"negative_{f.name}", real.shape, sizes, rng)
        for f in schema.multiple("item"):
            shape = [*real.shape, VALUES]
            batch[f"negative_{f.name}"] = _values(f"negative_{f.name}", shape, sizes, rng)
        for f in schema.vector_fields:
            shape = [*real.shape, f.width]
            batch[f"negative_vector_{f.name}"] = _values("", shape, sizes, rng)
    for name, values in batch.items():
        if name.startswith((*OF_EVENTS, "negative_")):
            mask = real if values.ndim == 2 else real[..., None]
            batch[name] = np.where(mask, values, 0)
    batch["label"] = (np.arange(ROWS) % 2).astype(np.float32)
    return batch


def _shape(name: str, declared: Sequence[int]) -> list[int]:
    """The sizes of an input; -1 of its spec is the number of rows, of steps, or of values."""
    free = [ROWS, STEPS, VALUES] if name.startswith(OF_EVENTS) else [ROWS, VALUES]
    return [free[k] if size in (-1, None) else size for k, size in enumerate(declared)]


def _values(
    name: str, shape: Any, sizes: Mapping[str, int], rng: np.random.Generator
) -> np.ndarray:
    """Random values of an input: ids of its field, times, or numbers."""
    field = name.partition("_")[2]
    if field in sizes:
        return rng.integers(1, sizes[field], shape)
    if field == "time":
        start = 1000 * DAY if name == "target_time" else 0
        return np.sort(start + rng.integers(0, 900 * DAY, shape), -1)
    return rng.normal(size=shape).astype(np.float32)
