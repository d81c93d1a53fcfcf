"""Several processes that train one net together: `python -m paddle.distributed.launch
--nproc_per_node 2 tools/trainer.py …`.

Each process holds the whole net and computes its own rows of every batch. Losses are shares of the
means over all rows, gradients are summed over the processes before every step, so that all make the
same step: their weights stay equal to the bit. The first process writes and speaks. A tool that was
started without `launch` is the only process, and nothing here changes anything for it. Gloo carries
the numbers between CPUs, NCCL between GPUs.

Paddle's own wrapper (DataParallel, and with it fleet.distributed_model) gives every process the
same weight, however many rows or history positions it has, and knows nothing of rows that several
processes regularise.

`group` says who is there and waits for the others, `presence` notices when one has ended,
`exchange` carries numbers, `tables` splits embedding tables, `gradients` sums gradients.
"""

from paddleinterest.core.distributed.exchange import (
    counts_of_all,
    exchange,
    first_holder,
    gather,
    merge_filled,
    share_of_mean,
    sum_with_gradient,
    sums,
)
from paddleinterest.core.distributed.gradients import sync_gradients
from paddleinterest.core.distributed.group import (
    gpu_number,
    process_count,
    process_index,
    processes_on_this_machine,
    start,
    wait,
    wait_for,
)
from paddleinterest.core.distributed.tables import (
    gather_table,
    is_split,
    rows_of_this_process,
    split_from,
)

__all__ = [
    "counts_of_all",
    "exchange",
    "first_holder",
    "gather",
    "gather_table",
    "gpu_number",
    "is_split",
    "merge_filled",
    "process_count",
    "process_index",
    "processes_on_this_machine",
    "rows_of_this_process",
    "share_of_mean",
    "split_from",
    "start",
    "sum_with_gradient",
    "sums",
    "sync_gradients",
    "wait",
    "wait_for",
]
