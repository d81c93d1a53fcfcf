"""Amazon reviews of 1996 to 2014, the 5-core of any category (J. McAuley, UCSD): the DIN and DIEN
papers' public data.

``reviews_NAME_5.json.gz`` has one review per line, in JSON; ``meta_NAME.json.gz`` has one item per
line, as a Python dict. Every review counts as a positive event, whatever its stars, as in the
papers. Times are unix seconds of whole days.
"""

import ast
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.json

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.data.log import Log
from paddleinterest.data.options import option
from paddleinterest.data.sources.download import AGAIN, at_hand
from paddleinterest.data.sources.files import opened, pieces, unreadable

URL = "http://snap.stanford.edu/data/amazon/productGraph/categoryFiles/"
REVIEW = {"reviewerID": str, "asin": str, "unixReviewTime": int}
KINDS = {str: "a text", int: "a whole number"}
COLUMNS = pa.schema(
    [("reviewerID", pa.string()), ("asin", pa.string()), ("unixReviewTime", pa.int64())]
)
ITEM = re.compile(
    rb"""\s*\{['"]asin['"]: ?['"](\w+)['"]"""
)  # the start of nearly all lines of the metadata


@dataclass
class Options:
    """The options of this source."""

    category_name: str = option(
        "Electronics",
        (
            "which category: Electronics, Books, Movies_and_TV … as in the files' names "
            "(default: Electronics)"
        ),
        metavar="NAME",
    )
    raw: str = option(
        "data/raw/amazon",
        (
            "directory of reviews_NAME_5.json.gz and meta_NAME.json.gz; missing files are"
            " downloaded to it (default: data/raw/amazon)"
        ),
        metavar="DIR",
    )
    reviews: str = option(
        "",
        "file of reviews that you have, plain or .gz, with --meta (default: the one in --raw)",
        metavar="FILE",
    )
    meta: str = option(
        "",
        "file of metadata that you have, plain or .gz, with --reviews (default: the one in --raw)",
        metavar="FILE",
    )
    path: bool | None = option(
        None, "also path, all categories of an item from root to leaf; off by default"
    )


def load(options: Options, seed: int = 0) -> Log:
    """Return the `Log` of all reviews, in time order, ties in file order.

    events: user, item (texts), time (seconds).
    items: those of the log, with category, the last of the last list of ``categories``, brand, and
    if ``options.path`` is set path, the whole last list; missing if the metadata have none.

    Raises:
        InputError: a file cannot be read or downloaded, or a line is not a review or an item.
    """
    if bool(options.reviews) != bool(options.meta):
        raise InputError("give both --reviews and --meta, or neither to download both to --raw")
    if not re.fullmatch(r"\w+", options.category_name):
        raise InputError(
            f"--category-name is {options.category_name!r}, must be as in the files' names,"
            " such as Electronics or Movies_and_TV"
        )
    reviews = options.reviews or _at_hand(options.raw, f"reviews_{options.category_name}_5.json.gz")
    meta = options.meta or _at_hand(options.raw, f"meta_{options.category_name}.json.gz")
    events = read_reviews(reviews).sort_values("time", kind="stable", ignore_index=True)
    items = read_items(meta, events["item"].unique(), reviews)
    if not options.path:
        return Log(events, items.drop(columns="path"))
    return Log(events, items, multiple=["path"])


def _at_hand(directory: str, name: str) -> str:
    return at_hand(URL + name, os.path.join(directory, name))


def read_reviews(path: str) -> pd.DataFrame:
    """The reviews as a frame of user, item and time, in file order."""
    parts = []
    with opened(path, advice=AGAIN) as file:
        for before, piece in pieces(file):
            if not piece.strip():
                continue
            try:
                part = pa.json.read_json(
                    pa.BufferReader(piece),
                    pa.json.ReadOptions(block_size=len(piece)),
                    pa.json.ParseOptions(
                        explicit_schema=COLUMNS, unexpected_field_behavior="ignore"
                    ),
                )
                part.validate(full=True)
            except (pa.ArrowException, UnicodeError) as e:
                raise first_fault(path, before, piece) or unreadable(path, e) from None
            if any(column.null_count for column in part.columns):
                raise first_fault(path, before, piece) or unreadable(
                    path, "a review has no user, item or time"
                )
            parts.append(part)
    if not parts:
        raise InputError(f"{path} is empty, must have one review per line")
    return pa.concat_tables(parts).rename_columns(["user", "item", "time"]).to_pandas()


def first_fault(path: str, before: int, piece: bytes) -> InputError | None:
    """The InputError for the first line of a piece that is not a review; None if all are. Slow."""
    for number, line in enumerate(piece.split(b"\n"), before + 1):
        if not line.strip():
            continue
        try:
            review = json.loads(line)
        except ValueError as e:  # also raised for bytes that are not UTF-8
            return InputError(
                f"{path}, line {number:,}: {shown(line)} is not JSON ({getattr(e, 'msg', e)})"
            )
        if not isinstance(review, dict):
            return InputError(f"{path}, line {number:,}: {shown(line)} is not a review, {{…}}")
        for name, kind in REVIEW.items():
            if type(review.get(name)) is not kind:
                found = repr(review[name])[:60] if name in review else "missing"
                return InputError(
                    f"{path}, line {number:,}: {name} is {found}, must be {KINDS[kind]}"
                )
    return None


def shown(line: bytes) -> str:
    """The start of a line, for a message."""
    return repr(line[:60].decode("utf-8", errors="replace"))


def read_items(path: str, ids: Sequence[str], reviews: str) -> pd.DataFrame:
    """The items `ids` in their order as a frame of item, category, brand and path; other lines
    are not parsed."""
    found: dict[str, tuple[list[str], str | None]] = {}
    known = {item.encode(): item for item in ids}
    with opened(path, advice=AGAIN) as file:
        for number, line in enumerate(file, 1):
            start = ITEM.match(line)
            if start and start[1] not in known or not line.strip():
                continue
            item, attributes = parse_item(path, number, line)
            if item.encode() in known:
                found.setdefault(item, attributes)
    if not found:
        raise InputError(
            f"none of the {len(known):,} items of {reviews} is in {path}: are they of one category?"
        )
    if len(found) < len(known):
        say(
            f"{len(known) - len(found):,} of {len(known):,} items are not in {path}: their"
            " attributes are missing"
        )
    of_items = [found.get(item, ([], None)) for item in ids]
    return pd.DataFrame(
        {
            "item": ids,
            "category": pd.Series(
                [path[-1] if path else None for path, _ in of_items], dtype=object
            ),
            "brand": pd.Series([brand for _, brand in of_items], dtype=object),
            "path": pd.Series([path for path, _ in of_items], dtype=object),
        }
    )


def parse_item(path: str, number: int, line: bytes) -> tuple[str, tuple[list[str], str | None]]:
    """One line of metadata, JSON or a Python literal, as (item, (categories from root to leaf,
    brand)); [] and None for what is missing."""
    try:
        text = line.decode("utf-8")
        try:
            raw = json.loads(text)
        except json.JSONDecodeError:
            raw = ast.literal_eval(text.strip())
        item, categories, brand = raw["asin"], raw.get("categories"), raw.get("brand")
        last = categories[-1] if categories and categories[-1] else []
        for value in (item, brand or "", *last):
            if not isinstance(value, str):
                raise TypeError(f"{value!r} is not a text")
    except (
        ValueError,
        SyntaxError,
        MemoryError,
        RecursionError,
        TypeError,
        KeyError,
        AttributeError,
    ) as e:
        why = f"no {e}" if isinstance(e, KeyError) else getattr(e, "msg", None) or e
        raise InputError(
            f"{path}, line {number:,}: {shown(line)} is not an item with asin, categories and brand"
            f" ({' '.join(str(why).split())[:100]})"
        ) from None
    return item, ([name for name in last if name], brand or None)
