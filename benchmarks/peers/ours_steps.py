r"""Milliseconds a training step of ours, reading included, after the same warm-up as the peers';
compare.py starts this.

    python benchmarks/peers/ours_steps.py -m models/din/config.yaml \
        -o runner.data_dir=data/beauty --item-vocab 1000000
"""

import argparse
import itertools
import os
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT)

from benchmarks import arguments
from paddleinterest.core import cli, environment, settings
from paddleinterest.data.schema import Schema
from paddleinterest.training import run

WARM_UP = 5  # as in runners/common.py


def work(args: argparse.Namespace) -> dict:
    config = settings.load(args.config_yaml, args.override)
    environment.set_up(config.runner.threads, config.runner.cpu_tuning)
    from benchmarks.steps import Trainee

    data = run.dataset(config)
    schema = Schema.load(data)
    schema.item_fields[0].size = max(schema.item_fields[0].size, args.item_vocab)
    trainee = Trainee(config, schema)
    reader = trainee.reader(data, config.runner.train_batch_size)
    batches = itertools.chain.from_iterable(reader.epoch(epoch) for epoch in itertools.count())
    for _ in range(WARM_UP):
        trainee.step(next(batches))
    started = time.perf_counter()
    for _ in range(args.steps):
        trainee.step(next(batches))
    return {
        "model": config.model,
        "ms_a_step": 1e3 * (time.perf_counter() - started) / args.steps,
        "parameters": sum(p.numel().item() for p in trainee.net.parameters()),
    }


if __name__ == "__main__":
    p = arguments.parser(__doc__)
    run.add_arguments(p)
    p.add_argument("--steps", type=int, default=50, help="steps to time; default 50")
    p.add_argument(
        "--item-vocab", type=int, default=0, help="rows of the item table; default as in the data"
    )
    cli.run(p, work)
