"""Time of a training step against the rows of the item table, the history, the batch and the
attributes per item.

    python benchmarks/scaling.py --models din dien bst --out output/benchmarks/scaling

One of the four varies, the others stay at --base; indices are uniform over the tables and all
histories are full, so that nothing is padded. Writes scaling.csv, scaling.json and scaling.png.
"""

import argparse
import csv
import json
import os
import statistics
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from benchmarks import arguments
from paddleinterest.core import cli, environment, settings
from paddleinterest.core.atomic import whole_file
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say

AXES = {
    "table_rows": "rows of the item table",
    "history": "events in a history",
    "batch": "rows per batch",
    "attributes": "attributes per item",
}
COLUMNS = ("model", "axis", *AXES, "ms_a_step", "fastest", "slowest", "samples_per_second")


Point = dict[str, int]  # {axis: value of each}
Measured = dict[str, float]


def work(args: argparse.Namespace) -> dict:
    points = points_of(args)
    environment.set_up(args.threads, not args.no_cpu_tuning)
    import paddle

    rows = []
    known: dict[tuple, Measured] = {}
    for number, (model, axis, point) in enumerate(points, 1):
        key = (model, *point.values())
        if key not in known:  # the base point is on all four axes
            known[key] = measure(model, point, args)
        rows.append({"model": model, "axis": axis, **point, **known[key]})
        say(
            f"{number} of {len(points)}: {model} {axis} {point[axis]:,}:"
            f" {known[key]['ms_a_step']:.1f} ms per step"
        )
    facts = {
        "paddle": paddle.__version__,
        "threads": os.environ.get("OMP_NUM_THREADS", "unset"),
        "steps": args.steps,
        "override": args.override,
    }
    write(rows, facts, args.out)
    return {"out": args.out, "points": len(known), **facts}


def points_of(args: argparse.Namespace) -> list[tuple[str, str, Point]]:
    """The points to measure, as (model, the axis that varies, point)."""
    base = dict(zip(AXES, args.base, strict=True))
    ranges = {axis: getattr(args, axis) for axis in AXES}
    for axis, values in ranges.items():
        least = {"attributes": 0, "table_rows": 3}.get(axis, 1)
        if min([*values, base[axis]]) < least:
            raise InputError(
                f"--{axis.replace('_', '-')} and its place in --base must be at least {least}"
            )
    if args.steps < 1:
        raise InputError("--steps must be at least 1")
    return [
        (model, axis, {**base, axis: value})
        for model in args.models
        for axis, values in ranges.items()
        for value in values
    ]


def measure(model: str, point: Point, args: argparse.Namespace) -> Measured:
    """Median, fastest and slowest step of one net at one point, milliseconds."""
    from benchmarks.steps import Trainee, random_batch, random_schema

    overrides = [f"runner.history_cap={point['history']}", *args.override]
    config = settings.load(arguments.config_of(model), overrides)
    schema = random_schema(point["table_rows"], point["attributes"])
    trainee = Trainee(config, schema)
    batches = [
        random_batch(schema, point["batch"], point["history"], seed, bool(trainee.negatives))
        for seed in range(args.steps)
    ]
    times = trainee.time(batches)
    median = statistics.median(times)
    return {
        "ms_a_step": round(median, 3),
        "fastest": round(min(times), 3),
        "slowest": round(max(times), 3),
        "samples_per_second": round(1e3 * point["batch"] / median),
    }


def write(rows: list[dict], facts: dict, out: str) -> None:
    """The table, the facts, and the picture."""
    with (
        whole_file(os.path.join(out, "scaling.csv")) as made,
        open(made, "w", newline="", encoding="utf-8") as f,
    ):
        table = csv.DictWriter(f, COLUMNS)
        table.writeheader()
        table.writerows(rows)
    with (
        whole_file(os.path.join(out, "scaling.json")) as made,
        open(made, "w", encoding="utf-8") as f,
    ):
        json.dump({**facts, "rows": rows}, f, indent=1)
    with whole_file(os.path.join(out, "scaling.png")) as made:
        draw(rows, made)


def draw(rows: list[dict], path: str) -> None:
    """One panel per axis, one line per model; both scales logarithmic, attributes' linear."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(AXES), figsize=(4 * len(AXES), 3.6), layout="constrained")
    for panel, (axis, label) in zip(panels, AXES.items(), strict=True):
        for model in dict.fromkeys(r["model"] for r in rows):
            line = [r for r in rows if (r["model"], r["axis"]) == (model, axis)]
            line.sort(key=lambda r: r[axis])
            ms = [r["ms_a_step"] for r in line]
            panel.plot([r[axis] for r in line], ms, marker="o", label=model.upper())
        panel.set_xscale("linear" if axis == "attributes" else "log")
        panel.set_yscale("log")
        panel.set_xlabel(label)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("ms a training step")
    panels[0].legend()
    figure.savefig(path, format="png", dpi=120)
    plt.close(figure)


def whole(text: str) -> int:
    """An integer, written 1e6 too."""
    try:
        if float(text) == int(float(text)):
            return int(float(text))
    except (ValueError, OverflowError):
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")


def parser() -> argparse.ArgumentParser:
    p = arguments.parser(__doc__)
    p.add_argument("--models", nargs="+", choices=settings.models(), default=["din", "dien", "bst"])
    p.add_argument(
        "--table-rows",
        type=whole,
        nargs="+",
        default=[10**k for k in range(4, 8)],
        help="1e4 … 1e7",
    )
    p.add_argument(
        "--history", type=whole, nargs="+", default=[10, 30, 100, 300, 1000], help="10 … 1000"
    )
    p.add_argument(
        "--batch",
        type=whole,
        nargs="+",
        default=[128, 256, 512, 1024, 2048, 4096],
        help="128 … 4096",
    )
    p.add_argument("--attributes", type=whole, nargs="+", default=[0, 1, 2, 4, 8], help="0 … 8")
    p.add_argument(
        "--base",
        type=whole,
        nargs=4,
        default=[100_000, 50, 1024, 1],
        metavar=("ROWS", "HISTORY", "BATCH", "ATTR"),
        help="what the others stay at; default 100000 50 1024 1",
    )
    arguments.add_override(p)
    p.add_argument("--steps", type=int, default=10, help="timed steps per point; default 10")
    arguments.add_process(p)
    p.add_argument(
        "--out", default="output/benchmarks/scaling", help="directory; default %(default)s"
    )
    return p


if __name__ == "__main__":
    cli.run(parser(), work)
