"""Check free memory before taking it: the system kills a process that takes too much, without a
message."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

from paddleinterest.core.errors import InputError

GIB = 2**30


def available() -> float:
    """Bytes that a process may still take, by the limits of the system and the container; infinity
    if neither is known."""
    found = [math.inf]
    with (
        contextlib.suppress(OSError, ValueError, IndexError),
        open("/proc/meminfo", encoding="ascii") as f,
    ):
        found += [1024 * int(line.split()[1]) for line in f if line.startswith("MemAvailable:")]
    with contextlib.suppress(OSError, ValueError):  # ValueError: "max"
        limit, used = (int(_text(f"/sys/fs/cgroup/memory.{name}")) for name in ("max", "current"))
        found.append(limit - used)
    return min(found)


def check(need: float, what: str, room: float | None = None) -> None:
    """Raise InputError if `need` bytes are more than are free, or than `room`."""
    room = available() if room is None else room
    if need > room:
        raise InputError(
            f"{what} would take {need / GIB:,.1f} GiB of memory, but {room / GIB:,.1f} GiB are"
            " free; try smaller hyper_parameters, or prepare with a larger --min-count"
        )


@contextlib.contextmanager
def checked_parameters() -> Iterator[None]:
    """Within the block, a parameter of a Paddle layer that would not fit into memory is refused."""
    import paddle

    layers: Any = paddle.nn.Layer
    make = layers.create_parameter
    room = available()
    total = 0

    def create(layer: Any, shape: Any, *arguments: Any, **named: Any) -> Any:
        nonlocal total
        total += 4 * math.prod(map(int, shape))
        check(total, "the net", room)
        return make(layer, shape, *arguments, **named)

    layers.create_parameter = create
    try:
        yield
    finally:
        layers.create_parameter = make


def _text(path: str) -> str:
    with open(path, encoding="ascii") as f:
        return f.read()
