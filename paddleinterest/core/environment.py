"""Environment variables to set before Paddle is imported, for this process only.

Paddle's CPU wheel starts one OpenMP thread, and its MKL takes a slow path on AMD processors; both
are read from the environment when Paddle is loaded. So is whether a slice or a transpose is a view
of its tensor: the copies that follow from views are slow, a fifth of a step. And the C library
hands freed memory back to the system, to be fetched again, page by page, in the next step. Only
variables that are unset are set; `runner.cpu_tuning=false` leaves all of it alone.
"""

import contextlib
import ctypes
import io
import os
import signal
import sys
import warnings

from paddleinterest.core import distributed
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say


def set_up(threads: int = 0, cpu_tuning: bool = True) -> None:
    """Set threads, MKL's code path (on AMD), views and malloc as said above, import Paddle, and say
    once what was set.

    Args:
        threads: CPU threads; 0 = all cores, shared with the other processes of this machine.
        cpu_tuning: false = set nothing.
    """
    if not 0 <= threads <= 1024:
        raise InputError(f"{threads} threads: must be from 0, all cores, to 1024")
    if "paddle" in sys.modules:
        return  # in a test or a notebook: too late to change anything
    threads = threads or max(1, cores() // distributed.processes_on_this_machine())
    variables = {"OMP_NUM_THREADS": str(threads), "FLAGS_use_stride_kernel": "0"}
    if _amd():
        variables["MKL_DEBUG_CPU_TYPE"] = "5"
    new = {k: v for k, v in variables.items() if k not in os.environ}
    if cpu_tuning:
        os.environ.update(new)
        _keep_memory()
        if new:
            say("set for this process: " + " ".join(f"{k}={v}" for k, v in new.items()))
    os.environ.setdefault("GLOG_minloglevel", "2")  # errors of Paddle's C++ side only
    warnings.filterwarnings("ignore", message="No ccache found")
    with contextlib.redirect_stderr(
        io.StringIO()
    ):  # Paddle warns of every OMP_NUM_THREADS other than 1
        import paddle  # noqa: F401
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(
            signal.SIGTERM, signal.getsignal(signal.SIGTERM)
        )  # Paddle's own handler would skip all cleaning up


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads() -> int | None:
    """CPU threads of this process's Paddle, which takes one if nothing is set; None if it is not a
    number."""
    text = os.environ.get("OMP_NUM_THREADS", "1")
    return int(text) if text.isdigit() else None


def _keep_memory():
    """Let malloc keep what is freed, and serve everything from it, unless the user tuned malloc."""
    if any(name.startswith("MALLOC_") for name in os.environ) or not sys.platform.startswith(
        "linux"
    ):
        return
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        trim_threshold, mmap_max = -1, -4  # names of malloc.h
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(mmap_max, 0)


def _amd():
    try:
        with open("/proc/cpuinfo") as f:
            return "AuthenticAMD" in f.read(4096)
    except OSError:
        return False
