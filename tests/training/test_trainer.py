"""The training loop: it learns, stops and goes on to the same bits, and its optimisers and
schedules do what they say."""

import filecmp
import json
import math
import os
import pickle
import zipfile

import numpy as np
import paddle
import pytest
from helpers import close, settings_of, tree
from runs import arrays, lines, ran, same, settings_for, text

from paddleinterest.core.errors import InputError
from paddleinterest.data.reader import Reader
from paddleinterest.data.schema import Schema
from paddleinterest.nets.click_model import ClickModel
from paddleinterest.nets.embeddings import FieldEmbeddings
from paddleinterest.training import checkpoint, loading, run
from paddleinterest.training.predict import predict
from paddleinterest.training.trainer import train

# learning


@pytest.mark.slow
@pytest.mark.parametrize("model", ["din", "base"])
def test_it_learns(tmp_path, data, model):
    overrides = ["runner.epochs=8", "runner.early_stop=0", "hyper_parameters.activation=prelu"]
    result, out, _ = ran(data, tmp_path, *overrides, model=model)
    config = settings_for(data, tmp_path, *overrides, model=model)
    binding, reader = loading.bind(config), Reader(data, "train", 500, 12)
    net = loading.create_net(binding, config, reader.schema)
    checkpoint.load(os.path.join(out, "checkpoints", "latest.npz"), net, model)
    on_train = binding.create_metrics()(reader.user, reader.label, predict(binding, net, reader))
    assert on_train["auc"] > 0.8  # the labels follow the users' favourite categories
    assert result["test"]["auc"] > 0.65 and result["valid"]["auc"] > 0.65
    losses = [line["train"]["loss"] for line in lines(out)]
    assert losses[-1] < losses[0] - 0.1 and abs(losses[0] - math.log(2)) < 0.1


def test_metrics_lines(tmp_path, tiny):
    result, out, _ = ran(
        tiny,
        tmp_path,
        "runner.epochs=3",
        "runner.early_stop=0",
        "hyper_parameters.regularization=0.01",
    )
    got = lines(out)
    assert [(k["epoch"], k["step"]) for k in got] == [(1, 8), (2, 16), (3, 24)]
    for line in got:
        assert set(line) == {"epoch", "step", "learning_rate", "train", "valid", "skipped_batches"}
        assert set(line["train"]) == {"loss", "regularization"} and line["learning_rate"] == 0.01
        assert set(line["valid"]) == {"auc", "gauc", "logloss", "pcoc"}
    best = max(got, key=lambda line: line["valid"]["auc"])
    assert (result["best_epoch"], result["valid"]) == (best["epoch"], best["valid"])
    assert sorted(os.listdir(out)) == [
        "checkpoints",
        "config.yaml",
        "log.txt",
        "metrics.jsonl",
        "result.json",
    ]
    assert sorted(os.listdir(os.path.join(out, "checkpoints"))) == ["best.npz", "latest.npz"]


def test_the_logged_loss_is_the_mean_over_rows(tmp_path, tiny):
    """With a learning rate of next to nothing it is the log loss of the start weights on train,
    short last batch or not."""
    _, out, _ = ran(
        tiny,
        tmp_path,
        "runner.epochs=1",
        "runner.train_batch_size=100",
        "hyper_parameters.activation=relu",
        "hyper_parameters.optimizer.learning_rate=1e-12",
        "hyper_parameters.embedding_std=0.5",
    )
    config = settings_for(
        tiny, tmp_path, "hyper_parameters.activation=relu", "hyper_parameters.embedding_std=0.5"
    )
    binding, reader = loading.bind(config), Reader(tiny, "train", 500, 12)
    net = loading.create_net(binding, config, reader.schema)
    score = predict(binding, net, reader)
    close(
        lines(out)[0]["train"]["loss"],
        binding.create_metrics()(reader.user, reader.label, score)["logloss"],
        1e-6,
    )


# stopping, going on


class Killed(BaseException):
    pass


def killed(monkeypatch, calls, data, where, *overrides):
    """Train until the net is fed for the `calls`-th time, in training or in evaluation, then die as
    of kill -9."""
    feeds, left = ClickModel.create_feeds, [calls]

    def create_feeds(self, batch):
        left[0] -= 1
        if not left[0]:
            raise Killed
        return feeds(self, batch)

    monkeypatch.setattr(ClickModel, "create_feeds", create_feeds)
    with pytest.raises(Killed):
        ran(data, where, *overrides)
    monkeypatch.undo()


EVERYTHING = [
    "hyper_parameters.dropout=0.4",
    "hyper_parameters.activation=dice",
    "hyper_parameters.item_bias=true",
    "hyper_parameters.regularization=0.001",
    "hyper_parameters.optimizer.clip_norm=0.5",
    "hyper_parameters.schedule.kind=cosine",
    "hyper_parameters.schedule.warmup_steps=11",
    "hyper_parameters.plateau.factor=0.5",
    "hyper_parameters.plateau.patience=0",
    "runner.early_stop=3",
    "runner.train_batch_size=60",
]


@pytest.mark.slow
def test_the_result_is_kept_in_the_run(tmp_path, tiny):
    """As it was returned; what a resumed run had nothing left to do for keeps the speed that was
    measured."""
    result, out, _ = ran(tiny, tmp_path, "runner.epochs=1")
    path = os.path.join(out, "result.json")

    def kept():
        with open(path) as f:
            return json.load(f)

    assert (
        kept() == result
        and result["samples_per_second"] > 0
        and result["threads"] == int(os.environ["OMP_NUM_THREADS"])
    )
    again, _, _ = ran(tiny, tmp_path, "runner.epochs=1", "runner.resume=true")
    assert again["samples_per_second"] is None and kept() == result
    longer, _, _ = ran(tiny, tmp_path, "runner.epochs=2", "runner.resume=true")
    assert kept() == longer and longer["epochs"] == 2 and longer["samples_per_second"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides, kills",
    [
        (["hyper_parameters.activation=prelu"], [12]),  # after the first epoch
        ([*EVERYTHING, "runner.save_interval=3"], [5, 13, 27]),  # in the middle of epochs 1, 2, 3
        ([*EVERYTHING, "runner.save_interval=8"], [9]),  # right after an epoch's last step
        (
            [*EVERYTHING, "hyper_parameters.sparse=false", "runner.monitor=logloss"],
            [3, 20],
        ),  # before any checkpoint, then later
        (["hyper_parameters.optimizer.class=adagrad", "hyper_parameters.activation=relu"], [15]),
        (
            ["hyper_parameters.optimizer.class=sgd", "hyper_parameters.schedule.kind=exponential"],
            [21],
        ),
    ],
)
def test_resuming_gives_the_same_bits(tmp_path, tiny, monkeypatch, overrides, kills):
    overrides = [*overrides, "runner.epochs=4"]
    result, whole, expected = ran(tiny, tmp_path / "whole", *overrides)
    for k, calls in enumerate(kills):
        killed(
            monkeypatch,
            calls if k == 0 else calls - kills[k - 1] + 4,
            tiny,
            tmp_path / "cut",
            *overrides,
            f"runner.resume={k > 0}",
        )
    again, cut, got = ran(tiny, tmp_path / "cut", *overrides, "runner.resume=true")
    same(got, expected)
    same(arrays(cut, "best"), arrays(whole, "best"))
    assert text(cut) == text(whole)
    for key in ("best_epoch", "epochs", "valid", "test"):
        assert again[key] == result[key]
    assert sum(name.startswith("optimizer/") for name in expected) > 0 or "sgd" in str(overrides)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["best", "latest"])
def test_dying_between_the_two_checkpoints_of_an_epoch(tmp_path, tiny, monkeypatch, file):
    """Before best is written, or after it and before latest is."""
    overrides = ["runner.epochs=3", "runner.early_stop=0"]
    _, whole, expected = ran(tiny, tmp_path / "whole", *overrides)
    save, seen = checkpoint.save, []

    def dying(path, *args):
        if path.endswith(f"{file}.npz"):
            seen.append(path)
            if len(seen) == 2:
                raise Killed
        save(path, *args)

    monkeypatch.setattr(checkpoint, "save", dying)
    with pytest.raises(Killed):
        ran(tiny, tmp_path / "cut", *overrides)
    monkeypatch.undo()
    _, cut, got = ran(tiny, tmp_path / "cut", *overrides, "runner.resume=true")
    same(got, expected)
    same(arrays(cut, "best"), arrays(whole, "best"))
    assert text(cut) == text(whole)


@pytest.mark.slow
def test_resuming_a_finished_run_reports_it_again_and_more_epochs_go_on(tmp_path, tiny):
    result, out, first = ran(tiny, tmp_path / "a", "runner.epochs=2", "runner.early_stop=0")
    again, _, second = ran(
        tiny, tmp_path / "a", "runner.epochs=2", "runner.early_stop=0", "runner.resume=true"
    )
    same(first, second)
    assert again["test"] == result["test"]
    _, _, longer = ran(
        tiny, tmp_path / "a", "runner.epochs=3", "runner.early_stop=0", "runner.resume=true"
    )
    _, _, expected = ran(tiny, tmp_path / "b", "runner.epochs=3", "runner.early_stop=0")
    same(longer, expected)


@pytest.mark.slow
def test_same_seed_same_bits_other_seed_other_weights(tmp_path, tiny):
    overrides = [
        "runner.epochs=2",
        "hyper_parameters.dropout=0.3",
        "hyper_parameters.activation=dice",
    ]
    _, a_dir, a = ran(tiny, tmp_path / "a", *overrides)
    paddle.seed(12345)  # what happened before must not matter
    _, b_dir, b = ran(tiny, tmp_path / "b", *overrides)
    same(a, b)
    assert text(a_dir) == text(b_dir)
    for name in ("best", "latest"):  # the files too
        assert filecmp.cmp(
            *(os.path.join(d, "checkpoints", f"{name}.npz") for d in (a_dir, b_dir)), shallow=False
        )
    _, _, c = ran(tiny, tmp_path / "c", *overrides, "runner.seed=1")
    name = "weights/tower.mlp.hidden.0.weight"
    assert np.abs(c[name] - a[name]).max() > 0.01


def test_evaluation_batch_size_changes_no_figure(tmp_path, tiny):
    overrides = ["runner.epochs=1", "hyper_parameters.activation=dice"]
    a = ran(tiny, tmp_path / "a", *overrides, "runner.infer_batch_size=7")[0]
    b = ran(tiny, tmp_path / "b", *overrides, "runner.infer_batch_size=4096")[0]
    for split in ("valid", "test"):
        for metric in a[split]:
            assert abs(a[split][metric] - b[split][metric]) < 1e-6


# the best epoch


def scripted(monkeypatch, *valid):
    """Give these metrics for the successive evaluations of valid (missing ones: AUC = gAUC); then
    the true ones."""
    script, true = list(valid), ClickModel.create_metrics

    def create_metrics(self):
        if not script:
            return true(self)
        m = script.pop(0)
        m = m if isinstance(m, dict) else {"auc": m, "gauc": m}
        return lambda user, label, score: {"logloss": 0.5, "pcoc": 1.0, **m}

    monkeypatch.setattr(ClickModel, "create_metrics", create_metrics)


@pytest.mark.slow
def test_best_checkpoint_is_the_best_valid_epoch(tmp_path, tiny, monkeypatch):
    scripted(monkeypatch, 0.6, 0.8, 0.8, 0.7)
    result, out, _ = ran(tiny, tmp_path / "a", "runner.epochs=4", "runner.early_stop=0")
    assert result["best_epoch"] == 2 and result["epochs"] == 4
    monkeypatch.undo()
    _, _, after_two = ran(tiny, tmp_path / "b", "runner.epochs=2", "runner.early_stop=0")
    best = arrays(out, "best")
    assert best["state"] == {
        "model": "din",
        "epoch": 2,
        "valid": lines(out)[1]["valid"],
        "settings": arrays(out)["state"]["settings"],
        "probe": after_two["state"]["probe"],
    }
    for name in (k for k in best if k.startswith("weights/")):
        assert np.array_equal(best[name], after_two[name]), name
    config = settings_for(tiny, tmp_path / "a")
    binding, reader = loading.bind(config), Reader(tiny, "test", 64, 12)
    net = loading.create_net(binding, config, reader.schema)
    checkpoint.load(os.path.join(out, "checkpoints", "best.npz"), net, "din")
    assert result["test"] == binding.create_metrics()(
        reader.user, reader.label, predict(binding, net, reader)
    )


@pytest.mark.parametrize("monitor, best", [("auc", 1), ("gauc", 2), ("logloss", 3)])
def test_monitor(tmp_path, tiny, monkeypatch, monitor, best):
    scripted(
        monkeypatch,
        {"auc": 0.9, "gauc": 0.5, "logloss": 0.6},
        {"auc": 0.5, "gauc": 0.9, "logloss": 0.7},
        {"auc": 0.6, "gauc": 0.6, "logloss": 0.5},
    )
    assert (
        ran(tiny, tmp_path, "runner.epochs=3", "runner.early_stop=0", f"runner.monitor={monitor}")[
            0
        ]["best_epoch"]
        == best
    )


@pytest.mark.parametrize("patience, epochs", [(1, 3), (2, 6), (0, 7)])
def test_early_stop(tmp_path, tiny, monkeypatch, patience, epochs):
    """Stops after so many epochs in a row without a better AUC; an equal one is not better."""
    scripted(monkeypatch, 0.5, 0.6, 0.6, 0.7, 0.65, 0.5, 0.9)
    result, out, _ = ran(
        tiny,
        tmp_path,
        "runner.epochs=7",
        f"runner.early_stop={patience}",
        "runner.train_batch_size=240",
    )
    assert (result["epochs"], len(lines(out))) == (epochs, epochs)


def test_without_a_valid_split_the_last_epoch_is_the_best(tmp_path, tmp_path_factory):
    from helpers import small_log

    from paddleinterest.data.builder import build

    data = str(tmp_path / "paper")
    build(
        small_log(users=30, impressions=20),
        data,
        protocol="impressions",
        name="paper",
        paper_split=True,
    )
    result, out, _ = ran(data, tmp_path, "runner.epochs=3", "runner.early_stop=1")
    assert result["best_epoch"] == 3 and "valid" not in result and "test" in result
    assert [line["valid"] for line in lines(out)] == [None] * 3


# learning rate


def rates(monkeypatch, tiny, where, *overrides):
    """The rate of every step, as the optimiser had it when it stepped, and the largest change of a
    weight in it."""
    seen, step = [], paddle.optimizer.SGD.step

    def spy(self):
        bias = [p for p in self._parameter_list if list(p.shape) == [1]][-1]  # the logit's
        before, gradient = bias.item(), bias.grad.item()
        step(self)
        seen.append((self.get_lr(), (before - bias.item()) / gradient))
        return None

    monkeypatch.setattr(paddle.optimizer.SGD, "step", spy)
    ran(
        tiny,
        where,
        "hyper_parameters.optimizer.class=sgd",
        "hyper_parameters.optimizer.learning_rate=0.5",
        "runner.early_stop=0",
        "runner.train_batch_size=120",
        *overrides,
    )
    rate, real = np.array(seen).T
    np.testing.assert_allclose(real, rate, rtol=2e-2, atol=2e-5)  # float32 differences
    return rate


@pytest.mark.parametrize(
    "overrides, formula",
    [
        ([], lambda i: 0.5),
        (["schedule.warmup_steps=6"], lambda i: 0.5 * min(1, (i + 1) / 6)),
        (["schedule.kind=cosine"], lambda i: 0.25 * (1 + math.cos(math.pi * i / 12))),
        (
            ["schedule.kind=cosine", "schedule.warmup_steps=3"],
            lambda i: 0.25 * (1 + math.cos(math.pi * i / 12)) * min(1, (i + 1) / 3),
        ),
        (["schedule.kind=exponential", "schedule.gamma=0.3"], lambda i: 0.5 * 0.3 ** (i // 4)),
    ],
)
def test_schedules_really_step(monkeypatch, tmp_path, tiny, overrides, formula):
    """4 steps an epoch, 3 epochs."""
    got = rates(
        monkeypatch,
        tiny,
        tmp_path,
        "runner.epochs=3",
        *(f"hyper_parameters.{k}" for k in overrides),
    )
    np.testing.assert_allclose(got, [formula(i) for i in range(12)], rtol=1e-6)


@pytest.mark.parametrize(
    "patience, expected",
    [
        (0, [1, 1, 0.5, 0.25, 0.25, 0.125, 0.0625]),
        (1, [1, 1, 1, 0.5, 0.5, 0.5, 0.25]),
        (9, [1] * 7),
    ],
)
def test_plateau(monkeypatch, tmp_path, tiny, patience, expected):
    """gAUC on valid: falls twice, reaches a new height, then stays below it. AUC rises all the time
    and does not count."""
    gauc = [0.6, 0.59, 0.58, 0.7, 0.7, 0.69, 0.8]
    scripted(monkeypatch, *({"auc": 0.5 + k / 100, "gauc": g} for k, g in enumerate(gauc)))
    got = rates(
        monkeypatch,
        tiny,
        tmp_path,
        "runner.epochs=7",
        "runner.train_batch_size=480",
        "hyper_parameters.plateau.factor=0.5",
        f"hyper_parameters.plateau.patience={patience}",
    )
    np.testing.assert_allclose(got / 0.5, expected, rtol=1e-6)


# optimisers


def steps_of(sparse, batches, optimizer="adam", clip=0.0, rows=12):
    """A table and a bias trained on a few batches of ids through the binding's own optimiser; the
    table after each."""
    paddle.seed(3)
    table = FieldEmbeddings(
        [type("F", (), {"name": "item", "of": "item", "size": rows})], 4, std=0.5, sparse=sparse
    )
    config = settings_of(
        "base",
        f"hyper_parameters.sparse={sparse}",
        "hyper_parameters.optimizer.learning_rate=0.05",
        f"hyper_parameters.optimizer.class={optimizer}",
        f"hyper_parameters.optimizer.clip_norm={clip}",
    )
    tool, seen = (
        ClickModel().create_optimizer(table, config),
        [table.tables["item"].weight.numpy().copy()],
    )
    for ids in batches:
        loss = paddle.square(table.target({"target_item": paddle.to_tensor(ids)}) - 1).sum()
        loss.backward()
        tool.step()
        tool.clear_grad()
        seen.append(table.tables["item"].weight.numpy().copy())
    return seen


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "adagrad"])
@pytest.mark.parametrize("clip", [0.0, 0.7])
def test_sparse_and_dense_agree_where_every_row_occurs(optimizer, clip):
    rng = np.random.default_rng(0)
    batches = [np.r_[rng.permutation(np.arange(1, 12)), rng.integers(1, 12, 9)] for _ in range(6)]
    for a, b in zip(
        steps_of(True, batches, optimizer, clip),
        steps_of(False, batches, optimizer, clip),
        strict=True,
    ):
        close(a, b, 1e-6)


def test_lazy_adam_leaves_rows_that_do_not_occur_dense_adam_moves_them():
    batches = [np.array([2, 3, 4]), np.array([4, 5]), np.array([5, 5])]
    lazy, dense = steps_of(True, batches), steps_of(False, batches)
    for k, ids in enumerate(batches):
        moved = np.flatnonzero((lazy[k + 1] != lazy[k]).any(1))
        assert list(moved) == sorted(set(ids))
    assert list(np.flatnonzero((dense[3] != dense[2]).any(1))) == [2, 3, 4, 5]  # by their moments


def numpy_optimizer(kind, weight, batches, rate=0.05, clip=0.0, lazy=False):
    """SGD, Adagrad and Adam from their papers on Σ (w − 1)², in float64; lazy: rows that do not
    occur keep all they have."""
    w = weight.astype(np.float64)
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, ids in enumerate(batches, 1):
        g = np.zeros_like(w)
        np.add.at(g, ids, 2 * (w[ids] - 1))
        if clip:
            g *= min(1, clip / np.sqrt((g**2).sum()))
        rows = np.unique(ids) if lazy else np.arange(len(w))
        if kind == "sgd":
            w = w - rate * g
        elif kind == "adagrad":
            v = v + g**2
            w = w - rate * g / (np.sqrt(v) + 1e-6)
        else:
            m[rows], v[rows] = 0.9 * m[rows] + 0.1 * g[rows], 0.999 * v[rows] + 0.001 * g[rows] ** 2
            w[rows] -= rate * (m[rows] / (1 - 0.9**t)) / (np.sqrt(v[rows] / (1 - 0.999**t)) + 1e-8)
    return w


def test_lazy_adam_is_adam_on_the_rows_that_occur():
    batches = [np.array([2, 3, 4, 4]), np.array([4, 5]), np.array([5, 5, 2]), np.array([3, 7])]
    got = steps_of(True, batches)
    close(got[-1], numpy_optimizer("adam", got[0], batches, lazy=True), 2e-5)


@pytest.mark.parametrize("kind", ["sgd", "adagrad", "adam"])
@pytest.mark.parametrize("clip", [0.0, 0.7])
def test_optimisers_are_what_their_names_say(kind, clip):
    rng = np.random.default_rng(4)
    batches = [np.r_[np.arange(1, 12), rng.integers(1, 12, 5)] for _ in range(5)]
    got = steps_of(False, batches, kind, clip)
    close(got[-1][1:], numpy_optimizer(kind, got[0], batches, clip=clip)[1:], 2e-5)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("kind", ["sgd", "adagrad"])
def test_other_optimisers_learn(tmp_path, tiny, kind, sparse):
    rate = {"sgd": 0.3, "adagrad": 0.05}[kind]
    _, out, _ = ran(
        tiny,
        tmp_path,
        "runner.epochs=6",
        "runner.early_stop=0",
        f"hyper_parameters.optimizer.class={kind}",
        f"hyper_parameters.optimizer.learning_rate={rate}",
        f"hyper_parameters.sparse={sparse}",
        "hyper_parameters.activation=prelu",
        "hyper_parameters.embedding_std=0.3",
    )
    assert lines(out)[-1]["train"]["loss"] < lines(out)[0]["train"]["loss"] - 0.02


@pytest.mark.slow
def test_regularisation_shrinks_the_tables(tmp_path, tiny):
    norms = []
    for strength in (0, 5):
        _, _, a = ran(
            tiny,
            tmp_path / str(strength),
            "runner.epochs=2",
            f"hyper_parameters.regularization={strength}",
            "hyper_parameters.embedding_std=0.3",
        )
        norms.append(np.square(a["weights/embeddings.tables.item.weight"]).sum())
    assert norms[1] < 0.8 * norms[0]


def test_regularisation_counts_are_those_of_train(tiny):
    """n_j of a category is the number of train impressions of its items; of the hour, its rows of
    train."""
    reader = Reader(tiny, "train", 64)
    counts, batch = reader.counts(), reader.batch(np.arange(reader.rows))
    for name in ("item", "category", "brand", "maker"):
        expected = np.bincount(batch[f"target_{name}"], minlength=len(counts[name]))
        assert np.array_equal(counts[name], expected), name
    assert np.array_equal(counts["age"], np.bincount(batch["user_age"], minlength=5))
    assert np.array_equal(counts["hour"], np.bincount(batch["context_hour"], minlength=6))


# what must not happen

BLOWS_UP = [
    "runner.epochs=3",
    "hyper_parameters.activation=prelu",
    "hyper_parameters.optimizer.class=sgd",
    "hyper_parameters.optimizer.learning_rate=1e18",
]


def test_a_loss_that_is_no_number_ends_the_run_at_its_step(tmp_path, tiny):
    with pytest.raises(
        InputError, match=r"^the loss is (inf|nan) at step [2-8] .*; try a smaller learning rate"
    ) as e:
        ran(tiny, tmp_path, *BLOWS_UP, "runner.print_interval=1000")
    assert "\n" not in str(e.value)
    assert not [name for name in tree(tmp_path) if name.endswith(".npz") or ".part-" in name]


def test_a_loss_that_is_no_number_leaves_the_last_checkpoint(tmp_path, tiny):
    config = settings_for(tiny, tmp_path, *BLOWS_UP, "runner.save_interval=1")
    with pytest.raises(InputError, match="try a smaller learning rate"):
        train(config, tiny)
    left = arrays(run.directory(config))  # whole, finite, and read again without complaint
    assert left["state"]["step"] >= 1
    assert all(np.isfinite(v).all() for k, v in left.items() if k != "state")
    assert not [name for name in tree(tmp_path) if ".part-" in name]


def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    net, path = paddle.nn.Linear(2, 1), str(tmp_path / "c.npz")
    checkpoint.save(path, net, {"model": "din", "epoch": 1})
    net.weight.set_value(np.float32([[1], [np.nan]]))
    with pytest.raises(InputError, match="not finite"):
        checkpoint.save(path, net, {"model": "din", "epoch": 2})
    assert checkpoint.read(path)["state"]["epoch"] == 1
    assert os.listdir(tmp_path) == ["c.npz"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_save_that_fails_leaves_the_checkpoint_before(tmp_path, monkeypatch, error):
    net, path, write, seen = (
        paddle.nn.Linear(2, 1),
        str(tmp_path / "c.npz"),
        np.lib.format.write_array,
        [],
    )
    checkpoint.save(path, net, {"model": "din", "epoch": 1})

    def failing(*args, **kw):
        seen.append(args)
        if len(seen) == 2:
            raise error
        write(*args, **kw)

    monkeypatch.setattr(np.lib.format, "write_array", failing)
    with pytest.raises(type(error)):
        checkpoint.save(path, net, {"model": "din", "epoch": 2})
    assert checkpoint.read(path)["state"]["epoch"] == 1 and os.listdir(tmp_path) == ["c.npz"]


def test_a_run_that_exists_is_refused_then_replaced_on_request(tmp_path, tiny):
    _, out, first = ran(tiny, tmp_path, "runner.epochs=1")
    before = tree(tmp_path)
    with pytest.raises(InputError, match="resume=true.*overwrite=true"):
        ran(tiny, tmp_path, "runner.epochs=1", "runner.seed=5")
    assert tree(tmp_path) == before
    _, _, second = ran(tiny, tmp_path, "runner.epochs=1", "runner.seed=5", "runner.overwrite=true")
    assert len(lines(out)) == 1 and not np.array_equal(
        first["weights/tower.mlp.out.weight"], second["weights/tower.mlp.out.weight"]
    )


def test_wrong_input_leaves_no_trace_and_harms_no_older_run(tmp_path, tiny):
    with pytest.raises(InputError, match="no prepared dataset"):
        ran(str(tmp_path / "nothing"), tmp_path / "runs")
    assert not os.path.exists(tmp_path / "runs")
    ran(tiny, tmp_path / "runs", "runner.epochs=1", "runner.name=mine")
    before = tree(tmp_path)
    with pytest.raises(InputError, match="no prepared dataset"):
        ran(
            str(tmp_path / "nothing"),
            tmp_path / "runs",
            "runner.name=mine",
            "runner.overwrite=true",
        )
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "change, words",
    [
        ("hyper_parameters.embedding_size=6", "hyper_parameters.embedding_size 4, not 6"),
        ("hyper_parameters.optimizer.class=sgd", "optimizer.class adam, not sgd"),
        ("runner.train_batch_size=32", "runner.train_batch_size 64, not 32"),
    ],
)
def test_resuming_with_other_settings_is_refused(tmp_path, tiny, change, words):
    ran(tiny, tmp_path, "runner.epochs=1")
    before = tree(tmp_path)
    with pytest.raises(InputError, match=words):
        ran(tiny, tmp_path, "runner.epochs=2", "runner.resume=true", change)
    assert tree(tmp_path) == before


def test_resuming_from_a_file_without_a_training_state_is_refused(tmp_path, tiny):
    _, out, _ = ran(tiny, tmp_path, "runner.epochs=1")
    os.replace(
        os.path.join(out, "checkpoints", "best.npz"), os.path.join(out, "checkpoints", "latest.npz")
    )
    with pytest.raises(InputError, match="no state of a training"):
        ran(tiny, tmp_path, "runner.epochs=2", "runner.resume=true")


# checkpoints


@pytest.fixture
def saved(tmp_path, tiny):
    """A net, and the path of its checkpoint."""
    config = settings_for(tiny, tmp_path)
    net = loading.create_net(loading.bind(config), config, Schema.load(tiny))
    path = str(tmp_path / "c.npz")
    checkpoint.save(path, net, {"model": "din", "epoch": 1})
    return net, path


def refused(words, net, path, model="din"):
    before = {k: v.numpy().copy() for k, v in net.state_dict().items()}
    with pytest.raises(InputError, match=words) as e:
        checkpoint.load(path, net, model)
    assert "\n" not in str(e.value) and path in str(e.value)
    assert all(np.array_equal(v.numpy(), before[k]) for k, v in net.state_dict().items())


class Hostile:
    """Runs something when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("name", ["weights/tower.mlp.out.bias", "state", "weights/another"])
def test_a_hostile_checkpoint_is_refused_and_runs_nothing(saved, tmp_path, name):
    net, path = saved
    trap, whole = str(tmp_path / "trap"), dict(np.load(path))
    np.savez(path[:-4], **{**whole, name: np.array([Hostile(trap)], dtype=object)})
    with zipfile.ZipFile(path) as z:  # it would have run
        with z.open(f"{name}.npy") as f:
            np.lib.format.read_array(f, allow_pickle=True)
    assert os.path.exists(trap)
    os.remove(trap)
    refused("not a whole checkpoint.*allow_pickle", net, path)
    assert not os.path.exists(trap)


def test_a_pickle_or_a_lone_array_in_place_of_a_checkpoint_is_refused(saved, tmp_path):
    net, path = saved
    trap = str(tmp_path / "trap")
    with open(path, "wb") as f:
        pickle.dump(Hostile(trap), f)
    refused("not a whole checkpoint", net, path)
    with open(path, "wb") as f:
        np.save(f, np.arange(3))
    refused("not a whole checkpoint", net, path)
    assert not os.path.exists(trap)


@pytest.mark.parametrize("left", [0, 3, 500, -1])
def test_a_truncated_checkpoint_is_refused(saved, left):
    net, path = saved
    os.truncate(path, left if left >= 0 else os.path.getsize(path) - 1)
    refused("not a whole checkpoint", net, path)


def test_a_damaged_checkpoint_is_refused(saved):
    net, path = saved
    with open(path, "r+b") as f:
        f.seek(os.path.getsize(path) // 2)
        f.write(b"\xff" * 40)
    refused("not a whole checkpoint", net, path)


def test_checkpoints_of_another_kind_are_refused(saved):
    net, path = saved
    refused("of model din, not of base", net, path, "base")
    whole = dict(np.load(path))
    out = "weights/tower.mlp.out.weight"
    for change, words in (
        ({out: whole[out][:2]}, "does not fit"),
        ({"weights/more": np.zeros(2)}, "does not fit"),
        ({out: whole[out].astype(np.float64)}, "float64, not float32"),
        ({out: whole[out].astype("U8")}, "not float32"),
        ({"state": np.frombuffer(b"[1]", np.uint8)}, "not a whole checkpoint"),
        ({"state": np.frombuffer(b"{", np.uint8)}, "not a whole checkpoint"),
    ):
        np.savez(path[:-4], **{**whole, **change})
        refused(words, net, path)
    del whole[out]
    np.savez(path[:-4], **whole)
    refused("does not fit", net, path)
    os.remove(path)
    refused("no checkpoint at", net, path)
