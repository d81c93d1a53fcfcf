"""Write a bundle's programs as ONNX, and check that they compute what Paddle's do."""

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import paddle

import paddleinterest
from paddleinterest.core import json_text
from paddleinterest.core.errors import InputError
from paddleinterest.data.schema import REQUEST_EXAMPLE
from paddleinterest.serving import agreement
from paddleinterest.serving.bundle import Bundle
from paddleinterest.serving.onnx import EXTRA, FOLDER
from paddleinterest.serving.onnx.forms import suited_to_onnx
from paddleinterest.serving.programs import Programs

ROWS = 256  # of test that are compared
SPLITS = ("test", "valid", "train")  # the first that a dataset has is compared
TOLERANCE = 1e-6  # of a probability and of an attention weight

Arrays = dict[str, np.ndarray]


def check_possible() -> None:
    """Check that programs can be converted here.

    Raises:
        InputError: a package is missing, or Paddle is too old.
    """
    if int(paddle.__version__.split(".")[0]) < 3:
        raise InputError(f"--onnx needs Paddle 3, this is Paddle {paddle.__version__}")
    for package in ("paddle2onnx", "onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise InputError(f"--onnx needs the package {package}; {EXTRA}")


def write(made: str, programs: Programs) -> None:
    """Write onnx/ of a bundle.

    Args:
        made: directory of the bundle.
        programs: of the net; the padding's rows of its tables become zeros.

    Raises:
        InputError: paddle2onnx cannot convert a program.
    """
    target = os.path.join(made, FOLDER)
    os.mkdir(target)
    with tempfile.TemporaryDirectory() as source:
        with suited_to_onnx(programs.net):
            programs.write(source)
        _convert(source, target)


def _convert(source: str, target: str) -> None:
    """Convert in a process of its own, which paddle2onnx ends if it lacks an operator."""
    above = os.path.dirname(os.path.dirname(os.path.abspath(paddleinterest.__file__)))
    path = os.pathsep.join(p for p in (above, os.environ.get("PYTHONPATH")) if p)
    module = "paddleinterest.serving.onnx.convert"
    done = subprocess.run(
        [sys.executable, "-m", module, source, target],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONPATH": path},
    )
    if done.returncode:
        raise InputError(
            f"paddle2onnx cannot convert this net: {_reason(done.stdout + done.stderr)}; export it"
            " without --onnx"
        )


def _reason(said: str) -> str:
    """Find why the converter's process ended, in what it said."""
    if "unsupported operators" in said:
        return "it lacks an operator, and does not say which"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else "its process ended silently"


def check(made: str, data: str) -> dict[str, Any]:
    """Compare the ONNX programs of a bundle with Paddle's, on the example request and on test.

    Args:
        made: the bundle, complete.
        data: the prepared dataset.

    Returns:
        Part of the tool's result: the largest difference.

    Raises:
        InputError: a program's output differs by more than TOLERANCE.
    """
    paddles = Bundle(made)
    onnxs = Bundle(made, engine="onnx")
    worst = 0.0
    for what, program, arrays in _cases(made, data, paddles):
        expected = paddles.programs[program](arrays)
        got = onnxs.programs[program](arrays)
        difference = max(_difference(a, b) for a, b in zip(got, expected, strict=True))
        if not difference <= TOLERANCE:
            raise InputError(
                f"the ONNX program {program} differs from Paddle's by {difference:.2g} on {what},"
                f" must be at most {TOLERANCE:g}; nothing is written. Export without --onnx"
            )
        worst = max(worst, difference)
    return {"onnx_difference": worst}


def _cases(made: str, data: str, bundle: Bundle) -> Iterator[tuple[str, str, Arrays]]:
    """Yield the cases of the comparison: words, the program, its arrays."""
    with open(os.path.join(made, REQUEST_EXAMPLE), encoding="utf-8") as f:
        request = json_text.parse(f.read(), REQUEST_EXAMPLE)
    yield "the example request", "rank", bundle.encoder.encode(request).arrays
    encoder = bundle.encoder
    rows, split = agreement.some_rows(data, SPLITS, ROWS, encoder.cap, encoder.needs_times)
    yield f"rows of {split}", "model", rows
    yield f"candidates of {split}", "rank", agreement.one_request(rows)


def _difference(got: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference; infinite if the shapes differ or a number is missing."""
    if got.size != expected.size:
        return float("inf")
    difference = np.abs(got.reshape(-1) - expected.reshape(-1)).max(initial=0)
    return float(difference) if np.isfinite(difference) else float("inf")
