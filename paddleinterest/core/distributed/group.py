"""Who the processes of a run are, and waiting for them."""

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator

from paddleinterest.core.distributed.presence import First, Other, Presence
from paddleinterest.core.errors import InputError

LONGEST_WAIT = 6 * 3600  # seconds; runner.wait_minutes

_waits = itertools.count()
_presence: Presence | None = None
_longest_wait: float = LONGEST_WAIT


def process_count() -> int:
    """How many processes there are; known before Paddle is imported."""
    return int(os.environ.get("PADDLE_TRAINERS_NUM") or 1)


def process_index() -> int:
    """Number of this process, from 0."""
    return int(os.environ.get("PADDLE_TRAINER_ID") or 0) if process_count() > 1 else 0


def processes_on_this_machine() -> int:
    """How many of the processes share this machine's cores."""
    if process_count() == 1:
        return 1
    return int(os.environ.get("PADDLE_LOCAL_SIZE") or process_count())


def gpu_number() -> int:
    """Number of this process's GPU, as `launch` chose it."""
    if process_count() == 1:
        return 0
    return int(os.environ.get("FLAGS_selected_gpus", "0").split(",")[0])


def start(use_gpu: bool, longest_wait: float = LONGEST_WAIT) -> None:
    """Connect this process to the others. Calling it again has no effect. Set Paddle's device
    first.

    Args:
        use_gpu: whether the numbers are on GPUs.
        longest_wait: seconds that `wait` and `wait_for` wait at most.

    Raises:
        InputError: the others cannot be reached.
    """
    global _presence, _longest_wait
    _longest_wait = longest_wait
    if process_count() == 1:
        return
    import paddle.distributed as dist

    if dist.is_initialized():
        return
    if not use_gpu:
        if not dist.is_available():
            raise InputError(
                "this Paddle was built without communication between processes; start one process,"
                " without launch"
            )
        os.environ["PADDLE_DISTRI_BACKEND"] = "gloo"  # a Paddle with CUDA would take NCCL
    with together(
        "the processes cannot reach each other; on several machines name --host and"
        " GLOO_SOCKET_IFNAME (docs/processes.md)"
    ):
        dist.init_parallel_env()
        _presence = _connect()


def _connect() -> Presence:
    """The presence of all processes; they find the first one through Paddle's store."""
    store = _store()
    if process_index():
        host = os.environ["PADDLE_TRAINER_ENDPOINTS"].split(",")[0].rpartition(":")[0]
        return Other(host, int(store.get("presence")), process_index())
    first = First(process_count())
    store.set("presence", str(first.port))
    first.accept()
    return first


def wait() -> None:
    """Wait until all processes are here. Gloo's own calls wait 30 seconds at most, and a process
    may take longer than that.

    Raises:
        InputError: another process has ended, or has not come in time.
    """
    if process_count() == 1:
        return
    import paddle.distributed as dist

    name = f"wait {next(_waits)}"
    _arrived(name, 1)
    _wait_until(lambda: _arrived(name) >= process_count(), 0.05, "the other processes")
    with together():
        # the first process keeps the store, so it must not leave before the others have read it
        dist.barrier()


def _arrived(name: str, more: int = 0) -> int:
    """How many processes have come to a wait, with `more` just now."""
    try:
        return _store().add(name, more)
    except (RuntimeError, ValueError, OSError):  # Paddle's, if the first process has ended
        raise _ended() from None


def wait_for(path: str) -> None:
    """Wait until another process has made the directory `path`.

    Raises:
        InputError: another process has ended, or it has not been made in time.
    """
    _wait_until(lambda: os.path.isdir(path), 0.2, path)


def _wait_until(is_there: Callable[[], bool], pause: float, what: str) -> None:
    until = time.monotonic() + _longest_wait
    while not is_there():
        if _presence is not None and _presence.lost is not None and not is_there():
            raise _ended()
        if time.monotonic() > until:
            raise InputError(
                f"waited {_longest_wait / 60:g} minutes for {what}, so this process ends; if that"
                " is too short, raise runner.wait_minutes"
            )
        time.sleep(pause)


def _ended() -> InputError:
    """The error of a process that notices the end of another. The first process keeps the store; if
    it ended because of another process, it has sent the number of that one."""
    lost = _presence.lost_within(1.0) if _presence is not None else None
    return InputError(
        f"process {lost or 0} of this run has ended, so this one ends, too; its own log says why;"
        " finished checkpoints stay"
    )


def _store():  # type: ignore[no-untyped-def]
    """Paddle's store of keys and values, which the first process keeps."""
    from paddle.base import core

    return core.create_or_get_global_tcp_store()


@contextlib.contextmanager
def together(
    what: str = "another process of this run has ended or hangs, so this one ends, too; finished"
    " checkpoints stay",
) -> Iterator[None]:
    """A connection that breaks ends in one line."""
    try:
        yield
    except (RuntimeError, OSError) as e:
        raise InputError(f"{what} ({' '.join(str(e).split())[:120]})") from None
