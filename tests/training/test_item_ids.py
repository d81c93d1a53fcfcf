"""Item ids in training: id dropout, and a table that starts from vectors."""

import numpy as np
import paddle
import pytest
from helpers import TINY, settings_of, small_log
from rich_log import rich_log

from paddleinterest.core.errors import InputError
from paddleinterest.data.builder import build
from paddleinterest.data.reader import Reader
from paddleinterest.data.schema import Schema
from paddleinterest.training import loading, trainer
from paddleinterest.training.id_dropout import counts_with_unknown, drop_ids
from paddleinterest.training.item_start import principal_directions, start_items
from paddleinterest.training.run_directory import RunDirectory


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    out = str(tmp_path_factory.mktemp("rich") / "rich")
    build(rich_log(3), out, protocol="impressions", name="rich", seed=3)
    return out


def some_batch():
    rng = np.random.default_rng(0)
    item = rng.integers(0, 50, (400, 20))
    other = rng.integers(0, 50, (400, 20))
    return {"history_item": item, "negative_item": other, "target_item": item[:, 0], "x": other}


def test_ids_are_dropped_by_their_share_and_nothing_else_is():
    batch = some_batch()
    before = {name: column.copy() for name, column in batch.items()}
    out = drop_ids(batch, 0.3, seed=5)
    for name in ("history_item", "negative_item", "target_item"):
        real = batch[name] >= 2
        changed = out[name] != batch[name]
        assert (out[name][changed] == 1).all() and not changed[~real].any()
        assert changed[real].mean() == pytest.approx(0.3, abs=4 * (0.21 / real.sum()) ** 0.5)
    assert out["x"] is batch["x"]
    for name, column in before.items():  # the reader's arrays may be shared
        np.testing.assert_array_equal(batch[name], column)
    again = drop_ids(batch, 0.3, seed=5)
    other = drop_ids(batch, 0.3, seed=6)
    np.testing.assert_array_equal(again["history_item"], out["history_item"])
    assert (other["history_item"] != out["history_item"]).any()


def test_the_unknown_item_counts_the_dropped_ids():
    counts = {"item": np.array([0, 3, 10, 30]), "brand": np.array([0, 1])}
    out = counts_with_unknown(counts, 0.25)
    assert out["item"].tolist() == [0, 13, 10, 30]
    assert out["brand"] is counts["brand"] and counts["item"].tolist() == [0, 3, 10, 30]


def trained(data, folder, *overrides):
    config = settings_of(
        "base",
        *TINY,
        "runner.epochs=1",
        "hyper_parameters.sparse=false",
        f"runner.data_dir={data}",
        f"runner.model_save_path={folder}",
        *overrides,
    )
    made = trainer.start(config, data, RunDirectory(str(folder / "run")))
    unknown = made.learner.net.embeddings.tables["item"].weight.numpy()[1].copy()
    made.train_epoch()
    moved = made.learner.net.embeddings.tables["item"].weight.numpy()[1] - unknown
    return made, moved


def test_id_dropout_trains_the_unknown_item_and_only_training_drops(tmp_path):
    """Every item of this log is in train, so that nothing else meets the unknown item."""
    out = str(tmp_path / "data")
    log = small_log(users=40)
    build(log, out, protocol="impressions", name="small", seed=3, min_count=1)
    batch = next(Reader(out, "train", 64).epoch())
    _, still = trained(out, tmp_path)
    made, moved = trained(out, tmp_path, "hyper_parameters.id_dropout=0.3")
    seen = {1} & {int(k) for b in Reader(out, "train", 64).epoch() for k in b["target_item"]}
    assert not seen and np.abs(still).max() == 0
    assert np.abs(moved).max() > 0
    feeds = made.learner.model.create_feeds(batch)
    made.learner.net.eval()
    first = made.learner.model.infer_forward(made.learner.net, feeds).numpy()
    second = made.learner.model.infer_forward(made.learner.net, feeds).numpy()
    np.testing.assert_array_equal(first, second)


def test_a_share_of_zero_changes_nothing(data, tmp_path):
    plain, _ = trained(data, tmp_path)
    zero, _ = trained(data, tmp_path, "hyper_parameters.id_dropout=0.0")
    for name, weight in plain.learner.net.state_dict().items():
        np.testing.assert_array_equal(weight.numpy(), zero.learner.net.state_dict()[name].numpy())


def test_principal_directions_are_numpys(rng):
    x = rng.normal(size=(300, 5)) * [9, 5, 3, 2, 1]
    _, _, expected = np.linalg.svd(x, full_matrices=False)
    found = principal_directions([x[:100], x[100:]])
    np.testing.assert_allclose(np.abs((expected * found.T).sum(1)), 1, atol=1e-5)


def start_net(data, *overrides):
    config = settings_of("base", *TINY, "hyper_parameters.vectors=start", *overrides)
    schema = Schema.load(data)
    return loading.create_net(loading.bind(config), config, schema), schema


def test_the_item_table_starts_from_the_vectors(data):
    """Similar vectors have similar rows; items without a vector keep what was drawn."""
    net, schema = start_net(data, "hyper_parameters.embedding_size=3")
    assert not net.embeddings.vectors
    drawn = net.embeddings.tables["item"].weight.numpy().copy()
    items = Reader(data, "train", 1).items
    start_items(net, items, schema, 0.05)
    rows = net.embeddings.tables["item"].weight.numpy()
    vectors = np.array(items.vectors["text"][: len(rows)])
    given = vectors.any(1)
    assert given.any() and not given[2:].all()
    np.testing.assert_array_equal(rows[~given], drawn[~given])
    assert np.sqrt(np.mean(rows[given] ** 2)) == pytest.approx(0.05, rel=1e-5)

    def cosines(x):
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        return unit @ unit.T

    np.testing.assert_allclose(cosines(rows[given]), cosines(vectors[given]), atol=1e-4)


def test_training_and_inputs_with_a_start(data, tmp_path):
    overrides = ["hyper_parameters.vectors=start", "hyper_parameters.embedding_size=3"]
    made, _ = trained(data, tmp_path, *overrides)
    config = made.config
    spec = made.learner.model.input_spec(config, Schema.load(data))
    assert not [name for name in spec if "vector" in name]
    for reader in made.readers.values():  # nor does a batch read them from disk
        assert not [name for name in reader.batch(np.arange(4)) if "vector" in name]


def test_a_start_that_cannot_be_is_refused(data, tmp_path):
    net, schema = start_net(data, "hyper_parameters.embedding_size=4")
    items = Reader(data, "train", 1).items
    with pytest.raises(InputError, match="embedding_size is 4 and text has only 3 numbers"):
        start_items(net, items, schema, 0.05)
    out = str(tmp_path / "plain")
    build(small_log(), out, protocol="impressions", name="plain", seed=3)
    net, schema = start_net(out)
    with pytest.raises(InputError, match="plain must have one vector field; it has: none"):
        start_items(net, Reader(out, "train", 1).items, schema, 0.05)
    out = str(tmp_path / "hashed")
    build(rich_log(3, hashed={"item": 40}), out, protocol="impressions", name="hashed", seed=3)
    net, schema = start_net(out)
    with pytest.raises(InputError, match="the items of hashed are hashed"):
        start_items(net, Reader(out, "train", 1).items, schema, 0.05)


def test_a_projection_is_frozen_beneath(data, tmp_path):
    """Training moves the projection, not the vectors."""
    before = np.array(Reader(data, "train", 1).items.vectors["text"])
    made, _ = trained(data, tmp_path)
    names = [name for name, _ in made.learner.net.named_parameters() if "text" in name]
    assert names == ["embeddings.projections.text.weight"]
    np.testing.assert_array_equal(Reader(data, "train", 1).items.vectors["text"], before)
    assert isinstance(made.readers["train"].items.vectors["text"], np.memmap)
    assert paddle.is_tensor(made.learner.net.embeddings.projections["text"].weight)
