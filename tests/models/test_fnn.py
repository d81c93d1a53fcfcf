"""models/fnn: an FM's weights into an MLP; test_textbook.py has its formula."""

import os

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from helpers import TINY, check_export, check_invariants, random_batch, scramble, settings_of
from runs import ran
from toy import FIELDS, SCHEMA, tensors

from models.fm.net import FM
from models.fnn.net import FNN
from paddleinterest.core.errors import InputError
from paddleinterest.training import checkpoint

SMALL = dict(embedding_size=3, tower=(8, 4), activation="prelu")


def made(seed=3):
    net = scramble(FNN(FIELDS, 1, **SMALL), seed)
    net.eval()
    return net


@pytest.fixture(scope="module")
def fm(tmp_path_factory, tiny):
    """An FM's checkpoint, trained for an epoch."""
    _, folder, _ = ran(tiny, tmp_path_factory.mktemp("fm"), "runner.epochs=1", model="fm")
    return os.path.join(folder, "checkpoints", "best.npz")


def test_it_has_all_weights_of_an_fm_under_the_same_names():
    of_fm = {k: list(v.shape) for k, v in FM(FIELDS, 1, embedding_size=3).state_dict().items()}
    own = {k: list(v.shape) for k, v in made().state_dict().items()}
    assert of_fm.items() <= own.items()
    assert len(made().of_fm()) == len(of_fm)
    assert all(k.startswith("tower.") for k in own.keys() - of_fm.keys())


def test_every_parameter_gets_a_gradient():
    net = scramble(FNN(FIELDS, 1, sparse=False, **SMALL), 1)
    batch = tensors(random_batch(SCHEMA, 200, np.arange(200) % 9))
    F.binary_cross_entropy_with_logits(net(batch), batch["label"]).backward()
    for name, p in net.named_parameters():
        assert p.grad is not None and np.abs(p.grad.numpy()).max() > 0, name


@pytest.mark.parametrize("freeze", [False, True])
def test_it_starts_from_an_fm(tmp_path, tiny, fm, freeze):
    """Frozen, all weights of the FM stay to the bit and the tower moves; otherwise all move."""
    own = [f"runner.warm_start={fm}", f"hyper_parameters.freeze={str(freeze).lower()}"]
    _, _, found = ran(tiny, tmp_path, "runner.epochs=1", *own, model="fnn")
    given = checkpoint.read(fm)
    names = [k for k in given if k.startswith("weights/")]
    stayed = [k for k in names if np.array_equal(found[k], given[k])]
    assert stayed == (names if freeze else [])
    paddle.seed(settings_of("fnn").runner.seed)
    still = ["runner.epochs=1", "hyper_parameters.optimizer.learning_rate=1e-30", *own]
    _, _, start = ran(tiny, tmp_path / "still", *still, model="fnn")
    tower = [k for k in found if k.startswith("weights/tower") and "dice" not in k]
    assert tower and all(not np.array_equal(found[k], start[k]) for k in tower)


def test_freezing_needs_an_fm(tmp_path, tiny):
    with pytest.raises(InputError, match="freeze keeps the weights of an FM.*warm_start"):
        ran(tiny, tmp_path, "hyper_parameters.freeze=true", model="fnn")


def test_invariants():
    check_invariants(made(), SCHEMA)


@pytest.mark.slow
def test_export(tmp_path, data):
    own = ["hyper_parameters.embedding_size=16", "hyper_parameters.activation=prelu"]
    check_export("fnn", data, tmp_path, *TINY, *own, lengths=(0, 1, 2, 20))
