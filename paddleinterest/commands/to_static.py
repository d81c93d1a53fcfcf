"""Export a trained run as a bundle that serves on its own, through Paddle Inference.

    python tools/to_static.py -m models/din/config.yaml

The bundle (output/<model>/<name>/export) holds the inference program and weights, schema.yaml, the
vocabularies and item attributes, signature.yaml (inputs with shapes and types) and
request.example.json.
"""

import argparse
import os

from paddleinterest.core import cli, environment
from paddleinterest.training import run


def work(args):
    config = run.open_run(args)
    run.checkpoint_path(config)  # before a dataset is prepared for nothing
    environment.set_up(config)  # before Paddle is imported
    data = run.dataset(config)
    from paddleinterest.serving.export import export

    return export(config, data, args.out or os.path.join(run.directory(config), "export"))


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    run.add_arguments(p)
    p.add_argument(
        "--out",
        help=(
            "directory of the bundle, replaced where it exists; default export in the run's"
            " directory"
        ),
    )
    cli.run(p, work)
