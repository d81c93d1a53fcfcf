"""Convert the programs of Paddle to ONNX, in a process of its own.

    python -m paddleinterest.serving.onnx.convert SOURCE TARGET

paddle2onnx ends its whole process on an operator that it lacks.

The programs share their weights, as external data in one file: a bundle has each table once,
a table may be larger than the 2 GB that protobuf allows, and processes share its memory.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import onnx
import paddle2onnx
from onnx import numpy_helper

from paddleinterest.serving.onnx import OUTPUTS, PROGRAMS, TENSORS, WEIGHTS

SUFFIXES = (".json", ".pdmodel")
OPSET = 17
SMALLEST = 1024  # bytes of a tensor that is kept in the file of weights
PAGE = 4096  # bytes; each tensor begins a page, so that it can be mapped


def main() -> None:
    """Write TARGET/NAME.onnx for each program NAME of SOURCE, and their weights."""
    source, target = sys.argv[1:]
    tensors: dict[str, Any] = {}
    with open(os.path.join(target, WEIGHTS), "wb") as weights:
        store = Store(weights)
        for name in PROGRAMS:
            model = onnx.load_model_from_string(_converted(source, name))
            _name_outputs(model.graph)
            tensors[name] = _move_weights(model, store)
            with open(os.path.join(target, f"{name}.onnx"), "wb") as f:
                f.write(model.SerializeToString())
    with open(os.path.join(target, TENSORS), "w", encoding="utf-8") as f:
        json.dump(tensors, f, indent=1)


def _converted(source: str, name: str) -> bytes:
    programs = [os.path.join(source, name + suffix) for suffix in SUFFIXES]
    program = next(path for path in programs if os.path.isfile(path))
    made = os.path.join(source, f"{name}.onnx")
    paddle2onnx.export(
        program,
        os.path.join(source, f"{name}.pdiparams"),
        made,
        opset_version=OPSET,
        optimize_tool="None",  # others install packages by themselves
    )
    with open(made, "rb") as f:
        return f.read()


def _name_outputs(graph: Any) -> None:
    """Give the outputs the names that the bundle's signature has."""
    for output, name in zip(graph.output, OUTPUTS, strict=False):
        graph.node.add(op_type="Identity", input=[output.name], output=[name])
        output.name = name


class Store:
    """The file of weights: each tensor once."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.offsets: dict[bytes, int] = {}

    def add(self, data: bytes) -> int:
        """Write a tensor, unless it is written, and return its offset."""
        key = hashlib.sha256(data).digest()
        if key not in self.offsets:
            self.file.seek(-self.file.tell() % PAGE, os.SEEK_CUR)
            self.offsets[key] = self.file.tell()
            self.file.write(data)
        return self.offsets[key]


def _move_weights(model: Any, store: Store) -> list[dict[str, Any]]:
    """Make initializers of a model's constants, and move the large ones to the file of weights.

    What nothing reads is left out.

    Returns:
        Name, shape and offset of each tensor that was moved.
    """
    read = {name for node in _nodes(model.graph) for name in node.input}
    moved = []
    nodes = []
    for node in model.graph.node:
        tensor = _constant(node)
        if tensor is None:
            nodes.append(node)
            continue
        if tensor.name not in read:
            continue
        data = numpy_helper.to_array(tensor)
        if data.dtype == np.float32 and data.nbytes >= SMALLEST:
            offset = store.add(data.tobytes())
            _point_to(tensor, offset, data.nbytes)
            moved.append({"name": tensor.name, "shape": list(data.shape), "offset": offset})
        model.graph.initializer.append(tensor)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return moved


def _nodes(graph: Any) -> Iterator[Any]:
    """The nodes of a graph and of those within it, as loops have them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)


def _constant(node: Any) -> Any:
    """The tensor of a node that holds a constant, under the name of its output; else None."""
    if node.op_type != "Constant" or not node.attribute[0].HasField("t"):
        return None
    tensor = onnx.TensorProto()
    tensor.CopyFrom(node.attribute[0].t)
    tensor.name = node.output[0]
    return tensor


def _point_to(tensor: Any, offset: int, length: int) -> None:
    """Replace the data of a tensor by their place in the file of weights."""
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", WEIGHTS), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))


if __name__ == "__main__":
    main()
