"""The Amazon 2014 5-core logs in the form that S3-Rec released them
(github.com/RUCAIBox/CIKM2020-S3Rec, data/).

``NAME.txt`` has one line per user: the user, then the items in time order.
``NAME_item2attributes.json`` maps an item to attribute ids: brand, then the category path from its
root to the leaf. The release has no times; for Beauty the repository DyGRec/ASReP (data/Beauty) has
the same log with unix times, which ``--times`` adds.
"""

import json
import os
from dataclasses import dataclass

import numpy as np
import pandas as pd

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.data.log import Log
from paddleinterest.data.options import option
from paddleinterest.data.sources.download import fetch
from paddleinterest.data.sources.files import opened

URL = "https://raw.githubusercontent.com/RUCAIBox/CIKM2020-S3Rec/master/data/"


@dataclass
class Options:
    """The options of this source."""

    dataset: str = option(
        "Beauty",
        (
            "which log of the release: Beauty, Sports_and_Outdoors, Toys_and_Games, Yelp or "
            "LastFM (default: Beauty)"
        ),
        metavar="NAME",
    )
    raw: str = option(
        "data/raw/s3rec",
        (
            "directory of NAME.txt and NAME_item2attributes.json, plain or .gz; missing files are"
            " downloaded to it (default: data/raw/s3rec)"
        ),
        metavar="DIR",
    )
    times: str = option(
        "",
        (
            "directory of ASReP's train.txt, valid.txt and test.txt (plain or .gz) of the "
            "same log, to give each event its unix time; Beauty only (default: none, the "
            "order is the time)"
        ),
        metavar="DIR",
    )
    path: bool | None = option(
        None,
        "also brand, and path, all categories of an item from root to leaf; off by default",
    )


def load(options: Options, seed: int = 0) -> Log:
    """Return the `Log` of one data set of the release.

    events: user, item, time: seconds with ``--times``, else the position 0, 1, 2 … within the user.
    items: category, the leaf of its category path; missing if the item has no attributes. If
    ``options.path`` is set also brand and path.

    Raises:
        InputError: a file cannot be read or downloaded, a line is not a user and items, or times do
            not fit the log.
    """
    events = read_sequences(find(options.raw, f"{options.dataset}.txt"))
    attributes = read_attributes(find(options.raw, f"{options.dataset}_item2attributes.json"))
    items = pd.DataFrame(
        {"item": np.union1d(events["item"].to_numpy(), np.array(list(attributes), np.int64))}
    )
    leaf = {item: ids[-1] for item, ids in attributes.items()}
    items["category"] = items["item"].map(leaf).astype("Int64")
    if not items["category"].isna().any():
        items["category"] = items["category"].astype(np.int64)
    if options.path:
        brand, path = brands_and_paths(attributes)
        items["brand"] = items["item"].map(brand).astype("Int64")
        items["path"] = items["item"].map(path)
    log = Log(events, items, time="order", multiple=["path"] if options.path else [])
    if options.times:
        join = f"{options.dataset.lower()}_s3rec_item_to_asin.tsv"
        log.note = add_times(events, options.times, join)
        log.time = "seconds"
        say(log.note)
    return log


def brands_and_paths(
    attributes: dict[int, list[int]],
) -> tuple[dict[int, int], dict[int, list[int]]]:
    """Item → brand, and item → categories from root to leaf.

    The release lists the brand first, if an item has one, and does not say whether it has. An id
    that comes after the first place of any item is a category; an item whose first id is one of
    those has no brand.
    """
    categories = {each for ids in attributes.values() for each in ids[1:]}
    brand = {item: ids[0] for item, ids in attributes.items() if ids[0] not in categories}
    path = {item: ids[1:] if item in brand else ids for item, ids in attributes.items()}
    say(
        f"{len(attributes) - len(brand):,} of {len(attributes):,} items have no brand: their first"
        " attribute is a category of other items"
    )
    return brand, path


def find(directory: str, name: str, download: bool = True) -> str:
    """The path of a file, plain or gzipped; if neither exists it is downloaded."""
    path = os.path.join(directory, name)
    for candidate in (path, path + ".gz"):
        if os.path.isfile(candidate):
            return candidate
    if not download:
        raise InputError(
            f"neither {path} nor {path}.gz exists; put it there, or name its folder with --raw"
        )
    fetch(URL + name, path)
    return path


def text(path: str) -> str:
    """The whole text of a plain or gzipped file."""
    advice = "delete it to have it downloaded again"
    with opened(path, advice=advice) as f:
        raw = f.read()
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as e:
        raise InputError(f"cannot read {path}: {e}; {advice}") from None


def read_sequences(path: str) -> pd.DataFrame:
    """Lines ``user item item …`` as a frame of user, item, time (the position within the user)."""
    users, sequences = [], []
    for number, line in enumerate(text(path).splitlines(), 1):
        try:
            user, *sequence = map(int, line.split())
        except ValueError:
            raise InputError(
                f"{path}, line {number}: {line[:60]!r} is not a user and items, integers with"
                " spaces between"
            ) from None
        if not sequence:
            raise InputError(f"{path}, line {number}: user {user} has no items; drop the line")
        users.append(user)
        sequences.append(sequence)
    if not users:
        raise InputError(f"{path} is empty; delete it to have it downloaded again")
    if len(set(users)) < len(users):
        double = pd.Series(users)[pd.Series(users).duplicated()].iloc[0]
        raise InputError(
            f"{path}: user {double} has more than one line; put each user's items on one"
        )
    lengths = np.array([len(s) for s in sequences])
    return pd.DataFrame(
        {
            "user": np.repeat(np.array(users, np.int64), lengths),
            "item": np.concatenate([np.array(s, np.int64) for s in sequences]),
            "time": np.concatenate([np.arange(n) for n in lengths]),
        }
    )


def read_attributes(path: str) -> dict[int, list[int]]:
    """Item → attribute ids, for the items that have attributes."""
    try:
        raw = json.loads(text(path))
    except json.JSONDecodeError as e:
        raise InputError(
            f"{path}, line {e.lineno}: not JSON ({e.msg}); delete it to have it downloaded again"
        ) from None
    found = {}
    for item, attributes in raw.items() if isinstance(raw, dict) else [("the whole", raw)]:
        try:
            if attributes and not isinstance(attributes, list):
                raise TypeError("not a list")
            if attributes:
                found[int(item)] = [int(each) for each in attributes]
        except (ValueError, TypeError, KeyError):
            raise InputError(
                f"{path}: {item!r}: {str(attributes)[:60]} is not an item and its list of"
                " attribute ids"
            ) from None
    return found


def add_times(events: pd.DataFrame, directory: str, join: str) -> str:
    """Replace the positions in ``events.time`` with the unix times of ASReP's files, whose user n
    is user n + 1 here.

    Both logs hold a user's events in time order, so an event's time is the one at its position
    among the user's sorted times. The items confirm that: ASReP numbers them differently, but under
    the right pairing of item numbers (the file `join` if it exists, else the pairs from the moments
    with a single event) every event (user, item, time) must be in both.

    Returns:
        A sentence that says how many events were checked this way.

    Raises:
        InputError: the two are not of one log.
    """
    files = [find(directory, f"{name}.txt", download=False) for name in ("train", "valid", "test")]
    other = pd.concat([read_timed(path) for path in files])
    other = other.sort_values(["user", "time"], kind="stable", ignore_index=True)
    order = np.argsort(events["user"].to_numpy(), kind="stable")
    user = events["user"].to_numpy()[order]
    if len(user) != len(other) or (user - 1 != other["user"].to_numpy()).any():
        raise InputError(
            f"the times in {directory} are of another log: {len(other):,} events of"
            f" {other['user'].nunique():,} users, the sequences have {len(user):,} of"
            f" {len(set(user)):,}"
        )
    time, here, there = (
        other["time"].to_numpy(),
        events["item"].to_numpy()[order],
        other["item"].to_numpy(),
    )
    path = os.path.join(directory, join)
    pairs = (
        read_pairs(path)
        if os.path.isfile(path)
        else learn_pairs(user, time, here, there, directory)
    )
    paired = pd.Series(here).map(pairs)
    known = paired.notna().to_numpy()
    mine = pd.MultiIndex.from_arrays([user[known], paired[known].astype(np.int64), time[known]])
    found = mine.isin(pd.MultiIndex.from_arrays([user, there, time]))
    if not found.all():
        row = np.flatnonzero(known)[~found][0]
        raise InputError(
            f"the times in {directory} are of another log: user {user[row]} has no event of item "
            f"{here[row]} at {time[row]} there ({(~found).sum():,} of {len(user):,} events differ)"
        )
    events.loc[order, "time"] = time
    return (
        f"{found.sum():,} of {len(user):,} event times were matched by item, the other"
        f" {(~known).sum():,} (items without a partner) by their position in the user's order."
    )


def learn_pairs(
    user: np.ndarray, time: np.ndarray, here: np.ndarray, there: np.ndarray, directory: str
) -> pd.Series:
    """This log's item → ASReP's item, from the moments at which a user has one event. Arguments:
    sorted, of equal length."""
    change = np.r_[True, (user[1:] != user[:-1]) | (time[1:] != time[:-1]), True]
    alone = change[:-1] & change[1:]
    pairs = pd.DataFrame({"here": here[alone], "there": there[alone]}).drop_duplicates()
    if pairs["here"].duplicated().any() or pairs["there"].duplicated().any():
        item = pairs["here"][pairs["here"].duplicated() | pairs["there"].duplicated()].iloc[0]
        raise InputError(
            f"the times in {directory} are of another log: item {item} would be two items there"
        )
    return pairs.set_index("here")["there"]


def read_timed(path: str) -> pd.DataFrame:
    """Lines ``user item time``, separated by tabs, as a frame of three int64 columns."""
    rows = []
    for number, line in enumerate(text(path).splitlines(), 1):
        try:
            user, item, time = map(int, line.split())
        except ValueError:
            raise InputError(
                f"{path}, line {number}: {line[:60]!r} is not user, item and unix time"
            ) from None
        rows.append((user, item, time))
    return pd.DataFrame(np.array(rows, np.int64).reshape(-1, 3), columns=["user", "item", "time"])


def read_pairs(path: str) -> pd.Series:
    """This log's item → ASReP's item, from a table with the columns s3rec_item and asrep_item."""
    try:
        return pd.read_csv(
            path, sep="\t", usecols=["s3rec_item", "asrep_item"], index_col="s3rec_item"
        )["asrep_item"]
    except (OSError, ValueError) as e:
        raise InputError(f"cannot read {path}: {' '.join(str(e).split())}") from None
