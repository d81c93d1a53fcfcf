"""A training step (forward and backward) of DIEN's recurrences: the plain Python loop against what
the net takes, which is the C++ operator, or, without a compiler, Paddle's GRU kernel and the
hand-written gradient of models/dien/recurrence.py.

    python benchmarks/recurrence.py

The loops take turns, so that a busy machine slows all of them alike; read the ratios.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from benchmarks import arguments
from paddleinterest.core import cli, environment
from paddleinterest.core.log import say

WARM_UP = 2  # calls of each form before the clock counts
Forms = dict[str, Callable]  # {recurrence: f(inputs, attention) → states}
Milliseconds = dict[str, dict[str, float]]  # {recurrence: {form: median}}


def work(args: argparse.Namespace) -> dict:
    environment.set_up(args.threads, not args.no_cpu_tuning)
    import paddle

    layers, kinds = forms(args.rows, args.steps, args.width)
    ms = time_all(layers, kinds, args)
    both = {kind: round(ms["GRU"][kind] + ms["AUGRU"][kind], 1) for kind in kinds}
    ms["GRU + AUGRU"] = both
    ratio = {name: ratios(of_name) for name, of_name in ms.items()}
    for name, of_name in ms.items():
        say(f"{name:12s} " + "  ".join(said(kind, of_name, ratio[name]) for kind in of_name))
    return {
        "paddle": paddle.__version__,
        "rows": args.rows,
        "steps": args.steps,
        "width": args.width,
        "calls": args.calls,
        "ms": ms,
        "times_as_fast": ratio,
    }


def forms(rows: int, steps: int, width: int) -> tuple[list, dict[str, tuple[Forms, bool]]]:
    """The layers to time, and {kind: (its forms, whether with our C++ operators)}."""
    import paddle

    from models.dien.net import AGRUCell, AUGRUCell, InterestEvolution, InterestGRU
    from paddleinterest.nets import native

    paddle.seed(0)
    mask = paddle.ones([rows, steps])
    augru = InterestEvolution(AUGRUCell(width, width))
    agru = InterestEvolution(AGRUCell(width, width))
    extractor = InterestGRU(width, width)
    cell = paddle.nn.GRUCell(width, width)

    def plain_gru(x: Any, attention: Any) -> Any:
        h = paddle.zeros([rows, width])
        for t in range(steps):
            h, _ = cell(x[:, t], h)
        return h

    plain: Forms = {"GRU": plain_gru, "AUGRU": augru.forward, "AGRU": agru.forward}
    fast: Forms = {"GRU": lambda x, attention: extractor(x, mask)[1], "AUGRU": augru, "AGRU": agru}
    kinds = {"plain": (plain, False), "paddle": (fast, False), "native": (fast, True)}
    if native.library("recurrence") is None:
        say("no C++ compiler found: the operators are left out")
        del kinds["native"]
    return [augru, agru, extractor, cell], kinds


def time_all(
    layers: list, kinds: dict[str, tuple[Forms, bool]], args: argparse.Namespace
) -> Milliseconds:
    """Median milliseconds of each form of each recurrence, in turn."""
    import paddle

    from paddleinterest.nets import native

    states = paddle.randn([args.rows, args.steps, args.width])
    attention = paddle.nn.functional.softmax(paddle.randn([args.rows, args.steps]), -1)
    names = list(kinds["plain"][0])
    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(args.calls + WARM_UP):
        for name in names:
            for kind, (of_kind, own_operators) in kinds.items():
                native.use(own_operators)
                x = states.detach()
                a = attention.detach()
                x.stop_gradient = False
                a.stop_gradient = False
                started = time.perf_counter()
                paddle.square(of_kind[name](x, a)).sum().backward()
                elapsed = 1e3 * (time.perf_counter() - started)
                times.setdefault((name, kind), []).append(elapsed)
                for layer in layers:
                    layer.clear_gradients()
    ms: Milliseconds = {name: {} for name in names}
    for (name, kind), values in times.items():
        ms[name][kind] = round(statistics.median(values[WARM_UP:]), 1)
    return ms


def ratios(ms: dict[str, float]) -> dict[str, float]:
    """How many times as fast each form is as the plain loop."""
    return {kind: round(ms["plain"] / value, 2) for kind, value in ms.items() if kind != "plain"}


def said(kind: str, ms: dict[str, float], ratio: dict[str, float]) -> str:
    times = f" ({ratio[kind]:.1f}×)" if kind in ratio else ""
    return f"{kind} {ms[kind]:6.1f} ms{times}"


if __name__ == "__main__":
    p = arguments.parser(__doc__)
    p.add_argument("--rows", type=int, default=256, help="rows per batch; default 256")
    p.add_argument("--steps", type=int, default=50, help="history positions; default 50")
    p.add_argument("--width", type=int, default=64, help="of input and state; default 64")
    p.add_argument("--calls", type=int, default=15, help="timed steps of each form; default 15")
    arguments.add_process(p)
    cli.run(p, work)
