"""The benchmarks: the peers' samples against the reader, operations against hand counts, what is
written."""

import argparse
import csv
import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from helpers import ROOT, TINY, TINY_DIN, settings_of, small_dataset

from benchmarks import flops, gpu, roofline, scaling
from benchmarks.peers import compare, report, runs, samples
from benchmarks.peers.runners import common
from benchmarks.steps import Trainee, random_batch, random_schema
from paddleinterest.core import metrics
from paddleinterest.core.errors import InputError
from paddleinterest.data.builder import build
from paddleinterest.data.log import Log
from paddleinterest.data.reader import Reader

CAP = 6
SETTINGS = {
    "name": "shop",
    "epochs": 1,
    "patience": 0,
    "steps": 0,
    "batch_size": 64,
    "emb": 4,
    "item_vocab": 0,
    "history_cap": CAP,
    "threads": 1,
    "seed": 5,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A dataset with item fields alone and no empty history, as the peers need it; one item is seen
    in test alone."""
    rng = np.random.default_rng(4)
    user = np.repeat(np.arange(40), rng.integers(4, 20, 40))
    item = rng.integers(0, 30, len(user))
    item[-1] = 30
    events = pd.DataFrame({"user": user, "item": item, "time": np.arange(len(user))})
    items = pd.DataFrame(
        {"item": np.arange(31), "category": np.arange(31) % 5, "brand": np.arange(31) % 3}
    )
    out = str(tmp_path_factory.mktemp("data") / "shop")
    build(Log(events, items, time="order"), out, protocol="every_prefix", name="shop", seed=1)
    return out


@pytest.fixture(scope="module")
def folder(data, tmp_path_factory):
    out = str(tmp_path_factory.mktemp("samples") / "samples")
    samples.convert(data, out, CAP)
    return out


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_peers_read_what_the_reader_gives(data, folder, split):
    theirs = common.Samples(folder)
    inputs, rows = theirs.inputs(split), theirs.splits[split]
    reader = Reader(data, split, 10**6, CAP)
    batch = next(reader.epoch())
    width = batch["history_item"].shape[1]
    np.testing.assert_array_equal(rows["label"], batch["label"])
    np.testing.assert_array_equal(rows["user"], batch["user"])
    np.testing.assert_array_equal(rows["length"], (batch["history_item"] > 0).sum(1))
    assert rows["length"].max() == CAP < reader.end.max()  # some histories were cut
    for name in ("item", "category", "brand"):
        np.testing.assert_array_equal(inputs[name], batch[f"target_{name}"])
        np.testing.assert_array_equal(inputs[f"hist_{name}"][:, :width], batch[f"history_{name}"])
        assert not inputs[f"hist_{name}"][:, width:].any()
    if split == "test":
        assert (
            inputs["item"] == 1
        ).any()  # the item that train never saw shares the index of the unknown ones


def test_each_distinct_history_is_stored_once(data, folder):
    theirs = common.Samples(folder)
    stored = {row for split in theirs.splits.values() for row in split["history"]}
    assert stored == set(range(len(theirs.offsets) - 1))
    readers = [Reader(data, split, 1, CAP) for split in ("train", "valid", "test")]
    assert len(stored) == len(
        {pair for r in readers for pair in zip(r.sequence.tolist(), r.end.tolist(), strict=True)}
    )


def test_contents_have_one_hash(data, folder, tmp_path):
    again = samples.convert(data, str(tmp_path / "again"), CAP)
    shorter = samples.convert(data, str(tmp_path / "shorter"), CAP - 1)
    assert again["content_sha256"] != shorter["content_sha256"]
    with open(os.path.join(folder, "manifest.json")) as f:
        assert json.load(f) == again


def test_other_fields_and_empty_histories_are_refused(tmp_path):
    with pytest.raises(InputError, match="item categories alone; small also has price, age, hour"):
        samples.convert(small_dataset(tmp_path), str(tmp_path / "out"), CAP)
    events = pd.DataFrame(
        {"user": [0, 1] * 30, "item": np.arange(60) % 7, "time": range(60), "label": [0, 1] * 30}
    )
    build(
        Log(events, pd.DataFrame({"item": range(7)})),
        str(tmp_path / "bare"),
        protocol="impressions",
        name="bare",
    )
    with pytest.raises(InputError, match="samples with an empty history"):
        samples.convert(str(tmp_path / "bare"), str(tmp_path / "out"), CAP)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_run_of_ours_gives_speed_quality_and_memory(data, tmp_path):
    settings = {**SETTINGS, "data": data}
    out = str(tmp_path / "din-ours-1")
    record = runs.run(runs.command("ours", "din", 0, settings, "", "", out), 1, out)
    assert "failed" not in record, record
    assert (
        record["samples_per_second"] > 0
        and 0 <= record["test"]["auc"] <= 1
        and record["test"]["gauc"] is not None
    )
    assert (
        50 < record["peak_rss_mb"] <= record["peak_rss_with_workers_mb"] and record["seconds"] > 0
    )
    with open(out + ".run/din/shop/config.yaml") as f:
        assert "embedding_size: 4\n" in f.read()


@pytest.mark.slow
def test_steps_of_ours_with_a_large_table(data, tmp_path):
    settings = {**SETTINGS, "data": data, "steps": 2, "item_vocab": 5000}
    out = str(tmp_path / "bst-ours-1")
    record = runs.run(runs.command("ours", "bst", 0, settings, "", "", out), 1, out)
    assert record["ms_a_step"] > 0 and record["parameters"] > 5000 * 4


def test_a_failing_run_says_why(tmp_path):
    record = runs.run(
        [
            sys.executable,
            "-c",
            "import sys; print('first\\nlast word', file=sys.stderr); sys.exit(3)",
        ],
        1,
        str(tmp_path / "x"),
    )
    assert record["failed"] == "last word"
    assert (tmp_path / "x.log").read_text() == "first\nlast word\n"


def test_a_record_of_other_settings_is_not_used(tmp_path):
    path = tmp_path / "record.json"
    assert runs.load(path, SETTINGS) is None
    path.write_text(json.dumps({"settings": SETTINGS}))
    assert runs.load(path, SETTINGS) == {"settings": SETTINGS}
    with pytest.raises(InputError, match="other settings"):
        runs.load(path, {**SETTINGS, "seed": 6})


def test_each_model_meets_those_who_have_it():
    assert runs.sides("bst", ["fuxictr", "deepctr", "rechub"]) == ["ours", "fuxictr", "rechub"]
    flags = runs.command("rechub", "dien", 2, {**SETTINGS, "steps": 7}, "python", "S", "O")
    assert flags[0] == "python" and flags[1].endswith("runners/run_rechub.py")
    assert (
        flags[flags.index("--seed") + 1] == "7"
        and flags[flags.index("--out") + 1] == "O.result.json"
    )


def test_ratios_pair_repeats_and_the_report_holds_them():
    speed, quality = {"ours": [100, 300, 200], "fuxictr": [50, 50, None]}, {"auc": 0.7, "gauc": 0.6}
    records = [
        {
            "model": "dien",
            "side": side,
            "repeat": k,
            "seconds": 1.0,
            "peak_rss_mb": 10.0,
            **(
                {"failed": "no memory"} if v is None else {"samples_per_second": v, "test": quality}
            ),
        }
        for side, values in speed.items()
        for k, v in enumerate(values)
    ]
    ours, theirs = report.summarize(records, 0)
    assert theirs["ours_times_as_fast"] == {"median": 4, "min": 2, "max": 6}
    assert (theirs["runs"], theirs["of"], ours["speed"]["median"]) == (2, 3, 200)
    text = report.markdown(
        {
            "settings": {**SETTINGS, "repeats": 3},
            "machine": "m",
            "versions": {"torch": "2"},
            "summary": [ours, theirs],
        }
    )
    assert "| DIEN | fuxictr | 50 | 4.00 (2.00–6.00) | 0.7000 |" in text
    assert "cannot run it" in text and "- dien fuxictr: no memory" in text
    steps = [
        {"model": "din", "side": side, "repeat": 0, "ms_a_step": ms}
        for side, ms in (("ours", 5), ("rechub", 20))
    ]
    assert report.summarize(steps, 50)[1]["ours_times_as_fast"]["median"] == 4


def test_wrong_numbers_end_in_one_line(data):
    flags = dict(SETTINGS, data=data, repeats=1, item_vocab=10**6)
    assert (
        compare.settings_of(type("Flags", (), flags))["steps"] == 50
    )  # a large table means timing alone
    with pytest.raises(InputError, match="--repeats is 0, must be at least 1"):
        compare.settings_of(type("Flags", (), {**flags, "repeats": 0}))


LENGTHS = np.array([3, 1])  # four real positions, two rows
TOWER = 2 * 2 * (16 * 8 + 8 * 4 + 4)  # two rows, [interest; target] of 8 each → 8 → 4 → 1
GRU = 2 * 4 * 3 * (8 * 8 + 8 * 8)  # four positions, three gates, W and U


def net(model, *overrides):
    """A tiny net over an item and one attribute: D = 2 fields of 4 = 8."""
    return Trainee(settings_of(model, *overrides), random_schema(20, 1, 10)).net


def test_operations_of_base_and_din():
    assert flops.base(net("base", *TINY), LENGTHS) == {"pooling": 2 * 4 * 8, "tower": TOWER}
    unit = 2 * 8 * 6 * (4 + 4 + 2) + 2 * 4 * (
        6 * 5 + 5 * 1
    )  # e, e∘v a position, v a row; then 6 → 5 → 1
    assert flops.din(net("din", *TINY_DIN), LENGTHS) == {
        "activation unit": unit,
        "weighted sum": 2 * 4 * 8,
        "tower": TOWER,
    }
    wider = flops.din(net("din", *TINY_DIN, "hyper_parameters.history_sum=true"), LENGTHS)
    assert wider["history sum"] == 2 * 4 * 8 and wider["tower"] == TOWER + 2 * 2 * 16 * 8


def test_operations_of_dien():
    def count(**other):
        chosen = dict(
            evolution="augru",
            attention="bilinear",
            auxiliary="inner",
            history_sum="false",
            hidden_size=0,
        )
        overrides = [f"hyper_parameters.{k}={v}" for k, v in {**chosen, **other}.items()]
        return flops.dien(net("dien", *TINY, *overrides), LENGTHS)

    assert count() == {
        "extractor": GRU,
        "auxiliary loss": 2 * 2 * 2 * 8,  # two pairs, two scores each
        "attention": 2 * 2 * 8 * 8 + 2 * 4 * 8,
        "evolution": GRU,
        "tower": TOWER,
    }
    agru = count(evolution="agru", auxiliary="none")
    assert agru["evolution"] == GRU * 2 / 3 and "auxiliary loss" not in agru
    mlp = count(auxiliary="mlp", hidden_size=6)
    assert mlp["auxiliary loss"] == 2 * 2 * (6 * 100 + 2 * (8 * 100 + 100 * 50 + 50))
    assert mlp["evolution"] == 2 * 4 * 3 * (6 * 6 + 6 * 6)


def test_operations_of_bst():
    tiny = [
        *TINY,
        *(
            f"hyper_parameters.{k}"
            for k in (  # D = 8 + 4, feed-forward as wide
                "position=index",
                "position_merge=concat",
                "position_size=4",
                "blocks=1",
                "heads=4",
                "feed_forward=0",
                "output=target",
                "target_in_tower=false",
            )
        ),
    ]
    tower = 2 * 2 * (12 * 8 + 8 * 4 + 4)
    assert flops.bst(net("bst", *tiny), LENGTHS) == {
        "last block": 2 * 2 * 6 * 12 * 12 + 2 * 2 * (4 + 2) * 4 * 12,
        "tower": tower,
    }  # 6 layers; 4 heads read 4 + 2
    whole = 2 * 6 * 6 * 12 * 12 + 2 * 2 * (4 * 4 + 2 * 2) * 12
    two = flops.bst(net("bst", *tiny, "hyper_parameters.blocks=2"), LENGTHS)
    assert (
        two["whole blocks"] == whole
        and two["last block"] == 2 * 2 * 6 * 12 * 12 + 2 * 2 * 6 * 4 * 12
    )
    mean = flops.bst(net("bst", *tiny, "hyper_parameters.output=mean"), LENGTHS)
    assert mean == {"whole blocks": whole, "mean": 2 * 6 * 12, "tower": tower}


def test_a_trace_is_shared_out_by_who_was_running():
    def span(category, name, start, duration):
        return {
            "ph": "X",
            "cat": category,
            "name": f"{name}[1 us]",
            "ts": start,
            "dur": duration,
            "tid": "7(C++)",
        }

    events = [
        span("ProfileStep", "ProfileStep#0", 0, 100.0),
        span("Forward", "Net", 10, 50.0),
        span("Operator", "matmul dygraph", 20, 30.0),
        span("DygraphKernelLaunch", "matmul kernel launch", 25, 20.0),
        span("Operator", "Global_MatmulGradNode", 70, 10.0),
        span("Operator", "Global_GradNodePyLayer__Cell", 85, 5.0),
        {"ph": "M", "name": "process"},
    ]
    assert dict(roofline.shares(events)) == pytest.approx(
        {
            "Python": 0.35,
            "in layer Net": 0.2,
            "matmul": 0.3,
            "matmul_grad": 0.1,
            "Cell gradient": 0.05,
        }
    )


def test_random_batches_look_like_the_readers(data):
    schema = random_schema(50, 2)
    batch = random_batch(schema, 8, 5, negatives=True)
    real = next(Reader(data, "train", 8, CAP, negatives="uniform").epoch())
    assert {
        k: batch[k.replace("category", "attribute_1").replace("brand", "attribute_2")].dtype
        for k in real
        if k != "user"
    } == {k: v.dtype for k, v in real.items() if k != "user"}
    ids = batch["history_item"]
    assert ids.shape == (8, 5) and 2 <= ids.min() <= ids.max() < 50


@pytest.mark.slow
def test_scaling_writes_table_and_plot(tmp_path, capsys):
    out = str(tmp_path / "scaling")
    args = scaling.parser().parse_args(
        [
            "--models",
            "din",
            "bst",
            "--table-rows",
            "1e2",
            "50",
            "--history",
            "4",
            "--batch",
            "8",
            "--attributes",
            "0",
            "1",
            "--base",
            "50",
            "4",
            "8",
            "1",
            "--steps",
            "2",
            "--out",
            out,
        ]
    )
    result = scaling.work(args)
    with open(os.path.join(out, "scaling.csv"), newline="") as f:
        rows = list(csv.DictReader(f))
    assert (
        len(rows) == 2 * 6 and result["points"] == 2 * 3
    )  # the base point is measured once a model
    assert {r["axis"] for r in rows} == set(scaling.AXES) and all(
        float(r["ms_a_step"]) > 0 for r in rows
    )
    assert len(json.loads((tmp_path / "scaling/scaling.json").read_text())["rows"]) == len(rows)
    assert (tmp_path / "scaling/scaling.png").read_bytes().startswith(b"\x89PNG")
    assert "12 of 12: bst attributes 1" in capsys.readouterr().err
    with pytest.raises(InputError, match="--batch and its place in --base must be at least 1"):
        scaling.points_of(scaling.parser().parse_args(["--batch", "0"]))


def test_roofline_writes_its_page(data, tmp_path, monkeypatch):
    assert roofline.matmul_peak(256, 2) > 1e8
    monkeypatch.setattr(roofline, "matmul_peak", lambda: 1e10)
    args = type(
        "Flags",
        (),
        dict(
            data=data,
            models=["din"],
            override=TINY_DIN,
            batch_size=32,
            steps=2,
            top=3,
            threads=1,
            no_cpu_tuning=True,
            out=str(tmp_path / "roofline.md"),
        ),
    )
    share = roofline.work(args)["share_of_bound"]["din"]
    text = (tmp_path / "roofline.md").read_text()
    assert 0 < share < 1 and "| DIN |" in text and " others | " in text


def test_the_peers_measure_with_our_metrics():
    """runners/common.py loads the file by its path, because Paddle is not in the peers'
    environment."""
    rng = np.random.default_rng(0)
    user, label, score = rng.integers(0, 9, 300), rng.integers(0, 2, 300), rng.random(300)
    found = common.click_metrics()(user, label, score)
    assert found == metrics.click_metrics(user, label, score) and 0 < found["auc"] < 1


def gpu_flags(data, out, *more):
    flags = ["--data", data, "--models", "din", "bst", "--batches", "32", "64", "--steps", "2"]
    return [sys.executable, "benchmarks/gpu.py", *flags, "--out", out, *more, "-o", *TINY]


@pytest.mark.slow
def test_the_gpu_benchmark_on_the_cpu(data, tmp_path):
    """--device cpu compares the CPU with itself: equal to the last bit, with every speed."""
    out = str(tmp_path / "gpu.md")
    command = gpu_flags(data, out, "--device", "cpu", "--threads", "1")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert {m: f["agree"] for m, f in found["agreement"].items()} == {"din": True, "bst": True}
    assert all(f["losses"] == f["scores"] == 0 for f in found["agreement"].values())
    assert len(found["speed"]) == 2 * 2 * 2
    assert all(row["samples_per_second"] > 0 for row in found["speed"])
    text = open(out, encoding="utf-8").read()
    assert "| DIN | 0.0e+00 | 0.0e+00 | yes |" in text and "| BST | 64 | " in text


def test_a_gpu_that_differs_is_said():
    same = {"losses": [0.7, 0.6], "scores": [0.5, 0.25]}
    assert gpu.differences(same, same)["agree"]
    far = ({"losses": [0.7, 0.6002]}, {"scores": [0.5, 0.25002]}, {"losses": [0.7, np.nan]})
    for wrong in far:
        assert not gpu.differences(same, {**same, **wrong})["agree"]
    near = {"losses": [0.7, 0.60005], "scores": [0.5, 0.250005]}
    assert gpu.differences(same, near)["agree"]


def test_start_weights_are_shared(data, tmp_path):
    """The second side takes the first one's, whatever it drew itself."""
    schema = random_schema(20, 1, 10)
    path = str(tmp_path / "start.npz")
    first = Trainee(settings_of("din", *TINY_DIN), schema)
    gpu.share_start(first.net, path)
    second = Trainee(settings_of("din", *TINY_DIN, "runner.seed=9"), schema)
    batch = random_batch(schema, 8, 3)
    assert not np.array_equal(first.scores(batch), second.scores(batch))
    gpu.share_start(second.net, path)
    assert np.array_equal(first.scores(batch), second.scores(batch))


def test_the_peer_gets_the_same_device():
    args = argparse.Namespace(steps=7, device="gpu")
    command = gpu.peer_command("python", "dien", 4096, "F", args)
    assert command[0] == "python" and command[1].endswith("peers/runners/run_fuxictr.py")
    assert command[command.index("--gpu") + 1] == "0"
    assert command[command.index("--batch-size") + 1] == "4096"
    args.device = "cpu"
    assert gpu.peer_command("python", "dien", 1, "F", args)[-1] == "-1"
