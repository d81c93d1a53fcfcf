r"""Evaluate a trained run's best checkpoint on a split and write every prediction.

    python tools/infer.py -m models/din/config.yaml
    python tools/infer.py -m models/din/config.yaml --split valid \
        -o runner.infer_load_path=some/checkpoint.npz

Writes predictions.parquet (user, item, label, time, score; raw ids) into the run's directory. With
--error-bars test's users are drawn again (with replacement, 1,000 samples) and, if the protocol
draws negatives, these too (three draws); the JSON then says where 95 % of each figure lies.
"""

import argparse
import os

from paddleinterest.core import cli, distributed, environment
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.training import run


def work(args):
    config = run.open_run(args)
    path = run.checkpoint_path(config)
    out = args.out or os.path.join(run.directory(config), "predictions.parquet")
    run.check_predictions(out)
    if args.error_bars and args.split != "test":
        raise InputError("--error-bars are of test; leave out --split")
    environment.set_up(config.runner.threads, config.runner.cpu_tuning)  # before Paddle is imported
    data = run.dataset(config)
    from paddleinterest.core.metrics import format_metrics
    from paddleinterest.study import bars
    from paddleinterest.training.predict import score_checkpoint, write_predictions

    model, reader, score, state = score_checkpoint(config, data, path, args.split)
    metrics = model.create_metrics()(reader.user, reader.label, score)
    if not distributed.process_index():
        write_predictions(out, reader, data, score)
    more = {}
    if args.error_bars:
        found = bars.of_checkpoint(config, data, path)
        bars.save(found, args.error_bars)
        more["error_bars"] = bars.summary(found)
    say(f"{args.split} {format_metrics(metrics)}")
    if reader.schema.note:
        say(reader.schema.note)
    return {
        "model": config.model,
        "dataset": reader.schema.name,
        "protocol": reader.schema.protocol,
        "split": args.split,
        "checkpoint": path,
        "epoch": state["epoch"],
        "rows": reader.rows,
        **metrics,
        **more,
        "predictions": out,
    }


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    run.add_arguments(p)
    p.add_argument(
        "--split",
        choices=("train", "valid", "test"),
        default="test",
        help="what to score; default test",
    )
    p.add_argument(
        "--out", help="Parquet file to write; default predictions.parquet in the run's directory"
    )
    p.add_argument(
        "--error-bars",
        metavar="FILE",
        help="draw test's users and negatives again, and write the figures to this JSON file",
    )
    cli.run(p, work)
