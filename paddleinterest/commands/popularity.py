"""What popularity alone reaches: every sample scored by the number of its item's events in train
(under labels: of its samples).

    python tools/popularity.py --dataset datasets/beauty.yaml

A row of the results' tables, and a floor: a model that is no better has learned nothing of the
user. Counts are no probabilities, so that there is an AUC and a gAUC and no log loss.
"""

import argparse

from paddleinterest.core import cli
from paddleinterest.core.log import say
from paddleinterest.core.metrics import click_metrics, format_metrics
from paddleinterest.data.reader import Reader
from paddleinterest.data.schema import Schema
from paddleinterest.training import run


def work(args):
    data = run.dataset({"runner": {"data_dir": args.data, "dataset": args.dataset}})
    schema, result = Schema.load(data), {}
    for split in [k for k in ("valid", "test") if k in schema.rows]:
        reader = Reader(data, split, batch_size=1)
        metrics = click_metrics(reader.user, reader.label, reader.items.count[reader.item])
        result[split] = {k: metrics[k] for k in ("auc", "gauc")}
        say(f"{split:5s} {format_metrics(result[split])}")
    return {
        "model": "item popularity",
        "dataset": schema.name,
        "protocol": schema.protocol,
        "rows": schema.rows,
        **result,
    }


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = p.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--dataset",
        default="",
        metavar="RECIPE",
        help="such as datasets/beauty.yaml; prepared where it is not there",
    )
    which.add_argument("--data", default="", metavar="DIR", help="a prepared dataset")
    cli.run(p, work)
