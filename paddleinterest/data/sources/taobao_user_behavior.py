"""Taobao user behaviour (Alibaba, Tianchi dataset 649): 100 million page views, purchases, carts
and favourites.

Tianchi needs an account, so nothing is downloaded: get UserBehavior.csv, lines of user, item,
category, behaviour and time without a header. The log is of nine days; events with a time outside
them are left out, and counted.
"""

import os
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.data.log import Log
from paddleinterest.data.options import option
from paddleinterest.data.sources.files import find
from paddleinterest.data.sources.text_table import TEXT, WHOLE, tables

WHERE = "https://tianchi.aliyun.com/dataset/649"
BEHAVIOURS = ["pv", "buy", "cart", "fav"]
START, END = 1_511_539_200, 1_512_316_800  # 2017-11-25 and 2017-12-04, 0:00 in Beijing
NAMES = ["user", "item", "category", "behaviour", "time"]


@dataclass
class Options:
    """The options of this source."""

    raw: str = option(
        "data/raw/taobao_user_behavior",
        (
            "directory of UserBehavior.csv, plain or .gz, or that file (default: "
            "data/raw/taobao_user_behavior)"
        ),
        metavar="DIR",
    )
    behaviours: list[str] = option(
        ["pv"],
        (
            "which behaviours are events, of pv (page view), buy, cart and fav; all are "
            "positive (default: pv)"
        ),
        metavar="NAME",
        choices=BEHAVIOURS,
    )
    event: list[str] = option(
        [],
        "action: a history holds the behaviour of each event (default: none)",
        metavar="NAME",
        choices=["action"],
    )


def load(options: Options, seed: int = 0) -> Log:
    """Return the `Log` of those behaviours, in file order: by user, not by time.

    events: user, item, time (seconds), and the action, if ``options.event`` names it.
    items: category, the first one seen with the item.

    Raises:
        InputError: the file is missing, a line is wrong, or no event is left.
    """
    path = (
        options.raw if os.path.isfile(options.raw) else find(options.raw, "UserBehavior.csv", WHERE)
    )
    columns = {name: TEXT if name == "behaviour" else WHOLE for name in NAMES}
    behaviours = pa.array(options.behaviours, TEXT)
    events, seen, outside = [], [], 0
    for part in tables(path, columns, names=NAMES, quote=False, allowed={"behaviour": BEHAVIOURS}):
        part = part.filter(pc.is_in(part["behaviour"], value_set=behaviours))
        inside = pc.and_(pc.greater_equal(part["time"], START), pc.less(part["time"], END))
        outside += part.num_rows
        part = part.filter(inside)
        outside -= part.num_rows
        part = part.rename_columns(["user", "item", "category", "action", "time"])
        events.append(part.select(["user", "item", "time", *options.event]))
        seen.append(part.select(["item", "category"]).to_pandas().drop_duplicates())
    events = pa.concat_tables(events).to_pandas()
    if not len(events):
        raise InputError(
            f"{path} has no event of {', '.join(options.behaviours)} from 2017-11-25 to 2017-12-03,"
            " the days of this log"
        )
    seen = pd.concat(seen).drop_duplicates()
    items = seen.drop_duplicates("item", ignore_index=True)
    if outside:
        say(f"{outside:,} events outside 2017-11-25 to 2017-12-03 are left out")
    if several := seen["item"][seen["item"].duplicated()].nunique():
        say(f"{several:,} items come with more than one category: the first one seen is theirs")
    return Log(events, items, event=options.event)
