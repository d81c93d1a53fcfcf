"""How near a training step is to what the processor's matrix products allow, and where the rest of
the time goes.

    python benchmarks/roofline.py --data data/beauty --models din dien bst --out output/benchmarks/roofline.md

Operations are counted from the net's layers and the real history lengths of real batches
(benchmarks/flops.py), the peak is the best of repeated 2048 x 2048 products, the profile is
Paddle's. Reading is not part of a step here.
"""

import argparse
import collections
import json
import os
import re
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from paddleinterest.core import cli, environment, settings
from paddleinterest.core.atomic import whole_file
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say


def work(args):
    if min(args.steps, args.top, args.batch_size) < 1:
        raise InputError("--steps, --top and --batch-size must be at least 1")
    environment.set_up({"runner": {"threads": args.threads, "cpu_tuning": not args.no_cpu_tuning}})
    peak = matmul_peak()
    say(f"peak of a matrix product: {peak / 1e9:.1f} GFLOP/s")
    rows = [measure(model, args, peak) for model in args.models]
    with whole_file(args.out) as made, open(made, "w", encoding="utf-8") as f:
        f.write(markdown(rows, peak, args))
    return {
        "out": args.out,
        "peak_gflops": round(peak / 1e9, 2),
        "share_of_bound": {r["model"]: round(r["share"], 4) for r in rows},
    }


def matmul_peak(size=2048, repeats=8):
    """Operations a second of the fastest of `repeats` float32 products."""
    import time

    import paddle

    a, b = paddle.rand([size, size]), paddle.rand([size, size])
    seconds = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        paddle.matmul(a, b).numpy()
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / min(seconds[2:])


def measure(model, args, peak):
    """Speed, bound and profile of one model, as a dict."""
    import numpy as np

    from benchmarks.flops import COUNTS, TRAINING
    from benchmarks.steps import Trainee
    from paddleinterest.data.schema import Schema

    config = settings.load(
        os.path.join(settings.ROOT, "models", model, "config.yaml"), args.override
    )
    trainee = Trainee(config, Schema.load(args.data))
    batches = [
        batch
        for batch, _ in zip(trainee.reader(args.data, args.batch_size).epoch(0), range(args.steps))
    ]
    times = trainee.time(batches)
    samples, seconds = sum(len(b["label"]) for b in batches), sum(times) / 1e3
    lengths = [(b["history_item"] > 0).sum(1) for b in batches]
    parts = collections.Counter()
    for length in lengths:
        parts.update({k: TRAINING * v for k, v in COUNTS[model](trainee.net, length).items()})
    total = sum(parts.values())
    bound = samples * peak / total
    cells = sum(b["history_item"].size for b in batches)
    row = {
        "model": model,
        "samples": samples,
        "steps": len(batches),
        "parts": dict(parts),
        "flops_a_sample": total / samples,
        "bound": bound,
        "speed": samples / seconds,
        "share": samples / seconds / bound,
        "padding": 1 - int(np.concatenate(lengths).sum()) / cells,
        "ms_a_step": 1e3 * seconds / len(batches),
        "profile": profile(trainee, batches[:5]),
    }
    say(f"{model}: {row['speed']:,.0f} of {bound:,.0f} samples/s, {row['share']:.1%}")
    return row


def profile(trainee, batches):
    """`shares` of some steps under Paddle's profiler."""
    import paddle.profiler as P

    profiler = P.Profiler(targets=[P.ProfilerTarget.CPU], on_trace_ready=lambda _: None)
    profiler.start()
    for batch in batches:
        trainee.step(batch)
        profiler.step()
    profiler.stop()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "trace.json")
        profiler.export(path)
        with open(path, encoding="utf-8") as f:
            return shares(json.load(f)["traceEvents"])


def shares(events):
    """[(name, share of the steps' time)], the largest first, from the events of a trace; what
    encloses others counts only where none of them runs. An operator's name covers its kernel and
    its dispatch."""
    spans = [e for e in events if e.get("ph") == "X"]
    spans = sorted(spans, key=lambda e: (thread(e), e["ts"], -e["dur"]))
    own, stack = (
        collections.Counter(),
        [],
    )  # stack: (end, name, thread) of the spans around the present one
    for e in spans:
        while stack and (
            stack[-1][2] != thread(e) or stack[-1][0] <= e["ts"] + 1
        ):  # ts has whole microseconds
            stack.pop()
        if stack:
            own[stack[-1][1]] -= e["dur"]
        name = readable(e["cat"], e["name"].partition("[")[0])
        own[name] += e["dur"]
        stack.append((e["ts"] + e["dur"], name, thread(e)))
    whole = sum(e["dur"] for e in spans if e["cat"] == "ProfileStep")
    return [(name, value / whole) for name, value in own.most_common()]


def thread(event):
    """Paddle writes Python's and C++'s spans of one thread as two."""
    return str(event["tid"]).partition("(")[0]


def readable(category, name):
    """matmul_grad for MatmulGradNode and its kernel alike; a layer's own time, such as our own
    operators, by name."""
    if category == "Forward":
        return f"in layer {name}"
    if category not in ("Operator", "OperatorInner", "DygraphKernelLaunch"):
        return "Python" if name != "Optimization Step" else "in the optimizer"
    name = re.sub("^(Global|Local)_|( kernel launch| dygraph| infer_meta)$", "", name)
    if name.startswith("GradNodePyLayer_"):
        return name.removeprefix("GradNodePyLayer_").strip("_") + " gradient"
    if not name.endswith("GradNode"):
        return name
    return re.sub("(?<=[a-z0-9])(?=[A-Z])", "_", name.removesuffix("GradNode")).lower() + "_grad"


def markdown(rows, peak, args):
    import paddle

    lines = [
        "# Share of the processor's peak",
        "",
        (
            f"Paddle {paddle.__version__},"
            f" OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}, batch"
            f" {args.batch_size}, `{os.path.basename(os.path.normpath(args.data))}`. Peak of a 2048"
            f" x 2048 float32 product: {peak / 1e9:.1f} GFLOP/s. The bound is what that peak would"
            " allow if a step were its matrix products on real positions alone: forward and both"
            " gradients, no memory traffic."
        ),
        "",
        (
            "| model | MFLOP a sample | bound, samples/s | reached, samples/s | share | ms a step |"
            " padding |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['model'].upper()} | {r['flops_a_sample'] / 1e6:.3f} | {r['bound']:,.0f} |"
        f" {r['speed']:,.0f} | {r['share']:.1%} | {r['ms_a_step']:.1f} | {r['padding']:.1%} |"
        for r in rows
    ]
    for r in rows:
        total = sum(r["parts"].values())
        lines += [
            "",
            f"## {r['model'].upper()}",
            "",
            "Operations: "
            + ", ".join(f"{part} {value / total:.1%}" for part, value in r["parts"].items())
            + ".",
            "",
            "| where | share of the step |",
            "|---|---|",
        ]
        lines += [f"| {name} | {share:.1%} |" for name, share in r["profile"][: args.top]]
        if len(r["profile"]) > args.top:
            rest = r["profile"][args.top :]
            lines.append(f"| {len(rest)} others | {sum(share for _, share in rest):.1%} |")
    return "\n".join(
        [
            *lines,
            "",
            (
                "Python: between layers and operators, copies from and to NumPy among it. The "
                "profiler itself slows a step."
            ),
            "",
        ]
    )


if __name__ == "__main__":
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--data", default="data/beauty", help="a prepared dataset; default data/beauty")
    p.add_argument(
        "--models",
        nargs="+",
        choices=["base", "din", "dien", "bst"],
        default=["din", "dien", "bst"],
    )
    p.add_argument(
        "-o",
        "--override",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="settings, as of the trainer",
    )
    p.add_argument("--batch-size", type=int, default=1024, help="rows a batch; default 1024")
    p.add_argument(
        "--steps", type=int, default=64, help="steps to time; default 64, a window of the bucketing"
    )
    p.add_argument("--top", type=int, default=15, help="operators to list; default 15")
    p.add_argument("--threads", type=int, default=0, help="CPU threads; default all cores")
    p.add_argument(
        "--no-cpu-tuning",
        action="store_true",
        help="leave the environment variables of this process alone",
    )
    p.add_argument(
        "--out", default="output/benchmarks/roofline.md", help="Markdown file; default %(default)s"
    )
    cli.run(p, work)
