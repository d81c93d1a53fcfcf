r"""Fill a store of histories from an export bundle, before a server starts with it.

    python tools/load_history.py --bundle output/din/complete_journey/export \
        --history sqlite:events.db

The store gets the latest events of every user that the bundle has. Events that are in it stay. A
user who has some is skipped, so running the command twice adds nothing.
"""

import argparse
from typing import Any

from paddleinterest.core import cli


def work(args: argparse.Namespace) -> dict[str, Any]:
    """Fill the store that the flags name."""
    from paddleinterest.serving.history.load import load

    return load(args.bundle, args.history)


def main() -> None:
    """Parse the flags and fill the store."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--bundle", required=True, help="directory that tools/to_static.py wrote")
    p.add_argument(
        "--history",
        required=True,
        metavar="STORE",
        help="what to fill: sqlite:FILE or redis://HOST:PORT/DB",
    )
    cli.run(p, work)
