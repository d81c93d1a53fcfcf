r"""Evaluate a trained run's best checkpoint on a split and write every prediction.

    python tools/infer.py -m models/din/config.yaml
    python tools/infer.py -m models/din/config.yaml --split valid \
        -o runner.infer_load_path=some/checkpoint.npz
    python tools/infer.py -m models/din/config.yaml --candidates 1000 --users 0

Writes predictions.parquet (user, item, label, time, score; raw ids) into the run's directory. With
--error-bars test's users are drawn again (with replacement, 1,000 samples) and, if the protocol
draws negatives, these too (three draws); the JSON then has the 95 % interval of each figure.

Ranked lists: --by-impression gives AUC, MRR, NDCG@5 and NDCG@10 within the rows of a user at one
moment, as the MIND and EB-NeRD leaderboards do. --candidates ranks each positive among the whole
catalogue without the user's history (all), or among N sampled items that the user never touched,
and gives NDCG@10, HR@10 and MRR by user; the two are not comparable with each other.
"""

import argparse
import os
from typing import Any

from paddleinterest.core import cli, distributed, environment
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.training import run


def work(args: argparse.Namespace) -> dict[str, Any]:
    config = run.open_run(args)
    path = run.checkpoint_path(config)
    out = args.out or os.path.join(run.directory(config), "predictions.parquet")
    run.check_predictions(out)
    if args.error_bars and args.split != "test":
        raise InputError("--error-bars works on test only; leave out --split")
    choice = _choice(args)
    environment.set_up(config.runner.threads, config.runner.cpu_tuning)  # before Paddle is imported
    data = run.dataset(config)
    from paddleinterest.core.metrics import format_metrics
    from paddleinterest.study import bars, candidates
    from paddleinterest.training.new_items import auc_withheld
    from paddleinterest.training.predict import score_checkpoint, write_predictions

    model, reader, score, state = score_checkpoint(config, data, path, args.split)
    metrics = model.create_metrics()(reader.user, reader.label, score)
    metrics.update(auc_withheld(reader, score))
    if not distributed.process_index():
        write_predictions(out, reader, data, score)
    more = {}
    if args.error_bars:
        found = bars.of_checkpoint(config, data, path)
        bars.save(found, args.error_bars)
        more["error_bars"] = bars.summary(found)
    if args.by_impression:
        more["by_impression"] = candidates.by_impression(reader, score)
        say(f"by impression: {_in_words(more['by_impression'])}")
    if choice:
        ranked = candidates.of_checkpoint(config, data, path, args.split, choice)
        more["among_candidates"] = ranked
        say(f"among {_in_words(ranked)}")
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


def _choice(args):
    """The candidates to rank each positive among; None if --candidates is not given."""
    if args.users < 0:
        raise InputError(f"--users is {args.users}, must be at least 0")
    if not args.candidates:
        return None
    from paddleinterest.study.candidates import Choice

    if args.candidates == "all":
        return Choice(0, args.users)
    if not args.candidates.isdecimal() or not 0 < int(args.candidates) < 2**31:
        raise InputError(f"--candidates is {args.candidates}, must be all or a number from 1")
    return Choice(int(args.candidates), args.users)


def _in_words(figures):
    """Figures of ranked lists in one line."""
    words = [f"{figures['candidates']}:"] if "candidates" in figures else []
    for name, value in figures.items():
        if name != "candidates":
            text = f"{value:.4f}" if isinstance(value, float) else f"{value:,}"
            words.append(f"{name} {text}")
    return " ".join(words)


def main() -> None:
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
    p.add_argument(
        "--by-impression", action="store_true", help="also AUC, MRR and NDCG within each impression"
    )
    p.add_argument(
        "--candidates",
        default="",
        metavar="N",
        help="rank each positive among N sampled items, or among `all`: NDCG@10, HR@10, MRR",
    )
    p.add_argument(
        "--users",
        type=int,
        default=1000,
        metavar="N",
        help="with --candidates: number of users, drawn at random; 0 = all; default 1000",
    )
    cli.run(p, work)
