"""study/floors.py: what needs no training, by pandas, and when the trainer speaks of it."""

import os

import numpy as np
import pandas as pd
import pytest
from helpers import ROOT, TINY, run_tool, small_dataset
from sklearn.metrics import roc_auc_score

from paddleinterest.data.builder import build
from paddleinterest.data.log import Log
from paddleinterest.data.schema import Schema
from paddleinterest.study import floors

CATEGORY = "the click rate of the target's category in train"


def of_split(data, split):
    items = pd.read_parquet(f"{data}/items.parquet")
    rows = pd.read_parquet(f"{data}/{split}")
    return rows.assign(
        category=items.category[rows.item].to_numpy(), count=items["count"][rows.item].to_numpy()
    )


def test_by_pandas(tmp_path):
    data = small_dataset(tmp_path, "clicks", users=60, impressions=40)
    train, valid = of_split(data, "train"), of_split(data, "valid")
    found = floors.floors(data)
    assert found["item popularity"] == pytest.approx(roc_auc_score(valid.label, valid["count"]))
    of = train.groupby("category").label.agg(["sum", "size"])
    rate = (of["sum"] + 20 * train.label.mean()) / (of["size"] + 20)
    scored = valid.category.map(rate).fillna(train.label.mean())
    assert found[CATEGORY] == pytest.approx(roc_auc_score(valid.label, scored))
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_when_it_speaks(tmp_path, monkeypatch):
    data = small_dataset(tmp_path, "clicks", users=60, impressions=40)
    lines = []
    monkeypatch.setattr(floors, "say", lines.append)
    best = max(floors.floors(data).values())
    assert not floors.say_if_no_better(data, best + 0.001)
    assert not floors.say_if_no_better(data, None) and lines == []
    assert floors.say_if_no_better(data, best) and len(lines) == 1
    assert f"{best:.4f}" in lines[0] and "embedding_std=0.1" in lines[0]
    monkeypatch.setattr(floors, "SMALL", 10)
    assert floors.say_if_no_better(data, 0.1)
    assert "regularization=0.3" in lines[1] and "\n" not in lines[1]


@pytest.mark.slow
def test_the_trainer_says_so(tmp_path):
    """Clicks depend on the category alone; a model that hardly learns is no better than its
    rate."""
    rng = np.random.default_rng(0)
    item = rng.integers(0, 60, 4000)
    events = pd.DataFrame({"user": rng.integers(0, 80, 4000), "item": item})
    events["time"] = np.arange(4000)
    events["label"] = (rng.random(4000) < 0.1 + 0.15 * (item % 6)).astype(int)
    items = pd.DataFrame({"item": range(60), "category": [k % 6 for k in range(60)]})
    build(Log(events, items), str(tmp_path / "log"), protocol="impressions", name="log", seed=1)
    assert Schema.load(str(tmp_path / "log")).rows["valid"]
    flags = ["-m", os.path.join(ROOT, "models", "base", "config.yaml"), "-o", *TINY]
    poor = [*flags, "runner.data_dir=log", "runner.epochs=1"]
    slow = [*poor, "hyper_parameters.optimizer.learning_rate=1e-9"]
    done = run_tool("trainer", *slow, cwd=tmp_path)
    assert done.status == 0 and "is not better than" in done.err and CATEGORY in done.err, done.err
    assert floors.FOR_SMALL in done.err


def test_a_score_near_chance_is_reported(tmp_path, tiny, monkeypatch, capsys):
    monkeypatch.setattr(floors, "floors", lambda data: {"item popularity": 0.51})
    assert floors.say_if_no_better(str(tiny), 0.53)
    told = capsys.readouterr().err
    assert "0.5300 is close to chance" in told and floors.FOR_SMALL in told
    assert not floors.say_if_no_better(str(tiny), 0.7)
    assert not capsys.readouterr().err
