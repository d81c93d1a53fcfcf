"""Several processes that train one net together: `python -m paddle.distributed.launch
--nproc_per_node 2 tools/trainer.py …`.

Each process, a rank, holds the whole net and computes its own rows of every batch. Losses are parts
of the means over all rows, gradients are summed over the ranks before every step, so that all ranks
make the same step: their weights stay equal to the bit. Rank 0 writes and speaks. A tool that was
started without `launch` is the only rank, and nothing here changes anything for it. Gloo carries
the numbers between CPUs, NCCL between GPUs.

Paddle's own wrapper (DataParallel, and with it fleet.distributed_model) gives every rank the same
weight, however many rows or history positions it has, and knows nothing of rows that several ranks
regularise.
"""

import contextlib
import functools
import itertools
import os
import time

import numpy as np

from paddleinterest.core.errors import InputError

_waits = itertools.count()
_shard_from = 0
PIECE = 1 << 16  # rows of a table that travel at a time


def process_count():
    """How many processes there are; known before Paddle is imported."""
    return int(os.environ.get("PADDLE_TRAINERS_NUM") or 1)


def process_index():
    """Number of this process, from 0."""
    return int(os.environ.get("PADDLE_TRAINER_ID") or 0) if process_count() > 1 else 0


def on_this_machine():
    """How many of the processes share this machine's cores."""
    return int(os.environ.get("PADDLE_LOCAL_SIZE") or process_count()) if process_count() > 1 else 1


def device():
    """Number of this process's GPU, as `launch` chose it."""
    return (
        int(os.environ.get("FLAGS_selected_gpus", "0").split(",")[0]) if process_count() > 1 else 0
    )


def start(use_gpu):
    """Connect this process with the others; again and again changes nothing. Set Paddle's device
    first."""
    if process_count() == 1:
        return
    import paddle.distributed as dist

    if dist.is_initialized():
        return
    if not use_gpu:
        if not dist.is_available():
            raise InputError(
                "this Paddle was built without communication between processes; start one process,"
                " without launch"
            )
        os.environ["PADDLE_DISTRI_BACKEND"] = "gloo"  # a Paddle with CUDA would take NCCL
    with _together():
        dist.init_parallel_env()


def shard_from(rows):
    """Let tables of so many rows or more be spread over the ranks; 0 = none."""
    global _shard_from
    _shard_from = rows


def sharded(rows):
    """True if a table with this number of rows is spread over the processes."""
    return process_count() > 1 and 0 < _shard_from <= rows and process_count() <= rows


def own(array):
    """The rows of a table that this rank holds, and one of zeros that is nobody's."""
    return np.concatenate([array[process_index() :: process_count()], np.zeros_like(array[:1])])


def whole(array, rows):
    """The table of which every rank holds its `own` rows, at rank 0; None elsewhere."""
    array = array[:-1]
    out = np.empty((rows, *array.shape[1:]), array.dtype) if not process_index() else None
    wait()  # rank 0 may be busy with writing the table before
    for lo in range(0, -(-rows // process_count()), PIECE):
        for r, piece in enumerate(gather(array[lo : lo + PIECE].flatten())):
            if out is not None:
                piece = piece.numpy().reshape(-1, *array.shape[1:])
                out[(lo + np.arange(len(piece))) * process_count() + r] = piece
    return out


def wait():
    """Wait until all processes are here, however long that takes: a wait inside one of Gloo's
    calls ends after 30 seconds."""
    if process_count() == 1:
        return
    import paddle.distributed as dist
    from paddle.base import core

    with _together():
        store, name = core.create_or_get_global_tcp_store(), f"wait {next(_waits)}"
        store.add(name, 1)
        while store.add(name, 0) < process_count():
            time.sleep(0.05)
        # rank 0 keeps the store, so it must not leave before the others have read it
        dist.barrier()


def wait_for(path):
    """Wait until another process has made the directory `path`; if that process fails, `launch`
    ends this one."""
    while not os.path.isdir(path):
        time.sleep(0.2)


def total(x):
    """A tensor's sum over the ranks. Its gradient is summed over them, too: each rank's loss reads
    the same sum."""
    return _total().apply(x) if process_count() > 1 else x


def part(mean, count):
    """This process's part of the mean over all processes' elements.

    The parts' sum is that mean.

    Args:
        mean: over this process's own elements.
        count: how many these are.
    """
    if process_count() == 1:
        return mean
    return mean * (count / max(1.0, float(_sum(np.array(float(count))))))


def totals(parts):
    """Numbers by name, each summed over the ranks."""
    return (
        dict(zip(parts, map(float, _sum(np.array(list(parts.values())))), strict=True))
        if process_count() > 1
        else parts
    )


def merge(array):
    """An array of which every rank has filled some elements and left the others 0, with all of them
    filled."""
    if process_count() == 1:
        return array
    wait()  # one may take longer than another to fill its part
    return _sum(array)


def first(rows):
    """1.0 where no rank before this one has the number too, else 0.0: rows int64 [R] → [R]. Each
    counts at one rank alone."""
    import paddle

    before = [x.numpy() for x in gather(rows)[: process_index()]]
    return paddle.to_tensor(
        ~np.isin(rows.numpy(), np.concatenate([np.zeros(0, np.int64), *before])), "float32"
    )


def gather(x, lengths=None):
    """The vectors of all ranks, as a list; `lengths` where they are known. They travel padded to
    the longest."""
    import paddle
    import paddle.distributed as dist

    x = x if isinstance(x, paddle.Tensor) else paddle.to_tensor(x)
    lengths = _lengths([x.shape[0]])[:, 0] if lengths is None else lengths
    padding = max(1, int(max(lengths))) - x.shape[0]
    parts: list[paddle.Tensor] = []
    with _together():
        dist.all_gather(
            parts, paddle.concat([x, paddle.zeros([padding], x.dtype)]) if padding else x
        )
    return [part[: int(n)] for part, n in zip(parts, lengths, strict=True)]


def sync_gradients(net):
    """Replace every gradient of the net by its sum over the ranks; a sparse one stays sparse, a
    spread table's is whole."""
    if process_count() == 1:
        return
    given = [
        p
        for p in net.parameters()
        if p.grad is not None and not getattr(p, "at_other_ranks", False)
    ]
    _sync_dense([p for p in given if not p.grad.is_selected_rows()])
    _sync_sparse([p for p in given if p.grad.is_selected_rows()])


def _sync_dense(parameters):
    """All in one buffer."""
    import paddle
    import paddle.distributed as dist

    if not parameters:
        return
    buffer = paddle.concat([p.grad.flatten() for p in parameters])
    with _together():
        dist.all_reduce(buffer)
    for p, g in zip(
        parameters, paddle.split(buffer, [int(np.prod(p.shape)) for p in parameters]), strict=True
    ):
        p.grad = g.reshape(p.shape)


def _sync_sparse(tables):
    """Row numbers and values of all tables in one message each. They are added rank by rank: in the
    same order everywhere."""
    import paddle
    from paddle.nn.clip import get_tensor_from_selected_rows, merge_selected_rows

    if not tables:
        return
    own = [merge_selected_rows(p.grad) for p in tables]  # every row once
    own_numbers = [np.asarray(g.rows(), np.int64) for g in own]
    lengths = _lengths([len(n) for n in own_numbers])  # [ranks, tables]
    widths = np.array([p.shape[1] for p in tables])
    numbers = gather(paddle.to_tensor(np.concatenate(own_numbers)), lengths.sum(1))
    values = gather(
        paddle.concat([get_tensor_from_selected_rows(g).flatten() for g in own]), lengths @ widths
    )
    numbers = [
        np.split(n.numpy(), np.cumsum(k)[:-1]) for n, k in zip(numbers, lengths, strict=True)
    ]  # [ranks][tables] of [rows]
    values = [
        paddle.split(v, (k * widths).tolist()) for v, k in zip(values, lengths, strict=True)
    ]  # and of [rows · width]
    for t, p in enumerate(tables):
        rows, where = np.unique(np.concatenate([n[t] for n in numbers]), return_inverse=True)
        total, start = paddle.zeros([len(rows), widths[t]]), 0
        for r in range(process_count()):
            at = where[start : start + lengths[r, t]]
            total = paddle.scatter_nd_add(
                total, paddle.to_tensor(at[:, None]), values[r][t].reshape([-1, widths[t]])
            )
            start += len(at)
        _set_sparse(p, rows, total)


def _set_sparse(table, rows, values):
    """Let the table's gradient be `values` in `rows` and nothing elsewhere: that of a lookup of
    those rows."""
    import paddle
    import paddle.nn.functional as F

    table.clear_gradient()
    looked_up = F.embedding(paddle.to_tensor(rows), table, sparse=True)
    paddle.autograd.backward([looked_up], [values])


def _sum(array):
    import paddle
    import paddle.distributed as dist

    x = paddle.to_tensor(array)
    with _together():
        dist.all_reduce(x)
    return x.numpy()


def _lengths(counts):
    """The counts of every rank, [ranks, …]."""
    table = np.zeros((process_count(), len(counts)), np.int64)
    table[process_index()] = counts
    return _sum(table)


@functools.lru_cache(None)
def _total():
    import paddle
    import paddle.distributed as dist

    def summed(x):
        x = x.clone()
        with _together():
            dist.all_reduce(x)
        return x

    class Total(paddle.autograd.PyLayer):
        @staticmethod
        def forward(ctx, x):
            return summed(x)

        @staticmethod
        def backward(ctx, gradient):
            return summed(gradient)

    return Total


@contextlib.contextmanager
def _together():
    """A connection that breaks ends in one line."""
    try:
        yield
    except (RuntimeError, OSError) as e:
        raise InputError(
            "another process of this run has ended or hangs, so this one ends, too; finished"
            f" checkpoints stay ({' '.join(str(e).split())[:120]})"
        ) from None
