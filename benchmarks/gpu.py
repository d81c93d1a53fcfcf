r"""A GPU beside the CPU: do they give the same numbers, and how fast is each?

    pip install -r requirements-gpu.txt
    python benchmarks/gpu.py --data data/beauty --out output/benchmarks/gpu.md
    python benchmarks/gpu.py --data data/beauty --fuxictr --out output/benchmarks/gpu.md

From the same start weights both train the same 20 batches: the losses must agree within 1e-4, the
scores of the last batch after them within 1e-5. Then each device trains batches of 1,024 to 65,536
rows, samples a second with reading. With --fuxictr FuxiCTR's models train on the same card, in
their own environment (benchmarks/peers). Each side is a process of its own. Writes a Markdown page,
and ends with exit status 1 if the numbers differ.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import numpy as np

from benchmarks import arguments
from paddleinterest.core import cli, environment, settings
from paddleinterest.core.atomic import whole_file
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.data.schema import Schema
from paddleinterest.study.markdown import table

HERE = os.path.abspath(__file__)
LOSSES = 1e-4  # how far the losses of the two may differ
SCORES = 1e-5
STEPS = 20  # that are compared
WARM_UP = 5  # steps before the clock starts
PEER = "fuxictr"
Side = dict[str, Any]  # what one side found: {losses, scores} and {batch: samples a second}


def work(args: argparse.Namespace) -> dict:
    if min([*args.batches, args.steps]) < 1:
        raise InputError("--batches and --steps must be at least 1")
    Schema.load(args.data)  # refuses a folder that is not a dataset
    agreement = {}
    speed = []
    for model in args.models:
        with tempfile.TemporaryDirectory() as folder:
            sides = {}
            for device in ("cpu", args.device):  # the first one's start weights are both's
                sides[device, len(sides)] = run_side(model, device, folder, args)
        ours, theirs = sides.values()
        agreement[model] = differences(ours, theirs)
        say(
            f"{model}: losses differ by {agreement[model]['losses']:.1e}, scores by"
            f" {agreement[model]['scores']:.1e}"
        )
        for (device, _), side in sides.items():
            speed += rows_of(model, device, side["samples_per_second"])
        if args.fuxictr:
            speed += peer_rows(model, args)
    with whole_file(args.out) as made, open(made, "w", encoding="utf-8") as f:
        f.write(page(agreement, speed, args))
    wrong = [model for model, found in agreement.items() if not found["agree"]]
    if wrong:
        raise InputError(f"{', '.join(wrong)}: CPU and {args.device} differ; see {args.out}")
    return {"out": args.out, "agreement": agreement, "speed": speed}


def differences(ours: Side, theirs: Side) -> dict[str, Any]:
    """How far two sides are apart at most, and whether that is near enough."""
    losses = float(np.abs(np.subtract(ours["losses"], theirs["losses"])).max())
    scores = float(np.abs(np.subtract(ours["scores"], theirs["scores"])).max())
    close = losses <= LOSSES and scores <= SCORES  # false for NaN
    return {"losses": losses, "scores": scores, "agree": close}


def rows_of(model: str, device: str, speeds: dict[str, float | str]) -> list[dict[str, Any]]:
    """A row of the result per batch size; a text in place of a speed says why it is missing."""
    return [
        {"model": model, "side": device, "batch": int(batch), "samples_per_second": value}
        for batch, value in speeds.items()
    ]


# one side, in a process of its own ----------------------------------------------------------------


def run_side(model: str, device: str, folder: str, args: argparse.Namespace) -> Side:
    """Train one model on one device in a process of its own; `folder` passes the start weights on
    from the first side to the second."""
    command = [sys.executable, HERE, "--side", device, "--models", model, "--data", args.data]
    command += ["--batches", *map(str, args.batches), "--steps", str(args.steps)]
    command += ["--threads", str(args.threads), "--out", os.path.join(folder, "start.npz")]
    if args.override:
        command += ["-o", *args.override]
    done = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8")
    if done.returncode:
        raise InputError(f"{model} on {device} failed with exit status {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def work_side(args: argparse.Namespace) -> dict:
    """The work of the process of one side: --out is the file of the start weights."""
    (model,) = args.models
    overrides = [f"runner.use_gpu={str(args.side == 'gpu').lower()}", *args.override]
    config = settings.load(arguments.config_of(model), overrides)
    environment.set_up(args.threads, True)
    from benchmarks.steps import Trainee

    schema = Schema.load(args.data)
    trainee = Trainee(config, schema)
    share_start(trainee.net, args.out)
    batches = list(itertools.islice(endless(trainee, args.data, args.batches[0]), STEPS))
    losses = [trainee.step(batch) for batch in batches]
    scores = trainee.scores(batches[-1])
    speeds = {batch: speed(config, schema, batch, args) for batch in args.batches}
    return {"losses": losses, "scores": scores.tolist(), "samples_per_second": speeds}


def share_start(net: Any, path: str) -> None:
    """The first side writes its start weights, the second one takes them: the two devices draw
    other random numbers from the same seed."""
    state = net.state_dict()
    if os.path.exists(path):
        with np.load(path) as f:
            net.set_state_dict({name: f[name] for name in f.files})
    else:
        np.savez(path, **{name: value.numpy() for name, value in state.items()})


def endless(trainee: Any, data: str, batch_size: int):
    """Batches of one epoch after another."""
    reader = trainee.reader(data, batch_size)
    for epoch in itertools.count():
        yield from reader.epoch(epoch)


def speed(config: Any, schema: Schema, batch_size: int, args: argparse.Namespace) -> float | str:
    """Samples a second, with reading; why it is unknown if there is no memory for the batch."""
    from benchmarks.steps import Trainee

    trainee = Trainee(config, schema)
    batches = endless(trainee, args.data, batch_size)
    try:
        for _ in range(WARM_UP):
            trainee.step(next(batches))
        rows = 0
        started = time.perf_counter()
        for _ in range(args.steps):
            batch = next(batches)
            trainee.step(batch)  # it gives the loss as a number, so that the device has finished
            rows += len(batch["label"])
        return round(rows / (time.perf_counter() - started))
    except MemoryError:  # Paddle's ResourceExhaustedError on a GPU is one
        return "out of memory"


# the peer -----------------------------------------------------------------------------------------


def peer_rows(model: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """FuxiCTR on the same device, a row per batch size."""
    from benchmarks.peers import installation, samples

    python = installation.ensure(installation.default_folder())
    cap = settings.load(arguments.config_of(model), args.override).runner.history_cap
    speeds: dict[str, float | str] = {}
    with tempfile.TemporaryDirectory() as folder:
        samples.convert(args.data, os.path.join(folder, "samples"), cap)
        for batch in args.batches:
            command = peer_command(python, model, batch, folder, args)
            done = subprocess.run(command, stdout=sys.stderr)
            if done.returncode:
                speeds[str(batch)] = f"failed with exit status {done.returncode}"
                continue
            with open(os.path.join(folder, "record.json"), encoding="utf-8") as f:
                speeds[str(batch)] = round(1e3 * batch / json.load(f)["ms_a_step"])
    return rows_of(model, PEER, speeds)


def peer_command(
    python: str, model: str, batch: int, folder: str, args: argparse.Namespace
) -> list[str]:
    """The command line of FuxiCTR's runner."""
    flags = {
        "model": model,
        "samples": os.path.join(folder, "samples"),
        "out": os.path.join(folder, "record.json"),
        "steps": args.steps,
        "batch-size": batch,
        "gpu": 0 if args.device == "gpu" else -1,
    }
    command = [python, os.path.join(os.path.dirname(HERE), "peers", "runners", "run_fuxictr.py")]
    for name, value in flags.items():
        command += [f"--{name}", str(value)]
    return command


# the page -----------------------------------------------------------------------------------------


def page(agreement: dict[str, dict], speed: list[dict], args: argparse.Namespace) -> str:
    """The report in Markdown."""
    import paddle

    sides = list(dict.fromkeys(row["side"] for row in speed))
    rows = []
    for model, batch in dict.fromkeys((row["model"], row["batch"]) for row in speed):
        found = {r["side"]: r["samples_per_second"] for r in speed if _is(r, model, batch)}
        cells = [_number(found.get(side, "–")) for side in sides]
        rows.append([model.upper(), f"{batch:,}", *cells])
    checks = [
        [model.upper(), f"{one['losses']:.1e}", f"{one['scores']:.1e}", _yes(one["agree"])]
        for model, one in agreement.items()
    ]
    data = os.path.basename(os.path.normpath(args.data))
    return (
        "\n\n".join(
            [
                "# CPU and GPU",
                f"Paddle {paddle.__version__}, `{data}`, {args.device} beside the CPU.",
                table(["model", f"losses of {STEPS} steps", "scores", "agree"], checks),
                f"Largest differences; allowed are {LOSSES:.0e} and {SCORES:.0e}.",
                table(["model", "rows per batch", *(f"{side}, samples/s" for side in sides)], rows),
                f"{args.steps} steps after {WARM_UP} of warm-up, reading included.",
            ]
        )
        + "\n"
    )


def _is(row: dict, model: str, batch: int) -> bool:
    return (row["model"], row["batch"]) == (model, batch)


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.0f}"


def _yes(value: bool) -> str:
    return "yes" if value else "**no**"


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
    p.add_argument(
        "--batches",
        type=int,
        nargs="+",
        default=[1024, 4096, 16384, 65536],
        metavar="ROWS",
        help="rows per batch; default 1024 4096 16384 65536",
    )
    p.add_argument("--steps", type=int, default=50, help="timed steps each; default 50")
    p.add_argument(
        "--device",
        choices=["gpu", "cpu"],
        default="gpu",
        help="what is compared with the CPU; cpu tries the benchmark itself; default gpu",
    )
    p.add_argument(
        "--fuxictr", action="store_true", help="also train FuxiCTR's models on the same device"
    )
    p.add_argument("--threads", type=int, default=0, help="CPU threads; default all cores")
    p.add_argument(
        "--out", default="output/benchmarks/gpu.md", help="Markdown file; default %(default)s"
    )
    arguments.add_override(p)
    p.add_argument("--side", choices=["gpu", "cpu"], help=argparse.SUPPRESS)
    cli.run(p, lambda args: work_side(args) if args.side else work(args))
