r"""Say whether one trained model is better than the other, or whether it may be chance.

    python tools/compare.py output/din/mine output/base/mine
    python tools/compare.py output/din/mine-1,output/din/mine-2,output/din/mine-3 \
        output/base/mine-1,output/base/mine-2,output/base/mine-3

Both must have been tested on the same rows. Test's users are drawn again (with replacement, 1,000
samples, the same for both), and so are its negatives if the protocol draws them (three draws). That
shows what other users would give. Only other seeds show what a second training would give, so name
one run per seed, separated by commas, at least three per model. A difference counts only if it
survives both.
"""

import argparse

from paddleinterest.core import cli
from paddleinterest.study.comparison import compare_runs


def work(args: argparse.Namespace) -> dict:
    return compare_runs(args.one.split(","), args.other.split(","))


def main() -> None:
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("one", metavar="RUN", help="run directory, or one per seed: A,B,C")
    p.add_argument("other", metavar="RUN", help="run directory, or one per seed: A,B,C")
    cli.run(p, work)
