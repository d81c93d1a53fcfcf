"""From a checkpoint to an export bundle.

- ``model.json`` (Paddle 3) or ``model.pdmodel`` (Paddle 2), ``model.pdiparams``: scores rows, each
  with its own history.
- ``rank.json`` or ``rank.pdmodel``: scores many candidates of one user, with the same weights.
- ``schema.yaml``, ``items.parquet``, ``users.parquet``, ``vocab/``, ``vectors/``: from the prepared
  dataset; schema.yaml with the checksum of every file.
- ``histories.arrow``: the latest events of every user, unless it is left out.
- ``signature.yaml``: the programs' inputs and outputs, history_cap, origin.
- ``request.example.json``: a request that ``paddle_infer.py --request`` can score.
"""

import copy
import filecmp
import os
import shutil
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle
import paddle.nn as nn
import paddle.nn.functional as F
import yaml

from paddleinterest.core import yaml_text
from paddleinterest.core.atomic import whole_directory
from paddleinterest.core.checksum import hashes
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.core.settings import Settings
from paddleinterest.data.schema import Schema, of_one_user
from paddleinterest.serving import agreement, signature
from paddleinterest.serving.example import write_example
from paddleinterest.serving.history import own
from paddleinterest.serving.vocabulary import has_vocabulary
from paddleinterest.training import loading, run

EXAMPLE = "request.example.json"

Batch = dict[str, paddle.Tensor]
Arrays = dict[str, np.ndarray]
Spec = dict[str, Any]  # of paddle.static.InputSpec


class _Scorer(nn.Layer):
    """Click probabilities [B] of a batch of rows, each with its own history.

    Args:
        net: in evaluation.
        idle: inputs that the net does not read. Paddle exports no input that nothing reads.
    """

    def __init__(self, net: nn.Layer, idle: Sequence[str] = ()) -> None:
        super().__init__()
        self.net = net
        self.idle = list(idle)

    def forward(self, batch: Batch) -> paddle.Tensor:
        return _read(F.sigmoid(self.net(batch)), batch, self.idle)


class _Ranker(nn.Layer):
    """Click probabilities [N] and attention [N, T] of N candidates of one user; the user's side is
    computed once. Arguments as in `_Scorer`."""

    def __init__(self, net: nn.Layer, idle: Sequence[str] = ()) -> None:
        super().__init__()
        self.net = net
        self.idle = list(idle)

    def forward(self, batch: Batch) -> tuple[paddle.Tensor, paddle.Tensor]:
        logit, weight = self.net.rank(batch, return_attention=True)
        return _read(F.sigmoid(logit), batch, self.idle), weight


def _read(x: paddle.Tensor, batch: Batch, names: Sequence[str]) -> paddle.Tensor:
    """x unchanged, but reading the sizes of some inputs."""
    for name in names:
        x = x + 0.0 * paddle.shape(batch[name])[0].astype("float32")
    return x


def _idle(layer: nn.Layer, first: Arrays, second: Arrays) -> list[str]:
    """The inputs that may have two values and make no difference to what `layer` returns."""

    def outputs(arrays: Arrays) -> list[np.ndarray]:
        out = layer({name: paddle.to_tensor(x) for name, x in arrays.items()})
        return [x.numpy() for x in (out if isinstance(out, tuple) else (out,))]

    with paddle.no_grad():
        before = outputs(first)
        idle = []
        for name in first:
            after = outputs({**first, name: second[name]})
            if all(np.array_equal(a, b) for a, b in zip(before, after, strict=True)):
                idle.append(name)
    return idle


def export(config: Settings, data: str, out: str, histories: bool = True) -> dict[str, Any]:
    """Write the bundle of a run's checkpoint, whole or not at all.

    Args:
        config: settings of the run.
        data: the prepared dataset that it was trained on.
        out: directory of the bundle; a bundle that is there is replaced.
        histories: the bundle takes the latest events of every user along.

    Returns:
        The tool's result.

    Raises:
        InputError: no checkpoint, one of another net, or `out` holds something else than a bundle.
    """
    check_replaceable(out)
    schema = Schema.load(data)
    prepared = copy.copy(schema)  # the bundle's lists other files
    taken = ["items.parquet", "users.parquet", "vocab/", "vectors/"]
    schema.verify(data, *taken, *(["sequences"] if histories else []))
    model = loading.bind(config)
    path = run.checkpoint_path(config)
    net, state = loading.trained_net(model, config, data, schema, path)
    net.eval()
    spec = model.input_spec(config, schema)
    examples = [_inputs(model.example_batch(config, schema, seed), spec) for seed in (0, 1)]
    cap = config.runner.history_cap
    times = model.needs_times(config, schema)
    rows, split = agreement.some_rows(data, list(schema.rows), cap, times)
    with whole_directory(out, overwrite=True) as made:
        _write_programs(made, _ranking(net, rows), spec, examples)
        _copy_tables(made, data, schema)
        if histories:
            own.write(made, data, config.runner.history_cap)
        _write_signature(made, config, spec, _origin(path, state, data))
        schema.files = dict(hashes(made))
        schema.save(made)
        write_example(os.path.join(made, EXAMPLE), data, schema)  # unlisted: a user may change it
        agreement.check(made, net, rows, split)
        check_replaceable(out)  # once more: minutes may have passed
        Schema.load(data).check_same(prepared, data)
    return {
        "model": config.model,
        "bundle": out,
        "checkpoint": path,
        "epoch": state["epoch"],
        "bytes": sum(facts["bytes"] for facts in schema.files.values()),
        "inputs": list(spec),
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
    known = {os.path.normpath(name) for name in (*schema.files, "schema.yaml", EXAMPLE)}
    for folder, folders, files in os.walk(out):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in (*files, *links):
            inner = os.path.relpath(os.path.join(folder, name), out)
            if inner not in known:
                raise InputError(
                    f"{out} is not replaced: {inner} in it is not part of a bundle; {advice}"
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


def _write_programs(made: str, net: nn.Layer, spec: Spec, examples: list[Arrays]) -> None:
    requests = [agreement.one_request(rows) for rows in examples]
    programs = {
        "model": (_Scorer(net, _idle(_Scorer(net), *examples)), spec),
        "rank": (_Ranker(net, _idle(_Ranker(net), *requests)), one_user(spec)),
    }
    for name, (layer, inputs) in programs.items():
        program = paddle.jit.to_static(layer, input_spec=[inputs], full_graph=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Paddle's own, about its graph builder
            paddle.jit.save(program, os.path.join(made, name))
    weights, same = (os.path.join(made, f"{name}.pdiparams") for name in ("model", "rank"))
    if filecmp.cmp(weights, same, shallow=False):
        os.remove(same)  # the programs share their weights


def _copy_tables(made: str, data: str, schema: Schema) -> None:
    names = ["items.parquet", "users.parquet"]
    names += [
        os.path.join("vocab", f"{f.name}.parquet") for f in schema.fields if has_vocabulary(f)
    ]
    names += [os.path.join("vectors", f"{f.name}.npy") for f in schema.vector_fields]
    os.mkdir(os.path.join(made, "vocab"))
    if schema.vector_fields:
        os.mkdir(os.path.join(made, "vectors"))
    for name in names:
        shutil.copyfile(os.path.join(data, name), os.path.join(made, name))


def one_user(spec: Spec) -> Spec:
    """The inputs of ``rank``: one row of everything but the candidates' own."""
    made = {}
    for name, s in spec.items():
        shape = [1, *s.shape[1:]] if of_one_user(name) else s.shape
        made[name] = paddle.static.InputSpec(shape, s.dtype, name)
    return made


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
