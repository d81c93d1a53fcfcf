"""Export a trained run as a bundle that serves on its own, through Paddle Inference.

    python tools/to_static.py -m models/din/config.yaml

The bundle (output/<model>/<name>/export) holds the inference program and weights, schema.yaml, the
vocabularies and item attributes, the latest events of every user, signature.yaml (inputs with
shapes and types), calibration.json (with --calibration) and request.example.json.
"""

import argparse
import os
from typing import Any

from paddleinterest.core import cli, environment
from paddleinterest.core.errors import InputError
from paddleinterest.training import run


def work(args: argparse.Namespace) -> dict[str, Any]:
    """Export the run that the flags name."""
    if args.triton and args.calibration != "none":
        raise InputError(
            "--triton serves the net's probabilities, without --calibration; leave out one of them"
        )
    config = run.open_run(args)
    run.checkpoint_path(config)  # before a dataset is prepared in vain
    environment.set_up(config.runner.threads, config.runner.cpu_tuning)  # before Paddle is imported
    data = run.dataset(config)
    from paddleinterest.serving.export import Contents, export

    out = args.out or os.path.join(run.directory(config), "export")
    contents = Contents(not args.no_histories, args.onnx or bool(args.triton), args.calibration)
    if not args.triton:
        return export(config, data, out, contents)
    from paddleinterest.serving.onnx import triton

    triton.check_replaceable(args.triton)
    return {**export(config, data, out, contents), **triton.write(out, args.triton)}


def main() -> None:
    """Parse the flags and export."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    run.add_arguments(p)
    p.add_argument(
        "--out",
        help=(
            "directory of the bundle, replaced if it exists; default export in the run's directory"
        ),
    )
    p.add_argument(
        "--no-histories",
        action="store_true",
        help="leave out the users' latest events, if requests or a store bring the history",
    )
    p.add_argument(
        "--onnx",
        action="store_true",
        help="write the programs as ONNX too, checked against Paddle's; for --engine onnx or auto",
    )
    p.add_argument(
        "--calibration",
        choices=("none", "platt", "isotonic"),
        default="none",
        help="fit on valid what makes calibrated probabilities of the net's, and print log loss and"
        " PCOC of test before and after; needs scikit-learn; default none",
    )
    p.add_argument(
        "--triton",
        metavar="DIR",
        help="also write a model repository for the Triton Inference Server; implies --onnx",
    )
    cli.run(p, work)
