"""From a checkpoint to an export bundle.

- ``model.json`` (Paddle 3) or ``model.pdmodel`` (Paddle 2), ``model.pdiparams``: scores rows, each
  with its own history.
- ``rank.json`` or ``rank.pdmodel``: scores many candidates of one user, with the same weights.
- ``schema.yaml``, ``items.parquet``, ``users.parquet``, ``vocab/``, ``vectors/``: from the prepared
  dataset; schema.yaml with the checksum of every file.
- ``histories.arrow``: the latest events of every user, unless it is left out.
- ``signature.yaml``: the programs' inputs and outputs, history_cap, origin.
- ``onnx/``: the programs as ONNX, if they are wanted.
- ``calibration.json``: numbers that make a calibrated probability of the net's, if wanted.
- ``request.example.json``: a request that ``paddle_infer.py --request`` can score.
"""

import copy
import filecmp
import os
import shutil
from dataclasses import dataclass
from typing import Any

import paddle
import paddle.nn as nn
import yaml

from paddleinterest.core import yaml_text
from paddleinterest.core.atomic import whole_directory
from paddleinterest.core.checksum import hashes
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.core.settings import Settings
from paddleinterest.data.schema import REQUEST_EXAMPLE, Field, Schema
from paddleinterest.nets.click_model import read_vectors
from paddleinterest.serving import agreement, calibrate, signature
from paddleinterest.serving.example import write_example
from paddleinterest.serving.history import own
from paddleinterest.serving.onnx import export as onnx_export
from paddleinterest.serving.programs import Arrays, Programs, Spec, one_user
from paddleinterest.serving.vocabulary import has_vocabulary
from paddleinterest.training import loading, run


@dataclass(frozen=True)
class Contents:
    """Optional parts of a bundle, beside the programs and tables.

    Attributes:
        histories: the latest events of every user.
        onnx: the programs as ONNX too.
        calibration: platt or isotonic, fitted on valid; none = the net's probabilities.
    """

    histories: bool = True
    onnx: bool = False
    calibration: str = "none"


ALL_BUT_ONNX = Contents()


def export(
    config: Settings, data: str, out: str, contents: Contents = ALL_BUT_ONNX
) -> dict[str, Any]:
    """Write the bundle of a run's checkpoint, whole or not at all.

    Args:
        config: settings of the run.
        data: the prepared dataset that it was trained on.
        out: directory of the bundle; an existing bundle is replaced.
        contents: what it has besides the programs and tables.

    Returns:
        The tool's result.

    Raises:
        InputError: no checkpoint, one of another net, or `out` holds something else than a bundle.
    """
    check_replaceable(out)
    if contents.onnx:
        onnx_export.check_possible()
    schema = Schema.load(data)
    if contents.calibration != "none":
        calibrate.check_possible(contents.calibration, schema)
    prepared = copy.copy(schema)  # the bundle's lists other files
    taken = ["items.parquet", "users.parquet", "vocab/", "vectors/"]
    schema.verify(data, *taken, *(["sequences"] if contents.histories else []))
    model = loading.bind(config)
    path = run.checkpoint_path(config)
    net, state = loading.trained_net(model, config, data, schema, path)
    net.eval()
    spec = model.input_spec(config, schema)
    examples = [_inputs(model.example_batch(config, schema, seed), spec) for seed in (0, 1)]
    cap = config.runner.history_cap
    times = model.needs_times(config, schema)
    rows, split = agreement.some_rows(data, agreement.SPLITS, agreement.ROWS, cap, times)
    with whole_directory(out, overwrite=True) as made:
        programs = Programs(_ranking(net, rows), spec, examples)
        _write_programs(made, programs)
        if contents.onnx:
            onnx_export.write(made, programs)
        _copy_tables(made, data, schema, read_vectors(config, schema))
        if contents.histories:
            own.write(made, data, config.runner.history_cap)
        _write_signature(made, config, spec, _origin(path, state, data))
        schema.files = dict(hashes(made))
        schema.save(made)
        write_example(os.path.join(made, REQUEST_EXAMPLE), data, schema)  # unlisted
        agreement.check(made, net, rows, split)
        result = onnx_export.check(made, data) if contents.onnx else {}
        if contents.calibration != "none":
            result.update(calibrate.add(made, data, contents.calibration, schema))
        check_replaceable(out)  # once more: minutes may have passed
        Schema.load(data).check_same(prepared, data)
    return {
        "model": config.model,
        "bundle": out,
        "checkpoint": path,
        "epoch": state["epoch"],
        "bytes": sum(facts["bytes"] for facts in schema.files.values()),
        "inputs": list(spec),
        **result,
    }


def check_replaceable(out: str) -> None:
    """Check that nothing is at `out`, or a bundle and nothing else.

    Raises:
        InputError: something there would be lost.
    """
    if not os.path.lexists(out):
        return
    refusal = f"{out} exists and is not an export bundle, so it is not replaced"
    advice = "choose another --out, or remove it yourself"
    try:
        schema = Schema.load(out)
        signature.read(out)
    except (InputError, OSError, yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError):
        raise InputError(f"{refusal}; {advice}") from None
    if not schema.sealed or "signature.yaml" not in schema.files:
        raise InputError(f"{refusal}: its schema.yaml lists no signature.yaml; {advice}")
    foreign = schema.foreign_file(out)
    if foreign is not None:
        raise InputError(
            f"{out} is not replaced: {foreign} in it is not part of a bundle; {advice}"
        )


def _inputs(batch: Arrays, spec: Spec) -> Arrays:
    return {name: batch[name] for name in spec}


def _ranking(net: nn.Layer, rows: Arrays) -> nn.Layer:
    """The net, with a `rank` that is `forward`."""
    difference = agreement.rank_differs(net, rows)
    if difference is None:
        return net
    say(
        f"{type(net).__name__}.rank is not forward with the user's row repeated (by up to"
        f" {difference:.2g}); the export repeats the row, which is slower"
    )
    return agreement.Repeated(net)


def _write_programs(made: str, programs: Programs) -> None:
    programs.write(made)
    weights, same = (os.path.join(made, f"{name}.pdiparams") for name in ("model", "rank"))
    if filecmp.cmp(weights, same, shallow=False):
        os.remove(same)  # the programs share their weights


def _copy_tables(made: str, data: str, schema: Schema, vectors: list[Field]) -> None:
    names = ["items.parquet", "users.parquet"]
    names += [
        os.path.join("vocab", f"{f.name}.parquet") for f in schema.fields if has_vocabulary(f)
    ]
    names += [os.path.join("vectors", f"{f.name}.npy") for f in vectors]
    os.mkdir(os.path.join(made, "vocab"))
    if vectors:
        os.mkdir(os.path.join(made, "vectors"))
    for name in names:
        shutil.copyfile(os.path.join(data, name), os.path.join(made, name))


def _origin(path: str, state: dict[str, Any], data: str) -> dict[str, Any]:
    """Where a bundle comes from."""
    return {
        "checkpoint": path,
        "epoch": state["epoch"],
        "valid": state.get("valid"),
        "data_dir": data,
        "paddle": paddle.__version__,
    }


def _write_signature(made: str, config: Settings, spec: Spec, origin: dict[str, Any]) -> None:
    probability = {"shape": [None], "dtype": "float32"}
    attention = {"shape": [None, None], "dtype": "float32"}
    contents = {
        "model": config.model,
        "programs": {
            "model": {"inputs": _describe(spec), "outputs": {"probability": probability}},
            "rank": {
                "inputs": _describe(one_user(spec)),
                "outputs": {"probability": dict(probability), "attention": attention},
            },
        },
        "history_cap": config.runner.history_cap,
        "origin": origin,
    }
    with open(os.path.join(made, "signature.yaml"), "w", encoding="utf-8") as f:
        f.write(yaml_text.dump(contents))


def _describe(spec: Spec) -> dict[str, Any]:
    """{input: {shape, dtype}}; None = any size."""
    described = {}
    for name, s in spec.items():
        shape = [size if size and size > 0 else None for size in s.shape]
        described[name] = {"shape": shape, "dtype": str(s.dtype).rpartition(".")[2].lower()}
    return described
