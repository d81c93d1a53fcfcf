"""Draw trained runs: learning curves, AUC by history length, calibration, cost against AUC, on a
page with their numbers.

    python tools/report.py --runs output/din/beauty-2026 output/base/beauty-2026 --out docs/results
    python tools/report.py --table main --datasets beauty --out docs/results

Runs of one model that differ in the seed alone are one line. --table takes the directories that
tools/reproduce.py trains in. The best checkpoint of every run is scored on test once and the scores
are kept in the run directory (test-scores.npz; they are made again when checkpoint, settings or
dataset have changed). Writes README.md, README_cn.md and four SVG files a dataset.
"""

import argparse
import os
import re
import shlex
import sys

from paddleinterest.core import cli, environment
from paddleinterest.core.atomic import whole_file
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.study import results, tables

CALIBRATION_BINS, DRAWS = 10, 200


def work(args):
    if args.bins < 1:
        raise InputError("--bins must be at least 1")
    _check_out(args.out)
    runs, left_out = open_runs(args)
    environment.set_up(runs[0].config)  # before Paddle is imported
    results.score_runs(runs)
    from paddleinterest.study import page, plots

    series = results.series(runs)
    style = plots.styles({r.label: r.model for r in runs})
    parts = [
        numbers_of(of_label, args.bins) for of_label in series.values()
    ]  # all numbers before the first file
    for part in parts:
        draw(part, style, args.out)
    command = shlex.join(["python", "tools/report.py", *sys.argv[1:]])
    for language, name in reversed(page.PAGES.items()):  # last, so that a page finds its pictures
        with (
            whole_file(os.path.join(args.out, name)) as made,
            open(made, "w", encoding="utf-8") as f,
        ):
            f.write(page.page(language, command, parts, left_out, DRAWS))
    return {
        "out": args.out,
        "runs": len(runs),
        "left_out": left_out,
        "pages": list(page.PAGES.values()),
        "pictures": [p for part in parts for p in part["pictures"].values()],
    }


def open_runs(args):
    """The runs that were asked for, with their labels, and a line for each that is missing and
    skipped."""
    if args.table:
        table = tables.read(args.table)
        wanted = results.of_table(tables.cells(table, args.rows, args.datasets, args.seeds))
    else:
        wanted = {os.path.normpath(d): "" for d in args.runs}  # the same directory twice is one run
    runs, left_out = [], []
    for directory, label in wanted.items():
        try:
            runs.append(results.open_run(directory, label))
        except results.Missing as e:
            if not args.skip_missing:
                raise
            left_out.append(str(e))
            say(f"left out: {e}")
    if not runs:
        raise InputError("none of the runs is there")
    results.name_runs(runs)
    return runs if args.table else results.in_order(runs), left_out


def numbers_of(series, bins):
    """Everything that the page says of one dataset. series: {label: runs}."""
    from paddleinterest.study import curves

    runs = [r for of_label in series.values() for r in of_label]
    split = runs[0].split
    untimed = [r.directory for r in runs if not r.result]
    for directory in untimed:
        say(
            f"{directory} has no result.json (an older run, or one that has not ended): no point in"
            " the picture of cost"
        )
    return {
        "schema": split.schema,
        "series": series,
        "quality": curves.quality(series),
        "learning": curves.learning(series),
        "length": curves.by_length(series, split, bins, DRAWS),
        "bins": min(CALIBRATION_BINS, len(split.label)),
        "calibration": curves.calibrated(series, split, CALIBRATION_BINS),
        "cost": curves.cost(series, split),
        "untimed": untimed,
        "caps": sorted({r.config["runner"]["history_cap"] for r in runs}),
        "settings": {label: results.own_settings(of_label) for label, of_label in series.items()},
        "pictures": {},
    }


def draw(part, style, out):
    """The pictures of one dataset; their file names go into part["pictures"]."""
    from paddleinterest.study import plots

    name = part["schema"].name
    threads = " / ".join(sorted({t for n in part["cost"].values() for t in n["threads"]}))
    pictures = {
        "learning": lambda path: plots.learning(
            part["learning"], style, path, f"Learning curves, {name}"
        ),
        "length": lambda path: plots.by_length(
            *part["length"], style, path, f"AUC by history length, {name}"
        ),
        "calibration": lambda path: plots.calibrated(
            part["calibration"], style, path, f"Calibration on test, {name}"
        ),
        "cost": lambda path: plots.cost(
            part["cost"], style, path, f"Cost and AUC, {name}", threads
        ),
    }
    if len(part["length"][0]) == 1:
        del pictures["length"]  # there is nothing to compare with
    for kind, picture in pictures.items():
        if part[kind]:
            part["pictures"][kind] = f"{re.sub(r'[^A-Za-z0-9_.]+', '-', name)}-{kind}.svg"
            with whole_file(os.path.join(out, part["pictures"][kind])) as made:
                picture(made)


def _check_out(out):
    """Refuse a directory that cannot be made, or that holds another page, before the work rather
    than after it."""
    path = os.path.abspath(out)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    if not os.path.isdir(path):
        raise InputError(f"--out {out}: {path} is a file, not a directory")
    from paddleinterest.study import page

    for language, name in page.PAGES.items():
        there = os.path.join(out, name)
        if os.path.exists(there) and _first_line(there) != page.first_line(language):
            raise InputError(
                f"--out {out}: its {name} is no page of this tool's and is not replaced; choose"
                " another folder"
            )


def _first_line(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.readline().strip()


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--runs", nargs="+", metavar="DIR", help="run directories, such as output/din/beauty-2026"
    )
    what.add_argument(
        "--table",
        help=(
            f"the runs of a table of tools/reproduce.py: {', '.join(tables.names())}, or a YAML"
            " file"
        ),
    )
    p.add_argument("--rows", nargs="+", metavar="LABEL", help="with --table: only these rows")
    p.add_argument(
        "--datasets",
        nargs="+",
        metavar="NAME",
        help="with --table: only these datasets, such as beauty",
    )
    p.add_argument(
        "--seeds", nargs="+", type=int, metavar="N", help="with --table: only these seeds"
    )
    p.add_argument(
        "--out",
        default=os.path.join("output", "report"),
        help="where page and pictures go; default output/report",
    )
    p.add_argument(
        "--bins", type=int, default=6, help="ranges of history length, at most; default 6"
    )
    p.add_argument(
        "--skip-missing",
        action="store_true",
        help="leave out, and name, runs that are not there or not whole",
    )
    cli.run(p, work)
