"""Score every sample by the popularity of its item: the number of its events in train (its samples,
if the protocol uses the log's labels).

    python tools/popularity.py --dataset datasets/beauty.yaml

It is a row of the tables of results, and a floor: a model that is not better has learned nothing
about the user. Counts are not probabilities, so there are AUC and gAUC, but no log loss.
"""

import argparse

from paddleinterest.core import cli, settings
from paddleinterest.study import bars
from paddleinterest.study.popularity import popularity
from paddleinterest.training import run


def work(args: argparse.Namespace) -> dict:
    runner = settings.Runner(data_dir=args.data, dataset=args.dataset)
    data = run.dataset(settings.Settings(runner=runner))
    if args.error_bars:
        bars.save(bars.of_popularity(data), args.error_bars)
    return popularity(data)


def main() -> None:
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = p.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--dataset",
        default="",
        metavar="RECIPE",
        help="such as datasets/beauty.yaml; prepared if it is not there",
    )
    which.add_argument("--data", default="", metavar="DIR", help="a prepared dataset")
    p.add_argument(
        "--error-bars",
        metavar="FILE",
        help="draw test's users and negatives again, and write the figures to this JSON file",
    )
    cli.run(p, work)
