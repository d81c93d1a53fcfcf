"""Synthetic impressions with known click probabilities, to measure how much models can learn.

A user has one interest at a time, a category. Before each impression it moves with probability
``--drift``: mostly (70 %) to the category's successor, the same for all users, else to any
category. Successors form one cycle, so that not only which categories a user clicked but their
order matters for the next click. The shown item is of the current interest, of its successor, or
any item, by popularity. The click is drawn from

    p = sigmoid(BIAS + MATCH [category is the interest] + NEXT [it is the successor] + NEAR [same
    department]
                + quality of the item + bias of the user's segment)

No model can know the interest exactly, so the AUC of p itself is a bound that no model reaches.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from paddleinterest.core.errors import InputError
from paddleinterest.data.log import Log
from paddleinterest.data.options import option

BIAS, MATCH, NEXT, NEAR = (
    -2.1,
    3.2,
    1.9,
    0.5,
)  # mean click rate about 0.42, AUC of the truth about 0.86
QUALITY, PRICE = (
    0.4,
    -0.2,
)  # standard deviation of an item's quality, and its change per deviation of log price
TO_SUCCESSOR = 0.7  # share of the interest's moves that go to the successor
SHOW_INTEREST, SHOW_NEXT = (
    0.3,
    0.2,
)  # shares of the impressions drawn from the interest and from its successor
SEGMENTS = {"student": -0.3, "family": 0.0, "single": 0.1, "retired": 0.2}
DEPARTMENT, BRAND = 5, 40  # categories per department, items per brand
WIDTH, NOISE = 16, 0.5  # numbers of a vector, and the deviation of their noise
START = 1_704_067_200  # 2024-01-01 00:00:00 UTC
GAP = 3600  # mean seconds between a user's impressions


@dataclass
class Options:
    """The options of this source."""

    users: int = option(
        4000,
        "number of users (default: 4000)",
        metavar="N",
    )
    items: int = option(
        5000,
        "number of items, at least as many as categories (default: 5000)",
        metavar="N",
    )
    categories: int = option(
        50,
        "number of categories, 2 or more; 5 make a department (default: 50)",
        metavar="N",
    )
    impressions: int = option(
        50,
        "impressions of each user, one hour apart on average (default: 50)",
        metavar="N",
    )
    drift: float = option(
        0.1,
        (
            "probability, at each impression, that the user's interest moves to another "
            "category (default: 0.1)"
        ),
        metavar="P",
    )
    vectors: bool | None = option(
        None,
        (
            "give items a vector, text, as a text's embedding may be: that of their category, with"
            " noise; off by default"
        ),
    )


def load(options: Options, seed: int = 0) -> Log:
    """Return the `Log` of ``options.users * options.impressions`` impressions, in time order. Same
    options and seed, same frames.

    events: user and item (from 1), time (seconds), label, hour (of the day, 0 to 23), probability
    (float32). items: category and department (from 1), brand, price (log-normal, about 10). users:
    segment. With vectors items also have text.

    Raises:
        InputError: a flag is out of its range.
    """
    for flag, least in (
        ("users", 1),
        ("items", options.categories),
        ("categories", 2),
        ("impressions", 1),
    ):
        if getattr(options, flag) < least:
            raise InputError(f"--{flag} is {getattr(options, flag)}, must be at least {least}")
    if not 0 <= options.drift <= 1:
        raise InputError(f"--drift is {options.drift}, must be a probability, from 0 to 1")
    rng = np.random.default_rng(seed)
    items, popularity, quality = make_items(rng, options.items, options.categories)
    successor = make_successor(rng, options.categories)
    segment = rng.integers(len(SEGMENTS), size=options.users)
    bias = np.array(list(SEGMENTS.values()))[segment]
    item, time, probability = impressions(
        rng,
        items["category"].to_numpy() - 1,
        popularity,
        quality,
        successor,
        bias,
        options.impressions,
        options.drift,
    )

    order = np.argsort(
        time, axis=None, kind="stable"
    )  # rows are steps, so ties keep the steps of a user in order
    time = time.ravel()[order]
    probability = probability.ravel()[order]
    events = pd.DataFrame(
        {
            "user": order % options.users + 1,
            "item": item.ravel()[order].astype(np.int64) + 1,
            "time": time,
            "label": (rng.random(len(order), np.float32) < probability).astype(np.int8),
            "hour": time // 3600 % 24,
            "probability": probability,
        }
    )
    users = pd.DataFrame(
        {"user": np.arange(options.users) + 1, "segment": np.array(list(SEGMENTS), object)[segment]}
    )
    if options.vectors:
        items["text"] = make_vectors(items["category"].to_numpy() - 1, seed)
    return Log(
        events,
        items,
        users,
        context=["hour"],
        dense=["price"],
        vectors=["text"] if options.vectors else [],
        truth="probability",
        note="Synthetic data: users, items and clicks are drawn from a known model.",
    )


def make_items(
    rng: np.random.Generator, count: int, categories: int
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Draw the items.

    Returns:
        (items, popularity, quality): the frame of attributes; float64 [count] weights with sum 1,
        Zipf over the items in random order; float64 [count] addends to the logit of a click.
    """
    category = rng.permutation(np.arange(count) % categories)  # of equal size: no category is empty
    popularity = 1 / (1 + rng.permutation(count))
    log_price = rng.standard_normal(count)
    quality = QUALITY * rng.standard_normal(count) + PRICE * log_price
    brand = rng.integers(max(1, count // BRAND), size=count)
    items = pd.DataFrame(
        {
            "item": np.arange(count) + 1,
            "category": category + 1,
            "department": category // DEPARTMENT + 1,
            "brand": np.array([f"brand {b + 1}" for b in brand], object),
            "price": np.round(10 * np.exp(0.5 * log_price), 2),
        }
    )
    return items, popularity / popularity.sum(), quality


def make_vectors(category: np.ndarray, seed: int) -> list[list[float]]:
    """A vector of WIDTH numbers for each item: a random one of its category, with noise. Its own
    draws: the log is the same without them.

    Args:
        category: int64 [items], from 0.
        seed: of the log.
    """
    rng = np.random.default_rng([seed, 1])
    centre = rng.standard_normal((int(category.max()) + 1, WIDTH))
    vectors = centre[category] + NOISE * rng.standard_normal((len(category), WIDTH))
    return np.round(vectors, 4).tolist()


def make_successor(rng: np.random.Generator, categories: int) -> np.ndarray:
    """int64 [categories]: the category that follows each; all of them form one cycle."""
    cycle = rng.permutation(categories)
    successor = np.empty_like(cycle)
    successor[cycle] = np.roll(cycle, -1)
    return successor


def impressions(
    rng: np.random.Generator,
    category: np.ndarray,
    popularity: np.ndarray,
    quality: np.ndarray,
    successor: np.ndarray,
    bias: np.ndarray,
    steps: int,
    drift: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Walk all users through their impressions, one step at a time.

    Args:
        category, popularity, quality: [items]. successor: [categories]. bias: float64 [users].

    Returns:
        (item, time, probability): int32, int64 (seconds) and float32, all [steps, users].
    """
    users, categories = len(bias), len(successor)
    by_category = np.argsort(category, kind="stable")
    edges = np.concatenate(
        [[0], np.cumsum(popularity[by_category])]
    )  # item by_category[i] owns [edges[i], edges[i+1])
    bounds = edges[np.searchsorted(category[by_category], np.arange(categories + 1))]
    item = np.empty((steps, users), np.int32)
    time = np.empty((steps, users), np.int64)
    probability = np.empty((steps, users), np.float32)
    interest = rng.integers(categories, size=users)
    clock = START + steps * GAP * rng.random(
        users
    )  # starts spread over as long as a user stays, so all overlap
    for step in range(steps):
        follows = rng.random(users) < TO_SUCCESSOR
        other = np.where(follows, successor[interest], rng.integers(categories, size=users))
        interest = np.where(rng.random(users) < drift, other, interest)

        shown = rng.random(users)
        source = np.where(shown < SHOW_INTEREST, interest, successor[interest])
        anything = shown >= SHOW_INTEREST + SHOW_NEXT
        low, high = (
            np.where(anything, 0, bounds[source]),
            np.where(anything, edges[-1], bounds[source + 1]),
        )
        place = np.searchsorted(edges, low + (high - low) * rng.random(users), side="right") - 1
        item[step] = by_category[
            np.minimum(place, len(category) - 1)
        ]  # rounding may reach the last edge

        of_item = category[item[step]]
        logit = (
            BIAS
            + MATCH * (of_item == interest)
            + NEXT * (of_item == successor[interest])
            + NEAR * (of_item // DEPARTMENT == interest // DEPARTMENT)
            + quality[item[step]]
            + bias
        )
        probability[step] = 1 / (1 + np.exp(-logit))
        clock += rng.exponential(GAP, users)
        time[step] = clock
    return item, time, probability
