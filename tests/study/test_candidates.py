"""infer --candidates and --by-impression: places against scores of every row by itself."""

import os

import numpy as np
import pandas as pd
import pytest
from helpers import ROOT, TINY, ToolServer, close, small_log

from paddleinterest.core import settings
from paddleinterest.core.errors import InputError
from paddleinterest.data.builder import build
from paddleinterest.study import candidates
from paddleinterest.study.ranking import by_group
from paddleinterest.training import loading
from paddleinterest.training.predict import split_reader

pytestmark = pytest.mark.slow

MODELS = ["din", "dien", "bst", "base"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a dataset of every kind of column, where impressions hold several items, and a
    run of each model."""
    folder = tmp_path_factory.mktemp("place")
    log = small_log(users=30, impressions=20)
    log.events["time"] -= log.events["time"] % 20_000
    build(log, str(folder / "clicks"), protocol="impressions", name="clicks", seed=3)
    with ToolServer(tmp_path_factory.mktemp("server")) as tools:
        for model in MODELS:
            done = tools.run(
                "trainer",
                "-m",
                os.path.join(ROOT, "models", model, "config.yaml"),
                "-o",
                *TINY,
                "runner.data_dir=clicks",
                "runner.epochs=1",
                cwd=folder,
            )
            assert done.status == 0, done.err
        yield folder, tools


def opened(place, model_name):
    folder, _ = place
    run = folder / "output" / model_name / "clicks"
    config = settings.load(str(run / "config.yaml"), [f"runner.data_dir={folder / 'clicks'}"])
    model = loading.bind(config)
    reader = split_reader(config, str(folder / "clicks"), model, "test")
    best = str(run / "checkpoints" / "best.npz")
    net, _ = loading.trained_net(model, config, str(folder / "clicks"), reader.schema, best)
    net.eval()
    return model, net, reader


@pytest.mark.parametrize("name", MODELS)
def test_a_candidate_scores_as_a_row_of_its_own(place, name):
    """The prepared target's score among the candidates is that of the row in the file; another
    item's that of a row with this item."""
    model, net, reader = opened(place, name)
    rows = np.flatnonzero(reader.label == 1)[:5]
    for row in rows:
        items = np.arange(2, reader.items.rows)
        score = candidates._scores(model, net, reader, int(row), items)
        one = net(model.create_feeds(reader.batch(np.array([row])))).numpy().reshape(-1)
        close(score[reader.item[row] - 2], one[0], 2e-6)
        swapped = reader.samples.item.copy()
        kept = reader.samples.item
        swapped[row] = items[7]
        reader.samples.item = swapped
        other = net(model.create_feeds(reader.batch(np.array([row])))).numpy().reshape(-1)
        reader.samples.item = kept
        close(score[7], other[0], 2e-6)


def test_the_whole_catalogue(place):
    model, net, reader = opened(place, "din")
    found = candidates.among_candidates(model, net, reader, candidates.Choice(0, 0))
    rows = np.flatnonzero(reader.label == 1)
    assert found["positives"] == len(rows) and found["users"] == len(set(reader.user[rows]))
    assert "without the user's history" in found["candidates"]
    by_user = {}
    for row in rows:
        items, _ = reader.history(row)
        others = sorted(set(range(2, reader.items.rows)) - set(items) - {reader.item[row]})
        score = candidates._scores(
            model, net, reader, int(row), np.array([reader.item[row], *others])
        )
        label = np.eye(1, len(score))[0]
        of_row = by_group(np.zeros(len(score)), label, score)
        by_user.setdefault(reader.user[row], []).append((of_row["mrr"], of_row["ndcg@10"]))
    mean = np.mean([np.mean(values, 0) for values in by_user.values()], 0)
    close([found["mrr"], found["ndcg@10"]], mean, 1e-9)


def test_sampled_candidates(place):
    model, net, reader = opened(place, "base")
    rng = np.random.default_rng(0)
    for row in np.flatnonzero(reader.label == 1)[:20]:
        others = candidates._others(reader, int(row), 20, rng)
        touched = set(reader.sequences.one(int(reader.sequence[row]))["item"])
        assert len(set(others)) == 20 and not set(others) & {*touched, reader.item[row], 0, 1}
    one, again, other = (
        candidates.among_candidates(model, net, reader, candidates.Choice(20, 6, seed))
        for seed in (1, 1, 2)
    )
    assert one == again != other and one["users"] == 6 and one["positives"] < reader.rows
    with pytest.raises(InputError, match="100,000 candidates cannot be sampled: a user leaves"):
        candidates.among_candidates(model, net, reader, candidates.Choice(100_000))


def test_the_tool(place):
    folder, tools = place
    flags = [
        "-m",
        os.path.join(ROOT, "models", "din", "config.yaml"),
        "-o",
        "runner.data_dir=clicks",
    ]
    done = tools.run(
        "infer", *flags, "--by-impression", "--candidates", "all", "--users", "5", cwd=folder
    )
    assert done.status == 0, done.err
    rows = pd.read_parquet(folder / done.json["predictions"])
    _, group = np.unique(rows.user + "," + rows.time.astype(str), return_inverse=True)
    expected = by_group(group, rows.label.to_numpy(), rows.score.to_numpy())
    assert done.json["by_impression"] == pytest.approx(expected)
    assert done.json["among_candidates"]["users"] == 5 and "among the catalogue of" in done.err
    assert "by impression: auc " in done.err
    for more, words in (
        (["--candidates", "many"], "must be all or a number from 1"),
        (["--candidates", "0"], "must be all or a number from 1"),
        (["--users", "-1"], "--users is -1, must be at least 0"),
        (["--candidates", "5000"], "cannot be sampled"),
    ):
        done = tools.run("infer", *flags, *more, cwd=folder)
        errors = [line for line in done.lines if line.startswith("error: ")]
        assert done.status == 1 and len(errors) == 1 and words in errors[0], done.err
