"""Draw trained runs: learning curves, AUC by history length, calibration, cost against AUC, on a
page with their numbers.

    python tools/report.py --runs output/din/beauty-2026 output/base/beauty-2026 --out docs/results
    python tools/report.py --table main --datasets beauty --out docs/results

Runs of one model that differ only in the seed become one line. --table takes the directories that
tools/reproduce.py trains in. The best checkpoint of every run is scored on test once. The scores
are kept in the run directory (test-scores.npz) and computed again if checkpoint, settings or
dataset have changed. Writes README.md, README.zh.md and four SVG files per dataset.
"""

import argparse
import os
import shlex
import sys

from paddleinterest.core import cli
from paddleinterest.core.errors import InputError
from paddleinterest.study import tables
from paddleinterest.study.report import Choice, report


def work(args: argparse.Namespace) -> dict:
    if args.bins < 1:
        raise InputError(f"--bins is {args.bins}, must be at least 1")
    choice = Choice(
        args.runs or [], args.table, args.rows, args.datasets, args.seeds, args.skip_missing
    )
    command = shlex.join(["python", "tools/report.py", *sys.argv[1:]])
    return report(choice, args.out, args.bins, command)


def main() -> None:
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--runs", nargs="+", metavar="DIR", help="run directories, such as output/din/beauty-2026"
    )
    what.add_argument(
        "--table",
        help=f"the runs of a table of tools/reproduce.py: {', '.join(tables.names())}, or a YAML"
        " file",
    )
    tables.add_choice(p, "with --table: only")
    p.add_argument(
        "--out",
        default=os.path.join("output", "report"),
        help="folder of the page and its pictures; default output/report",
    )
    p.add_argument(
        "--bins", type=int, default=6, help="largest number of ranges of history length; default 6"
    )
    p.add_argument(
        "--skip-missing",
        action="store_true",
        help="leave out runs that are missing or incomplete, and name them",
    )
    cli.run(p, work)
