"""MIND (Microsoft News, F. Wu et al., ACL 2020): impressions of several news each, with clicks.

Its histories are lists of clicked news without times. Nothing is downloaded: get the archives of
train and dev from https://msnews.github.io and unpack them.
"""

import os
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from paddleinterest.core.errors import InputError
from paddleinterest.data.log import Log
from paddleinterest.data.options import option
from paddleinterest.data.sources import own_split
from paddleinterest.data.sources.cells import SHOWN
from paddleinterest.data.sources.text_table import TEXT, frame, table

WHERE = "https://msnews.github.io"
TIME = "%m/%d/%Y %I:%M:%S %p"  # such as 11/15/2019 8:55:22 AM
BEHAVIORS = {"impression": TEXT, "user": TEXT, "time": TEXT, "history": TEXT, "shown": TEXT}
NEWS = ["item", "category", "subcategory", "title", "abstract", "url", "in_title", "in_abstract"]
NOTE = "A user is a history: a user of train and dev has one in each."


@dataclass
class Options:
    """The options of this source."""

    raw: str = option(
        "data/raw/mind",
        (
            "directory of the unpacked archives MINDRELEASE_train and MINDRELEASE_dev, or of"
            " train and dev (default: data/raw/mind)"
        ),
        metavar="DIR",
    )
    release: str = option(
        "small", "which release (default: small)", choices=["small", "large", "demo"]
    )


def load(options: Options, seed: int = 0) -> Log:
    """Return the `Log` of the samples of train and dev, for protocol given.

    events: user, item (the clicked news), time (its place in the history). samples: user, item
    (the shown news), label, time (seconds, of the impression) and split: the last day of train is
    valid, dev is test. items: category, subcategory.

    Raises:
        InputError: a file is missing, or a line is wrong.
    """
    folders = [_folder(options, split) for split in ("train", "dev")]
    train, dev = (_behaviors(os.path.join(folder, "behaviors.tsv")) for folder in folders)
    rows = own_split.by_last_day(train, dev)
    rows["user"] = _owners(rows)
    news = pd.concat([_news(os.path.join(folder, "news.tsv")) for folder in folders])
    items = news.drop_duplicates("item").reset_index(drop=True)
    return Log(_histories(rows), items, time="order", samples=_samples(rows), note=NOTE)


def _folder(options: Options, split: str) -> str:
    """The directory of an unpacked archive."""
    names = [f"MIND{options.release}_{split}", split]
    for name in names:
        folder = os.path.join(options.raw, name)
        if os.path.isdir(folder):
            return folder
    raise InputError(
        f"{options.raw} has neither {names[0]} nor {names[1]}; get MIND from {WHERE} and unpack it"
        " there, or name its directory with --raw"
    )


def _behaviors(path: str) -> pd.DataFrame:
    """One row per impression: user, time (seconds), history and shown (texts)."""
    raw = table(
        path, BEHAVIORS, names=[*BEHAVIORS], delimiter="\t", quote=False, optional=["history"]
    )
    rows = raw.to_pandas()
    times = pd.to_datetime(rows["time"], format=TIME, errors="coerce")
    wrong = times.isna().to_numpy()
    if wrong.any():
        at = int(wrong.argmax())
        raise InputError(
            f"{path}, line {at + 1:,}: the time is {rows['time'][at]!r}, must be like"
            " 11/15/2019 8:55:22 AM"
        )
    _check_shown(rows["shown"], path)
    rows["time"] = times.astype("datetime64[s]").astype(np.int64)
    rows["history"] = rows["history"].fillna("").str.strip()
    return rows.drop(columns="impression")


def _check_shown(shown: pd.Series, path: str) -> None:
    wrong = ~shown.str.fullmatch(r"\s*\S+-[01](\s+\S+-[01])*\s*").to_numpy(dtype=bool)
    if wrong.any():
        at = int(wrong.argmax())
        raise InputError(
            f"{path}, line {at + 1:,}: the shown news are {shown[at][:60]!r}, must be like"
            " N1-0 N2-1; archives of test have no labels"
        )


def _owners(rows: pd.DataFrame) -> pd.Series:
    """A name for each user and history: that of the user, with a number from the second on."""
    distinct = rows[["user", "history"]].drop_duplicates()
    number = distinct.groupby("user").cumcount() + 1
    more = (" history " + number.astype(str)).where(number > 1, "")
    names = distinct.assign(name=distinct["user"] + more)
    return rows[["user", "history"]].merge(names, on=["user", "history"], how="left")["name"]


def _exploded(texts: pd.Series) -> tuple[np.ndarray, pa.Array]:
    """(row of each word, words) of texts with blanks between words."""
    lists = pc.utf8_split_whitespace(pa.array(texts.str.strip(), pa.large_string()))
    words = pc.list_flatten(lists)
    rows = pc.list_parent_indices(lists).to_numpy()
    full = pc.not_equal(words, "")  # an empty text is one empty word
    return rows[full.to_numpy(zero_copy_only=False)], words.filter(full)


def _histories(rows: pd.DataFrame) -> pd.DataFrame:
    """The events: each distinct history once."""
    owners = rows.drop_duplicates("user").reset_index(drop=True)
    at, items = _exploded(owners["history"])
    lengths = np.bincount(at, minlength=len(owners))
    place = np.arange(len(at)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return pd.DataFrame(
        {"user": owners["user"].to_numpy()[at], "item": items.to_pandas(), "time": place}
    )


def _samples(rows: pd.DataFrame) -> pd.DataFrame:
    """A row per shown news."""
    at, words = _exploded(rows["shown"])
    pairs = pc.extract_regex(words, SHOWN)
    samples = rows[["user", "time", "split"]].iloc[at].reset_index(drop=True)
    samples["item"] = pc.struct_field(pairs, "item").to_pandas()
    samples["label"] = pc.struct_field(pairs, "label").to_pandas().astype(np.int8)
    return samples


def _news(path: str) -> pd.DataFrame:
    """The news with their attributes."""
    kinds = {name: TEXT for name in NEWS[:3]}
    raw = table(
        path, kinds, names=NEWS, delimiter="\t", quote=False, optional=["category", "subcategory"]
    )
    return frame({name: raw[name] for name in kinds})
