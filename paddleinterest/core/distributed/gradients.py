"""Gradients summed over the processes. Shapes: P processes, T tables."""

from typing import Any

import numpy as np

from paddleinterest.core.distributed.exchange import counts_of_all, exchange, gather
from paddleinterest.core.distributed.group import process_count, process_index, together


def sync_gradients(net: Any) -> None:
    """Replace every gradient of the net by its sum over the processes. A sparse one stays sparse;
    that of a split table is whole already.

    Args:
        net: a paddle.nn.Layer.
    """
    if process_count() == 1:
        return
    given = [
        p
        for p in net.parameters()
        if p.grad is not None and not getattr(p, "is_split_over_processes", False)
    ]
    _sync_dense([p for p in given if not p.grad.is_selected_rows()])
    _sync_sparse([p for p in given if p.grad.is_selected_rows()])


def _sync_dense(parameters: list[Any]) -> None:
    """All in one buffer."""
    import paddle
    import paddle.distributed as dist

    if not parameters:
        return
    buffer = paddle.concat([p.grad.flatten() for p in parameters])
    with together():
        dist.all_reduce(buffer)
    sizes = [int(np.prod(p.shape)) for p in parameters]
    for p, gradient in zip(parameters, paddle.split(buffer, sizes), strict=True):
        p.grad = gradient.reshape(p.shape)


def _sync_sparse(tables: list[Any]) -> None:
    """Row j goes to process j mod P, which adds up what all processes have of it, in their order,
    and the sums go to everybody: so all hold the same bits."""
    import paddle
    from paddle.nn.clip import get_tensor_from_selected_rows, merge_selected_rows

    if not tables:
        return
    merged = [merge_selected_rows(p.grad) for p in tables]  # every row once
    rows = [np.asarray(g.rows(), np.int64) for g in merged]
    values = [get_tensor_from_selected_rows(g) for g in merged]
    numbers, values = _to_owners(rows, values)
    added = [_add_up(n, v) for n, v in zip(numbers, values, strict=True)]
    widths = np.array([p.shape[1] for p in tables])
    counts = counts_of_all([len(n) for n, _ in added])  # [P, T]
    all_numbers = gather(paddle.to_tensor(np.concatenate([n for n, _ in added])), counts.sum(1))
    all_values = gather(paddle.concat([v.flatten() for _, v in added]), counts @ widths)
    for t, table in enumerate(tables):
        numbers_of_table = [
            _piece(all_numbers[k].numpy(), counts[k], t) for k in range(len(counts))
        ]
        values_of_table = [_piece(all_values[k], counts[k] * widths, t) for k in range(len(counts))]
        together_rows = np.concatenate(numbers_of_table)
        order = np.argsort(together_rows, kind="stable")
        found = paddle.concat(values_of_table).reshape([-1, int(widths[t])])
        in_order = paddle.gather(found, paddle.to_tensor(order))
        _set_sparse(table, together_rows[order], in_order)


def _to_owners(
    rows: list[np.ndarray], values: list[Any]
) -> tuple[list[list[np.ndarray]], list[list[Any]]]:
    """Send the rows of every table to their owners.

    Args:
        rows: [T] of [R], the row numbers of each table that this process has.
        values: [T] of [R, width].

    Returns:
        Row numbers and values that this process owns, [T] of [P]: by table, then by sender.
    """
    import paddle

    count = process_count()
    widths = np.array([v.shape[1] for v in values])
    orders = [np.argsort(r % count, kind="stable") for r in rows]
    own = np.stack([np.bincount(r % count, minlength=count) for r in rows])  # [T, P]
    counts = counts_of_all(own)  # [sender, T, receiver]
    first = np.concatenate([np.zeros((len(rows), 1), np.int64), own.cumsum(1)], 1)  # [T, P + 1]
    sorted_rows = [r[order] for r, order in zip(rows, orders, strict=True)]
    sorted_values = [
        paddle.gather(v, paddle.to_tensor(order)) for v, order in zip(values, orders, strict=True)
    ]
    numbers_out = []
    values_out = []
    for k in range(count):
        spans = [slice(int(first[t, k]), int(first[t, k + 1])) for t in range(len(rows))]
        numbers_out.append(
            paddle.to_tensor(
                np.concatenate([r[span] for r, span in zip(sorted_rows, spans, strict=True)])
            )
        )
        values_out.append(
            paddle.concat([v[span].flatten() for v, span in zip(sorted_values, spans, strict=True)])
        )
    numbers_in = exchange(numbers_out, counts.sum(1))
    values_in = exchange(values_out, np.einsum("stk,t->sk", counts, widths))
    me = process_index()
    numbers: list[list[np.ndarray]] = []
    received: list[list[Any]] = []
    for t, width in enumerate(widths):
        numbers.append([])
        received.append([])
        for sender in range(count):
            sizes = counts[sender, :, me]
            numbers[t].append(_piece(numbers_in[sender].numpy(), sizes, t))
            flat = _piece(values_in[sender], sizes * widths, t)
            received[t].append(flat.reshape([-1, int(width)]))
    return numbers, received


def _piece(vector: Any, sizes: np.ndarray, which: int) -> Any:
    """One of the pieces of these sizes that a vector is made of."""
    start = int(sizes[:which].sum())
    return vector[start : start + int(sizes[which])]


def _add_up(numbers: list[np.ndarray], values: list[Any]) -> tuple[np.ndarray, Any]:
    """Rows that occur, and the sums of their values, one sender after the other."""
    import paddle

    rows, where = np.unique(np.concatenate(numbers), return_inverse=True)
    total = paddle.zeros([len(rows), values[0].shape[1]])
    if not len(rows):
        return rows, total
    if paddle.device.get_device() == "cpu":  # which adds in order
        at = paddle.to_tensor(where.reshape(-1, 1))
        return rows, paddle.scatter_nd_add(total, at, paddle.concat(values))
    start = 0
    for value in values:
        end = start + len(value)
        if end > start:
            to = paddle.to_tensor(where[start:end].reshape(-1, 1))
            total = paddle.scatter_nd_add(total, to, value)
        start = end
    return rows, total


def _set_sparse(table: Any, rows: np.ndarray, values: Any) -> None:
    """Let the table's gradient be `values` in `rows` and nothing elsewhere: that of a lookup of
    those rows."""
    import paddle
    import paddle.nn.functional as F

    table.clear_gradient()
    looked_up = F.embedding(paddle.to_tensor(rows), table, sparse=True)
    paddle.autograd.backward([looked_up], [values])
