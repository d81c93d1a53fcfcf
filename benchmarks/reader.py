"""Samples a second that the reader alone delivers, and the memory that it takes.

    python benchmarks/reader.py --data data/beauty [--batch-size 1024] [--repeats 5]

Whole shuffled epochs of train, padded and bucketed as in training; prints the median over the
repeats. Memory is looked at ten times an epoch: `own_mb` is the process's own memory, the most of
each tenth; mapped files are the disk's cache. `--batches` ends an epoch early.
"""

import argparse
import os
import statistics
import sys
import time
from dataclasses import dataclass, field

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from benchmarks import arguments, memory
from paddleinterest.core import cli
from paddleinterest.data.reader import Reader


@dataclass
class Epoch:
    """One epoch as read.

    Attributes:
        samples: rows delivered.
        seconds: time in the reader alone.
        cells, events: places of all histories in the batches, and those that hold an event.
        own: the process's own memory in each tenth, MB.
    """

    samples: int = 0
    seconds: float = 0.0
    cells: int = 0
    events: int = 0
    own: list[int] = field(default_factory=list)


def read(reader: Reader, number: int, most: int) -> Epoch:
    """Read the first `most` batches of an epoch."""
    found = Epoch()
    batches = reader.epoch(number)
    for k in range(most):
        started = time.perf_counter()
        batch = next(batches)
        found.seconds += time.perf_counter() - started
        found.samples += len(batch["label"])
        found.cells += batch["history_item"].size
        found.events += int(np.count_nonzero(batch["history_item"]))
        begins = 10 * k // most == len(found.own)
        if begins or k % 50 == 0:
            now = memory.held(os.getpid())
            own = now.anonymous if now else 0
            found.own = [*found.own, own] if begins else [*found.own[:-1], max(found.own[-1], own)]
    return found


def work(args: argparse.Namespace) -> dict:
    reader = Reader(
        args.data, "train", args.batch_size, args.history_cap, shuffle=True, bucket_batches=64
    )
    most = min(args.batches or reader.batches, reader.batches)
    epochs = [read(reader, number, most) for number in range(args.repeats)]
    speeds = [epoch.samples / epoch.seconds for epoch in epochs]
    held = memory.held(os.getpid())
    return {
        "data": args.data,
        "rows": reader.rows,
        "rows_read": epochs[0].samples,
        "samples_per_second": round(statistics.median(speeds)),
        "slowest": round(min(speeds)),
        "fastest": round(max(speeds)),
        "padded_share": round(statistics.median(1 - e.events / e.cells for e in epochs), 4),
        "own_mb": epochs[-1].own,
        "peak_mb": held.peak if held else 0,
    }


if __name__ == "__main__":
    p = arguments.parser(__doc__)
    p.add_argument("--data", default="data/beauty", help="a prepared dataset; default data/beauty")
    p.add_argument("--batch-size", type=int, default=1024, help="rows per batch; default 1024")
    p.add_argument(
        "--history-cap", type=int, default=50, help="most recent events kept; default 50"
    )
    p.add_argument("--repeats", type=int, default=5, help="epochs to time; default 5")
    p.add_argument(
        "--batches", type=int, default=0, help="batches of an epoch to read; default all"
    )
    cli.run(p, work)
