"""tools/compare.py: two runs on the same test rows, with drawn negatives and with the log's
labels."""

import json
import os

import numpy as np
import pandas as pd
import pytest
from helpers import ROOT, TINY, ToolServer, small_dataset
from sklearn.metrics import roc_auc_score

from paddleinterest.data.builder import build
from paddleinterest.data.log import Log
from paddleinterest.study import bars, uncertainty

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with two seeds of base and DIN on a log of clicks, and one of each on a log of
    purchases, whose negatives are drawn."""
    folder = tmp_path_factory.mktemp("place")
    small_dataset(folder, "clicks", users=40, impressions=20)
    rng = np.random.default_rng(1)
    user = np.repeat(np.arange(150), rng.integers(5, 15, 150))
    events = {"user": user, "item": rng.integers(0, 40, len(user)), "time": np.arange(len(user))}
    log = Log(pd.DataFrame(events), pd.DataFrame({"item": range(40)}), time="order")
    build(log, str(folder / "shop"), protocol="every_prefix", name="shop", seed=1)
    runs = {}
    with ToolServer(tmp_path_factory.mktemp("server")) as tools:
        for model in ("base", "din"):
            for seed, data in ((1, "clicks"), (2, "clicks"), (1, "shop")):
                done = tools.run(
                    "trainer",
                    "-m",
                    os.path.join(ROOT, "models", model, "config.yaml"),
                    "-o",
                    *TINY,
                    f"runner.data_dir={data}",
                    "runner.epochs=1",
                    f"runner.seed={seed}",
                    f"runner.name={data}-{seed}",
                    cwd=folder,
                )
                assert done.status == 0, done.err
                runs[model, data, seed] = done.json
        yield folder, runs, tools


def directory(place, *key):
    return place[1][key]["run_dir"]


def test_two_runs(place):
    folder, runs, tools = place
    one, other = directory(place, "din", "clicks", 1), directory(place, "base", "clicks", 1)
    done = tools.run("compare", one, other, cwd=folder)
    assert done.status == 0, done.err
    found = done.json
    expected = runs["din", "clicks", 1]["test"]["auc"] - runs["base", "clicks", 1]["test"]["auc"]
    assert found["auc"]["difference"] == pytest.approx(expected, abs=1e-5)
    low, high = found["auc"]["interval"]
    assert low < found["auc"]["difference"] < high and found["draws_of_negatives"] == 1
    assert found["difference"] is False and found["auc"]["p_over_seeds"] is None
    assert "| AUC |" in done.err and found["verdict"] in done.err
    back = tools.run("compare", other, one, cwd=folder).json
    assert back["auc"]["interval"] == pytest.approx([-high, -low], abs=1e-6)
    same = tools.run("compare", one, one, cwd=folder).json
    assert same["auc"]["interval"] == [0, 0] and same["verdict"].startswith("no difference")


def test_several_seeds(place):
    folder, runs, tools = place
    ones = [directory(place, "din", "clicks", s) for s in (1, 2)]
    others = [directory(place, "base", "clicks", s) for s in (1, 2)]
    done = tools.run("compare", ",".join(ones), ",".join(others), cwd=folder)
    assert done.status == 0, done.err
    each = [
        runs["din", "clicks", s]["test"]["auc"] - runs["base", "clicks", s]["test"]["auc"]
        for s in (1, 2)
    ]
    assert done.json["auc"]["difference"] == pytest.approx(np.mean(each), abs=1e-5)
    assert done.json["auc"]["seeds"] == 2 and 0 < done.json["auc"]["p_over_seeds"] <= 1


def test_negatives_are_drawn_again(place):
    folder, runs, tools = place
    one, other = directory(place, "din", "shop", 1), directory(place, "base", "shop", 1)
    done = tools.run("compare", one, other, cwd=folder)
    assert done.status == 0, done.err
    assert done.json["draws_of_negatives"] == 3 and len(set(done.json["auc"]["of_draws"])) == 3
    prepared = runs["din", "shop", 1]["test"]["auc"] - runs["base", "shop", 1]["test"]["auc"]
    assert done.json["auc"]["of_draws"][0] == pytest.approx(prepared, abs=1e-5)


def test_infer_says_where_the_figures_lie(place):
    folder, runs, tools = place
    done = tools.run(
        "infer",
        "-m",
        os.path.join(ROOT, "models", "din", "config.yaml"),
        "-o",
        "runner.data_dir=shop",
        "runner.name=shop-1",
        "--error-bars",
        "bars.json",
        cwd=folder,
    )
    assert done.status == 0, done.err
    low, high = done.json["error_bars"]["auc"]
    assert low < done.json["auc"] < high and done.json["error_bars"]["draws_of_negatives"] == 3
    found = bars.load(str(folder / "bars.json"))
    assert uncertainty.interval([found]) == pytest.approx((low, high), abs=1e-5)
    predictions = pd.read_parquet(folder / done.json["predictions"])
    exact = roc_auc_score(predictions.label, predictions.score)
    assert found.whole["auc"][0] == pytest.approx(exact, abs=1e-9)
    json.loads((folder / "bars.json").read_text(), parse_constant=lambda _: pytest.fail("NaN"))
    (folder / "bars.json").write_text('{"key": 1}')
    assert bars.load(str(folder / "bars.json")) is None
    refused = tools.run(
        "infer",
        "-m",
        os.path.join(ROOT, "models", "din", "config.yaml"),
        "-o",
        "runner.data_dir=shop",
        "runner.name=shop-1",
        "--split",
        "valid",
        "--error-bars",
        "bars.json",
        cwd=folder,
    )
    assert refused.status == 1 and "--error-bars works on test only" in refused.err


@pytest.mark.parametrize(
    "key, words",
    [
        (("base", "shop", 1), "on shop; name runs on the same dataset"),
        (None, "does not exist"),
    ],
)
def test_runs_that_cannot_be_compared(place, key, words):
    folder, _, tools = place
    other = directory(place, *key) if key else "nothing"
    done = tools.run("compare", directory(place, "din", "clicks", 1), other, cwd=folder)
    assert done.status == 1 and done.out == ""
    errors = [line for line in done.lines if line.startswith("error: ")]
    assert len(errors) == 1 and words in errors[0], done.err
    done = tools.run("compare", "a,b", "c", cwd=folder)
    assert done.status == 1 and "error: 2 runs against 1; name the same number" in done.err
