"""Text files in the form that PaddleRec's din, dien and bst read: one sample per line,

    history items;history categories;target item;target category;label
    2 19 7;11 3 11;23;3;1

ids separated by spaces, label 0 or 1. The two lists are of equal length, oldest first; an empty
history is fine. PaddleRec's bst writes the same as slots, which are read too:

    userid:8 history:2 history:19 history:7 cate:11 cate:3 cate:11 position:90 position:20
    position:3 target:23 target_cate:3 target_position:0 label:1

in one line; userid and the positions (days before the target) are not read.
"""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.data.log import Log
from paddleinterest.data.options import option
from paddleinterest.data.sources.columns import to_pandas, whole
from paddleinterest.data.sources.files import opened, unreadable

COLUMNS = ("items", "categories", "item", "category", "label")
SLOTS = {  # of PaddleRec's bst
    "items": "history",
    "categories": "cate",
    "item": "target",
    "category": "target_cate",
    "label": "label",
}
UNREAD = ("userid", "position", "target_position")
FORM = "history items;history categories;item;category;label"


@dataclass
class Options:
    """The options of this source."""

    train: list[str] = option(
        [],
        "files of training samples, plain or .gz; required",
        metavar="FILE",
    )
    test: list[str] = option(
        [],
        "files of test samples, plain or .gz; required",
        metavar="FILE",
    )
    valid_fraction: float = option(
        0.1,
        (
            "share of the distinct training histories, 0 or more and less than 1, whose "
            "samples are held out as valid, chosen by the seed (default: 0.1)"
        ),
        metavar="F",
    )


def load(options: Options, seed: int = 0) -> Log:
    """Return the `Log` of those samples.

    A distinct history within the training (or test) files becomes a user, such as ``train-17``.

    events: user, item, time (position in the history). items: category, the first one seen with the
    item. samples: user, item, label, split; one row per line.

    Raises:
        InputError: a flag or file is missing, or a line has a wrong form; the message names file
            and line.
    """
    for flag, files in (("--train", options.train), ("--test", options.test)):
        if not files:
            raise InputError(f"paddlerec_text needs {flag} FILE: samples in the form {FORM}")
    if not 0 <= options.valid_fraction < 1:
        raise InputError(
            f"--valid-fraction is {options.valid_fraction}, must be at least 0 and less than 1"
        )
    groups = [read_group(options.train), read_group(options.test)]
    item = typed(
        [g[name] for g in groups for name in ("history_item", "item")]
    )  # train history, train, test …
    category = typed([g[name] for g in groups for name in ("history_category", "category")])
    items, several = item_table(item, category)

    events, samples = [], []
    for i, (group, name) in enumerate(zip(groups, ("train", "test"), strict=True)):
        users = pd.Series([f"{name}-{n}" for n in range(group["users"])]).array
        events.append(
            pd.DataFrame(
                {
                    "user": users.take(group["history_user"]),
                    "item": item[2 * i],
                    "time": group["time"],
                }
            )
        )
        samples.append(
            pd.DataFrame(
                {
                    "user": users.take(group["user"]),
                    "item": item[2 * i + 1],
                    "label": group["label"],
                    "split": name,
                }
            )
        )
    held_out = np.zeros(groups[0]["users"], bool)
    shuffled = np.random.default_rng(seed).permutation(len(held_out))
    held_out[shuffled[: round(options.valid_fraction * len(held_out))]] = True
    samples[0].loc[held_out[groups[0]["user"]], "split"] = "valid"
    note = "The format has no user: gAUC groups the lines with equal history."
    if several:
        note += (
            f" {several:,} items come with more than one category: the first one seen is theirs."
        )
    return Log(
        pd.concat(events, ignore_index=True),
        items,
        time="order",
        note=note,
        samples=pd.concat(samples, ignore_index=True),
    )


def item_table(item: list[pd.Series], category: list[pd.Series]) -> tuple[pd.DataFrame, int]:
    """The items with their first category, and how many have more than one. Arguments: lists of
    equal-length Series."""
    seen = pd.concat(
        [
            pd.DataFrame({"item": i, "category": c}).drop_duplicates()
            for i, c in zip(item, category, strict=True)
        ]
    )
    seen = seen.drop_duplicates()
    items = seen.drop_duplicates("item", ignore_index=True)
    return items, seen["item"][seen["item"].duplicated()].nunique()


def typed(columns: list[pa.ChunkedArray]) -> list[pd.Series]:
    """Arrow columns of texts as Series of int64 if every text is a whole number, else of texts."""
    numbers = [whole(column) for column in columns]
    return [
        to_pandas(column) for column in (columns if any(n is None for n in numbers) else numbers)
    ]


def read_group(paths: list[str]) -> dict[str, Any]:
    """Read the training or the test files.

    Returns:
        dict, with one row per line: user (the number of its history, in order of appearance), item,
            category, label; with one row per event of the distinct histories: history_user, time,
            history_item, history_category; and users, the
        number of distinct histories. Items and categories are Arrow columns of texts, the others
        numpy arrays.
    """
    table = pa.concat_tables([read(path) for path in paths])
    item_codes, item_lists = split(table["items"])
    category_codes, category_lists = split(table["categories"])
    width = len(category_lists)
    user, pairs = pd.factorize(item_codes.astype(np.int64) * width + category_codes)
    items = item_lists.take(pairs // width)
    categories = category_lists.take(pairs % width)
    lengths = items.value_lengths().to_numpy()
    if (lengths != categories.value_lengths().to_numpy()).any():
        raise first_fault(paths) or unreadable(
            paths[0], "a history has more items or fewer than categories"
        )
    starts = np.cumsum(lengths) - lengths
    return {
        "user": user,
        "item": table["item"],
        "category": table["category"],
        "users": len(pairs),
        "label": pc.equal(table["label"], "1").to_numpy().astype(np.int8),
        "history_user": np.repeat(np.arange(len(pairs)), lengths),
        "time": np.arange(lengths.sum()) - np.repeat(starts, lengths),
        "history_item": pa.chunked_array([items.flatten()]),
        "history_category": pa.chunked_array([categories.flatten()]),
    }


def read(path: str) -> pa.Table:
    """The lines of one file as an Arrow table of five columns of texts."""
    if not os.path.isfile(path):
        raise InputError(f"{path} does not exist")
    slots = has_slots(path)
    names = ("line",) if slots else COLUMNS
    try:
        with opened(path) as f:
            table = pa.csv.read_csv(
                f,
                read_options=pa.csv.ReadOptions(column_names=names, block_size=1 << 24),
                parse_options=pa.csv.ParseOptions(
                    delimiter="\x01" if slots else ";", quote_char=False
                ),
                convert_options=pa.csv.ConvertOptions(
                    column_types={name: pa.large_string() for name in names}
                ),
            )
        if slots:
            table = pa.table([of_slot(table["line"], slot) for slot in SLOTS.values()], COLUMNS)
            say(f"{path}: slots of PaddleRec's bst; {', '.join(UNREAD)} are not read")
    except (pa.ArrowException, OSError, ValueError) as e:
        if "Empty CSV" in str(e):
            raise InputError(f"{path} is empty, must have lines of {FORM}") from None
        raise first_fault([path]) or unreadable(path, e) from None
    wrong = pc.invert(pc.is_in(table["label"], value_set=pa.array(["0", "1"], pa.large_string())))
    for name in ("item", "category"):
        wrong = pc.or_(wrong, pc.invert(pc.match_substring_regex(table[name], r"^[^ ]+$")))
    if pc.any(wrong).as_py():
        raise first_fault([path]) or unreadable(path, "a line has a wrong form")
    return table


def has_slots(path: str) -> bool:
    """True if the first line has slots, as PaddleRec's bst writes them."""
    with opened(path) as f:
        first = f.readline(1 << 20)
    return b"target:" in first and b";" not in first


def of_slot(lines: pa.ChunkedArray, slot: str) -> pa.ChunkedArray:
    """The values of one slot of each line, separated by spaces."""
    others = [each for each in (*SLOTS.values(), *UNREAD) if each != slot]
    rest = pc.replace_substring_regex(lines, rf"(?:^|\s)(?:{'|'.join(others)}):\S*", "")
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(rest, rf"(^|\s){slot}:", r"\1"))


def as_plain(line: str) -> str:
    """A line of slots as one with semicolons."""
    found: dict[str, list[str]] = {slot: [] for slot in SLOTS.values()}
    for token in line.split():
        slot, _, value = token.partition(":")
        if slot in found:
            found[slot].append(value)
        elif slot not in UNREAD:
            found["target"].append(token)  # not a slot: the line is wrong and is reported as it is
    return ";".join(" ".join(values) for values in found.values())


def split(column: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    """Encode texts of ids: a code for each row, and the list of ids of each code (an Arrow list
    array)."""
    encoded = column.dictionary_encode().combine_chunks()
    texts = pc.ascii_trim_whitespace(encoded.dictionary)
    ids = pc.ascii_split_whitespace(texts)
    none = pa.array([[]], ids.type)
    return encoded.indices.to_numpy(), pc.if_else(pc.equal(texts, ""), none[0], ids)


def first_fault(paths: list[str]) -> InputError | None:
    """The InputError for the first line of these files with a wrong form; None if all are right.
    Slow."""
    for path in paths:
        try:
            slots = has_slots(path)
            with opened(path) as f:
                for number, raw in enumerate(f, 1):
                    line = raw.decode("utf-8").rstrip("\r\n")
                    if slots and line.strip():
                        line = as_plain(line)
                    if fault := what_is_wrong(line):
                        return InputError(f"{path}, line {number}: {fault}; a line must be {FORM}")
        except (InputError, UnicodeDecodeError):
            return None  # not readable as text: the fast reader's own message says why
    return None


def what_is_wrong(line: str) -> str:
    """The fault of a line, in words; empty for a good or an empty one."""
    parts = line.split(";")
    if not line:
        return ""
    if len(parts) != 5:
        return f"{len(parts)} parts separated by ';', but 5 are needed"
    items, categories = len(parts[0].split()), len(parts[1].split())
    if items != categories:
        return f"the history has {items} items but {categories} categories"
    for name, value in zip(COLUMNS[2:4], parts[2:4], strict=True):
        if not value or " " in value:
            return f"the target {name} is {value!r}, not one id"
    return "" if parts[4] in ("0", "1") else f"the label is {parts[4]!r}, not 0 or 1"
