"""Train a model, keep its best epoch on valid, and report valid and test.

    python tools/trainer.py -m models/din/config.yaml
    python tools/trainer.py -m models/din/config.yaml -o runner.data_dir=data/mine runner.epochs=3

The last line of standard output is one JSON object with the metrics; the run is in
output/<model>/<name>.
"""

import argparse
from typing import Any

from paddleinterest.core import cli, distributed, environment, settings
from paddleinterest.core.settings import rendering
from paddleinterest.training import run


def work(args: argparse.Namespace) -> dict[str, Any]:
    config = settings.load(args.config_yaml, args.override)
    environment.set_up(config.runner.threads, config.runner.cpu_tuning)  # before Paddle is imported
    data = run.dataset(config)
    from paddleinterest.study import floors
    from paddleinterest.training.trainer import train

    result = train(config, data)
    if "valid" in result and not distributed.process_index():
        floors.say_if_no_better(data, result["valid"]["auc"])
    return result


def main() -> None:
    p = argparse.ArgumentParser(
        description=__doc__,
        epilog=rendering.help_text(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_arguments(p)
    cli.run(p, work)
