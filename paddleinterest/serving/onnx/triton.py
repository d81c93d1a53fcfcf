"""A model repository for NVIDIA's Triton Inference Server, from a bundle with ONNX programs.

DIR/din_rank/config.pbtxt      one user, many candidates
DIR/din_rank/1/model.onnx      and weights.bin
DIR/din_model/...              rows, each with its own history
"""

import os
import re
import shutil
from typing import Any

from paddleinterest.core.atomic import foreign_file, whole_directory
from paddleinterest.core.errors import InputError
from paddleinterest.serving import signature
from paddleinterest.serving.onnx import FOLDER, PROGRAMS, WEIGHTS

FIRST_LINE = "# Written by PaddleInterest from an export bundle; do not edit."
VERSION = "1"
TYPES = {"int64": "TYPE_INT64", "float32": "TYPE_FP32"}

Shapes = dict[str, dict[str, Any]]  # of a signature: {name: {shape, dtype}}


def write(bundle: str, out: str) -> dict[str, Any]:
    """Write the repository, whole or not at all. An existing one is replaced.

    Args:
        bundle: directory of a bundle with ONNX programs.
        out: the repository.

    Returns:
        Part of the tool's result.

    Raises:
        InputError: `out` holds something else.
    """
    facts = signature.read(bundle)
    names = {program: f"{_plain(facts['model'])}_{program}" for program in PROGRAMS}
    with whole_directory(out, overwrite=True) as made:
        for program, name in names.items():
            version = os.path.join(made, name, VERSION)
            os.makedirs(version)
            source = os.path.join(bundle, FOLDER)
            shutil.copyfile(
                os.path.join(source, f"{program}.onnx"), os.path.join(version, "model.onnx")
            )
            shutil.copyfile(os.path.join(source, WEIGHTS), os.path.join(version, WEIGHTS))
            with open(os.path.join(made, name, "config.pbtxt"), "w", encoding="utf-8") as f:
                f.write(config(name, facts["programs"][program]))
        check_replaceable(out)
    return {"triton": out, "triton_models": list(names.values())}


def check_replaceable(out: str) -> None:
    """Check that nothing is at `out`, or a repository that `write` made.

    Raises:
        InputError: something there would be lost.
    """
    if not os.path.lexists(out):
        return
    refusal = f"{out} exists and is not a repository of to_static.py, so it is not replaced"
    models = os.listdir(out) if os.path.isdir(out) and not os.path.islink(out) else [""]
    for model in models:
        folder = os.path.join(out, model)
        if not model or not _is_ours(folder):
            raise InputError(f"{refusal}; choose another --triton, or remove it yourself")


def _is_ours(folder: str) -> bool:
    """Check that a folder holds a model that `write` made, and nothing else."""
    files = ("config.pbtxt", f"{VERSION}/model.onnx", f"{VERSION}/{WEIGHTS}")
    whole = all(os.path.isfile(os.path.join(folder, name)) for name in files)
    if not whole or foreign_file(folder, files) is not None:
        return False
    with open(os.path.join(folder, "config.pbtxt"), encoding="utf-8", errors="replace") as f:
        return f.readline().rstrip("\n") == FIRST_LINE


def config(name: str, program: dict[str, Any]) -> str:
    """The model's config.pbtxt.

    Args:
        name: of the model.
        program: of the bundle's signature: inputs and outputs, {name: {shape, dtype}}.
    """
    return "\n".join(
        [
            FIRST_LINE,
            f'name: "{name}"',
            'backend: "onnxruntime"',
            "max_batch_size: 0  # the inputs' first sizes differ: one history, many candidates",
            *_tensors("input", program["inputs"]),
            *_tensors("output", program["outputs"]),
            "instance_group [ { count: 1 kind: KIND_CPU } ]",
            'parameters { key: "intra_op_thread_count" value: { string_value: "1" } }',
            "",
        ]
    )


def _tensors(what: str, shapes: Shapes) -> list[str]:
    lines = []
    for name, facts in shapes.items():
        sizes = ", ".join("-1" if size is None else str(size) for size in facts["shape"])
        kind = TYPES[facts["dtype"]]
        lines.append(f'{what} [ {{ name: "{name}" data_type: {kind} dims: [ {sizes} ] }} ]')
    return lines


def _plain(model: str) -> str:
    """A model's name in characters that Triton's paths may have."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", model)
