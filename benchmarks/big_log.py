r"""Write a log of any size, piece by piece: events in order of time, and a file of items.

    python benchmarks/big_log.py --events 100000000 --users 5000000 --items 2000000 --out /data/big

Users act equally often on average; the item at the share u of the popularity has the number
items · u³, so that a tenth of the items has about half of the events, and what a user takes is near
what the user took before in a fifth of the cases. Times are whole seconds, spread over 30 days.
Items have two attributes, category (1,000 values) and brand (50,000). The same flags write the same
files.
"""

import argparse
import os
import sys
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from benchmarks import arguments
from paddleinterest.core import cli
from paddleinterest.core.atomic import whole_directory

PIECE = 2_000_000  # events
START = 1_700_000_000  # 14 November 2023
SPAN = 30 * 24 * 3600  # seconds
CATEGORIES = 1_000
BRANDS = 50_000
NEAR = 0.2  # share of the events whose item is near the user's own


def events(count: int, users: int, items: int, seed: int) -> Iterator[pa.Table]:
    """The log, oldest first: user, item, time (int64 each)."""
    for first in range(0, count, PIECE):
        n = min(PIECE, count - first)
        rng = np.random.default_rng([seed, first])
        user = rng.integers(0, users, n)
        item = (items * rng.random(n) ** 3).astype(np.int64)
        own = (user * 7919) % items  # the user's favourite
        near = rng.random(n) < NEAR
        item[near] = (own[near] + rng.integers(0, 5, int(near.sum()))) % items
        time = START + (first + np.arange(n)) * SPAN // count
        yield pa.table({"user": user, "item": item, "time": time})


def catalogue(items: int, seed: int) -> pa.Table:
    """Every item with its category and brand; neighbours share a category."""
    rng = np.random.default_rng([seed, items])
    item = np.arange(items)
    category = (item * CATEGORIES) // items
    brand = rng.integers(0, BRANDS, items)
    return pa.table(
        {
            "item": item,
            "category": pa.array(np.char.add("c", category.astype(str))),
            "brand": pa.array(np.char.add("b", brand.astype(str))),
        }
    )


def work(args: argparse.Namespace) -> dict:
    with whole_directory(args.out) as made:
        path = os.path.join(made, f"events.{args.format}")
        schema = pa.schema([(name, pa.int64()) for name in ("user", "item", "time")])
        if args.format == "parquet":
            writer = pq.ParquetWriter(path, schema, compression="zstd")
        else:
            writer = pa.csv.CSVWriter(path, schema)
        with writer:
            for table in events(args.events, args.users, args.items, args.seed):
                writer.write_table(table)
        size = os.path.getsize(path)
        pq.write_table(catalogue(args.items, args.seed), os.path.join(made, "items.parquet"))
    return {"out": args.out, "events": args.events, "bytes": size}


if __name__ == "__main__":
    p = arguments.parser(__doc__)
    p.add_argument("--events", type=int, default=10_000_000, help="default 10,000,000")
    p.add_argument("--users", type=int, default=500_000, help="default 500,000")
    p.add_argument("--items", type=int, default=200_000, help="default 200,000")
    p.add_argument("--format", choices=["parquet", "csv"], default="parquet")
    p.add_argument("--seed", type=int, default=2026)
    p.add_argument("--out", required=True, help="folder to write; must not exist")
    cli.run(p, work)
