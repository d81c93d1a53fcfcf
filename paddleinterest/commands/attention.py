r"""Draw how much each past event counts for each candidate: one row per candidate, one column per
past event.

    python tools/attention.py --bundle output/din/complete_journey/export --user 1890 \
        --events 12 --show product_category
    python tools/attention.py --bundle output/din/complete_journey/export --request request.json

With --user the history is that of the user's last sample in the prepared dataset's test split. The
first candidate is the event that came next in the log, if there is one, and five items of the
catalogue are the others, unless --candidates names items. Writes attention.png and the numbers as
attention.parquet.
"""

import argparse
import os

from paddleinterest.core import cli, environment
from paddleinterest.core.errors import InputError


def work(args: argparse.Namespace) -> dict:
    environment.set_up(args.threads)
    from paddleinterest.serving.bundle import Bundle
    from paddleinterest.serving.request import read_requests
    from paddleinterest.study import attention

    if args.events is not None and args.events < 1:
        raise InputError(f"--events {args.events}: must be 1 or more")
    bundle = Bundle(args.bundle, args.threads or 1)
    if args.request:
        requests = read_requests(args.request)
        request = requests[0] if isinstance(requests, list) and requests else requests
    else:
        data = args.data or bundle.signature["origin"]["data_dir"]
        request = attention.request_of_user(bundle, data, args.user, args.candidates, args.events)
    default = os.path.join(os.path.dirname(os.path.normpath(args.bundle)), "attention")
    return attention.write(bundle, request, args.show, (args.out or default).removesuffix(".png"))


def main() -> None:
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--bundle", required=True, help="directory that tools/to_static.py wrote")
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--user", help="raw id of a user in the prepared dataset")
    what.add_argument(
        "--request", help="JSON request with history and candidates; of a list, the first one"
    )
    p.add_argument(
        "--candidates", nargs="+", metavar="ITEM", help="with --user: raw item ids to score"
    )
    p.add_argument(
        "--show",
        metavar="COLUMN",
        help="label the items with this attribute instead of their ids, such as product_category",
    )
    p.add_argument(
        "--events",
        type=int,
        metavar="N",
        help="with --user: only the newest N events of the history; default all",
    )
    p.add_argument(
        "--data",
        help="with --user: prepared dataset; default the one that the bundle was trained on",
    )
    p.add_argument(
        "--out",
        help=(
            "path of the picture; the numbers are written next to it as .parquet; default"
            " attention next to the bundle"
        ),
    )
    p.add_argument("--threads", type=int, default=1, help="CPU threads; default 1")
    cli.run(p, work)
