"""Nets against textbook.py: plain Python from the formulas, written before there was a net."""

import numpy as np
import pytest
import reference
import textbook
from helpers import close, random_batch, scramble
from toy import FIELDS, SCHEMA, tensors

from models.cnn.net import AXES, CNN
from models.fnn.net import FNN
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


def rows_of(w, batch, row):
    """The vectors of a row's fields (target, history's mean, side) and those of its events."""
    tables = {f.name: w[f"embeddings.tables.{f.name}.weight"] for f in FIELDS}
    real = range(int((batch["history_item"][row] > 0).sum()))
    past = {name: [tables[name][batch[f"history_{name}"][row, t]] for t in real] for name in ITEM}
    target = [tables[name][batch[f"target_{name}"][row]] for name in ITEM]
    means = [textbook.mean(past[name], len(tables[name][0])) for name in ITEM]
    side = [tables["age"][batch["user_age"][row]], tables["hour"][batch["context_hour"][row]]]
    events = [np.concatenate([past[name][t] for name in ITEM]) for t in real]
    return target, means, side, events


@pytest.mark.parametrize("axis", AXES)
def test_convolution(axis):
    net = CNN(FIELDS, 1, axis=axis, embedding_size=4, filters=3, window=3, tower=(8, 4))
    batch = random_batch(SCHEMA, 20, np.arange(20) % 7, seed=1)
    w, expected = reference.weights_of(scramble(net, 2, 0.5)), []
    for row in range(20):
        target, means, side, events = rows_of(w, batch, row)
        if axis == "columns":
            kernel = w["columns.conv.weight"][0]
            fields = [*target, *means, *side]
            x = textbook.convolved_along_width(fields, kernel, w["columns.conv.bias"][0])
        else:
            kernel = w["positions.linear.weight"].T.reshape(3, 3, -1)
            bias = w["positions.linear.bias"]
            x = textbook.convolved_over_time(events, kernel, bias, 3)
            x = [*x, *np.concatenate([*target, *side])]
        x = [*x, *batch["dense"][row].astype(float)]
        out = w["tower.mlp.out.weight"][:, 0], w["tower.mlp.out.bias"][0]
        expected.append(textbook.relu_network(x, layers(w, "tower.mlp.hidden"), *out))
    close(logit(net, batch), expected, 1e-5)


def test_an_fms_weights_into_a_network():
    net = scramble(FNN(FIELDS, 1, embedding_size=3, tower=(8, 4)), 2, 0.5)
    batch = random_batch(SCHEMA, 20, np.arange(20) % 7, seed=1)
    w, expected = reference.weights_of(net), []
    for row in range(20):
        target, means, side, events = rows_of(w, batch, row)
        first = {}
        for f in FIELDS:
            for of in ("target", "history") if f.of == "item" else (f.of,):
                table = w[f"linear.tables.{of}_{f.name}.weight"][:, 0]
                ids = batch[f"{of}_{f.name}"][row]
                real = ids[: len(events)] if of == "history" else [ids]
                first[f"{of}_{f.name}"] = textbook.mean([[table[i]] for i in real], 1)[0]
        names = [*[f"target_{n}" for n in ITEM], *[f"history_{n}" for n in ITEM]]
        vectors = dict(zip(names, [*target, *means], strict=True))
        vectors.update(user_age=side[0], context_hour=side[1])
        z = textbook.fnn_input(w["bias"][0], [(first[k], vectors[k]) for k in vectors])
        dense = batch["dense"][row].astype(float)
        x = [*z, float(dense @ w["linear.dense.weight"][:, 0]), *dense]
        # the textbook's order of z, in which w_i stands beside v_i, as rows of the first layer
        count, e = len(vectors), 3
        order = [0]
        for i, k in enumerate(vectors):
            order.append(1 + list(first).index(k))
            order.extend(2 + count + i * e + c for c in range(e))
        order += [1 + count, 2 + count + count * e]
        (W, b), *rest = layers(w, "tower.mlp.hidden")
        out = w["tower.mlp.out.weight"][:, 0], w["tower.mlp.out.bias"][0]
        expected.append(textbook.relu_network(x, [(W[order], b), *rest], *out))
    close(logit(net, batch), expected, 1e-5)
