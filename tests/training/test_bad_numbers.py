"""NaN and infinity: found before they reach a weight, traced to their rows, skipped where allowed;
odd data end to end."""

import glob
import json
import math
import os

import numpy as np
import paddle
import pandas as pd
import pytest
from helpers import ROOT, TINY, ToolServer, small_log, tree
from runs import lines, ran, same, settings_for

from paddleinterest.core import cli
from paddleinterest.core.errors import InputError
from paddleinterest.data.reader import Reader
from paddleinterest.data.schema import Field
from paddleinterest.data.tables import FARTHEST, standardise
from paddleinterest.nets.click_model import ClickModel
from paddleinterest.training import bad_numbers, checkpoint, loading, run
from paddleinterest.training.trainer import train


def spike(x, kind):
    """0, but its gradient with respect to every element of x is infinite, or NaN."""
    zero = (x - x.detach()) * (0.0 if kind == "nan" else 1.0)
    return paddle.sqrt(zero).sum()


class Net(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.table = paddle.nn.Embedding(9, 3, sparse=True)
        self.linear = paddle.nn.Linear(3, 1)

    def forward(self, ids):
        return self.linear(self.table(ids))


@pytest.mark.parametrize("kind", ["nan", "inf"])
@pytest.mark.parametrize(
    "bad", [["table.weight"], ["linear.weight"], ["linear.bias"], ["table.weight", "linear.bias"]]
)
def test_a_bad_gradient_is_named(bad, kind):
    net, ids = Net(), paddle.to_tensor([2, 3, 3])
    loss = net(ids).sum()
    used = {
        "table.weight": net.table(paddle.to_tensor([5])),
        "linear.weight": net.linear.weight,
        "linear.bias": net.linear.bias,
    }
    for name in bad:
        loss = loss + spike(used[name], kind)
    loss.backward()
    assert math.isfinite(float(loss)) and net.table.weight.grad.is_selected_rows()
    with pytest.raises(
        bad_numbers.BadNumbers,
        match=f"^the loss is finite, but not the gradient of {', '.join(bad)}$",
    ):
        bad_numbers.check_gradients(net, net.parameters())


def test_good_gradients_pass_even_where_their_sum_overflows():
    net = Net()
    (net(paddle.to_tensor([2, 3])).sum() + 3e38 * net.linear.weight.sum()).backward()
    gradient = net.linear.weight.grad.numpy()
    assert (
        np.isfinite(gradient).all() and gradient.astype(np.float64).sum() > np.finfo(np.float32).max
    )
    bad_numbers.check_gradients(net, net.parameters())


# in a training run

DICE = [
    "hyper_parameters.activation=dice",
    "runner.epochs=2",
    "runner.early_stop=0",
    "runner.save_interval=1",
]
WAYS = {
    "logit": None,
    "loss": None,
    "item": "embeddings.tables.item.weight",
    "out": "tower.mlp.out.weight",
}


def poisoned(monkeypatch, users, way):
    """Batches with one of these users (their indices) have a logit or a loss that is NaN, or an
    infinite gradient."""
    feeds_of, forward = ClickModel.create_feeds, ClickModel.train_forward

    def create_feeds(self, batch):
        feeds = feeds_of(self, batch)
        if "user" in batch:  # of the reader; the example that the net is checked with has none
            feeds["user"] = paddle.to_tensor(batch["user"])
        return feeds

    def train_forward(self, net, feeds, regularization=None):
        loss, logit, parts = forward(self, net, feeds, regularization)
        hit = np.isin(feeds["user"].numpy() if "user" in feeds else [], users)
        if hit.any() and way == "logit":
            logit = paddle.where(paddle.to_tensor(hit), paddle.full_like(logit, np.nan), logit)
        if hit.any() and way in ("logit", "loss"):
            loss = loss * np.nan
            parts = {"loss": loss}
        elif hit.any():
            rows = (
                net.embeddings.tables["item"](feeds["target_item"])
                if way == "item"
                else net.tower.mlp.out.weight
            )
            loss = loss + spike(rows, "inf")
        return loss, logit, parts

    monkeypatch.setattr(ClickModel, "create_feeds", create_feeds)
    monkeypatch.setattr(ClickModel, "train_forward", train_forward)


def rare_users(data, n):
    """Indices of users with few rows in train, each in other batches of the first epoch, and those
    batches (from 0)."""
    reader, chosen, batches = (
        Reader(data, "train", 64, 12, shuffle=True, bucket_batches=4, seed=2026),
        [],
        [],
    )
    order = list(reader.order(0))
    for user in np.argsort(np.bincount(reader.user, minlength=40), kind="stable"):
        places = [k for k, rows in enumerate(order) if user in reader.user[rows]]
        if places and len(chosen) < n and not set(places) & set(batches):
            chosen.append(int(user))
            batches += places
    return chosen, sorted(batches)


def raw_samples(data):
    """Raw user and item of the rows of train, in file order."""
    files = sorted(glob.glob(os.path.join(data, "train", "*.parquet")))
    frame = pd.concat([pd.read_parquet(path) for path in files], ignore_index=True)
    ids = {of: pd.read_parquet(os.path.join(data, f"{of}s.parquet"))[of] for of in ("user", "item")}
    return (
        pd.DataFrame({of: ids[of].to_numpy()[frame[of]] for of in ("user", "item")}),
        frame.user.to_numpy(),
    )


@pytest.mark.parametrize("way", WAYS)
def test_it_stops_and_names_what_where_and_which_rows(tmp_path, tiny, monkeypatch, way):
    (user,), batches = rare_users(tiny, 1)
    poisoned(monkeypatch, [user], way)
    config = settings_for(tiny, tmp_path, *DICE)
    with pytest.raises(InputError) as e:
        train(config, tiny)
    message, (raw, index) = str(e.value), raw_samples(tiny)
    words = f"not the gradient of {WAYS[way]}" if WAYS[way] else "the loss is nan"
    assert "\n" not in message and words in message
    assert f"at step {batches[0] + 1} (epoch 1, batch {batches[0] + 1}), from row" in message
    first = int(message.partition("from row")[2].strip("s ").split()[0])
    assert index[first] == user  # found without the batch's other rows
    assert (
        f"{first} (user {raw.user[first]}, item {raw.item[first]})" in message
        and "of train" in message
    )
    assert "runner.skip_bad_batches (now 0)" in message
    left = os.path.join(run.directory(config), "checkpoints", "latest.npz")
    if batches[0]:
        assert checkpoint.read(left)["state"]["step"] == batches[0]  # the step before, whole
    assert not [name for name in tree(tmp_path) if ".part-" in name]


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_skipped_batch_touches_nothing_and_is_counted(tmp_path, tiny, monkeypatch, way, capsys):
    users, batches = rare_users(tiny, 1)
    poisoned(monkeypatch, users, way)
    saved, save = {}, checkpoint.save

    def keeping(path, *args):
        save(path, *args)
        if path.endswith("latest.npz"):
            kept = checkpoint.read(path)
            saved.setdefault(kept["state"]["step"], kept)

    monkeypatch.setattr(checkpoint, "save", keeping)
    _, out, _ = result = ran(tiny, tmp_path, *DICE, "runner.epochs=1", "runner.skip_bad_batches=9")
    assert result[0]["skipped_batches"] == len(batches) == lines(out)[0]["skipped_batches"]
    assert f"{len(batches)} batches skipped so far" in capsys.readouterr().err
    with open(os.path.join(out, "log.txt"), encoding="utf-8") as f:
        assert f.read().count("skipped a batch: ") == len(batches)
    moved = []
    for step in range(2, 9):
        before, after = saved[step - 1], saved[step]
        moved.append(
            [
                k
                for k in after
                if k != "state" and (k not in before or (before[k] != after[k]).any())
            ]
        )
    assert any("mean" in k for k in saved[8]) and any("moment2" in k for k in saved[8])
    assert [not names for names in moved] == [step - 1 in batches for step in range(2, 9)]


def test_the_mean_loss_leaves_skipped_rows_out(tmp_path, tiny, monkeypatch):
    """With a learning rate of next to nothing it is the log loss of the start weights on the other
    rows."""
    users, batches = rare_users(tiny, 1)
    poisoned(monkeypatch, users, "out")
    still = [
        "hyper_parameters.activation=relu",
        "hyper_parameters.embedding_std=0.5",
        "hyper_parameters.optimizer.learning_rate=1e-12",
    ]
    _, out, _ = ran(tiny, tmp_path, *still, "runner.epochs=1", "runner.skip_bad_batches=9")
    monkeypatch.undo()
    config = settings_for(tiny, tmp_path, *still)
    model, reader = (
        loading.bind(config),
        Reader(tiny, "train", 64, 12, shuffle=True, bucket_batches=4, seed=2026),
    )
    net = loading.create_net(model, config, reader.schema)
    losses = []
    for k, batch in enumerate(reader.epoch(0)):
        z, y = net(model.create_feeds(batch)).numpy().astype(np.float64), batch["label"]
        losses.append([] if k in batches else np.logaddexp(0, z) - y * z)
    assert abs(lines(out)[0]["train"]["loss"] - np.concatenate(losses).mean()) < 1e-6


@pytest.mark.slow
def test_more_bad_batches_than_allowed_end_the_run_and_it_goes_on_with_more(
    tmp_path, tiny, monkeypatch
):
    users, batches = rare_users(tiny, 2)
    poisoned(monkeypatch, users, "item")
    assert len(batches) > 1
    with pytest.raises(
        InputError, match=rf"at step {batches[1] + 1} .*runner.skip_bad_batches \(now 1\)"
    ):
        ran(tiny, tmp_path / "cut", *DICE, "runner.skip_bad_batches=1")
    again, cut, got = ran(
        tiny, tmp_path / "cut", *DICE, "runner.skip_bad_batches=99", "runner.resume=true"
    )
    result, whole, expected = ran(tiny, tmp_path / "whole", *DICE, "runner.skip_bad_batches=99")
    same(got, expected)
    assert (
        again["skipped_batches"]
        == result["skipped_batches"]
        == lines(whole)[1]["skipped_batches"]
        > len(batches)
    )
    assert lines(cut) == lines(whole)


@pytest.mark.slow
def test_a_run_that_skips_everything_says_so_and_moves_nothing(tmp_path, tiny, monkeypatch):
    poisoned(monkeypatch, np.arange(50), "loss")
    result, out, after = ran(tiny, tmp_path, "runner.epochs=1", "runner.skip_bad_batches=8")
    assert result["skipped_batches"] == 8 and lines(out)[0]["train"] == {}
    config = settings_for(tiny, tmp_path)
    net = loading.create_net(loading.bind(config), config, Reader(tiny, "train", 64).schema)
    for name, value in net.state_dict().items():
        assert np.array_equal(after[f"weights/{name}"], value.numpy()), name


def test_weights_that_blew_up_are_told_from_a_bad_row(tmp_path, tiny):
    with pytest.raises(
        InputError,
        match=(
            r"from every row of the batch: rows \d+ \(user u\d+, item i\d+\), .* and 61 more rows"
        ),
    ):
        ran(
            tiny,
            tmp_path,
            "runner.epochs=3",
            "hyper_parameters.activation=prelu",
            "hyper_parameters.optimizer.class=sgd",
            "hyper_parameters.optimizer.learning_rate=1e18",
        )


def test_scores_that_are_no_numbers_are_traced(tmp_path, tiny, monkeypatch):
    forward = ClickModel.infer_forward

    def infer_forward(self, net, feeds):
        return paddle.where(
            feeds["context_hour"] == 2, paddle.full([1], np.nan), forward(self, net, feeds)
        )

    monkeypatch.setattr(ClickModel, "infer_forward", infer_forward)
    reader = Reader(tiny, "valid", 64, 12)
    bad = np.flatnonzero(reader.context["hour"] == 2)
    with pytest.raises(
        InputError,
        match=rf"not finite for rows {bad[0]} \(user .* and {len(bad) - 3} more rows of valid",
    ):
        ran(tiny, tmp_path, "runner.epochs=1")


# odd data, end to end


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    with ToolServer(tmp_path_factory.mktemp("server")) as server:
        yield server


def strict(text):
    """JSON as its standard has it, which knows no NaN."""

    def refuse(token):
        raise AssertionError(f"{token} is not JSON")

    return json.loads(text, parse_constant=refuse)


def prepared(tools, folder, log):
    """The log written as CSV and prepared by the tool."""
    log.events.to_csv(folder / "events.csv", index=False)
    log.items.to_csv(folder / "items.csv", index=False)
    return tools.run(
        "prepare",
        "--source",
        "event_log",
        "--events",
        "events.csv",
        "--items",
        "items.csv",
        "--protocol",
        "impressions",
        "--context",
        "hour",
        "--dense",
        "price",
        "--out",
        "data/odd",
        cwd=folder,
    )


def trained(tools, folder, model="base"):
    """The trainer's result, and the lines of its metrics.jsonl."""
    done = tools.run(
        "trainer",
        "-m",
        os.path.join(ROOT, "models", model, "config.yaml"),
        "-o",
        *TINY,
        "runner.epochs=2",
        "runner.data_dir=data/odd",
        "runner.overwrite=true",
        cwd=folder,
    )
    assert done.status == 0, done.err
    with open(folder / "output" / model / "odd" / "metrics.jsonl", encoding="utf-8") as f:
        return strict(done.out), [strict(line) for line in f], done.err


def splits_of(log):
    """Row numbers of train, valid and test, as the protocol impressions cuts the time."""
    order = np.argsort(log.events.time.to_numpy(), kind="stable")
    return np.split(order, [int(0.8 * len(order)), int(0.9 * len(order))])


def test_a_number_beyond_float32_is_refused(tmp_path, tools):
    log = small_log(users=30, impressions=20)
    log.items.loc[3, "price"] = 1e39
    result = prepared(tools, tmp_path, log)
    assert (
        result.status == 1
        and "beyond float32" in result.lines[-1]
        and not os.path.exists(tmp_path / "data" / "odd")
    )


@pytest.mark.parametrize("model", ["base", "deepfm", "pnn"])  # the latter two multiply
@pytest.mark.parametrize("known", [True, False])
def test_a_huge_number_in_train_or_out_of_it(tmp_path, tools, model, known):
    """In train it widens the standard deviation; elsewhere it is so many of them off that it is
    cut, and that is said."""
    log = small_log(users=30, impressions=20)
    log.items["price"] *= 1e-4  # so that 1e38 is more standard deviations off than float32 can say
    late = splits_of(log)[2][-5:]
    log.items.loc[len(log.items)] = ["new", "c1", "b1", 1, 1e38]
    log.events.loc[splits_of(log)[0][:5] if known else late, "item"] = "new"
    result = prepared(tools, tmp_path, log)
    assert result.status == 0 and strict(result.out)
    assert (
        "price: 1 values outside train are more than 1,000,000 standard deviations off"
        in result.err
    ) == (not known)
    got, per_epoch, _ = trained(tools, tmp_path, model)
    for m in (got["valid"], got["test"], per_epoch[-1]["train"]):
        assert all(isinstance(v, float) and math.isfinite(v) for v in m.values())


def test_standardised_values_are_cut():
    field = Field("price", "item", "dense", 0, 1.0, 1e-3)
    values = standardise([1.0, 2.0, np.nan, 3e38, -3e38, 1e300], field)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, [0, 1000, 0, FARTHEST, -FARTHEST, FARTHEST], rtol=1e-6)
    assert np.isfinite(np.square(values)).all()


@pytest.mark.parametrize("label", [0, 1])
def test_train_of_one_class(tmp_path, tools, label):
    log = small_log(users=30, impressions=20)
    log.events.loc[splits_of(log)[0], "label"] = label
    assert prepared(tools, tmp_path, log).status == 0
    got, per_epoch, _ = trained(tools, tmp_path)
    assert per_epoch[1]["train"]["loss"] < per_epoch[0]["train"]["loss"]
    assert all(isinstance(v, float) for v in got["test"].values())
    assert (got["test"]["pcoc"] > 1) == (label == 1)


@pytest.mark.parametrize("split, label", [(1, 0), (1, 1), (2, 0), (2, 1)])
def test_valid_or_test_of_one_class(tmp_path, tools, split, label):
    """AUC is undefined there: null in the result, said to the person, and the log loss decides
    where it is valid."""
    log = small_log(users=30, impressions=20)
    log.events.loc[splits_of(log)[split], "label"] = label
    assert prepared(tools, tmp_path, log).status == 0
    got, per_epoch, err = trained(tools, tmp_path)
    name = ("valid", "test")[split - 1]
    assert (
        got[name]["auc"] is None
        and got[name]["gauc"] is None
        and isinstance(got[name]["logloss"], float)
    )
    assert (got[name]["pcoc"] is None) == (label == 0)
    assert f"{name:5s} at epoch {got['best_epoch']}: auc undefined gauc undefined" in err
    if name == "valid":
        assert "the log loss decides instead" in err
        losses = [line["valid"]["logloss"] for line in per_epoch]
        assert got["best_epoch"] == 1 + int(np.argmin(losses))


@pytest.mark.slow
def test_results_hold_no_token_that_json_lacks():
    plain = cli.plain(
        {
            "a": float("nan"),
            "b": [1.5, float("-inf"), {"c": np.float64("inf"), "d": 2}],
            "e": None,
            "f": "nan",
        }
    )
    assert strict(json.dumps(plain, allow_nan=False)) == {
        "a": None,
        "b": [1.5, None, {"c": None, "d": 2}],
        "e": None,
        "f": "nan",
    }
