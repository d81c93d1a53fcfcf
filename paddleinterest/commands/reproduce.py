"""Train and evaluate every cell of a named table, and write the table: Markdown, CSV, and into the
READMEs.

    python tools/reproduce.py --table main
    python tools/reproduce.py --table main --dry-run          # the commands, and what is done already
    python tools/reproduce.py --table main --paste README.md README_cn.md

A cell is one row of configs/tables/<name>.yaml on one dataset with one seed: one call of
tools/trainer.py, whose result is kept in <out>/cells, for all tables that name the same command.
What is there is not run again (delete the file after changing data or code); what was interrupted
is. Cells that have not been run say so in the table.
"""

import argparse
import hashlib
import json
import os
import shlex

from paddleinterest.core import child, cli, json_text, settings
from paddleinterest.core.atomic import whole_file
from paddleinterest.core.log import say
from paddleinterest.study import tables


def work(args):
    table = tables.read(args.table)
    cells = tables.cells(table, args.rows, args.datasets, args.seeds)
    folder = os.path.join(args.out, table["name"])
    done, failed = {}, 0
    for number, cell in enumerate(cells, 1):
        path = os.path.join(args.out, "cells", f"{_slug(cell['command'])}.json")
        result = _kept(path, cell)
        if args.dry_run:
            say(f"{'done' if result else 'to do':6s} {shlex.join(cell['command'])}")
        elif result is None and not args.write_only:
            say(f"{number} of {len(cells)}: {shlex.join(cell['command'])}")
            result = _run(cell, path)
            failed += result is None
        if result:
            done[cell["row"], cell["dataset"], cell["seed"]] = result
    if args.dry_run:
        return {"table": table["name"], "cells": len(cells), "done": len(done)}
    text, rows = tables.markdown(table, done), tables.csv_rows(table, done)
    made = {"markdown": os.path.join(folder, "table.md"), "csv": os.path.join(folder, "table.csv")}
    os.makedirs(folder, exist_ok=True)
    for path, content in ((made["markdown"], text), (made["csv"], rows)):
        with whole_file(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as f:
            f.write(content)
    for path in args.paste:
        tables.paste(path, table["name"], text)
    say(text)
    return {
        "table": table["name"],
        "cells": len(cells),
        "done": len(done),
        "failed": failed,
        **made,
        "pasted": args.paste,
    }


def _slug(command):
    """A file name for a command: its model and run, and a hash of the whole."""
    words = command[1:]
    if "-m" in command:
        config, run = (
            command[command.index("-m") + 1],
            next(w for w in command if w.startswith("runner.name=")),
        )
        words = [config.removesuffix("/config.yaml").removesuffix(".yaml"), run.partition("=")[2]]
    name = "-".join(map(os.path.basename, words))
    return f"{name}-{hashlib.sha256(shlex.join(command).encode()).hexdigest()[:8]}"


def _kept(path, cell):
    """The result of an earlier run of this very command, or None."""
    if not os.path.isfile(path):
        return None
    try:
        with open(path, encoding="utf-8") as f:
            kept = json.load(f)
        return kept if kept["command"] == cell["command"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _run(cell, path):
    """Train one cell in a process of its own; its progress goes on to standard error. Returns None
    where it failed."""
    tool, *arguments = cell["command"][1:]
    if "-m" in arguments:
        arguments[arguments.index("-m") + 1] = os.path.join(
            settings.ROOT, arguments[arguments.index("-m") + 1]
        )
        arguments.append("runner.overwrite=true")
    status, result = child.run(tool, arguments)
    if status:
        say(f"failed with exit status {status}; it is tried again next time")
        return None
    result = {**result, "command": cell["command"], "versions": tables.versions()}
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with whole_file(path) as temporary, open(temporary, "w", encoding="utf-8") as f:
        f.write(json_text.dumps(result, indent=1))
    return result


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument(
        "--table", required=True, help=f"one of {', '.join(tables.names())}, or a YAML file"
    )
    p.add_argument("--rows", nargs="+", metavar="LABEL", help="only these rows")
    p.add_argument(
        "--datasets", nargs="+", metavar="NAME", help="only these datasets, such as beauty"
    )
    p.add_argument("--seeds", nargs="+", type=int, metavar="N", help="only these seeds")
    p.add_argument("--out", default=os.path.join("output", "tables"), help="default output/tables")
    p.add_argument(
        "--paste",
        nargs="+",
        default=[],
        metavar="README",
        help="also write the table between <!-- table NAME --> and <!-- /table --> of these files",
    )
    p.add_argument(
        "--dry-run", action="store_true", help="only print the commands, and which are done"
    )
    p.add_argument(
        "--write-only", action="store_true", help="run nothing, write the table of what is done"
    )
    cli.run(p, work)
