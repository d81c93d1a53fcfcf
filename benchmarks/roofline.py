r"""How near a training step is to what the processor's matrix products allow, and where the rest of
the time goes.

    python benchmarks/roofline.py --data data/beauty --models din dien bst \
        --out output/benchmarks/roofline.md

Operations are counted from the net's layers and the real history lengths of real batches
(benchmarks/flops.py), the peak is the best of repeated 2048 x 2048 products, the profile is
Paddle's. Reading is not part of a step here.
"""

import argparse
import collections
import itertools
import json
import os
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from benchmarks import arguments
from paddleinterest.core import cli, environment, settings
from paddleinterest.core.atomic import whole_file
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.study.markdown import table

Event = dict[str, Any]  # of a trace in Chrome's format
Shares = list[tuple[str, float]]  # (name, share of a step's time), the largest first


@dataclass
class Measured:
    """One model.

    Attributes:
        model: its name.
        parts: operations of all timed steps, {part: number}.
        samples: rows of all timed steps.
        speed: samples a second.
        bound: samples a second if a step were its matrix products at the peak.
        padding: share of the positions that are padding.
        ms_a_step: mean over the steps.
        profile: where a step's time goes.
    """

    model: str
    parts: dict[str, int]
    samples: int
    speed: float
    bound: float
    padding: float
    ms_a_step: float
    profile: Shares

    @property
    def share(self) -> float:
        return self.speed / self.bound

    @property
    def operations(self) -> int:
        return sum(self.parts.values())


def work(args: argparse.Namespace) -> dict:
    if min(args.steps, args.top, args.batch_size) < 1:
        raise InputError("--steps, --top and --batch-size must be at least 1")
    environment.set_up(args.threads, not args.no_cpu_tuning)
    peak = matmul_peak()
    say(f"peak of a matrix product: {peak / 1e9:.1f} GFLOP/s")
    found = [measure(model, args, peak) for model in args.models]
    with whole_file(args.out) as made, open(made, "w", encoding="utf-8") as f:
        f.write(page(found, peak, args))
    return {
        "out": args.out,
        "peak_gflops": round(peak / 1e9, 2),
        "share_of_bound": {one.model: round(one.share, 4) for one in found},
    }


def matmul_peak(size: int = 2048, repeats: int = 8) -> float:
    """Operations a second of the fastest of `repeats` float32 products."""
    import paddle

    a = paddle.rand([size, size])
    b = paddle.rand([size, size])
    seconds = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        paddle.matmul(a, b).numpy()
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / min(seconds[2:])


def measure(model: str, args: argparse.Namespace, peak: float) -> Measured:
    """Speed, bound and profile of one model."""
    import numpy as np

    from benchmarks.flops import COUNTS, TRAINING
    from benchmarks.steps import Trainee
    from paddleinterest.data.schema import Schema

    config = settings.load(arguments.config_of(model), args.override)
    trainee = Trainee(config, Schema.load(args.data))
    epoch = trainee.reader(args.data, args.batch_size).epoch(0)
    batches = list(itertools.islice(epoch, args.steps))
    seconds = sum(trainee.time(batches)) / 1e3
    samples = sum(len(batch["label"]) for batch in batches)
    lengths = [(batch["history_item"] > 0).sum(1) for batch in batches]
    parts: collections.Counter[str] = collections.Counter()
    for length in lengths:
        for part, operations in COUNTS[model](trainee.net, length).items():
            parts[part] += TRAINING * operations
    cells = sum(batch["history_item"].size for batch in batches)
    found = Measured(
        model=model,
        parts=dict(parts),
        samples=samples,
        speed=samples / seconds,
        bound=samples * peak / sum(parts.values()),
        padding=1 - int(np.concatenate(lengths).sum()) / cells,
        ms_a_step=1e3 * seconds / len(batches),
        profile=profile(trainee, batches[:5]),
    )
    say(f"{model}: {found.speed:,.0f} of {found.bound:,.0f} samples/s, {found.share:.1%}")
    return found


def profile(trainee: Any, batches: list) -> Shares:
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


def shares(events: list[Event]) -> Shares:
    """Where the steps' time goes, from the events of a trace.

    What encloses others counts only while none of them runs. An operator's name covers its kernel
    and its dispatch.
    """
    spans = [e for e in events if e.get("ph") == "X"]
    spans.sort(key=lambda e: (thread(e), e["ts"], -e["dur"]))
    own: collections.Counter[str] = collections.Counter()
    around: list[tuple[float, str, str]] = []  # (end, name, thread) of the spans around this one
    for e in spans:
        while around and not _encloses(around[-1], e):
            around.pop()
        if around:
            own[around[-1][1]] -= e["dur"]
        name = readable(e["cat"], e["name"].partition("[")[0])
        own[name] += e["dur"]
        around.append((e["ts"] + e["dur"], name, thread(e)))
    whole = sum(e["dur"] for e in spans if e["cat"] == "ProfileStep")
    return [(name, value / whole) for name, value in own.most_common()]


def _encloses(span: tuple[float, str, str], event: Event) -> bool:
    end, _, of_thread = span
    return of_thread == thread(event) and end > event["ts"] + 1  # ts has whole microseconds


def thread(event: Event) -> str:
    """Paddle writes Python's and C++'s spans of one thread as two."""
    return str(event["tid"]).partition("(")[0]


def readable(category: str, name: str) -> str:
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


def page(found: list[Measured], peak: float, args: argparse.Namespace) -> str:
    """The report in Markdown."""
    import paddle

    threads = os.environ.get("OMP_NUM_THREADS", "unset")
    data = os.path.basename(os.path.normpath(args.data))
    blocks = [
        "# Share of the processor's peak",
        (
            f"Paddle {paddle.__version__}, OMP_NUM_THREADS={threads}, batch {args.batch_size},"
            f" `{data}`. Peak of a 2048 x 2048 float32 product: {peak / 1e9:.1f} GFLOP/s. The"
            " bound is what that peak would allow if a step were its matrix products on real"
            " positions alone: forward and both gradients, no memory traffic."
        ),
        overview(found),
    ]
    for one in found:
        blocks += of_model(one, args.top)
    blocks.append(
        "Python: between layers and operators, copies from and to NumPy among it. The profiler"
        " itself slows a step."
    )
    return "\n\n".join(blocks) + "\n"


def overview(found: list[Measured]) -> str:
    """The table of all models."""
    head = [
        "model",
        "MFLOP a sample",
        "bound, samples/s",
        "reached, samples/s",
        "share",
        "ms per step",
        "padding",
    ]
    rows = [
        [
            one.model.upper(),
            f"{one.operations / one.samples / 1e6:.3f}",
            f"{one.bound:,.0f}",
            f"{one.speed:,.0f}",
            f"{one.share:.1%}",
            f"{one.ms_a_step:.1f}",
            f"{one.padding:.1%}",
        ]
        for one in found
    ]
    return table(head, rows)


def of_model(one: Measured, top: int) -> list[str]:
    """A model's heading, its operations by part, and the `top` parts of its time."""
    parts = [f"{part} {value / one.operations:.1%}" for part, value in one.parts.items()]
    rows = [[name, f"{share:.1%}"] for name, share in one.profile[:top]]
    rest = one.profile[top:]
    if rest:
        rows.append([f"{len(rest)} others", f"{sum(share for _, share in rest):.1%}"])
    return [
        f"## {one.model.upper()}",
        f"Operations: {', '.join(parts)}.",
        table(["where", "share of the step"], rows),
    ]


if __name__ == "__main__":
    p = arguments.parser(__doc__)
    p.add_argument("--data", default="data/beauty", help="a prepared dataset; default data/beauty")
    p.add_argument(
        "--models",
        nargs="+",
        choices=["base", "din", "dien", "bst"],
        default=["din", "dien", "bst"],
        help="default din dien bst",
    )
    arguments.add_override(p)
    p.add_argument("--batch-size", type=int, default=1024, help="rows per batch; default 1024")
    p.add_argument(
        "--steps", type=int, default=64, help="steps to time; default 64, a window of the bucketing"
    )
    p.add_argument("--top", type=int, default=15, help="operators to list; default 15")
    arguments.add_process(p)
    p.add_argument(
        "--out", default="output/benchmarks/roofline.md", help="Markdown file; default %(default)s"
    )
    cli.run(p, work)
