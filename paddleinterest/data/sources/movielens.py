"""MovieLens ratings (F. M. Harper and J. A. Konstan, GroupLens), any of its releases, read straight
out of their zip.

A rating of ``--threshold`` or more is label 1, a lower one label 0: protocols impressions, by_user
(the DIN paper's) and by_day (ReChorus's) learn from both, every_prefix and last_event from the
positive ones.
"""

import os
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from paddleinterest.core.errors import InputError
from paddleinterest.data.log import Log
from paddleinterest.data.options import option
from paddleinterest.data.sources.columns import bad_row, to_pandas
from paddleinterest.data.sources.download import AGAIN, at_hand
from paddleinterest.data.sources.text_table import NUMBER, TEXT, WHOLE, table

URL = "https://files.grouplens.org/datasets/movielens/"
GENRES = [
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
]
NO_GENRE = ["unknown", "(no genres listed)", ""]
STARS = [0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5]
AGES = [1, 18, 25, 35, 45, 50, 56]  # the groups of 1m, by their youngest
DAT = {"delimiter": "::", "quote": False, "encoding": "latin-1"}
FORMS = {
    "100k": "u.data",
    "1m": "ratings.dat",
    "10m": "ratings.dat",
    "20m": "ratings.csv",
    "25m": "ratings.csv",
    "32m": "ratings.csv",
    "latest-small": "ratings.csv",
}


@dataclass
class Options:
    """The options of this source."""

    version: str = option(
        "1m",
        "which release, as in the name ml-1m.zip (default: 1m)",
        choices=FORMS,
    )
    raw: str = option(
        "data/raw/movielens",
        (
            "directory of ml-VERSION.zip, which is downloaded to it if it is missing (default:"
            " data/raw/movielens)"
        ),
        metavar="DIR",
    )
    zip: str = option(
        "",
        "zip file of that release that you have (default: the one in --raw)",
        metavar="FILE",
    )
    threshold: float = option(
        4,
        "ratings of at least this many stars are positive (default: 4)",
        metavar="STARS",
    )
    core: int | None = option(
        None,
        (
            "leave out users and items with fewer than N positive ratings, repeatedly until all"
            " have that many (ReChorus: 5; default: all stay)"
        ),
        metavar="N",
    )
    all_genres: bool | None = option(
        None, "all genres of a movie, not the first one alone; off by default"
    )


def load(options: Options, seed: int = 0) -> Log:
    """Return the `Log` of all ratings, in time order, ties in file order.

    events: user, item, time (seconds), label.
    items: all listed movies with genre, the first one listed, or with ``options.all_genres``
    genres; and decade, from the year at the end of the title; missing without one. users: gender,
    age (the youngest of its group, 1, 18, 25, 35, 45, 50 or 56) and occupation in 100k and 1m, else
    None.

    Raises:
        InputError: the zip file cannot be read or downloaded, or lacks a file, or a line is wrong.
    """
    if not 0.5 < options.threshold <= 5:
        raise InputError(
            f"--threshold is {options.threshold}, must be above 0.5 and at most 5, as ratings are"
        )
    if options.core is not None and options.core < 1:
        raise InputError(f"--core is {options.core}, must be at least 1")
    name = f"ml-{options.version}.zip"
    path = options.zip or at_hand(URL + name, os.path.join(options.raw, name))
    release = Release(path, options.version)
    if options.version == "100k":
        events = release.ratings("\t", False)
        items = items_100k(release)
        users = users_100k(release)
    elif options.version in ("1m", "10m"):
        names = ["item", "title", "genres"]
        form = DAT | ({"encoding": "utf8"} if options.version == "10m" else {})
        raw = release.read(
            "movies.dat",
            dict(zip(names, (WHOLE, TEXT, TEXT), strict=True)),
            names=names,
            optional=names[1:],
            **form,
        )
        events = release.ratings("::", False)
        items = movies(raw["item"], raw["title"], raw["genres"])
        users = users_1m(release) if options.version == "1m" else None
    else:
        raw = release.read(
            "movies.csv",
            {"movieId": WHOLE, "title": TEXT, "genres": TEXT},
            optional=["title", "genres"],
        )
        events = release.ratings(",")
        items = movies(raw["movieId"], raw["title"], raw["genres"])
        users = None
    if not options.all_genres:
        first = [genres[0] if genres else None for genres in items["genres"]]
        items.insert(1, "genre", pd.Series(first, dtype=object))
        del items["genres"]
    events["label"] = (events.pop("rating") >= options.threshold).astype(np.int8)
    if options.core:
        events = core(events, options.core)
    return Log(
        events.sort_values("time", kind="stable", ignore_index=True),
        items,
        users,
        multiple=["genres"] if options.all_genres else [],
        note=f"A click means a rating of at least {options.threshold:g} stars.",
    )


def core(events: pd.DataFrame, least: int) -> pd.DataFrame:
    """The events whose user and item have at least `least` positive ones each, counted among the
    events that stay."""
    while len(events):
        positive, enough = events[events["label"] == 1], np.ones(len(events), bool)
        for column in ("user", "item"):
            n = positive[column].value_counts()
            enough &= events[column].isin(n.index[n >= least]).to_numpy()
        if enough.all():
            return events
        events = events[enough]
    raise InputError(f"--core {least} leaves no rating; try a smaller one")


class Release:
    """The zip file of one release."""

    def __init__(self, path: str, version: str):
        self.path, self.version = path, version
        if not os.path.isfile(path):
            raise InputError(f"{path} does not exist")
        try:
            with zipfile.ZipFile(path) as archive:
                self.members = {name.split("/")[-1]: name for name in reversed(archive.namelist())}
        except (OSError, zipfile.BadZipFile) as e:
            raise InputError(f"cannot read {path}: {' '.join(str(e).split())}; {AGAIN}") from None

    def read(self, name: str, columns: dict[str, pa.DataType], **options: Any) -> pa.Table:
        """One file of the release as an Arrow table."""
        if name not in self.members:
            raise InputError(
                f"{self.path} holds no {name}, so it is not MovieLens {self.version}; set"
                f" --version to its release ({', '.join(FORMS)})"
            )
        return table(self.path, columns, member=self.members[name], advice=AGAIN, **options)

    def ratings(self, delimiter: str, header: bool = True) -> pd.DataFrame:
        """The ratings as a frame of user, item, rating and time, in file order."""
        names = ["userId", "movieId", "rating", "timestamp"]
        options: dict[str, Any] = {} if header else {"names": names, "quote": False}
        columns = self.read(
            FORMS[self.version],
            dict(zip(names, (WHOLE, WHOLE, NUMBER, WHOLE), strict=True)),
            delimiter=delimiter,
            allowed={"rating": STARS},
            **options,
        )
        return columns.rename_columns(["user", "item", "rating", "time"]).to_pandas()


def movies(item: pa.ChunkedArray, title: pa.ChunkedArray, genres: pa.ChunkedArray) -> pd.DataFrame:
    """The items from columns of titles and of genres, the latter with | between."""
    lists = pc.split_pattern(pc.fill_null(genres, ""), "|").to_pylist()
    return attributes(item, title, lists)


def attributes(
    item: pa.ChunkedArray, title: pa.ChunkedArray, genres: list[list[str]]
) -> pd.DataFrame:
    """The items as a frame of item, genres (lists, empty if there are none) and decade."""
    year = pc.struct_field(
        pc.extract_regex(title, r"\((?P<year>\d{4})(?:[-–]\d{0,4})?\)\s*$"), "year"
    ).cast(WHOLE)
    decade = to_pandas(pc.multiply(pc.divide(year, 10), 10))
    known = [[each for each in of_item if each not in NO_GENRE] for of_item in genres]
    return pd.DataFrame({"item": to_pandas(item), "genres": known, "decade": decade})


def items_100k(release: Release) -> pd.DataFrame:
    """The items of u.item, which has a column of 0 and 1 a genre."""
    names = ["item", "title", "released", "video", "url", *GENRES]
    raw = release.read(
        "u.item",
        {"item": WHOLE, "title": TEXT, **dict.fromkeys(GENRES, WHOLE)},
        names=names,
        delimiter="|",
        quote=False,
        encoding="latin-1",
        optional=["title"],
        allowed=dict.fromkeys(GENRES, [0, 1]),
    )
    flags = np.stack([raw[name].to_numpy() for name in GENRES], axis=1)
    genres = [[GENRES[k] for k in np.flatnonzero(row)] for row in flags]
    return attributes(raw["item"], raw["title"], genres)


def users_100k(release: Release) -> pd.DataFrame:
    """The users of u.user; an age is that of the youngest of its group in 1m."""
    names = ["user", "age", "gender", "occupation", "zip"]
    kinds = {"user": WHOLE, "age": WHOLE, "gender": TEXT, "occupation": TEXT}
    raw = release.read(
        "u.user",
        kinds,
        names=names,
        delimiter="|",
        quote=False,
        encoding="latin-1",
        optional=["gender", "occupation"],
    )
    age = raw["age"].to_numpy()
    if row := bad_row(pc.less(raw["age"], 1)):
        raise InputError(
            f"{release.path} ({release.members['u.user']}), row {row:,}: age is {age[row - 1]},"
            " must be at least 1"
        )
    group = np.array(AGES)[np.searchsorted(AGES, age, side="right") - 1]
    return pd.DataFrame(
        {
            "user": raw["user"].to_numpy(),
            "gender": to_pandas(raw["gender"]),
            "age": group,
            "occupation": to_pandas(raw["occupation"]),
        }
    )


def users_1m(release: Release) -> pd.DataFrame:
    """The users of users.dat."""
    names = ["user", "gender", "age", "occupation", "zip"]
    raw = release.read(
        "users.dat",
        {"user": WHOLE, "gender": TEXT, "age": WHOLE, "occupation": WHOLE},
        names=names,
        optional=["gender"],
        allowed={"age": AGES},
        **DAT,
    )
    return pd.DataFrame({name: to_pandas(raw[name]) for name in names[:4]})
