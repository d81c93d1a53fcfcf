"""An exported program behind ONNX Runtime."""

import json
import os
from collections.abc import Collection
from typing import Any

import numpy as np

from paddleinterest.core.errors import InputError
from paddleinterest.serving.onnx import FOLDER, TENSORS, WEIGHTS

ERRORS_ONLY = 3  # ONNX Runtime's level

Arrays = dict[str, np.ndarray]


class Weights:
    """The tensors that the ONNX programs of a bundle share, mapped from disk.

    Args:
        bundle: its directory.

    Raises:
        OSError, ValueError, KeyError, TypeError: the files are not what to_static.py writes.
    """

    def __init__(self, bundle: str) -> None:
        path = os.path.join(bundle, FOLDER, WEIGHTS)
        with open(os.path.join(bundle, FOLDER, TENSORS), encoding="utf-8") as f:
            self._tensors = json.load(f)
        self._bytes = np.zeros(0, np.uint8)
        if os.path.getsize(path):
            self._bytes = np.memmap(path, np.uint8, mode="r")

    def of(self, program: str) -> Arrays:
        """The tensors of a program, {initializer: float32 [...]}."""
        return {t["name"]: self._one(t["shape"], t["offset"]) for t in self._tensors[program]}

    def _one(self, shape: list[int], offset: int) -> np.ndarray:
        size = 4 * int(np.prod(shape, dtype=np.int64))
        if offset < 0 or offset + size > len(self._bytes):
            raise ValueError(f"{TENSORS} names a tensor outside of {WEIGHTS}")
        return self._bytes[offset : offset + size].view(np.float32).reshape(shape)


class OnnxProgram:
    """One program of a bundle as ONNX: a dict of arrays in, a list of arrays out.

    ONNX Runtime starts its threads at the first call, not before: a fork between opening and the
    first call is safe.

    Args:
        graph: contents of the ONNX file.
        tensors: {initializer: array}, the weights that are not in the graph.
        dtypes: {input: dtype} of the program's signature.
        threads: CPU threads of one call.
    """

    def __init__(self, graph: bytes, tensors: Arrays, dtypes: dict[str, str], threads: int) -> None:
        self._graph = graph
        self._tensors = tensors
        self._dtypes = dtypes
        self._threads = threads
        self._session: Any = None
        self._inputs: list[str] = []

    def clone(self) -> "OnnxProgram":
        """The same program for another thread; large weights are shared."""
        return OnnxProgram(self._graph, self._tensors, self._dtypes, self._threads)

    def __call__(self, arrays: Arrays) -> list[np.ndarray]:
        if self._session is None:
            self._start()
        given = {
            name: np.ascontiguousarray(arrays[name], self._dtypes[name]) for name in self._inputs
        }
        return self._session.run(None, given)

    def _start(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = ERRORS_ONLY
        # each value is backed by the array's memory, so no table is copied
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(x) for x in self._tensors.values()]
        try:
            options.add_external_initializers(list(self._tensors), values)
            self._session = onnxruntime.InferenceSession(
                self._graph, options, providers=["CPUExecutionProvider"]
            )
        except Exception as e:  # ONNX Runtime's own classes have no common base
            raise InputError(
                f"the bundle's ONNX program cannot be loaded by ONNX Runtime"
                f" {onnxruntime.__version__}: {' '.join(str(e).split())[-200:]}"
            ) from None
        self._values = values  # they must live as long as the session
        self._inputs = [x.name for x in self._session.get_inputs()]


def open_programs(
    bundle: str, files: Collection[str], inputs: dict[str, dict[str, Any]], threads: int
) -> dict[str, OnnxProgram]:
    """The ONNX programs of a bundle, {name: program}.

    Args:
        bundle: its directory.
        files: names of the files that its schema lists. No other file is opened.
        inputs: of each program's signature, {program: {input: {dtype}}}.
        threads: CPU threads of one call.

    Raises:
        InputError: the bundle has none, or ONNX Runtime is missing.
    """
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        raise InputError(
            "--engine onnx needs the package onnxruntime; pip install onnxruntime"
        ) from None
    names = [f"{FOLDER}/{file}" for file in (WEIGHTS, TENSORS, *(f"{p}.onnx" for p in inputs))]
    if not set(names) <= set(files):
        raise InputError(f"{bundle} has no ONNX programs; export it with tools/to_static.py --onnx")
    weights = Weights(bundle)
    programs = {}
    for name, facts in inputs.items():
        with open(os.path.join(bundle, FOLDER, f"{name}.onnx"), "rb") as f:
            graph = f.read()
        dtypes = {key: value["dtype"] for key, value in facts.items()}
        programs[name] = OnnxProgram(graph, weights.of(name), dtypes, threads)
    return programs


def has_programs(files: Collection[str]) -> bool:
    """Check that a bundle with these files has ONNX programs."""
    return f"{FOLDER}/{WEIGHTS}" in files
