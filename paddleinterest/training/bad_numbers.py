"""Losses and gradients that are not finite: found before they reach a weight, and traced to the
rows they come from."""

import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
import paddle

from paddleinterest.core import distributed
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.data.columns import read_parquet
from paddleinterest.data.reader import Batch, Reader
from paddleinterest.nets.click_model import ClickModel
from paddleinterest.nets.regularization import MiniBatchAwareRegularization
from paddleinterest.training.state import State, Stepped

SHOWN = 3  # rows, or parameters, that a message names
Buffers = list[tuple[paddle.Tensor, paddle.Tensor]]  # (a buffer, a copy of its values)


class BadNumbers(InputError):
    """The loss or a gradient of a batch is NaN or infinite; no weight has been touched."""


class Learner(Protocol):
    """The trainer's objects that a step needs."""

    model: ClickModel
    net: paddle.nn.Layer
    optimizer: paddle.optimizer.Optimizer
    regularization: MiniBatchAwareRegularization | None

    def step(self, batch: Batch, number: int, learning_rate: float) -> Stepped: ...

    def seed_step(self, number: int) -> None: ...


class Skipper:
    """Makes the steps of an epoch, without the batches that have bad numbers.

    Args:
        learner: what makes a step.
        reader: of the batches, to name the rows at fault.
        most: how many batches the whole training may skip; one more ends it.
    """

    def __init__(self, learner: Learner, reader: Reader, most: int) -> None:
        self.learner = learner
        self.reader = reader
        self.most = most

    def step(self, batch: Batch, state: State) -> Stepped | None:
        """`learner.step`, or None if the batch is skipped: weights, moments and buffers stay as
        they were.

        Raises:
            InputError: no more batches may be skipped. It names the rows at fault.
        """
        may_skip = state.skipped_batches < self.most
        buffers = copy_of_buffers(self.learner.net) if may_skip else []
        try:
            return self.learner.step(batch, state.step, state.learning_rate)
        except BadNumbers as e:
            self.learner.optimizer.clear_grad()
            what = (
                f"{e} at step {state.step + 1} (epoch {state.epoch + 1}, batch {state.batch + 1}),"
                f" {self._origin(batch, state)}"
            )
            if not may_skip:
                raise InputError(
                    f"{what}; try a smaller learning rate or clip_norm; if these rows hold wrong"
                    " values, mend them, or skip such batches with runner.skip_bad_batches (now"
                    f" {self.most})"
                ) from None
        restore_buffers(buffers)
        state.skipped_batches += 1
        say(f"skipped a batch: {what} ({state.skipped_batches} of at most {self.most})")
        return None

    def _origin(self, batch: Batch, state: State) -> str:
        if distributed.process_count() > 1:  # the search would compute what the others do not
            return (
                "from rows that only a single process looks for: resume without"
                " paddle.distributed.launch to find them"
            )
        bad = culprits(self.learner, batch, state.step)
        return origin(self.reader, state.epoch, state.batch, bad)


def check_loss(parts: dict[str, float]) -> None:
    """Raise BadNumbers unless every part of the loss, {name: float}, is finite."""
    for name, value in parts.items():
        if not math.isfinite(value):
            raise BadNumbers(f"the {name} is {value}")


def check_gradients(net: paddle.nn.Layer, parameters: Sequence[paddle.Tensor]) -> None:
    """Raise BadNumbers unless every gradient is finite.

    One sum over all of them: what is not finite stays so in a sum. Sparse gradients are the rows
    that occur. Several processes come to one answer, though each may hold other rows of a table.

    Args:
        net: the net.
        parameters: those of the net.
    """
    with paddle.no_grad():
        gradients = [(p, _values(p.grad)) for p in parameters if p.grad is not None]
        total = paddle.add_n([paddle.sum(gradient) for _, gradient in gradients])
        if math.isfinite(distributed.sums({"sum": float(total)})["sum"]):
            return
    names = {id(p): name for name, p in net.named_parameters()}
    bad = [names[id(p)] for p, g in gradients if not np.isfinite(g.numpy()).all()]
    if not distributed.sums({"bad": len(bad)})["bad"]:
        return  # all are finite, and it was their sum that overflowed
    what = _list(bad, "parameters") if bad else "another process's part of a table"
    raise BadNumbers(f"the loss is finite, but not the gradient of {what}")


def _values(gradient: paddle.Tensor) -> paddle.Tensor:
    """A gradient's numbers as a dense tensor; those of a table with sparse=True are [rows that
    occur, width], not copied."""
    return gradient._get_tensor_from_selected_rows() if gradient.is_selected_rows() else gradient


def copy_of_buffers(net: paddle.nn.Layer) -> Buffers:
    """Dice's running means and variances, which the forward pass moves; for `restore_buffers`."""
    return [
        (b, b.clone()) for b in net.state_dict().values() if b.stop_gradient
    ]  # weights have a gradient


def restore_buffers(copies: Buffers) -> None:
    """Give the buffers the values of their copies."""
    for buffer, copy in copies:
        buffer.set_value(copy)


def culprits(learner: Learner, batch: Batch, number: int) -> np.ndarray:
    """Rows of a batch that are bad by themselves; none if it takes several together.

    Those with a logit that is not finite, else one whose loss or gradient alone is bad, searched by
    halves. The search moves buffers: restore them.

    Args:
        learner: what makes the step.
        batch: of the step.
        number: of the step, whose random numbers are drawn again.

    Returns:
        Positions in the batch.
    """
    model, net = learner.model, learner.net

    def is_bad(rows: np.ndarray) -> bool:
        learner.seed_step(number)
        part = {name: values[rows] for name, values in batch.items()}
        try:
            feeds = model.create_feeds(part)
            loss, _, parts = model.train_forward(net, feeds, learner.regularization)
            check_loss({name: float(value) for name, value in parts.items()})
            loss.backward()
            check_gradients(net, net.parameters())
            return False
        except BadNumbers:
            return True
        finally:
            net.clear_gradients()

    with paddle.no_grad():
        learner.seed_step(number)
        feeds = model.create_feeds(batch)
        logit = model.train_forward(net, feeds, learner.regularization)[1].numpy()
    bad = np.flatnonzero(~np.isfinite(logit))
    if len(bad):
        return bad
    return _search(np.arange(len(logit)), is_bad)


def _search(rows: np.ndarray, is_bad: Callable[[np.ndarray], bool]) -> np.ndarray:
    """One bad row of `rows`, by halves; none if no half is bad by itself."""
    while len(rows) > 1:
        halves = (half for half in np.array_split(rows, 2) if is_bad(half))
        rows = next(halves, rows[:0])
    return rows if len(rows) and is_bad(rows) else rows[:0]


def origin(reader: Reader, epoch: int, number: int, bad: np.ndarray) -> str:
    """Where the bad numbers of an epoch's batch come from, for a person; `bad` as `culprits` gives
    it."""
    rows = next(reader.order(epoch, number))[reader.process_index :: reader.process_count]
    if reader.targets is not None:
        rows = rows[reader.targets.copies(reader.label[rows - reader.start])[0]]
    if len(bad) == len(rows):
        return f"from every row of the batch: {rows_in_words(reader, rows)}"
    if len(bad):
        return f"from {rows_in_words(reader, rows[bad])}"
    return f"from no row by itself; the batch is {rows_in_words(reader, rows)}"


def rows_in_words(reader: Reader, rows: np.ndarray) -> str:
    """Rows that the reader has in memory for a person: numbers (from 0) in file order, raw user and
    item of the first."""
    raw = {
        of: read_parquet(os.path.join(reader.directory, f"{of}s.parquet"))[of]
        for of in ("user", "item")
    }
    words = [
        f"{row} (user {raw['user'][int(reader.user[row - reader.start])].as_py()}, "
        f"item {raw['item'][int(reader.item[row - reader.start])].as_py()})"
        for row in rows[:SHOWN]
    ]
    return f"row{'s' if len(rows) > 1 else ''} {_list(words, 'rows', len(rows))} of {reader.split}"


def _list(words: Iterable[str], what: str, n: int | None = None) -> str:
    """The first words, and how many more there are of `n`."""
    words = list(words)
    n = n or len(words)
    more = f" and {n - SHOWN} more {what}" if n > SHOWN else ""
    return ", ".join(words[:SHOWN]) + more
