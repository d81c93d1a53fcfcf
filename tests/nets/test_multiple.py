"""Fields of several values, in all models: the mean of the values' embeddings, whatever their
order, their padding and their batch mates."""

import numpy as np
import paddle
import pytest
from helpers import TINY, close, probabilities, random_batch, scramble, settings_of
from rich_log import rich_log
from toy import SCHEMA

from paddleinterest.core import settings
from paddleinterest.data.builder import build
from paddleinterest.data.schema import Field, Schema
from paddleinterest.nets.embeddings import FieldEmbeddings
from paddleinterest.serving.export import export
from paddleinterest.training import loading
from paddleinterest.training.trainer import train

GENRES = Field("genres", "item", size=9, multiple=True)
INTERESTS = Field("interests", "user", size=7, multiple=True)
WITH_LISTS = Schema("lists", "", "", 0, "seconds", [*SCHEMA.fields, GENRES, INTERESTS], {})
MODELS = [m for m in settings.models() if loading.bind(settings_of(m)).reads_events]


def lists(rng, shape, size, longest=3):
    """Different values, right padded, of 0 to `longest` a list."""
    values = rng.permuted(np.broadcast_to(np.arange(1, size), (*shape, size - 1)), axis=-1)
    length = rng.integers(0, longest + 1, shape)
    return np.where(np.arange(longest) < length[..., None], values[..., :longest], 0)


def some_batch():
    batch = random_batch(SCHEMA, 9, [0, 0, 1, 1, 2, 5, 9, 17, 30], seed=5)
    rng = np.random.default_rng(2)
    real = batch["history_item"] > 0
    batch["history_genres"] = lists(rng, real.shape, GENRES.size) * real[..., None]
    batch["target_genres"] = lists(rng, (9,), GENRES.size)
    batch["user_interests"] = lists(rng, (9,), INTERESTS.size)
    return batch


def net_of(model, *overrides):
    config = settings_of(model, *TINY, "hyper_parameters.embedding_size=8", *overrides)
    net = loading.create_net(loading.bind(config), config, WITH_LISTS)
    return scramble(net, 1)


def test_the_mean_of_the_values(rng):
    e = FieldEmbeddings([*SCHEMA.item_fields, GENRES], 3)
    scramble(e)
    w = e.tables["genres"].weight.numpy()
    ids = np.array([[3, 5, 0], [0, 0, 0], [2, 0, 0]])
    expected = [(w[3] + w[5]) / 2, np.zeros(3), w[2]]
    close(e.look_up("genres", paddle.to_tensor(ids)), expected, 1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_order_padding_and_batch_mates_of_lists(model):
    net, batch = net_of(model), some_batch()
    whole = probabilities(net, batch)
    assert np.std(whole) > 0.01
    turned = {
        k: v[..., ::-1].copy() if k.endswith(("genres", "interests")) else v
        for k, v in batch.items()
    }
    close(probabilities(net, turned), whole, 1e-6)
    wider = {
        k: np.concatenate([v, np.zeros((*v.shape[:-1], 4), v.dtype)], -1)
        if k.endswith(("genres", "interests"))
        else v
        for k, v in batch.items()
    }
    close(probabilities(net, wider), whole, 1e-6)
    for row in range(9):
        close(
            probabilities(net, {k: v[row : row + 1] for k, v in batch.items()}), whole[[row]], 1e-6
        )


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("key", ["history_genres", "target_genres", "user_interests"])
def test_lists_are_read(model, key):
    net, batch = net_of(model), some_batch()
    other = {**batch, key: np.where(batch[key] > 0, batch[key] % 5 + 1, 0)}
    assert np.abs(probabilities(net, other) - probabilities(net, batch)).max() > 1e-4


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A log with every kind of feature."""
    out = str(tmp_path_factory.mktemp("rich") / "rich")
    build(rich_log(3, users=30), out, protocol="impressions", name="rich", seed=3)
    return out


NEW_INPUTS = {
    "history_tags",
    "target_tags",
    "user_hobby",
    "history_vector_text",
    "target_vector_text",
    "event_action",
    "event_dense",
}


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_from_the_log_to_the_bundle(data, tmp_path, model):
    """The export compares its programs with the net on rows of valid."""
    config = settings_of(
        model,
        *TINY,
        "hyper_parameters.embedding_size=8",
        "hyper_parameters.regularization=0.01",
        "hyper_parameters.id_dropout=0.2",
        "runner.epochs=1",
        f"runner.data_dir={data}",
        f"runner.model_save_path={tmp_path}",
    )
    train(config, data)
    made = export(config, data, str(tmp_path / "bundle"))
    assert set(made["inputs"]) >= NEW_INPUTS
