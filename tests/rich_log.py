"""A random log with every kind of feature: lists, vectors and event fields beside those of
`random_log`."""

import dataclasses

import numpy as np
from random_log import random_log

TAGS = ["war", "comedy", "drama", "noir", "sci-fi"]
WIDTH = 3


def rich_log(seed=0, users=60, **changes):
    """`random_log` with tags (lists of 0 to 4, some missing) and vectors of items, hobbies of
    users, and the action and dwell time of each event."""
    log = random_log(seed, users=users)
    rng = np.random.default_rng(seed + 100)
    n = len(log.items)
    log.items["tags"] = [
        None if rng.random() < 0.2 else rng.choice(TAGS, rng.integers(0, 5)).tolist()
        for _ in range(n)
    ]
    log.items["text"] = [
        None if rng.random() < 0.2 else rng.normal(size=WIDTH).round(3).tolist() for _ in range(n)
    ]
    log.users["hobby"] = [
        rng.choice([7, 8, 9], rng.integers(0, 3)).tolist() for _ in range(len(log.users))
    ]
    e = len(log.events)
    log.events["action"] = rng.choice(np.array(["view", "buy", None], object), e, p=[0.6, 0.3, 0.1])
    log.events["dwell"] = np.where(rng.random(e) < 0.2, np.nan, rng.integers(1, 90, e) / 2)
    log = dataclasses.replace(
        log,
        multiple=["tags", "hobby"],
        vectors=["text"],
        event=["action", "dwell"],
        dense=[*log.dense, "dwell"],
    )
    return dataclasses.replace(log, **changes)
