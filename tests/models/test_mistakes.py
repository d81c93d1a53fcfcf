"""Errors of well-known listings that docs/ladder.md names, held against every net that could have
them; and that the tests which the page names are there."""

import os
import re

import numpy as np
import pytest
from helpers import ROOT, close, random_batch, scramble, settings_of
from toy import SCHEMA, tensors

from models.din.net import DIN
from paddleinterest.core import settings
from paddleinterest.training import loading

TINY = ["hyper_parameters.embedding_size=4", "hyper_parameters.tower=[8,4]"]


def made(model):
    config = settings_of(model, *TINY)
    net = scramble(loading.create_net(loading.bind(config), config, SCHEMA), 3, 0.5)
    net.eval()
    return net


@pytest.mark.parametrize("model", settings.models())
def test_the_same_request_scores_the_same(model):
    """No state starts at random in prediction."""
    net, batch = made(model), tensors(random_batch(SCHEMA, 20, np.arange(20) % 7))
    close(net(batch), net(batch).numpy(), 0)


@pytest.mark.parametrize("model", [m for m in settings.models() if m not in ("mf", "fm", "afm")])
def test_a_logit_is_linear(model):
    """The last layer's bias moves every logit by as much: no tanh, sigmoid or dropout follows."""
    net, batch = made(model), tensors(random_batch(SCHEMA, 20, np.arange(20) % 7))
    before, bias = net(batch).numpy(), net.tower.mlp.out.bias
    bias.set_value(bias.numpy() + 20.0)
    close(net(batch), before + 20.0, 1e-4)


def test_attention_reads_the_target():
    """`score: own`, as a listing has it, weighs events alike for all candidates; DIN does not."""
    batch = random_batch(SCHEMA, 20, 6)
    batch = {
        k: np.repeat(v[:1], 20, 0) if k.startswith("history_") else v for k, v in batch.items()
    }
    fields = [f for f in SCHEMA.fields if f.kind == "category"]
    spread = {}
    for score in ("own", "din"):
        net = scramble(DIN(fields, 1, embedding_size=4, score=score, attention_softmax=True), 2)
        net.eval()
        _, a = net(tensors(batch), return_attention=True)
        spread[score] = a.numpy().std(0).max()
    assert spread["own"] < 1e-7 and spread["din"] > 1e-3


@pytest.mark.parametrize("page", ["docs/ladder.md", "docs/questions.md"])
def test_the_tests_that_a_page_names_are_there(page):
    with open(os.path.join(ROOT, page), encoding="utf-8") as f:
        named = re.findall(r"`(\w+)` in `(tests/[\w/]+\.py)`", f.read())
    assert named
    for name, path in named:
        with open(os.path.join(ROOT, path), encoding="utf-8") as f:
            assert f"def {name}(" in f.read(), f"{page} names {name} of {path}, which is not there"
