"""The engine that runs a bundle's programs: Paddle Inference, ONNX Runtime, or the faster one."""

import importlib.util
import statistics
import time
from collections.abc import Callable, Collection
from typing import Any, Protocol

import numpy as np

from paddleinterest.core.errors import InputError
from paddleinterest.serving.device import ENGINES, Device
from paddleinterest.serving.onnx import program as onnx_program

WARM_UP = 3  # calls before those that are timed
ROUNDS = 15  # timed calls of each engine, at most
LONGEST = 1.0  # seconds that the timed calls of all engines take, about

Arrays = dict[str, np.ndarray]


class Program(Protocol):
    """A dict of arrays in, a list of arrays out. One thread at a time may use it."""

    def __call__(self, arrays: Arrays) -> list[np.ndarray]:
        """Run the program on the arrays that its signature names."""

    def clone(self) -> "Program":
        """The same program for another thread; tables are shared."""


Programs = dict[str, Program]  # model and rank


def open_programs(
    directory: str, files: Collection[str], signature: dict[str, Any], device: Device
) -> dict[str, Programs]:
    """Open a bundle's programs, {engine: {name: program}}; for auto those of all its engines.

    Args:
        directory: the bundle.
        files: names of the files that its schema lists. No other file is opened.
        signature: contents of signature.yaml.
        device: where they run, and by which engine.

    Raises:
        InputError: the engine cannot run them.
    """
    inputs = {name: facts["inputs"] for name, facts in signature["programs"].items()}
    opened: dict[str, Programs] = {}
    kinds = engines(files, device)
    if "paddle" in kinds:
        from paddleinterest.serving.paddle_program import PaddleProgram

        opened["paddle"] = {
            name: PaddleProgram(directory, name, files, facts, device)
            for name, facts in inputs.items()
        }
    if "onnx" in kinds:
        made = onnx_program.open_programs(directory, files, inputs, device.threads)
        opened["onnx"] = {**made}
    return opened


def engines(files: Collection[str], device: Device) -> list[str]:
    """The engines among which `device` leaves the choice.

    Raises:
        InputError: there is no such engine, or none that can do what `device` asks for.
    """
    if device.engine not in ENGINES:
        raise InputError(f"--engine is {device.engine!r}, must be one of {', '.join(ENGINES)}")
    special = "--use-gpu" if device.use_gpu else "--onednn" if device.onednn else ""
    if device.engine == "onnx" and special:
        raise InputError(f"{special} is for Paddle Inference; leave it out, or --engine onnx")
    if device.engine != "auto":
        return [device.engine]
    both = onnx_program.has_programs(files) and not special
    runtime = importlib.util.find_spec("onnxruntime") is not None
    return ["paddle", "onnx"] if both and runtime else ["paddle"]


def milliseconds(programs: dict[str, Program], arrays: Arrays) -> dict[str, float]:
    """How long one program takes by each engine: the median, in turn, so that what else the
    machine does hits all alike.

    Args:
        programs: {engine: program}.
        arrays: what they are called with.
    """
    for program in programs.values():
        for _ in range(WARM_UP):
            program(arrays)
    times: dict[str, list[float]] = {name: [] for name in programs}
    until = time.perf_counter() + LONGEST
    for _ in range(ROUNDS):
        for name, program in programs.items():
            times[name].append(_milliseconds(lambda run=program: run(arrays)))  # type: ignore[misc]
        if time.perf_counter() > until:
            break
    return {name: round(statistics.median(found), 3) for name, found in times.items()}


def _milliseconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - started)
