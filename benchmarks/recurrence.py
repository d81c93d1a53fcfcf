"""A training step (forward and backward) of DIEN's recurrences: the plain Python loop against what
the net takes, which is the C++ operator, or, without a compiler, Paddle's GRU kernel and the
hand-written gradient of models/dien/recurrence.py.

    python benchmarks/recurrence.py

The loops take turns, so that a busy machine slows all of them alike; read the ratios.
"""

import argparse
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from paddleinterest.core import cli, environment
from paddleinterest.core.log import say


def work(args):
    environment.set_up({"runner": {"threads": args.threads, "cpu_tuning": not args.no_cpu_tuning}})
    import numpy as np
    import paddle

    from models.dien.net import AGRUCell, AUGRUCell, InterestEvolution, InterestGRU
    from paddleinterest.nets import native

    rows, steps, width = args.rows, args.steps, args.width
    paddle.seed(0)
    states, mask = paddle.randn([rows, steps, width]), paddle.ones([rows, steps])
    attention = paddle.nn.functional.softmax(paddle.randn([rows, steps]), -1)
    augru, agru = (InterestEvolution(cell(width, width)) for cell in (AUGRUCell, AGRUCell))
    extractor, cell = InterestGRU(width, width), paddle.nn.GRUCell(width, width)

    def plain_gru(x, a):
        h = paddle.zeros([rows, width])
        for t in range(steps):
            h, _ = cell(x[:, t], h)
        return h

    plain = {"GRU": plain_gru, "AUGRU": augru.plain, "AGRU": agru.plain}
    fast = {"GRU": lambda x, a: extractor(x, mask)[1], "AUGRU": augru, "AGRU": agru}
    kinds = {"plain": (plain, False), "paddle": (fast, False), "native": (fast, True)}
    if native.library("recurrence") is None:
        say("no C++ compiler found: the operators are left out")
        del kinds["native"]
    times = {(name, kind): [] for name in plain for kind in kinds}
    for _ in range(args.calls + 2):
        for name, kind in times:
            forms, wanted = kinds[kind]
            native.use(wanted)
            x, a = states.detach(), attention.detach()
            x.stop_gradient = a.stop_gradient = False
            started = time.perf_counter()
            paddle.square(forms[name](x, a)).sum().backward()
            times[name, kind].append(1e3 * (time.perf_counter() - started))
            for layer in (augru, agru, extractor, cell):
                layer.clear_gradients()
    ms = {
        name: {kind: round(float(np.median(times[name, kind][2:])), 1) for kind in kinds}
        for name in plain
    }
    ms["GRU + AUGRU"] = {kind: round(ms["GRU"][kind] + ms["AUGRU"][kind], 1) for kind in kinds}
    ratio = {
        name: {kind: round(t["plain"] / t[kind], 2) for kind in t if kind != "plain"}
        for name, t in ms.items()
    }
    for name, t in ms.items():
        say(
            f"{name:12s} "
            + "  ".join(
                f"{kind} {t[kind]:6.1f} ms"
                + (f" ({ratio[name][kind]:.1f}×)" if kind in ratio[name] else "")
                for kind in t
            )
        )
    return {
        "paddle": paddle.__version__,
        "rows": rows,
        "steps": steps,
        "width": width,
        "calls": args.calls,
        "ms": ms,
        "times_as_fast": ratio,
    }


if __name__ == "__main__":
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--rows", type=int, default=256, help="rows a batch; default 256")
    p.add_argument("--steps", type=int, default=50, help="history positions; default 50")
    p.add_argument("--width", type=int, default=64, help="of input and state; default 64")
    p.add_argument("--calls", type=int, default=15, help="timed steps of each form; default 15")
    p.add_argument("--threads", type=int, default=0, help="CPU threads; default all cores")
    p.add_argument(
        "--no-cpu-tuning",
        action="store_true",
        help="leave the environment variables of this process alone",
    )
    cli.run(p, work)
