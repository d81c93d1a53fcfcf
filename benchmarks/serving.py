"""Latency of one request: many candidates of one user, through the export bundle's rank program.

    python benchmarks/serving.py --bundle output/din/beauty/export output/dien/beauty/export
    python benchmarks/serving.py --bundle output/din/beauty/export --load http workers overload

The history is random items of the catalogue. Latency counts from arrays to scores; from raw ids,
with JSON and look-ups, it is measured apart.

--load starts tools/serve.py with the bundle, and clients in a process of their own:

http       what HTTP adds to the time of `Bundle.rank`, for one client
workers    requests a second at saturation with one worker and with two
overload   statuses and latency at twice the requests a second of saturation
memory     memory of the processes over --requests requests
histories  a user id alone, its history from the bundle, SQLite and Redis
"""

import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import numpy as np

from benchmarks import arguments
from benchmarks.latency import percentiles
from benchmarks.random_request import random_request
from paddleinterest.core import cli, environment
from paddleinterest.core.log import say
from paddleinterest.serving.device import ENGINES

LOADS = ("http", "workers", "overload", "memory", "histories")


def work(args: argparse.Namespace) -> dict:
    environment.set_up(1 if args.load else max(args.threads), not args.no_cpu_tuning)
    if args.load:
        return {"load": load(args)}
    rows = []
    for directory in args.bundle:
        for threads in args.threads:
            for onednn in [False, True] if args.onednn else [False]:
                rows.append(measure(directory, threads, onednn, args))
    return {"rows": rows}


def load(args: argparse.Namespace) -> dict:
    """{bundle: {measure: figures}} of a server under load."""
    from benchmarks.load.measures import MEASURES

    made: dict = {}
    for directory in args.bundle:
        made[directory] = {}
        for name in args.load:
            made[directory][name] = MEASURES[name](directory, args)
            say(f"{directory} {name}: {made[directory][name]}")
    return made


def measure(directory: str, threads: int, onednn: bool, args: argparse.Namespace) -> dict:
    """Latency of one bundle with so many threads, as a row of the result."""
    from paddleinterest.serving.bundle import Bundle

    bundle = Bundle(directory, threads, onednn, engine=args.engine)
    rng = np.random.default_rng(args.seed)
    request = random_request(bundle, args.candidates, args.history, rng)
    arrays = bundle.encoder.encode(request).arrays
    program = bundle.programs["rank"]
    scoring = percentiles(lambda: program(arrays), args.calls, 20)
    whole = percentiles(lambda: bundle.rank(request), max(20, args.calls // 10), 20)
    model = bundle.signature["model"]
    say(
        f"{model:5s} {args.engine} {threads} threads{' oneDNN' if onednn else ''}: "
        f"p50 {scoring['p50_ms']:.2f} ms  p99 {scoring['p99_ms']:.2f} ms  "
        f"(from raw ids p50 {whole['p50_ms']:.2f} ms)"
    )
    return {
        "model": model,
        "bundle": directory,
        "engine": bundle.engine,
        "threads": threads,
        "onednn": onednn,
        "candidates": args.candidates,
        "history": args.history,
        **scoring,
        "from_raw_ids_p50_ms": whole["p50_ms"],
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
    p.add_argument(
        "--engine", choices=ENGINES, default="paddle", help="engine of the bundle; default paddle"
    )
    p.add_argument(
        "--load", nargs="+", choices=LOADS, default=[], help="measure a server under load instead"
    )
    p.add_argument(
        "--seconds", type=float, default=20, help="of load for workers and overload; default 20"
    )
    p.add_argument("--requests", type=int, default=50_000, help="of --load memory; default 50000")
    p.add_argument("--rounds", type=int, default=3, help="of what --load takes in turn; default 3")
    p.add_argument("--onednn", action="store_true", help="measure with oneDNN kernels as well")
    p.add_argument("--seed", type=int, default=0, help="of the random request; default 0")
    arguments.add_tuning(p)
    cli.run(p, work)
