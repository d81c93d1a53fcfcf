"""Train and evaluate every cell of a named table, and write the table: Markdown, CSV, and into the
READMEs.

    python tools/reproduce.py --table main
    python tools/reproduce.py --table main --dry-run      # the commands, and which are done
    python tools/reproduce.py --table main --paste README.md README_cn.md

A cell is one row of configs/tables/<name>.yaml on one dataset with one seed: one call of
tools/trainer.py, whose result is kept in <out>/cells, for all tables that name the same command. A
cell with a result is not run again; delete its file after changing data or code. An interrupted
cell is run again. Cells that have not been run say so in the table.
"""

import argparse
import os

from paddleinterest.core import cli
from paddleinterest.study import tables
from paddleinterest.study.reproduce import dry_run, reproduce


def work(args: argparse.Namespace) -> dict:
    table = tables.read(args.table)
    cells = tables.cells(table, args.rows, args.datasets, args.seeds)
    if args.dry_run:
        return dry_run(table, cells, args.out)
    return reproduce(table, cells, args.out, not args.write_only, args.paste)


def main() -> None:
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument(
        "--table", required=True, help=f"one of {', '.join(tables.names())}, or a YAML file"
    )
    tables.add_choice(p, "only")
    p.add_argument("--out", default=os.path.join("output", "tables"), help="default output/tables")
    p.add_argument(
        "--paste",
        nargs="+",
        default=[],
        metavar="README",
        help="also write the table between <!-- table NAME --> and <!-- /table --> of these files",
    )
    p.add_argument(
        "--dry-run", action="store_true", help="only print the commands, and which of them are done"
    )
    p.add_argument(
        "--write-only", action="store_true", help="run nothing, write the table of what is done"
    )
    cli.run(p, work)
