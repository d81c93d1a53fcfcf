"""Flags and paths that several benchmarks share."""

import argparse
import os

from paddleinterest.core import settings


def parser(description: str) -> argparse.ArgumentParser:
    """A parser that prints the description unchanged."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_process(p: argparse.ArgumentParser) -> None:
    """--threads and --no-cpu-tuning, for `environment.set_up`."""
    p.add_argument("--threads", type=int, default=0, help="CPU threads; default all cores")
    add_tuning(p)


def add_tuning(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--no-cpu-tuning",
        action="store_true",
        help="leave the environment variables of this process alone",
    )


def add_override(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "-o",
        "--override",
        nargs="+",
        default=[],
        action="extend",
        metavar="KEY=VALUE",
        help="settings, as of the trainer",
    )


def config_of(model: str) -> str:
    """The path of a model's settings."""
    return os.path.join(settings.ROOT, "models", model, "config.yaml")
