"""Turn a raw log into a prepared dataset: the command of paddleinterest/data/prepare.py."""

from paddleinterest.core import cli
from paddleinterest.data.prepare import Parser, work


def main():
    cli.run(Parser(), work)
