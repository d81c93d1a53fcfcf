"""Operators in C++ for training and evaluation on a CPU.

The machine's own compiler builds them once; without a compiler, Paddle's forms run.

`library(name)` compiles <name>.cc of this folder at its first use, into ~/.cache/paddleinterest (or
$XDG_CACHE_HOME), and loads it with ctypes: no header of Paddle's is needed, so a build takes two
seconds and outlives an upgrade of Paddle. The folder is this user's alone, and a library that
another user could have written is built again, not loaded. Exported programs never need these
operators. `runner.native=false` turns them off.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import glob
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

import paddle

from paddleinterest.core.log import say

FLAGS = [
    "-O3",
    "-march=native",
    "-std=c++17",
    "-fopenmp",
    "-fPIC",
    "-fno-math-errno",
    "-fno-trapping-math",
]
HERE = os.path.dirname(os.path.abspath(__file__))
_enabled = True


def use(enabled: bool) -> None:
    """Switch the operators on or off for this process."""
    global _enabled
    _enabled = enabled


def available(name: str, tensor: paddle.Tensor) -> bool:
    """True if library `name` can run: switched on, dynamic graph, CPU, float32, and it builds.

    Args:
        name: of the library.
        tensor: an input, which shows place and type of all.
    """
    return (
        _enabled
        and paddle.in_dynamic_mode()
        and tensor.place.is_cpu_place()
        and tensor.dtype == paddle.float32
        and library(name) is not None
    )


def call(name: str, function: str, *arguments: Any, returns: Any = None) -> Any:
    """Call a function of a library.

    Args:
        name: of the library.
        function: its name in C.
        *arguments: int as int64_t, float as float, a contiguous tensor or None as a pointer.
        returns: ctypes type of what it returns; None = void.
    """
    operator = getattr(library(name), function)
    operator.restype = returns
    return operator(*map(_as_c, arguments))


def _as_c(x: Any) -> Any:
    if isinstance(x, int):
        return ctypes.c_int64(x)
    if isinstance(x, float):
        return ctypes.c_float(x)
    if x is None:
        return None
    assert x.is_contiguous()
    return ctypes.c_void_p(x.data_ptr())


def contiguous(tensor: paddle.Tensor | None) -> paddle.Tensor | None:
    """The tensor's values in one piece, without its graph; None stays None."""
    return tensor if tensor is None else tensor.detach().contiguous()


def unless_frozen(
    gradients: Iterable[paddle.Tensor | None], stopped: Iterable[bool]
) -> tuple[paddle.Tensor | None, ...]:
    """The result of a PyLayer's backward: None for each tensor that needs no gradient."""
    return tuple(None if frozen else g for g, frozen in zip(gradients, stopped, strict=True))


@functools.lru_cache(None)
def library(name: str) -> ctypes.CDLL | None:
    """The loaded library, or None if it cannot be built: no compiler, no room, not Linux."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    try:
        path = os.path.join(_cache(), f"{name}-{_fingerprint(name, compiler)}.so")
        if not _ours(path):
            _build(compiler, os.path.join(HERE, f"{name}.cc"), path)
        try:
            return ctypes.CDLL(path)
        except OSError as e:
            say(f"{path} cannot be loaded ({' '.join(str(e).split())}); it is built again")
            _build(compiler, os.path.join(HERE, f"{name}.cc"), path)
            return ctypes.CDLL(path)
    except (OSError, subprocess.SubprocessError):
        return None


def _cache() -> str:
    """The folder of the libraries. They run as this user, so nobody else may write there."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    path = os.path.join(
        base if os.path.isabs(base) else os.path.expanduser("~/.cache"), "paddleinterest"
    )
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    if os.path.islink(path) or os.stat(path).st_uid != os.geteuid():
        raise OSError(f"{path} belongs to another user")
    os.chmod(path, 0o700)
    return path


def _ours(path: str) -> bool:
    """True if `path` is a library that this user wrote and no other user could have changed.

    Any other library is built again.
    """
    try:
        facts = os.lstat(path)
    except FileNotFoundError:
        return False
    return (
        stat.S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid() and not facts.st_mode & 0o022
    )


def _fingerprint(name: str, compiler: str) -> str:
    """A hash of all that decides what is built.

    That is source, flags, compiler, processor, and the OpenMP library that Paddle brings.
    """
    parts = [compiler, *FLAGS, *_openmp(), platform.machine()]
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        parts += sorted(
            {line for line in f if line.startswith(("model name", "flags", "Features"))}
        )
    for path in [os.path.join(HERE, f"{name}.cc"), *sorted(glob.glob(os.path.join(HERE, "*.h")))]:
        with open(path, encoding="utf-8") as f:
            parts.append(f.read())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _openmp() -> list[str]:
    """Link flags: Paddle's own OpenMP runtime if it has one.

    Threads of a second runtime would get in its way.
    """
    libs = os.path.join(os.path.dirname(paddle.__file__), "libs")
    if os.path.exists(os.path.join(libs, "libiomp5.so")):
        return [f"-L{libs}", "-l:libiomp5.so", f"-Wl,-rpath,{libs}"]
    return ["-fopenmp"]


def _build(compiler: str, source: str, path: str) -> None:
    """Compile to a new file, then rename it.

    A build that is cut off, or two builds at a time, leave nothing half-written.
    """
    with tempfile.TemporaryDirectory(dir=os.path.dirname(path)) as folder:
        compiled = os.path.join(folder, "compiled.o")
        linked = os.path.join(folder, "linked.so")
        _run([compiler, *FLAGS, "-c", source, "-o", compiled])
        _run([compiler, "-shared", compiled, "-o", linked, *_openmp()])
        os.chmod(linked, 0o700)  # whatever the umask
        os.replace(linked, path)
    say(f"built the operators of {os.path.basename(source)} for this machine: {path}")


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=120)
