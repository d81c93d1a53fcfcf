"""Checks that an exported bundle gives the scores of the trained net."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import paddle
import paddle.nn as nn
import paddle.nn.functional as F

from paddleinterest.core.errors import InputError
from paddleinterest.data.reader import Reader
from paddleinterest.data.schema import Schema, of_one_user
from paddleinterest.nets.batch import Batch, Scores, repeat_user
from paddleinterest.serving.bundle import Bundle

ROWS = 64  # of valid that are scored
SPLITS = ("valid", "test", "train")  # the first that a dataset has is scored
TOLERANCE = 1e-5  # of a probability; other orders of summation stay below 1e-6

Arrays = dict[str, np.ndarray]


class Repeated(nn.Layer):
    """A net whose `rank` is `forward` on the user's row, repeated."""

    def __init__(self, net: nn.Layer) -> None:
        super().__init__()
        self.net = net

    def forward(self, batch: Batch, return_attention: bool = False) -> Scores:
        return self.net(batch, return_attention)

    def rank(self, batch: Batch, return_attention: bool = False) -> Scores:
        return self.net(repeat_user(batch), return_attention)


def rank_differs(net: nn.Layer, rows: Arrays) -> float | None:
    """How far `rank` is from `forward` with the user's row repeated; None within TOLERANCE.

    Args:
        net: in evaluation.
        rows: a batch, of which one row's user gets all rows' candidates.
    """
    request = _tensors(one_request(rows))
    with paddle.no_grad():
        logit, _ = net.rank(request, return_attention=True)  # what the export asks for
        ranked = F.sigmoid(logit).numpy()
        expected = F.sigmoid(net(repeat_user(request))).numpy()
    return _beyond(ranked, expected)


def check(directory: str, net: nn.Layer, rows: Arrays, split: str) -> None:
    """Score rows of the dataset by the bundle and by the net.

    Args:
        directory: the bundle.
        net: in evaluation.
        rows: a batch.
        split: where the rows come from, for the message.

    Raises:
        InputError: a program's probabilities are not those of the net.
    """
    programs = Bundle(directory).programs
    request = one_request(rows)
    pairs: dict[str, tuple[Arrays, Callable[[], paddle.Tensor]]] = {
        "model": (rows, lambda: net(_tensors(rows))),
        "rank": (request, lambda: net(repeat_user(_tensors(request)))),
    }
    for name, (arrays, logits) in pairs.items():
        with paddle.no_grad():
            expected = F.sigmoid(logits()).numpy()
        difference = _beyond(programs[name](arrays)[0].reshape(-1), expected)
        if difference is not None:
            raise InputError(
                f"the exported program {name} does not score rows of {split} as the trained net,"
                f" by up to {difference:.2g}; nothing is written. Does net.py do something else in"
                " an exported program than in training?"
            )


def some_rows(
    data: str, splits: Sequence[str], rows: int, history_cap: int, times: bool
) -> tuple[Arrays, str]:
    """The first rows of a dataset, as a program reads them, and the split that they are of.

    Args:
        data: a prepared dataset.
        splits: the first of these that it has is read.
        rows: how many.
        history_cap: most recent events kept of a history.
        times: also give history_time and target_time.
    """
    there = Schema.load(data).rows
    split = next(s for s in splits if there.get(s))
    reader = Reader(data, split, rows, history_cap=history_cap, times=times)
    batch = next(reader.epoch())
    return {k: v for k, v in batch.items() if k not in ("label", "user")}, split


def one_request(rows: Arrays) -> Arrays:
    """The user with the longest history of a batch, and the candidates of all its rows."""
    real = (rows["history_item"] != 0).sum(1) if "history_item" in rows else np.zeros(1)
    row = int(real.argmax())
    return {k: v[row : row + 1] if of_one_user(k) else v for k, v in rows.items()}


def _tensors(arrays: Arrays) -> dict[str, paddle.Tensor]:
    return {k: paddle.to_tensor(v) for k, v in arrays.items()}


def _beyond(got: np.ndarray, expected: np.ndarray) -> float | None:
    difference = float(np.abs(got - expected).max(initial=0))
    return None if difference <= TOLERANCE else difference
