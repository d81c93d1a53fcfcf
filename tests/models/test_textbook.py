"""Nets against textbook.py: plain Python from the formulas, written before there was a net."""

import numpy as np
import pytest
import reference
import textbook
from helpers import close, random_batch, scramble
from toy import FIELDS, SCHEMA, tensors

from models.mf.net import FORMS, MF

ITEM = [f.name for f in SCHEMA.item_fields]


def logit(net, batch):
    net.eval()
    out = net(tensors(batch)).numpy()
    assert np.std(out) > 0.1
    return out


def layers(w, prefix):
    """[(W, b)] of a list of linear layers."""
    found = []
    while f"{prefix}.{len(found)}.weight" in w:
        at = f"{prefix}.{len(found)}"
        found.append((w[f"{at}.weight"], w[f"{at}.bias"]))
    return found


def summed(w, kind, batch, row, of):
    """The sum of a row's vectors, of the user's fields or the target's."""
    keys = ["user_age"] if of == "user" else [f"target_{name}" for name in ITEM]
    found = [w[f"{kind}.tables.{k.partition('_')[2]}.weight"][batch[k][row]] for k in keys]
    return [sum(column) for column in zip(*found, strict=True)]


@pytest.mark.parametrize("form", FORMS)
def test_matrix_factorisation(form):
    net = scramble(MF(FIELDS, 1, embedding_size=8, form=form), 2, 0.5)
    batch = random_batch(SCHEMA, 20, 3, seed=1)
    w, expected = reference.weights_of(net), []
    for row in range(20):
        u, q = (
            summed(w, "embeddings", batch, row, "user"),
            summed(w, "embeddings", batch, row, "item"),
        )
        if form == "mlp":
            out = w["out.weight"][:, 0], w["out.bias"][0]
            expected.append(textbook.concatenated(u, q, layers(w, "hidden.linears"), *out))
            continue
        b_q = summed(w, "biases", batch, row, "item")[0]
        if form == "towers":
            sides = layers(w, "user_tower.linears"), layers(w, "item_tower.linears")
            expected.append(textbook.two_towers(u, q, *sides, w["scale"][0], b_q))
        else:
            b_u = summed(w, "biases", batch, row, "user")[0]
            expected.append(textbook.matrix_factorisation(u, q, b_u, b_q, w["mean"][0]))
    close(logit(net, batch), expected, 1e-5)
