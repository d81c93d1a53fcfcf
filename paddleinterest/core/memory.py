"""Check free memory before taking it: the system kills a process that takes too much, without a
message."""

import contextlib
import math
import re
from collections.abc import Iterator
from typing import Any

from paddleinterest.core.errors import InputError

GIB = 2**30
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}  # Ki, Mi … are powers of 1024


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


def bytes_of(text: str, what: str) -> int:
    """A size such as 4GB, 4GiB or 500 MB in bytes.

    Args:
        text: the size.
        what: names it in the message.

    Raises:
        InputError: the text is not a size.

    Example:
        >>> bytes_of("4GB", "--memory"), bytes_of("1.5 GiB", "--memory")
        (4000000000, 1610612736)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kKMGT]?)(i?)B?", text.strip())
    if not found or (found[3] and not found[2]):
        raise InputError(f"{what} is {text!r}, must be a size such as 4GB, 500MB or 2GiB")
    number, letter, binary = found.groups()
    unit = UNITS[letter.upper()]
    if binary:
        unit = 1024 ** list(UNITS).index(letter.upper())
    return int(float(number) * unit)


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
