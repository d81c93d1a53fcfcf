"""What popularity alone reaches: every sample scored by the number of its item's events in train
(for a protocol with the log's labels: of its samples).

    python tools/popularity.py --dataset datasets/beauty.yaml

It is a row of the results' tables, and a floor: a model that is no better has learned nothing of
the user. Counts are not probabilities, so there is an AUC and a gAUC but no log loss.
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
