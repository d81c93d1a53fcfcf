"""Small random logs with everything that a log may have, for the tests of builder, reader and
prepare."""

import numpy as np
import pandas as pd

from paddleinterest.data.log import Log


def random_log(seed=0, users=40, items=30, most=9, labels=True, popular=0.08):
    """An unsorted log with ties in time, repeated items, missing attributes and users of 1 to
    `most` events.

    The share `popular` of the events is of the first item, of the rest again to the second,
    and so on. Items have a text, an integer and a dense attribute,
    all with gaps; users a text; events a device and a dense wait.
    """
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), rng.integers(1, most + 1, users))
    rng.shuffle(user)
    n = len(user)
    events = pd.DataFrame(
        {
            "user": [f"u{u}" for u in user],
            "item": 100 + np.minimum(rng.geometric(popular, n), items) - 1,
            "time": rng.integers(0, max(4, n // 3), n),
            "device": rng.choice(
                np.array(["ios", "web", "tv", None], object), n, p=[0.5, 0.3, 0.1, 0.1]
            ),
            "wait": np.where(rng.random(n) < 0.2, np.nan, rng.integers(0, 50, n) / 4),
        }
    )
    if labels:
        events["label"] = rng.integers(0, 2, n)
    catalogue = np.arange(100, 100 + items + 5)  # five items that nobody ever sees
    catalogue = rng.permutation(np.delete(catalogue, [3]))  # and one that is not listed
    table = pd.DataFrame(
        {
            "item": catalogue,
            "category": rng.choice(np.array(["a", "b", "c", "d", None], object), len(catalogue)),
            "brand": pd.array(
                [None if rng.random() < 0.2 else int(rng.integers(7)) for _ in catalogue], "Int64"
            ),
            "price": np.where(
                rng.random(len(catalogue)) < 0.2, np.nan, rng.integers(1, 400, len(catalogue)) / 8
            ),
        }
    )
    people = pd.DataFrame(
        {
            "user": [f"u{u}" for u in rng.permutation(users + 3) if u != 5],
            "city": rng.choice(np.array(["x", "y", None], object), users + 2),
        }
    )
    return Log(events, table, people, context=["device", "wait"], dense=["price", "wait"])
