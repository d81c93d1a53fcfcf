"""The flags of the tools that score with an export bundle, and the bundle opened as they say."""

import argparse
import typing

from paddleinterest.core import environment

if typing.TYPE_CHECKING:
    from paddleinterest.serving.bundle import Bundle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --bundle and the flags of its engine."""
    add = parser.add_argument
    add("--bundle", required=True, help="directory that tools/to_static.py wrote")
    add("--threads", type=int, default=0, help="CPU threads; default 0, all cores")
    add("--onednn", action="store_true", help="use oneDNN kernels")
    add("--use-gpu", action="store_true", help="run on the first GPU; needs paddlepaddle-gpu")
    add(
        "--no-cpu-tuning",
        action="store_true",
        help="leave the environment variables of this process alone",
    )


def open_bundle(args: argparse.Namespace) -> "Bundle":
    """The bundle that the flags name. Imports Paddle."""
    environment.set_up(args.threads, not args.no_cpu_tuning)
    from paddleinterest.serving.bundle import Bundle

    return Bundle(args.bundle, args.threads or environment.cores(), args.onednn, args.use_gpu)
