"""Losses and gradients that are no numbers: found before they reach a weight, and traced to the
rows they come from."""

import math
import os

import numpy as np
import paddle

from paddleinterest.core import distributed
from paddleinterest.core.errors import InputError
from paddleinterest.data.columns import read_parquet

SHOWN = 3  # rows, or parameters, that a message names


class BadNumbers(InputError):
    """The loss or a gradient of a batch is NaN or infinite; no weight has been touched."""


def check_loss(parts):
    """Raise BadNumbers unless every part of the loss, {name: float}, is finite."""
    for name, value in parts.items():
        if not math.isfinite(value):
            raise BadNumbers(f"the {name} is {value}")


def check_gradients(net, parameters):
    """Raise BadNumbers unless every gradient is finite. `parameters`: those of `net`, as a list.

    One sum over all of them: what is not finite stays so in a sum. Sparse gradients are the rows
    that occur. Several processes come to one answer, though each may hold other rows of a table.
    """
    with paddle.no_grad():
        gradients = [(p, _values(p.grad)) for p in parameters if p.grad is not None]
        if math.isfinite(
            distributed.totals({"sum": paddle.add_n([paddle.sum(g) for _, g in gradients]).item()})[
                "sum"
            ]
        ):
            return
    names = {id(p): name for name, p in net.named_parameters()}
    bad = [names[id(p)] for p, g in gradients if not np.isfinite(g.numpy()).all()]
    if distributed.totals({"bad": len(bad)})[
        "bad"
    ]:  # else all are finite, and it was their sum that overflowed
        raise BadNumbers(
            "the loss is finite, but not the gradient of "
            + (_list(bad, "parameters") if bad else "another process's part of a table")
        )


def _values(gradient):
    """A gradient's numbers as a dense tensor; those of a table with sparse=True are [rows that
    occur, width], not copied."""
    return gradient._get_tensor_from_selected_rows() if gradient.is_selected_rows() else gradient


def copy_of_buffers(net):
    """Dice's running means and variances, which the forward pass moves; for `restore_buffers`."""
    return [
        (b, b.clone()) for b in net.state_dict().values() if b.stop_gradient
    ]  # weights have a gradient


def restore_buffers(copies):
    for buffer, copy in copies:
        buffer.set_value(copy)


def culprits(model, net, regularization, batch, start):
    """Rows of the batch, as positions in it, that are bad by themselves; none where it takes
    several together.

    Those with a logit that is no number, else one whose loss or gradient alone is bad, searched by
    halves. start() draws the step's random numbers again. The search moves buffers: restore them.
    """

    def is_bad(rows):
        start()
        part = {k: v[rows] for k, v in batch.items()}
        try:
            loss, logit, parts = model.train_forward(net, model.create_feeds(part), regularization)
            check_loss({name: float(value) for name, value in parts.items()})
            loss.backward()
            check_gradients(net, net.parameters())
            return False
        except BadNumbers:
            return True
        finally:
            net.clear_gradients()

    with paddle.no_grad():
        start()
        logit = model.train_forward(net, model.create_feeds(batch), regularization)[1].numpy()
    bad = np.flatnonzero(~np.isfinite(logit))
    if len(bad):
        return bad
    rows = np.arange(len(logit))
    while len(rows) > 1:
        halves = (half for half in np.array_split(rows, 2) if is_bad(half))
        rows = next(halves, rows[:0])
    return rows if len(rows) and is_bad(rows) else rows[:0]


def origin(reader, epoch, number, bad):
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


def rows_in_words(reader, rows):
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


def _list(words, what, n=None):
    n = n or len(words)
    return ", ".join(words[:SHOWN]) + (f" and {n - SHOWN} more {what}" if n > SHOWN else "")
