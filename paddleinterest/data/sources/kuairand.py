"""KuaiRand (Kuaishou, C. Gao et al. 2022): video impressions and clicks of the releases Pure, 1K
and 27K.

Its standard logs, log_standard_*.csv, are read, not those of randomly shown videos. Nothing is
downloaded: get the archive from https://kuairand.com and unpack it.
"""

import glob
import os
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from paddleinterest.core.errors import InputError
from paddleinterest.data.log import Log
from paddleinterest.data.options import option
from paddleinterest.data.sources.columns import to_pandas
from paddleinterest.data.sources.text_table import TEXT, WHOLE, frame, table

WHERE = "https://kuairand.com"
LOG = {"user_id": WHOLE, "video_id": WHOLE, "time_ms": WHOLE, "is_click": WHOLE, "tab": WHOLE}
VIDEO = {"video_id": WHOLE, "author_id": TEXT, "video_type": TEXT, "tag": TEXT}
ITEM = {"item": "video_id", "author_id": "author_id", "video_type": "video_type"}


@dataclass
class Options:
    """The options of this source."""

    raw: str = option(
        "data/raw/kuairand",
        (
            "directory of log_standard_*.csv and video_features_basic_*.csv of one release, "
            "plain or .gz, or the one above its data/ (default: data/raw/kuairand)"
        ),
        metavar="DIR",
    )
    all_tags: bool | None = option(
        None, "all tags of a video, not the first one alone; off by default"
    )
    event: list[str] = option(
        [],
        "play_time: a history holds how many seconds of each video were played (default: none)",
        metavar="NAME",
        choices=["play_time"],
    )


def load(options: Options, seed: int = 0) -> Log:
    """Return the `Log` of all standard impressions, in time order to the millisecond, ties in file
    order.

    events: user, item (the video), time (seconds), label (is_click) and, as context, tab, where it
    was shown; and play_time, if ``options.event`` names it. items: author_id, video_type, and tag,
    the first one of a list, or with ``options.all_tags`` tags.

    Raises:
        InputError: a file is missing, lacks a column, or a line is wrong.
    """
    logs, videos = (
        find(options.raw, "log_standard_*.csv"),
        find(options.raw, "video_features_basic_*.csv"),
    )
    if len(videos) > 1:
        raise InputError(
            f"{options.raw} holds more than one release:"
            f" {', '.join(map(os.path.basename, videos))}; put each in a directory of its own"
        )
    columns = LOG | ({"play_time_ms": WHOLE} if options.event else {})
    raw = pa.concat_tables([table(path, columns, allowed={"is_click": [0, 1]}) for path in logs])
    ticks = raw["time_ms"].to_numpy()
    order = np.argsort(ticks, kind="stable")
    events = pd.DataFrame(
        {
            "user": raw["user_id"].to_numpy()[order],
            "item": raw["video_id"].to_numpy()[order],
            "time": ticks[order] // 1000,
            "label": raw["is_click"].to_numpy()[order].astype(np.int8),
            "tab": raw["tab"].to_numpy()[order],
        }
    )
    if options.event:
        events["play_time"] = raw["play_time_ms"].to_numpy()[order] / 1000
    raw = table(videos[0], VIDEO, optional=[*VIDEO][1:])
    items = frame({name: raw[column] for name, column in ITEM.items()})
    if options.all_tags:
        items["tags"] = to_pandas(pc.split_pattern(raw["tag"], ","))
    else:
        first = pc.list_element(pc.split_pattern(raw["tag"], ",", max_splits=1), 0)
        items["tag"] = frame({"tag": first})["tag"]
    return Log(
        events,
        items,
        context=["tab"],
        event=options.event,
        dense=options.event,
        multiple=["tags"] if options.all_tags else [],
    )


def find(directory: str, pattern: str) -> list[str]:
    """The files of that pattern, plain or gzipped, in the directory or its data/, by name."""
    for place in (directory, os.path.join(directory, "data")):
        start = os.path.join(glob.escape(place), pattern)
        paths = [path for ending in ("", ".gz") for path in glob.glob(start + ending)]
        if paths:
            return sorted(paths)
    raise InputError(
        f"{directory} has no {pattern}; get KuaiRand from {WHERE} and unpack it there, or name its "
        "directory with --raw"
    )
