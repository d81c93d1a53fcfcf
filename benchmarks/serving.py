"""Latency of one request: many candidates of one user, through the export bundle's rank program.

    python benchmarks/serving.py --bundle output/din/beauty/export output/dien/beauty/export

The history is random items of the catalogue; latency counts from arrays to scores (JSON and
look-ups are measured apart).
"""

import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from benchmarks.latency import percentiles
from paddleinterest.core import cli, environment
from paddleinterest.core.log import say


def work(args):
    environment.set_up(
        {"runner": {"threads": max(args.threads), "cpu_tuning": not args.no_cpu_tuning}}
    )
    import numpy as np

    from paddleinterest.serving.bundle import Bundle

    rows = []
    for directory in args.bundle:
        for threads in args.threads:
            for onednn in [False, True] if args.onednn else [False]:
                bundle = Bundle(directory, threads, onednn)
                request = random_request(
                    bundle, args.candidates, args.history, np.random.default_rng(args.seed)
                )
                encoded = bundle.encoder.encode(request)
                program = bundle.programs["rank"]
                scoring = percentiles(lambda: program(encoded.arrays), args.calls, 20)
                whole = percentiles(lambda: bundle.rank(request), max(20, args.calls // 10), 20)
                rows.append(
                    {
                        "model": bundle.signature["model"],
                        "bundle": directory,
                        "threads": threads,
                        "onednn": onednn,
                        "candidates": args.candidates,
                        "history": args.history,
                        **scoring,
                        "from_raw_ids_p50_ms": whole["p50_ms"],
                    }
                )
                say(
                    f"{rows[-1]['model']:5s} {threads} threads{' oneDNN' if onednn else ''}: "
                    f"p50 {scoring['p50_ms']:.2f} ms  p99 {scoring['p99_ms']:.2f} ms  "
                    f"(from raw ids p50 {whole['p50_ms']:.2f} ms)"
                )
    return {"rows": rows}


def random_request(bundle, candidates, history, rng):
    """Raw ids drawn uniformly from the bundle's catalogue, an hour between two events."""
    ids = bundle.encoder.item_row
    past, chosen = rng.integers(0, len(ids), history), rng.integers(0, len(ids), candidates)
    return {
        "history": [
            {"item": ids[int(k)], "time": 1_700_000_000 + 3600 * n} for n, k in enumerate(past)
        ],
        "time": 1_700_000_000 + 3600 * history,
        "candidates": [ids[int(k)] for k in chosen],
    }


if __name__ == "__main__":
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--bundle", nargs="+", required=True, help="one or more export bundles")
    p.add_argument("--candidates", type=int, default=500, help="candidates a request; default 500")
    p.add_argument("--history", type=int, default=50, help="events in the history; default 50")
    p.add_argument(
        "--threads", type=int, nargs="+", default=[1, 2], help="CPU threads; default 1 2"
    )
    p.add_argument("--calls", type=int, default=300, help="timed calls; default 300")
    p.add_argument("--onednn", action="store_true", help="measure with oneDNN kernels as well")
    p.add_argument("--seed", type=int, default=0, help="of the random request; default 0")
    p.add_argument(
        "--no-cpu-tuning",
        action="store_true",
        help="leave the environment variables of this process alone",
    )
    cli.run(p, work)
