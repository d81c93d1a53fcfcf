"""From a checkpoint to an export bundle.

model.json (Paddle 3) or model.pdmodel (Paddle 2)   model.pdiparams   scores rows, each with its own
history
rank.json or rank.pdmodel                            scores many candidates of one user, with the
same weights
schema.yaml  items.parquet  users.parquet  vocab/    from the prepared dataset; schema.yaml with
every file's checksum
signature.yaml                                       the programs' inputs and outputs, history_cap,
origin
request.example.json                                 a request that `paddle_infer.py --request` can
score
"""

import filecmp
import json
import os
import shutil
import warnings

import numpy as np
import paddle
import paddle.nn as nn
import paddle.nn.functional as F
import yaml

from paddleinterest.core.atomic import whole_directory
from paddleinterest.core.checksum import hashes
from paddleinterest.core.errors import InputError
from paddleinterest.data.columns import read_parquet
from paddleinterest.data.reader import Reader
from paddleinterest.data.schema import FIRST_ID, UNKNOWN, Schema, of_one_user
from paddleinterest.training import loading, run


class _Scorer(nn.Layer):
    """Click probabilities [B] of a batch of rows, each with its own history."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, batch):
        return F.sigmoid(self.net(batch))


class _Ranker(nn.Layer):
    """Click probabilities [N] and attention [N, T] of N candidates of one user: the user's side is
    computed once."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, batch):
        logit, weight = self.net.rank(batch, return_attention=True)
        return F.sigmoid(logit), weight


def export(config, data, out):
    """Write the bundle of the run's checkpoint to `out`, whole or not at all; returns the tool's
    result."""
    if os.path.lexists(out) and not os.path.isfile(os.path.join(out, "signature.yaml")):
        raise InputError(
            f"{out} exists and is no export bundle, so it is not replaced; choose another --out"
        )
    schema = Schema.load(data)
    schema.verify(data, "items.parquet", "users.parquet", "vocab/")  # the bundle takes them over
    model = loading.bind(config)
    path = run.checkpoint_path(config)
    net, state = loading.trained_net(model, config, data, schema, path)
    net.eval()
    spec = model.input_spec(config, schema)
    with whole_directory(out, overwrite=True) as made:
        for name, layer, inputs in (
            ("model", _Scorer(net), spec),
            ("rank", _Ranker(net), _one_user(spec)),
        ):
            program = paddle.jit.to_static(layer, input_spec=[inputs], full_graph=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Paddle's own, about its graph builder
                paddle.jit.save(program, os.path.join(made, name))
        if filecmp.cmp(
            os.path.join(made, "model.pdiparams"),
            os.path.join(made, "rank.pdiparams"),
            shallow=False,
        ):
            os.remove(os.path.join(made, "rank.pdiparams"))  # the programs share their weights
        for name in ("items.parquet", "users.parquet"):
            shutil.copyfile(os.path.join(data, name), os.path.join(made, name))
        os.mkdir(os.path.join(made, "vocab"))
        for name in (
            f"{f.name}.parquet" for f in schema.fields if f.kind == "category" and f.name != "item"
        ):
            shutil.copyfile(os.path.join(data, "vocab", name), os.path.join(made, "vocab", name))
        _write_signature(made, config, spec, state, path, data)
        schema.files = dict(hashes(made))
        schema.save(made)
        _write_example(made, data, schema)  # listed nowhere: a user may change it
    size = sum(facts["bytes"] for facts in schema.files.values())
    return {
        "model": config["model"],
        "bundle": out,
        "checkpoint": path,
        "epoch": state["epoch"],
        "bytes": size,
        "inputs": list(spec),
    }


def _one_user(spec):
    """The inputs of `rank`: one row of everything but the candidates' own."""
    return {
        name: paddle.static.InputSpec(
            [1, *s.shape[1:]] if of_one_user(name) else s.shape, s.dtype, name
        )
        for name, s in spec.items()
    }


def _write_signature(made, config, spec, state, path, data):
    signature = {
        "model": config["model"],
        "programs": {
            "model": {
                "inputs": _describe(spec),
                "outputs": {"probability": {"shape": [None], "dtype": "float32"}},
            },
            "rank": {
                "inputs": _describe(_one_user(spec)),
                "outputs": {
                    "probability": {"shape": [None], "dtype": "float32"},
                    "attention": {"shape": [None, None], "dtype": "float32"},
                },
            },
        },
        "history_cap": config["runner"]["history_cap"],
        "origin": {
            "checkpoint": path,
            "epoch": state["epoch"],
            "valid": state.get("valid"),
            "data_dir": data,
            "paddle": paddle.__version__,
        },
    }
    with open(os.path.join(made, "signature.yaml"), "w", encoding="utf-8") as f:
        yaml.safe_dump(signature, f, sort_keys=False, allow_unicode=True)


def _describe(spec):
    """{input: {shape, dtype}}; None stands for any size."""
    return {
        name: {
            "shape": [d if d and d > 0 else None for d in s.shape],
            "dtype": str(s.dtype).rpartition(".")[2].lower(),
        }
        for name, s in spec.items()
    }


def _write_example(made, data, schema):
    """The longest history among the first test rows, of a user whose attributes are known if there
    is one, with five popular candidates; the first of them and the user with their attributes, as a
    request would give those of a new one.
    """
    reader = Reader(data, "test", 1, history_cap=10)
    length, columns = reader.length[:1000], reader.users.fields.values()
    known = sum(
        (column[reader.user[:1000]] > UNKNOWN for column in columns),
        np.zeros(len(length), np.int64),
    )
    row = int(np.argmax(length * (len(columns) + 1) + known))
    ids = read_parquet(os.path.join(data, "items.parquet"))["item"]
    users = read_parquet(os.path.join(data, "users.parquet"))["user"]
    items, times = reader.history(row, reader.cap)
    request = {
        "user": users[int(reader.user[row])].as_py(),
        "time": int(reader.time[row]),
        "history": [
            {"item": ids[item].as_py(), "time": time}
            for item, time in zip(items.tolist(), times.tolist())
        ],
        "candidates": [
            ids[k].as_py() for k in range(FIRST_ID, min(FIRST_ID + 5, reader.items.rows))
        ],
    }
    if own := _attributes("item", "items.parquet", FIRST_ID, data, schema):
        request["candidates"][0] = {"item": request["candidates"][0], **own}
    if own := _attributes("user", "users.parquet", int(reader.user[row]), data, schema):
        request["user_attributes"] = own
    if own := _attributes("context", os.path.join("test", "part-00000.parquet"), row, data, schema):
        request["context"] = own
    with open(os.path.join(made, "request.example.json"), "w", encoding="utf-8") as f:
        json.dump(request, f, indent=1, ensure_ascii=False)


def _attributes(of, file, row, data, schema):
    """{name: raw value} of a row of the dataset's file, but for the item's id."""
    fields = [f for f in schema.fields if f.of == of and f.name != "item"]
    table = read_parquet(os.path.join(data, file)) if fields else None
    return {f.name: _raw(table[f.name][row].as_py(), f, data) for f in fields}


def _raw(value, field, data):
    """A column's value as a request would give it."""
    if field.kind == "dense":
        return value if value == value else None
    vocabulary = read_parquet(os.path.join(data, "vocab", f"{field.name}.parquet"))
    return vocabulary["value"][value - FIRST_ID].as_py() if value >= FIRST_ID else None
