"""EB-NeRD (Ekstra Bladet, RecSys Challenge 2024): impressions of several articles each, with
clicks, and reading times of the articles read before.

Nothing is downloaded: get a bundle (demo, small or large) from https://recsys.eb.dk and unpack it.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from paddleinterest.core.errors import InputError
from paddleinterest.data.log import Log
from paddleinterest.data.options import option
from paddleinterest.data.sources import own_split
from paddleinterest.data.sources.columns import to_pandas
from paddleinterest.data.sources.names import require

WHERE = "https://recsys.eb.dk"
SPLITS = ("train", "validation")
BEHAVIORS = (
    "user_id",
    "impression_time",
    "article_ids_inview",
    "article_ids_clicked",
    "device_type",
)
ARTICLES = ("article_id", "category", "article_type", "topics")
LISTS = {
    "user_id": "user",
    "article_id_fixed": "item",
    "impression_time_fixed": "time",
    "read_time_fixed": "read_time",
}


@dataclass
class Options:
    """The options of this source."""

    raw: str = option(
        "data/raw/ebnerd",
        (
            "directory of an unpacked bundle: articles.parquet, train/ and validation/ (default:"
            " data/raw/ebnerd)"
        ),
        metavar="DIR",
    )
    event: list[str] = option(
        [],
        "read_time: a history holds how many seconds each article was read (default: none)",
        metavar="NAME",
        choices=["read_time"],
    )


def load(options: Options, seed: int = 0) -> Log:
    """Return the `Log` of the samples of train and validation, for protocol given.

    events: user, item (the article read), time (seconds) and, if ``options.event`` names it,
    read_time (seconds); of both splits' histories. samples: user, item (the article shown), label,
    time, split and, as context, device_type: the last day of train is valid, validation is test.
    items: category, article_type and topics (a list). The history of a sample is what its user read
    strictly before its impression.

    Raises:
        InputError: a file is missing or lacks a column.
    """
    train, test = (_samples(options.raw, split) for split in SPLITS)
    return Log(
        _histories(options),
        _articles(options.raw),
        context=["device_type"],
        event=options.event,
        dense=options.event,
        multiple=["topics"],
        samples=own_split.by_last_day(train, test),
    )


def _read(raw: str, name: str, columns: Sequence[str]) -> pa.Table:
    """Columns of a file of the bundle."""
    path = os.path.join(raw, name)
    if not os.path.isfile(path):
        raise InputError(
            f"{raw} has no {name}; get a bundle of EB-NeRD from {WHERE} and unpack it there, or"
            " name its directory with --raw"
        )
    try:
        there = pq.read_schema(path).names
        for column in columns:
            require(column, there, path)
        return pq.read_table(path, columns=list(columns))
    except (pa.ArrowInvalid, OSError) as e:
        raise InputError(
            f"{path} is not a Parquet file: {' '.join(str(e).split())[:100]}"
        ) from None


def _lists(table: pa.Table, name: str, path: str) -> pa.Array:
    column = table[name].combine_chunks()
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        raise InputError(f"{path}: {name} holds {column.type}, must hold lists")
    return column


def _seconds(times: pa.Array | pa.ChunkedArray, name: str, path: str) -> np.ndarray:
    """Times as seconds; they are Danish time without a zone, read as they stand."""
    if not pa.types.is_timestamp(times.type) or times.null_count:
        raise InputError(f"{path}: {name} holds {times.type}, must hold times and none missing")
    return times.cast(pa.timestamp("s"), safe=False).cast(pa.int64()).to_numpy()


def _samples(raw: str, split: str) -> pd.DataFrame:
    """A row per article shown."""
    name = os.path.join(split, "behaviors.parquet")
    path = os.path.join(raw, name)
    table = _read(raw, name, BEHAVIORS)
    shown = _lists(table, "article_ids_inview", path)
    clicked = _lists(table, "article_ids_clicked", path)
    at = pc.list_parent_indices(shown).to_numpy()
    pairs = pd.DataFrame({"at": at, "item": pc.list_flatten(shown).to_numpy()})
    chosen = pd.DataFrame(
        {
            "at": pc.list_parent_indices(clicked).to_numpy(),
            "item": pc.list_flatten(clicked).to_numpy(),
        }
    ).drop_duplicates()
    joined = pairs.merge(chosen, on=["at", "item"], how="left", indicator=True)
    times = _seconds(table["impression_time"], "impression_time", path)
    return pd.DataFrame(
        {
            "user": table["user_id"].to_numpy()[at],
            "item": pairs["item"],
            "label": (joined["_merge"] == "both").to_numpy().astype(np.int8),
            "time": times[at],
            "device_type": table["device_type"].to_pandas().to_numpy()[at],
        }
    )


def _histories(options: Options) -> pd.DataFrame:
    """The articles read, of both splits, each reading once."""
    found = []
    for split in SPLITS:
        name = os.path.join(split, "history.parquet")
        path = os.path.join(options.raw, name)
        wanted = [c for c, short in LISTS.items() if short != "read_time" or options.event]
        table = _read(options.raw, name, wanted)
        lists = {LISTS[c]: _lists(table, c, path) for c in wanted if c != "user_id"}
        at = pc.list_parent_indices(lists["item"]).to_numpy()
        for short, column in lists.items():
            if len(pc.list_flatten(column)) != len(at):
                raise InputError(f"{path}: the lists of {short} and of item are not equally long")
        flat = {short: pc.list_flatten(column) for short, column in lists.items()}
        columns = {"user": table["user_id"].to_numpy()[at], "item": flat["item"].to_numpy()}
        columns["time"] = _seconds(flat["time"], "impression_time_fixed", path)
        if options.event:
            columns["read_time"] = flat["read_time"].to_numpy(zero_copy_only=False)
        found.append(pd.DataFrame(columns))
    both = pd.concat(found, ignore_index=True)
    return both.drop_duplicates(["user", "item", "time"]).reset_index(drop=True)


def _articles(raw: str) -> pd.DataFrame:
    """The articles with their attributes."""
    table = _read(raw, "articles.parquet", ARTICLES)
    topics = _lists(table, "topics", os.path.join(raw, "articles.parquet"))
    items = table.drop_columns(["topics"]).to_pandas().rename(columns={"article_id": "item"})
    kind = pa.large_list(pa.large_string())
    items["topics"] = to_pandas(pa.chunked_array([topics.cast(kind)]))
    return items
