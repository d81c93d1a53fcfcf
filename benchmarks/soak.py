r"""Memory of a long training from disk: does it stay flat?

    python benchmarks/soak.py --samples 20000000 --items 1000000 --out output/benchmarks/soak
    python benchmarks/soak.py --data data/mine -m models/dien/config.yaml \
        -o runner.history_cap=1000 --out output/benchmarks/mine

Prepares a synthetic dataset if --data names none, trains one epoch of it through tools/trainer.py
in a process of its own, and reads that process's memory once a second (Linux). Anonymous memory is
the process's own; mapped files are the disk's cache, which the system takes back when it needs
room. Writes soak.csv and soak.png; `growth_mb` is how much more the last tenth of the training
holds (its median) than the second tenth.
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import TextIO

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from benchmarks import arguments, memory
from paddleinterest.core import cli, settings
from paddleinterest.core.atomic import whole_file
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.data.prepare import make_recipe, prepare
from paddleinterest.data.schema import Schema

PER_USER = 100  # impressions of each synthetic user


@dataclass
class Point:
    """Memory of the training at one moment; `seconds` since it began."""

    seconds: float
    anonymous_mb: int
    mapped_mb: int
    peak_mb: int


def work(args: argparse.Namespace) -> dict:
    if args.samples < PER_USER * 10:
        raise InputError(f"--samples must be at least {PER_USER * 10}")
    os.makedirs(args.out, exist_ok=True)
    data = args.data or synthetic(args)
    command = [
        sys.executable,
        os.path.join(settings.ROOT, "tools", "trainer.py"),
        "-m",
        args.config_yaml,
        "-o",
        f"runner.data_dir={data}",
        f"runner.model_save_path={args.out}",
        "runner.epochs=1",
        "runner.overwrite=true",
        *args.override,
    ]
    with open(os.path.join(args.out, "trainer.log"), "w", encoding="utf-8") as log:
        curve, status = watch(command, log)
    if status:
        raise InputError(f"the training ended with exit status {status}; see {log.name}")
    early, late = (statistics.median(p.anonymous_mb for p in part) for part in tenths(curve))
    write(curve, args.out)
    return {
        "data": data,
        "rows": Schema.load(data).rows["train"],
        "out": args.out,
        "peak_mb": curve[-1].peak_mb,
        "anonymous_mb": {"second_tenth": early, "last_tenth": late},
        "growth_mb": late - early,
        "training_seconds": curve[-1].seconds,
    }


def synthetic(args: argparse.Namespace) -> str:
    """The path of the dataset for --samples and --items, prepared if it is not there."""
    out = os.path.join(args.out, f"synthetic-{args.samples}-{args.items}")
    if not os.path.isdir(out):
        say(f"preparing {out}")
        recipe = {
            "source": "synthetic",
            "protocol": "impressions",
            "users": args.samples // PER_USER,
            "items": args.items,
            "categories": 1000,
            "impressions": PER_USER,
            "out": out,
        }
        prepare(make_recipe(recipe))
    return out


def watch(command: list[str], log: TextIO) -> tuple[list[Point], int]:
    """Memory of a process once a second until it ends, and its exit status."""
    if memory.held(os.getpid()) is None:
        raise InputError("no memory can be read here; this needs Linux")
    curve = []
    started = time.time()
    with subprocess.Popen(command, stdout=log, stderr=log) as process:
        while process.poll() is None:
            now = memory.held(process.pid)
            if now:
                seconds = round(time.time() - started, 1)
                curve.append(Point(seconds, now.anonymous, now.mapped, now.peak))
            time.sleep(1)
    return curve, process.returncode


def tenths(curve: list[Point]) -> tuple[list[Point], list[Point]]:
    """The second and the last tenth of a curve, in time; in the first one the training starts and
    reads."""
    last = curve[-1].seconds
    second = [p for p in curve if 0.1 <= p.seconds / last <= 0.2]
    return second, [p for p in curve if p.seconds >= 0.9 * last]


def write(curve: list[Point], out: str) -> None:
    with (
        whole_file(os.path.join(out, "soak.csv")) as made,
        open(made, "w", newline="", encoding="utf-8") as f,
    ):
        table = csv.DictWriter(f, asdict(curve[0]))
        table.writeheader()
        table.writerows(map(asdict, curve))
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    seconds = [p.seconds for p in curve]
    axes.plot(seconds, [p.anonymous_mb for p in curve], label="the process's own")
    axes.plot(seconds, [p.mapped_mb for p in curve], label="mapped files")
    axes.set(xlabel="seconds", ylabel="MB", ylim=0)
    axes.legend()
    with whole_file(os.path.join(out, "soak.png")) as made:
        figure.savefig(made, format="png", dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    p = arguments.parser(__doc__)
    p.add_argument(
        "-m",
        "--config_yaml",
        default=arguments.config_of("din"),
        metavar="CONFIG",
        help="settings of the model; default models/din/config.yaml",
    )
    arguments.add_override(p)
    p.add_argument(
        "--data", default="", metavar="DIR", help="a prepared dataset; default: a synthetic one"
    )
    p.add_argument(
        "--samples",
        type=int,
        default=20_000_000,
        metavar="N",
        help="impressions of the synthetic one; default 20,000,000",
    )
    p.add_argument(
        "--items",
        type=int,
        default=1_000_000,
        metavar="N",
        help="items of the synthetic one; default 1,000,000",
    )
    p.add_argument(
        "--out",
        default=os.path.join("output", "benchmarks", "soak"),
        metavar="DIR",
        help="default output/benchmarks/soak",
    )
    cli.run(p, work)
