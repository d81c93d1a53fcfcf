"""A prepared dataset as plain NumPy files that the peers' runners read: the same rows, labels,
indices and histories.

    manifest.json    name, history cap, item fields with table sizes, rows of each split, sha256 of
                     the contents
    items.npz        {item field: embedding index of each catalogue row}; row 0 is padding
    histories.npz    every distinct history once, cut to the newest `cap` events: offsets, values
                     (catalogue rows)
    train.npz …      user, item (catalogue row), label, history (row of histories.npz), length
"""

import hashlib
import json
import os
from typing import Any

import numpy as np

from paddleinterest.core.atomic import whole_directory
from paddleinterest.core.errors import InputError
from paddleinterest.data.reader import Reader
from paddleinterest.data.schema import SPLITS, Schema


def convert(data: str, out: str, cap: int) -> dict[str, Any]:
    """Write the files of the prepared dataset `data` to the new directory `out`, with histories of
    at most `cap` events. Returns the manifest."""
    schema = Schema.load(data)
    check(schema)
    readers = {split: Reader(data, split, 1, cap) for split in SPLITS}
    empty = sum(int((r.end == 0).sum()) for r in readers.values())
    if empty:
        raise InputError(
            f"{data} has {empty:,} samples with an empty history, which FuxiCTR's DIEN cannot read"
        )
    histories, rows = distinct_histories(readers, cap)
    content = hashlib.sha256()
    with whole_directory(out) as made:

        def write(name: str, **arrays: np.ndarray) -> None:
            np.savez(os.path.join(made, name), **arrays)
            for array in arrays.values():
                content.update(np.ascontiguousarray(array, np.int64).tobytes())

        train = readers["train"]
        write("items.npz", **{f.name: train.items.fields[f.name] for f in schema.item_fields})
        write("histories.npz", **histories)
        for split, reader in readers.items():
            write(
                f"{split}.npz",
                user=reader.user,
                item=reader.item,
                label=reader.label,
                history=rows[split],
                length=reader.length,
            )
        manifest = {
            "name": schema.name,
            "protocol": schema.protocol,
            "history_cap": cap,
            "fields": {f.name: f.size for f in schema.item_fields},
            "rows": {split: reader.rows for split, reader in readers.items()},
            "content_sha256": content.hexdigest(),
        }
        with open(os.path.join(made, "manifest.json"), "w", encoding="utf-8") as f:
            json.dump(manifest, f, indent=1)
    return manifest


def check(schema: Schema) -> None:
    """InputError unless the peers' models can take every field, and all three splits are there."""
    other = [f.name for f in schema.fields if f.of != "item" or f.kind != "category"]
    if other:
        raise InputError(
            f"the comparison takes item categories alone; {schema.name} also has {', '.join(other)}"
        )
    missing = [split for split in SPLITS if split not in schema.rows]
    if missing:
        raise InputError(f"{schema.name} has no {missing[0]} split, which the comparison needs")


def distinct_histories(
    readers: dict[str, Reader], cap: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Every distinct history once, over all splits together.

    Returns:
        {offsets [H + 1], values}, and {split: row of each sample's history}.
    """
    sequences = readers["train"].sequences  # the same for all splits
    items = sequences.items(np.arange(len(sequences)))
    span = int(np.diff(items.offsets).max(initial=0)) + 1
    keys = [r.sequence.astype(np.int64) * span + r.end for r in readers.values()]
    distinct, row = np.unique(np.concatenate(keys), return_inverse=True)
    sequence = distinct // span
    end = distinct % span
    length = np.minimum(end, cap)
    offsets = np.concatenate([[0], np.cumsum(length)])
    first = items.offsets[sequence] + end - length  # of each history, among all events
    at = np.arange(offsets[-1]) + np.repeat(first - offsets[:-1], length)
    ends = np.cumsum([len(key) for key in keys])
    of_split = np.split(row.reshape(-1), ends[:-1])
    histories = {"offsets": offsets, "values": items.values[at]}
    return histories, dict(zip(readers, of_split, strict=True))
