"""How much memory there is, asked before it is taken: the system ends a process that takes too
much, and says nothing."""

import contextlib
import math

from paddleinterest.core.errors import InputError

GIB = 2**30


def available():
    """Bytes that a process may still take, by the system's and the container's account; infinity
    where neither is known."""
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


def check(need, what, room=None):
    """InputError where `need` bytes are more than there are, or than `room`."""
    room = available() if room is None else room
    if need > room:
        raise InputError(
            f"{what} would take {need / GIB:,.1f} GiB of memory, and {room / GIB:,.1f} are free;"
            " try smaller hyper_parameters, or a larger --min-count in preparation"
        )


@contextlib.contextmanager
def checked_parameters():
    """Within, a Paddle layer's parameter that would not fit beside those made before is refused,
    not made."""
    import paddle

    make, total, room = paddle.nn.Layer.create_parameter, 0, available()

    def create(layer, shape, *arguments, **named):
        nonlocal total
        total += 4 * math.prod(map(int, shape))
        check(total, "the net", room)
        return make(layer, shape, *arguments, **named)

    paddle.nn.Layer.create_parameter = create
    try:
        yield
    finally:
        paddle.nn.Layer.create_parameter = make


def _text(path):
    with open(path, encoding="ascii") as f:
        return f.read()
