"""Samples a second that the reader alone delivers.

    python benchmarks/reader.py --data data/beauty [--batch-size 1024] [--repeats 5]

Whole shuffled epochs of train, padded and bucketed as in training; prints the median over the
repeats.
"""

import argparse
import os
import statistics
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from benchmarks import arguments
from paddleinterest.core import cli
from paddleinterest.data.reader import Reader


def work(args: argparse.Namespace) -> dict:
    reader = Reader(
        args.data, "train", args.batch_size, args.history_cap, shuffle=True, bucket_batches=64
    )
    in_order = Reader(args.data, "train", args.batch_size, args.history_cap, tables_of=reader)
    events = int(in_order.length.sum())
    speeds = []
    padding = []
    for epoch in range(args.repeats):
        started = time.perf_counter()
        cells = sum(batch["history_item"].size for batch in reader.epoch(epoch))
        speeds.append(reader.rows / (time.perf_counter() - started))
        padding.append(1 - events / cells)
    return {
        "data": args.data,
        "rows": reader.rows,
        "samples_per_second": round(statistics.median(speeds)),
        "slowest": round(min(speeds)),
        "fastest": round(max(speeds)),
        "padded_share": round(statistics.median(padding), 4),
    }


if __name__ == "__main__":
    p = arguments.parser(__doc__)
    p.add_argument("--data", default="data/beauty", help="a prepared dataset; default data/beauty")
    p.add_argument("--batch-size", type=int, default=1024, help="rows per batch; default 1024")
    p.add_argument(
        "--history-cap", type=int, default=50, help="most recent events kept; default 50"
    )
    p.add_argument("--repeats", type=int, default=5, help="epochs to time; default 5")
    cli.run(p, work)
