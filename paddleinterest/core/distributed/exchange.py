"""Numbers that travel between the processes of a run. Shapes: P processes."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from paddleinterest.core.distributed.group import process_count, process_index, together, wait

# Paddle is imported within the functions: this module is loaded before Paddle may be.


def sums(values: dict[str, float]) -> dict[str, float]:
    """Numbers by name, each summed over the processes."""
    if process_count() == 1:
        return values
    total = sum_of_arrays(np.array(list(values.values())))
    return dict(zip(values, map(float, total), strict=True))


def share_of_mean(mean: Any, count: float) -> Any:
    """This process's share of the mean over all processes' elements, from the mean over its own.
    The sum of the shares is that mean; if there is no element, 0.

    Args:
        mean: a tensor, the mean over this process's own elements.
        count: how many these are.
    """
    if process_count() == 1:
        return mean
    total = sum_of_arrays(np.array(float(count))).item()
    return mean * (count / max(1.0, total))


def merge_filled(array: np.ndarray) -> np.ndarray:
    """An array of which every process has filled some elements and left the others 0, with all of
    them filled."""
    if process_count() == 1:
        return array
    wait()  # one may take longer than another to fill its elements
    return sum_of_arrays(array)


def sum_with_gradient(x: Any) -> Any:
    """A tensor's sum over the processes. Its gradient is summed over them, too: each process's loss
    reads the same sum."""
    return _summing().apply(x) if process_count() > 1 else x


def first_holder(rows: Any) -> Any:
    """1.0 if no process before this one has the number too, else 0.0, so that each number counts
    in one process alone.

    Args:
        rows: tensor of int64, [R].

    Returns:
        Tensor of float32, [R].
    """
    import paddle

    before = [x.numpy() for x in gather(rows)[: process_index()]]
    seen = np.concatenate([np.zeros(0, np.int64), *before])
    return paddle.to_tensor(~np.isin(rows.numpy(), seen), "float32")


def gather(x: Any, lengths: Sequence[int] | np.ndarray | None = None) -> list[Any]:
    """The vectors of all processes.

    Args:
        x: tensor, [n]; n may differ from process to process.
        lengths: [P] if they are known. The vectors travel padded to the longest.
    """
    import paddle
    import paddle.distributed as dist

    if lengths is None:
        lengths = counts_of_all([x.shape[0]])[:, 0]
    padding = max(1, int(max(lengths))) - x.shape[0]
    padded = paddle.concat([x, paddle.zeros([padding], x.dtype)]) if padding else x
    parts: list[Any] = []
    with together():
        dist.all_gather(parts, padded)
    return [part[: int(n)] for part, n in zip(parts, lengths, strict=True)]


def exchange(parts: list[Any], lengths: np.ndarray) -> list[Any]:
    """Send every process its part, and receive what the others have for this one.

    An even number of processes on CPUs meet in pairs: Gloo has no all-to-all in Paddle, and sending
    to all at once ends in a dead lock. Otherwise everybody gathers all.

    Args:
        parts: [P] tensors, one for each process, [n] each; this process's own comes back as it is.
        lengths: elements of every part, int [P, P]: from sender to receiver.

    Returns:
        [P] tensors, one from each process.
    """
    import paddle

    if paddle.device.get_device() == "cpu" and process_count() % 2 == 0:
        return _exchange_in_pairs(parts, lengths)
    return _exchange_by_gathering(parts, lengths)


def meetings(count: int, me: int) -> Iterator[int]:
    """Whom process `me` of `count`, an even number, meets, in an order in which every round pairs
    all: everybody but the last sits at a round table that turns.

    Example:
        >>> [list(meetings(4, me)) for me in range(4)]
        [[3, 1, 2], [2, 0, 3], [1, 3, 0], [0, 2, 1]]
    """
    last = count - 1
    for turn in range(last):
        if me == last:
            yield turn * count // 2 % last
        elif (turn - me) % last == me:
            yield last
        else:
            yield (turn - me) % last


def counts_of_all(counts: Sequence[int] | np.ndarray) -> np.ndarray:
    """The counts of every process, int [P, …], from this process's."""
    own = np.asarray(counts, np.int64)
    table = np.zeros((process_count(), *own.shape), np.int64)
    table[process_index()] = own
    return sum_of_arrays(table)


def sum_of_arrays(array: np.ndarray) -> np.ndarray:
    """An array's sum over the processes."""
    import paddle
    import paddle.distributed as dist

    x = paddle.to_tensor(array)
    with together():
        dist.all_reduce(x)
    return x.numpy()


def _exchange_in_pairs(parts: list[Any], lengths: np.ndarray) -> list[Any]:
    """The lower number of a pair sends first.

    Paddle labels Gloo's messages with the number of calls that a process has made. So everybody
    must make the same calls in the same round: an empty part travels as one zero, and an odd number
    of processes, of which one would have no partner, cannot do this.
    """
    import paddle
    import paddle.distributed as dist

    me = process_index()
    received = list(parts)
    for other in meetings(process_count(), me):
        outgoing = parts[other].contiguous()
        if not lengths[me, other]:
            outgoing = paddle.zeros([1], outgoing.dtype)
        incoming = paddle.empty([max(1, int(lengths[other, me]))], outgoing.dtype)
        with together():
            if me < other:
                dist.send(outgoing, other)
                dist.recv(incoming, other)
            else:
                dist.recv(incoming, other)
                dist.send(outgoing, other)
        received[other] = incoming[: int(lengths[other, me])]
    return received


def _exchange_by_gathering(parts: list[Any], lengths: np.ndarray) -> list[Any]:
    import paddle

    me = process_index()
    messages = gather(paddle.concat(parts), lengths.sum(1))
    first = np.concatenate([np.zeros((len(lengths), 1), np.int64), lengths.cumsum(1)], 1)
    return [
        message[int(first[sender, me]) : int(first[sender, me + 1])]
        for sender, message in enumerate(messages)
    ]


@functools.cache
def _summing() -> Any:
    import paddle
    import paddle.distributed as dist

    def summed(x: Any) -> Any:
        x = x.clone()
        with together():
            dist.all_reduce(x)
        return x

    class Summing(paddle.autograd.PyLayer):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return summed(x)

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            return summed(gradient)

    return Summing
