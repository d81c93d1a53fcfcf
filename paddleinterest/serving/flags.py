"""The flags of the tools that score with an export bundle, and the bundle opened as they say."""

import argparse
import typing

from paddleinterest.core import environment
from paddleinterest.serving.device import ENGINES

if typing.TYPE_CHECKING:
    from paddleinterest.serving.bundle import Bundle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --bundle and the flags of its engine."""
    add = parser.add_argument
    add("--bundle", required=True, help="directory that tools/to_static.py wrote")
    add("--threads", type=int, default=0, help="CPU threads; default 0, all cores")
    add(
        "--engine",
        choices=ENGINES,
        default="paddle",
        help="paddle (default), onnx, or auto: the faster one, measured when the bundle is opened",
    )
    add("--onednn", action="store_true", help="use oneDNN kernels")
    add("--use-gpu", action="store_true", help="run on the first GPU; needs paddlepaddle-gpu")
    add(
        "--no-cpu-tuning",
        action="store_true",
        help="leave the environment variables of this process alone",
    )


def open_bundle(args: argparse.Namespace) -> "Bundle":
    """The bundle that the flags name. Imports Paddle if the engine may be Paddle."""
    if args.engine != "onnx":
        environment.set_up(args.threads, not args.no_cpu_tuning)
    from paddleinterest.serving.bundle import Bundle

    threads = args.threads or environment.cores()
    return Bundle(args.bundle, threads, args.onednn, args.use_gpu, args.engine)
