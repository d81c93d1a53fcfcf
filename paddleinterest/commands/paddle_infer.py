"""Score a split of a prepared dataset, or a JSON request of raw ids, through Paddle Inference.

    python tools/paddle_infer.py --bundle output/din/complete_journey/export --split test
    python tools/paddle_infer.py --bundle output/din/complete_journey/export --request request.json

A request (the bundle's request.example.json is one) names a history, oldest first, and candidates;
a JSON list of requests gives a list of answers. The answer is the last line of standard output.
"""

import argparse
from typing import Any

from paddleinterest.core import cli
from paddleinterest.core.errors import InputError
from paddleinterest.serving.flags import add_arguments, open_bundle
from paddleinterest.training import run


def work(args: argparse.Namespace) -> dict[str, Any]:
    if args.out and args.request:
        raise InputError(
            "--out goes with --split; the answer to a --request is the last line of standard output"
        )
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


def main() -> None:
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
    p.add_argument(
        "--data", help="prepared dataset of --split; default the one that the bundle was trained on"
    )
    p.add_argument("--out", help="with --split: also write every prediction to this Parquet file")
    p.add_argument(
        "--batch-size", type=int, default=4096, help="with --split: rows per call; default 4096"
    )
    cli.run(p, work)
