"""Train a model, keep its best epoch on valid, and report valid and test.

    python tools/trainer.py -m models/din/config.yaml
    python tools/trainer.py -m models/din/config.yaml -o runner.data_dir=data/mine runner.epochs=3

The last line of standard output is one JSON object with the metrics; the run lies in output/<model>/<name>.
"""
import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from tools.utils import cli, environment, run
from tools.utils import config as settings


def work(args):
    config = settings.load(args.config_yaml, args.override)
    environment.set_up(config)  # before Paddle is imported
    data = run.dataset(config)
    from tools.utils.training import train
    return train(config, data)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    run.add_arguments(p)
    cli.run(p, work)
