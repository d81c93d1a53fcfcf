"""tools/attention.py: the numbers are the net's own weights, for each model; the picture is a
picture; wrong input."""

import json
import os

import numpy as np
import paddle
import pandas as pd
import pyarrow.feather as feather
import pytest
from helpers import ROOT, TINY, ToolServer, small_dataset
from matplotlib.figure import Figure

from paddleinterest.core import settings
from paddleinterest.serving.bundle import Bundle
from paddleinterest.study import attention
from paddleinterest.training import checkpoint, loading

pytestmark = pytest.mark.slow

MODELS = ["din", "dien", "bst"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with a dataset, and a trained and exported run of each model; and a server that
    runs tools in it."""
    folder = tmp_path_factory.mktemp("place")
    small_dataset(folder, "clicks", users=30, impressions=20)
    with ToolServer(tmp_path_factory.mktemp("server")) as tools:
        for model in MODELS:
            config = os.path.join(ROOT, "models", model, "config.yaml")
            for tool, more in (("trainer", [*TINY, "runner.epochs=1"]), ("to_static", [])):
                done = tools.run(
                    tool, "-m", config, "-o", *more, "runner.data_dir=clicks", cwd=folder
                )
                assert done.status == 0, done.err
        yield folder, tools


def bundle_of(model):
    return os.path.join("output", model, "clicks", "export")


@pytest.mark.parametrize("model", MODELS)
def test_weights_are_the_nets(place, model):
    folder, tools = place
    request = {
        "history": [
            {"item": f"i{k}", "time": t}
            for k, t in zip((3, 1, 4, 1, 5), (10, 3600, 9000, 9000, 80000), strict=True)
        ],
        "time": 90000,
        "candidates": ["i9", "i2", "never seen"],
    }
    (folder / "request.json").write_text(json.dumps(request))
    done = tools.run(
        "attention",
        "--bundle",
        bundle_of(model),
        "--request",
        "request.json",
        "--out",
        f"{model}-a",
        cwd=folder,
    )
    assert done.status == 0, done.err
    assert done.json["candidates"] == 3 and done.json["history"] == 5
    assert (folder / f"{model}-a.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    table = pd.read_parquet(folder / f"{model}-a.parquet")
    assert list(table.columns) == ["candidate", "score", "position", "item", "time", "weight"]
    assert list(table.item) == ["i3", "i1", "i4", "i1", "i5"] * 3 and list(table.time[:5]) == [
        10,
        3600,
        9000,
        9000,
        80000,
    ]
    grid = table.weight.to_numpy().reshape(3, 5)
    # the net in dynamic graph, from the checkpoint, on the same request
    out = folder / "output" / model / "clicks"
    config = settings.load(str(out / "config.yaml"), [f"runner.data_dir={folder / 'clicks'}"])
    bundle, binding = Bundle(str(folder / bundle_of(model))), loading.bind(config)
    net = loading.create_net(binding, config, bundle.schema)
    checkpoint.load(str(out / "checkpoints" / "best.npz"), net, model)
    net.eval()
    arrays = bundle.encoder.encode(request).arrays
    logit, weight = net.rank(
        {k: paddle.to_tensor(v) for k, v in arrays.items()}, return_attention=True
    )
    assert np.abs(grid - weight.numpy()).max() < 1e-6
    assert np.abs(table.score[::5] - 1 / (1 + np.exp(-logit.numpy()))).max() < 1e-6
    assert np.abs(grid.sum(-1)).max() < 1 + 1e-5 and grid.min() >= 0 and np.ptp(grid, -1).max() > 0


def test_of_a_user_in_the_log(place):
    folder, tools = place
    done = tools.run(
        "attention",
        "--bundle",
        bundle_of("din"),
        "--user",
        "u3",
        "--candidates",
        "i1",
        "i2",
        cwd=folder,
    )
    assert done.status == 0, done.err
    table = pd.read_parquet(folder / "output" / "din" / "clicks" / "attention.parquet")
    assert set(table.candidate) == {"i1", "i2"}
    raw = pd.read_parquet(folder / "clicks" / "items.parquet").item
    users = pd.read_parquet(folder / "clicks" / "users.parquet").user
    sample = (
        pd.read_parquet(folder / "clicks" / "test")
        .query(f"user == {users[users == 'u3'].index[0]}")
        .iloc[-1]
    )
    sequence = (
        feather.read_table(folder / "clicks" / "sequences/part-00000.arrow")
        .to_pandas()
        .iloc[sample.sequence]
    )
    of_one = table[table.candidate == "i1"]
    assert list(of_one.item) == [raw[k] for k in sequence["item"][: sample.end]] and len(of_one) > 3
    assert (
        list(of_one.time) == list(sequence["time"][: sample.end]) and max(of_one.time) < sample.time
    )
    few = ["--user", "u3", "--events", "2", "--out", "few"]
    done = tools.run("attention", "--bundle", bundle_of("din"), *few, cwd=folder)
    assert done.status == 0, done.err
    newest = pd.read_parquet(folder / "few.parquet")
    newest = newest[newest.candidate == newest.candidate[0]]
    assert list(newest.time) == list(of_one.time)[-2:]
    assert list(newest.item) == list(of_one.item)[-2:]
    done = tools.run(
        "attention", "--bundle", bundle_of("din"), "--user", "u3", "--out", "more", cwd=folder
    )
    assert done.json["candidates"] == 5
    candidates = list(pd.read_parquet(folder / "more.parquet").candidate.unique())
    after = sequence["item"][sample.end : sample.end + 1]
    assert (
        candidates[:1] == [raw[k] for k in after] or not len(after) and candidates == list(raw[2:7])
    )


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--user", "nobody"], "user nobody is not in clicks"),
        (["--user", "u3", "--data", "nowhere"], "nowhere"),
        (["--request", "empty.json"], "the history is empty"),
        (["--request", "bare.json", "--show", "category"], "candidates is missing, must be a list"),
        (
            ["--request", "untimed.json"],
            "history[1] has no time: this model reads how long ago each event was",
        ),
        (["--request", "missing.json"], "missing.json"),
        (["--user", "u3", "--events", "0"], "--events 0: must be 1 or more"),
    ],
)
def test_wrong_input(place, flags, words):
    folder, tools = place
    (folder / "empty.json").write_text('{"candidates": ["i1"]}')
    (folder / "bare.json").write_text('{"history": []}')
    (folder / "untimed.json").write_text(
        '{"candidates": ["i1"], "history": [{"item": "i1", "time": 1}, "i2"], "time": 2}'
    )
    before = sorted(os.listdir(folder))
    done = tools.run(
        "attention", "--bundle", bundle_of("bst"), *flags, "--out", "never", cwd=folder
    )
    assert done.status == 1 and done.out == "" and "Traceback" not in done.err
    errors = [line for line in done.lines if line.startswith("error: ")]
    assert len(errors) == 1 and words in errors[0], done.err
    assert sorted(os.listdir(folder)) == before


def test_show_writes_an_attribute_in_place_of_the_id(place, monkeypatch):
    folder, tools = place
    bundle = Bundle(str(folder / bundle_of("din")))
    raw = pd.read_parquet(folder / "clicks" / "items.parquet")
    words = (
        pd.read_parquet(folder / "clicks" / "vocab" / "category.parquet").set_index("index").value
    )
    want = {i: words[k] for i, k in zip(raw.item[2:], raw.category[2:], strict=True) if k > 1}
    known = next(iter(want))
    request = {
        "history": [known, "unheard of"],
        "candidates": [known, "new $\\frac$", {"item": "own", "category": "c one"}],
    }
    assert (
        attention.attribute(bundle, "category", request) == {**want, "own": "c one"}
        and len(want) > 3
        and len(set(want.values())) > 1
    )
    assert attention.attribute(bundle, None, request) == {}
    request["candidates"].pop()
    table = attention.weights(bundle, request)
    attention.draw(table, "of user $\\user$", str(folder / "shown.png"), "seconds", want)
    drawn = []
    monkeypatch.setattr(
        "matplotlib.axes.Axes.set_xticks", lambda self, at, labels, **kw: drawn.extend(labels)
    )
    monkeypatch.setattr(
        "matplotlib.axes.Axes.set_yticks", lambda self, at, labels, **kw: drawn.extend(labels)
    )
    attention.draw(table, "a title", str(folder / "shown.png"), "seconds", want)
    assert sorted(label.split("p =")[0].strip() for label in drawn) == sorted(
        [want[known], "unheard of", want[known], "new $\\frac$"]
    )
    assert attention._names(["i1", "i2", "i3"], {"i1": "milk", "i2": "milk"}) == {
        "i1": "milk (i1)",
        "i2": "milk (i2)",
        "i3": "i3",
    }
    done = tools.run(
        "attention",
        "--bundle",
        bundle_of("din"),
        "--user",
        "u3",
        "--show",
        "colour",
        "--out",
        "never",
        cwd=folder,
    )
    assert (
        done.status == 1
        and "--show colour: clicks has no item attribute of this name with categories;" in done.err
        and "it has category" in done.err
    )
    assert not (folder / "never.png").exists()
    done = tools.run(
        "attention",
        "--bundle",
        bundle_of("din"),
        "--user",
        "u3",
        "--show",
        "category",
        "--out",
        "named",
        cwd=folder,
    )
    assert done.status == 0 and (folder / "named.png").exists(), done.err


def grid(weights):
    """The table of one candidate with these weights."""
    columns = {"candidate": "i1", "score": 0.5, "item": "i2", "time": None}
    rows = [{**columns, "position": t + 1, "weight": w} for t, w in enumerate(weights)]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    "weights, colours", [((0.0, 0.3, 0.7), "from 0"), ((-0.4, 0.0, 0.1), "around 0")]
)
def test_negative_weights_have_a_colour_of_their_own(tmp_path, monkeypatch, weights, colours):
    """Without a softmax DIN's weights may be negative: 0 is white, the sides blue and red."""
    images = []
    colorbar = Figure.colorbar
    monkeypatch.setattr(
        Figure, "colorbar", lambda self, image, **kw: images.append(image) or colorbar(self, image)
    )
    attention.draw(grid(weights), "t", str(tmp_path / "p.png"), "order", {})
    drawn = {w: images[0].to_rgba(w) for w in (*weights, 0.4)}
    assert len(set(drawn.values())) == len(set((*weights, 0.4)))
    if colours == "around 0":
        assert min(drawn[0.0][:3]) > 0.95
        red, _, blue, _ = drawn[-0.4]
        assert blue > red + 0.2
        red, _, blue, _ = drawn[0.4]
        assert red > blue + 0.2
    else:
        assert images[0].norm.vmin == 0
