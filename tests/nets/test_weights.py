"""The loss where several negatives share a positive: each weighs 1/k."""

import numpy as np
import paddle

from paddleinterest.nets.click_model import ClickModel


class Identity(paddle.nn.Layer):
    """A net whose logits are given."""

    def forward(self, feeds):
        return feeds["logit"]


def loss(logit, label, weight=None):
    feeds = {"logit": paddle.to_tensor(logit), "label": paddle.to_tensor(label)}
    if weight is not None:
        feeds["weight"] = paddle.to_tensor(weight)
    return float(ClickModel().train_forward(Identity(), feeds)[0])


def test_the_loss_is_the_weighted_mean():
    logit = np.array([0.3, -1.2, 2.0, 0.1], np.float32)
    label = np.array([1, 0, 0, 1], np.float32)
    weight = np.array([1, 0.5, 0.5, 1], np.float32)
    each = np.log1p(np.exp(-np.where(label > 0, logit, -logit)))
    assert abs(loss(logit, label, weight) - (each * weight).sum() / weight.sum()) < 1e-6
    assert abs(loss(logit, label) - each.mean()) < 1e-6


def test_equal_weights_change_nothing():
    rng = np.random.default_rng(0)
    logit = rng.normal(size=64).astype(np.float32)
    label = (rng.random(64) < 0.5).astype(np.float32)
    same = np.full(64, 0.25, np.float32)
    assert abs(loss(logit, label, same) - loss(logit, label)) < 1e-6
