"""Latency of one request: many candidates of one user, through the export bundle's rank program.

    python benchmarks/serving.py --bundle output/din/beauty/export output/dien/beauty/export

The history is random items of the catalogue. Latency counts from arrays to scores; from raw ids,
with JSON and look-ups, it is measured apart.
"""

import argparse
import os
import sys
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import numpy as np

from benchmarks import arguments
from benchmarks.latency import percentiles
from paddleinterest.core import cli, environment
from paddleinterest.core.log import say

EPOCH = 1_700_000_000  # the first event of the random history; an hour between two


def work(args: argparse.Namespace) -> dict:
    environment.set_up(max(args.threads), not args.no_cpu_tuning)
    rows = []
    for directory in args.bundle:
        for threads in args.threads:
            for onednn in [False, True] if args.onednn else [False]:
                rows.append(measure(directory, threads, onednn, args))
    return {"rows": rows}


def measure(directory: str, threads: int, onednn: bool, args: argparse.Namespace) -> dict:
    """Latency of one bundle with so many threads, as a row of the result."""
    from paddleinterest.serving.bundle import Bundle

    bundle = Bundle(directory, threads, onednn)
    rng = np.random.default_rng(args.seed)
    request = random_request(bundle, args.candidates, args.history, rng)
    arrays = bundle.encoder.encode(request).arrays
    program = bundle.programs["rank"]
    scoring = percentiles(lambda: program(arrays), args.calls, 20)
    whole = percentiles(lambda: bundle.rank(request), max(20, args.calls // 10), 20)
    model = bundle.signature["model"]
    say(
        f"{model:5s} {threads} threads{' oneDNN' if onednn else ''}: "
        f"p50 {scoring['p50_ms']:.2f} ms  p99 {scoring['p99_ms']:.2f} ms  "
        f"(from raw ids p50 {whole['p50_ms']:.2f} ms)"
    )
    return {
        "model": model,
        "bundle": directory,
        "threads": threads,
        "onednn": onednn,
        "candidates": args.candidates,
        "history": args.history,
        **scoring,
        "from_raw_ids_p50_ms": whole["p50_ms"],
    }


def random_request(
    bundle: Any, candidates: int, history: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Raw ids drawn uniformly from the bundle's catalogue, an hour between two events."""
    ids = bundle.encoder.item_row
    past = rng.integers(0, len(ids), history)
    chosen = rng.integers(0, len(ids), candidates)
    events = [{"item": ids[int(k)], "time": EPOCH + 3600 * n} for n, k in enumerate(past)]
    return {
        "history": events,
        "time": EPOCH + 3600 * history,
        "candidates": [ids[int(k)] for k in chosen],
    }


if __name__ == "__main__":
    p = arguments.parser(__doc__)
    p.add_argument("--bundle", nargs="+", required=True, help="one or more export bundles")
    p.add_argument("--candidates", type=int, default=500, help="candidates; default 500")
    p.add_argument("--history", type=int, default=50, help="events in the history; default 50")
    p.add_argument(
        "--threads", type=int, nargs="+", default=[1, 2], help="CPU threads; default 1 2"
    )
    p.add_argument("--calls", type=int, default=300, help="timed calls; default 300")
    p.add_argument("--onednn", action="store_true", help="measure with oneDNN kernels as well")
    p.add_argument("--seed", type=int, default=0, help="of the random request; default 0")
    arguments.add_tuning(p)
    cli.run(p, work)
