"""Samples may weigh less than one: several negatives for a positive."""

import numpy as np
import paddle

from paddleinterest.nets.click_model import ClickModel


def test_the_loss_is_the_mean_by_weight(rng):
    logit, label = rng.normal(size=9), rng.integers(0, 2, 9)
    weight = np.where(label == 0, 0.25, 1)
    each = np.logaddexp(0, logit) - label * logit
    tensors = [paddle.to_tensor(x.astype(np.float32)) for x in (logit, label, weight)]
    loss = float(ClickModel().click_loss(*tensors))
    assert abs(loss - (weight * each).sum() / weight.sum()) < 1e-6
    assert abs(float(ClickModel().click_loss(*tensors[:2])) - each.mean()) < 1e-6
    assert abs(loss - each.mean()) > 1e-3


def test_equal_weights_change_nothing(rng):
    logit, label = (paddle.to_tensor(x.astype(np.float32)) for x in rng.random((2, 9)))
    same = paddle.full([9], 0.5)
    plain = float(ClickModel().click_loss(logit, label))
    assert abs(float(ClickModel().click_loss(logit, label, same)) - plain) < 1e-6
