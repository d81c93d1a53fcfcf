"""Random numbers that depend only on what they are drawn for: a counter instead of a stream.

A negative, or a user's split, is a function of the seed, the user and the position. So it does not
depend on the order of the log, the number of threads, or the engine. The mixing function is the
finaliser of SplitMix64.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from paddleinterest.data.schema import FIRST_ID

# The odd constants spread neighbouring counters over all 64 bits.
STEP = np.uint64(0x9E3779B97F4A7C15)
STRIDE = np.uint64(0xD1B54A32D192ED03)
FNV_START = np.uint64(0xCBF29CE484222325)
FNV_PRIME = np.uint64(0x100000001B3)
TO_UNIT = 2.0**-53


def mix(x: np.ndarray) -> np.ndarray:
    """A bijection of uint64 [N]; each output bit depends on all input bits."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def stream(seed: int, name: str) -> np.ndarray:
    """The key of one purpose under a seed, uint64 [1]: no two purposes draw the same."""
    return mix(of_text([f"{seed}/{name}"]))


def draw(
    key: np.ndarray,
    owner: np.ndarray,
    position: np.ndarray | int = 0,
    attempt: np.ndarray | int = 0,
) -> np.ndarray:
    """A number for each owner, position and attempt, uint64 [N].

    Args:
        key: from `stream`.
        owner: uint64 [N], such as a user's hash.
        position: of the event in the user's sequence, at least 0.
        attempt: number of the attempt, for draws that may be repeated, at least 0.
    """
    at = np.asarray(position).astype(np.uint64) * STEP
    offset = np.asarray(attempt).astype(np.uint64) * STRIDE
    return mix(mix(owner ^ key) + at + mix(offset + key))


def below(drawn: np.ndarray, size: np.ndarray | int) -> np.ndarray:
    """Drawn numbers as integers in [0, size), int64 [N]; size at most 2**53."""
    unit = (drawn >> np.uint64(11)).astype(np.float64) * TO_UNIT
    # the product may round up to size itself
    return np.minimum((unit * size).astype(np.int64), np.asarray(size, np.int64) - 1)


def of_text(values: Sequence[str] | pa.Array) -> np.ndarray:
    """A hash of each text's UTF-8 bytes, uint64 [N]: FNV-1a, then mixed. The same on every machine
    and in every version.

    Example:
        >>> of_text(["u1", "u2"]).tolist()
        [8169491770928374175, 6245541063383821680]
    """
    texts = pa.array(values, pa.large_string()) if not isinstance(values, pa.Array) else values
    texts = texts.cast(pa.large_string())
    _, offsets_buffer, data_buffer = texts.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64, len(texts) + 1, texts.offset * 8)
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer else np.zeros(0, np.uint8)
    lengths = np.diff(offsets)
    order = np.argsort(-lengths, kind="stable")  # the longest come first
    start = offsets[:-1][order]
    enough = np.searchsorted(-lengths[order], -np.arange(lengths.max(initial=0)), side="left")
    hashed = np.full(len(lengths), FNV_START)
    for k, n in enumerate(enough.tolist()):
        hashed[:n] = (hashed[:n] ^ data[start[:n] + k]) * FNV_PRIME
    out = np.empty_like(hashed)
    out[order] = hashed
    return mix(out)


def of_ids(ids: pa.Array) -> np.ndarray:
    """`of_text` of ids, integers by their decimal digits: 7 and "7" have the same hash."""
    return of_text(ids.cast(pa.large_string()))


def bucket(values: Sequence[str] | pa.Array, buckets: int) -> np.ndarray:
    """Embedding rows of raw values of a hashed field, int64 [N], in [2, 2 + buckets)."""
    return FIRST_ID + (of_text(values) % np.uint64(buckets)).astype(np.int64)
