"""A training step (forward and backward) of DIEN's recurrences: the plain Python loop against what the net takes.

    python benchmarks/recurrence.py

The loops take turns, so that a busy machine slows all of them alike; read the ratios.
"""
import argparse
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from tools.utils import cli, environment
from tools.utils.log import say


def work(args):
    environment.set_up({"runner": {"threads": args.threads, "cpu_tuning": not args.no_cpu_tuning}})
    import numpy as np
    import paddle
    from models.dien.net import AGRUCell, AUGRUCell, InterestEvolution, InterestGRU
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

    forms = {"GRU plain": plain_gru, "GRU": lambda x, a: extractor(x, mask)[1],
             "AUGRU plain": augru.plain, "AUGRU": augru, "AGRU plain": agru.plain, "AGRU": agru}
    times = {name: [] for name in forms}
    for _ in range(args.calls + 2):
        for name, form in forms.items():
            x, a = states.detach(), attention.detach()
            x.stop_gradient = a.stop_gradient = False
            started = time.perf_counter()
            paddle.square(form(x, a)).sum().backward()
            times[name].append(1e3 * (time.perf_counter() - started))
            for layer in (augru, agru, extractor, cell):
                layer.clear_gradients()
    ms = {name: float(np.median(t[2:])) for name, t in times.items()}
    ratio = {name: round(ms[f"{name} plain"] / ms[name], 2) for name in ("GRU", "AUGRU", "AGRU")}
    ratio["GRU + AUGRU"] = round((ms["GRU plain"] + ms["AUGRU plain"]) / (ms["GRU"] + ms["AUGRU"]), 2)
    for name, t in ms.items():
        say(f"{name:12s} {t:7.1f} ms a step")
    say("times as fast as the plain loop: " + ", ".join(f"{k} {v}" for k, v in ratio.items()))
    return {"paddle": paddle.__version__, "rows": rows, "steps": steps, "width": width, "calls": args.calls,
            "ms": {k: round(v, 1) for k, v in ms.items()}, "times_as_fast": ratio}


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rows", type=int, default=256, help="rows a batch; default 256")
    p.add_argument("--steps", type=int, default=50, help="history positions; default 50")
    p.add_argument("--width", type=int, default=64, help="of input and state; default 64")
    p.add_argument("--calls", type=int, default=15, help="timed steps of each form; default 15")
    p.add_argument("--threads", type=int, default=0, help="CPU threads; default all cores")
    p.add_argument("--no-cpu-tuning", action="store_true", help="leave the environment variables of this process alone")
    cli.run(p, work)
