"""Taobao display advertising (Alibaba, Tianchi dataset 56): eight days of impressions and clicks,
users and ads.

Tianchi needs an account, so nothing is downloaded: get raw_sample.csv, ad_feature.csv and
user_profile.csv. Its behavior_log.csv (purchases and page views by category, not by item) is not
read: histories are the clicks on ads.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from paddleinterest.core.errors import InputError
from paddleinterest.data.log import Log
from paddleinterest.data.options import option
from paddleinterest.data.sources.columns import bad_row
from paddleinterest.data.sources.files import find
from paddleinterest.data.sources.text_table import NUMBER, TEXT, WHOLE, frame, table

WHERE = "https://tianchi.aliyun.com/dataset/56"
AD = ["cate_id", "campaign_id", "customer", "brand"]
USER = [
    "cms_segid",
    "cms_group_id",
    "final_gender_code",
    "age_level",
    "pvalue_level",
    "shopping_level",
    "occupation",
    "new_user_class_level",
]
MISSING = ["", "NULL"]


@dataclass
class Options:
    """The options of this source."""

    raw: str = option(
        "data/raw/taobao_ad",
        (
            "directory of raw_sample.csv, ad_feature.csv and user_profile.csv, plain or .gz "
            "(default: data/raw/taobao_ad)"
        ),
        metavar="DIR",
    )


def load(options: Options, seed: int = 0) -> Log:
    """Return the `Log` of all impressions, in file order.

    events: user, item (the adgroup_id), time (seconds), label (clk) and, as context, pid, where the
    ad was shown. items: cate_id, campaign_id, customer, brand, and log_price, ln(1 + price), a
    number: prices go up to 10**8. users: the eight columns of the profile, which not all users
    have.

    Raises:
        InputError: a file is missing, lacks a column, or a line is wrong.
    """
    paths = [
        find(options.raw, name, WHERE)
        for name in ("raw_sample.csv", "ad_feature.csv", "user_profile.csv")
    ]
    raw = table(
        paths[0],
        {"user": WHOLE, "adgroup_id": WHOLE, "time_stamp": WHOLE, "clk": WHOLE, "pid": TEXT},
        quote=False,
        allowed={"clk": [0, 1]},
    )
    names = ["user", "item", "time", "label"]
    events = frame({name: raw.column(k) for k, name in enumerate(names)})
    events["label"] = events["label"].astype(np.int8)
    events["pid"] = raw["pid"].combine_chunks().dictionary_encode().to_pandas()

    raw = table(
        paths[1],
        {"adgroup_id": WHOLE, **dict.fromkeys(AD, TEXT), "price": NUMBER},
        quote=False,
        missing=MISSING,
        optional=[*AD, "price"],
    )
    if row := bad_row(pc.less(raw["price"], 0)):
        raise InputError(
            f"{paths[1]}, row {row:,}: price is {raw['price'][row - 1].as_py()}, must not be"
            " negative"
        )
    items = frame({"item": raw["adgroup_id"], **{name: raw[name] for name in AD}})
    items["log_price"] = np.log1p(raw["price"].to_numpy())

    raw = table(
        paths[2],
        {"userid": WHOLE, **dict.fromkeys(USER, TEXT)},
        quote=False,
        missing=MISSING,
        optional=USER,
    )
    users = frame({"user": raw["userid"], **{name: raw[name] for name in USER}})
    return Log(events, items, users, context=["pid"], dense=["log_price"])
