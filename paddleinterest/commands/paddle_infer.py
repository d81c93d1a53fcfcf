r"""Score a file of rows, a split of a prepared dataset, or a JSON request, by an export bundle.

    python tools/paddle_infer.py --bundle output/din/complete_journey/export --split test
    python tools/paddle_infer.py --bundle output/din/complete_journey/export --request request.json
    python tools/paddle_infer.py --bundle output/din/complete_journey/export \
        --events today.csv --out scores.csv
    python tools/paddle_infer.py --bundle output/din/complete_journey/export \
        --events users.csv --candidates items.csv --top 20 --out ranking.parquet

--events takes CSV, JSON lines or Parquet of any size: user, item and time, and the dataset's
columns; in place of item a column candidates, or the items of --candidates for every row. A row
without a column history gets its user's events before its time from --history.

A request (the bundle's request.example.json is one) names a history, oldest first, and candidates;
a JSON list of requests gives a list of answers. The answer is the last line of standard output.
"""

import argparse
import typing
from typing import Any

from paddleinterest.core import cli
from paddleinterest.core.errors import InputError
from paddleinterest.serving.flags import add_arguments, open_bundle
from paddleinterest.training import run

if typing.TYPE_CHECKING:
    from paddleinterest.serving.day.score import Job

UNITS = ("s", "ms", "us", "ns")
OF_EVENTS = {
    "candidates": "",
    "top": 0,
    "history": "",
    "user_column": "",
    "item_column": "",
    "time_column": "",
    "time_unit": "",
    "time_zone": "",
    "keep_going": False,
    "overwrite": False,
}  # flags that go with --events alone, with their defaults


def work(args: argparse.Namespace) -> dict[str, Any]:
    """Score what the flags name."""
    if args.out and args.request:
        raise InputError(
            "--out goes with --split or --events; the answer to a --request is the last line of"
            " standard output"
        )
    if args.batch_size < 1:
        raise InputError(f"--batch-size is {args.batch_size}, must be at least 1")
    if args.events:
        return _events(args)
    for name, default in OF_EVENTS.items():
        if getattr(args, name) != default:
            raise InputError(f"--{name.replace('_', '-')} goes with --events")
    if args.out:
        run.check_predictions(args.out)
    bundle = open_bundle(args)
    from paddleinterest.serving.request import read_requests

    if args.request:
        return {"bundle": args.bundle, **bundle.answer(read_requests(args.request))}
    from paddleinterest.serving.score_split import score_split

    return {
        "bundle": args.bundle,
        **score_split(
            bundle,
            args.data or bundle.signature["origin"]["data_dir"],
            args.split,
            args.batch_size,
            args.out,
        ),
    }


def _events(args: argparse.Namespace) -> dict[str, Any]:
    """Score a file of rows."""
    from paddleinterest.data.sources.times import Clock, check_clock
    from paddleinterest.serving.day import output
    from paddleinterest.serving.history.source import check_form

    if args.data:
        raise InputError("--data goes with --split")
    if not args.out:
        raise InputError("--events needs --out FILE, the file of scores to write")
    if args.top < 0:
        raise InputError(f"--top is {args.top}, must be at least 1")
    output.check(args.out, args.events, args.overwrite)
    check_form(args.history or "bundle")
    check_clock(Clock(args.time_unit, args.time_zone))
    bundle = open_bundle(args)
    from paddleinterest.serving.day.score import DayScorer, histories

    scorer = DayScorer(bundle, histories(bundle, args.history or "bundle"), _job(args))
    if args.history and scorer.meaning.history:
        raise InputError(
            f"{args.events} has a column history, so --history {args.history} would not be read;"
            " leave out one"
        )
    counts = scorer.run()
    return {
        "bundle": args.bundle,
        "version": bundle.version,
        "events": args.events,
        **counts,
        "out": args.out,
    }


def _job(args: argparse.Namespace) -> "Job":
    from paddleinterest.serving.day.meaning import Names
    from paddleinterest.serving.day.score import Job

    names = Names(
        args.user_column, args.item_column, args.time_column, args.time_unit, args.time_zone
    )
    return Job(
        args.events,
        args.out,
        args.candidates,
        args.top,
        names,
        args.batch_size,
        args.keep_going,
        args.overwrite,
    )


def main() -> None:
    """Parse the flags and score."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(p)
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--split", choices=("train", "valid", "test"), help="score this split and print its metrics"
    )
    what.add_argument(
        "--request", help="JSON file with a request, or a list of them; - reads standard input"
    )
    what.add_argument(
        "--events",
        metavar="FILE",
        help="score every row of this file, or folder of parts, in order",
    )
    p.add_argument(
        "--data", help="prepared dataset of --split; default the one that the bundle was trained on"
    )
    p.add_argument(
        "--out",
        help="with --split: also write every prediction to this Parquet file; with --events: the"
        " file of scores, .csv, .jsonl or .parquet",
    )
    p.add_argument(
        "--batch-size",
        type=int,
        default=4096,
        help="with --split: rows per call; with --events: rows read at once; default 4096",
    )
    _add_events(p.add_argument_group("with --events"))
    cli.run(p, work)


def _add_events(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--candidates",
        default="",
        metavar="FILE",
        help="file with a column item: the items that every row ranks",
    )
    add(
        "--top",
        type=int,
        default=0,
        metavar="K",
        help="write the best K candidates of each row; default all",
    )
    add(
        "--history",
        default="",
        metavar="STORE",
        help="histories of users: bundle (default), none, sqlite:FILE or redis://HOST:PORT/DB",
    )
    for role in ("user", "item", "time"):
        add(
            f"--{role}-column",
            default="",
            metavar="COL",
            help=f"the {role}'s column; default as in the log that was prepared, or {role}",
        )
    add(
        "--time-unit",
        default="",
        choices=UNITS,
        help="unit of times that are numbers; default as in the log that was prepared, or s",
    )
    add(
        "--time-zone",
        default="",
        metavar="ZONE",
        help="zone of dates without one; default as in the log that was prepared, or UTC",
    )
    add(
        "--keep-going",
        action="store_true",
        help="write rows that cannot be scored with an empty score, and count them",
    )
    add("--overwrite", action="store_true", help="replace the file of --out")
