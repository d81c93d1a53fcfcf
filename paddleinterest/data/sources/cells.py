"""Samples whose history is in a cell of their row (`1|2|3`, FuxiCTR's `a^b`, MIND), and rows that
list several shown items in a cell (MIND's `N1-0 N2-1`).

A history has an order and no times. Rows of one user with one history share a sequence; a user with
several histories becomes one user per history, such as `u1 history 2`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.data.schema import SPLITS
from paddleinterest.data.sources import columns
from paddleinterest.data.sources.columns import SPACES, concatenate, plain
from paddleinterest.data.sources.files import parts
from paddleinterest.data.sources.kinds import Kinds
from paddleinterest.data.sources.lists import found_separators
from paddleinterest.data.sources.names import besides, require
from paddleinterest.data.sources.table_file import Form, Table

SEPARATORS = ("|", "^", ";", ",", " ")
SHOWN = r"^(?P<item>.+)-(?P<label>[01])$"
OWNER = "history of the row"  # number of the row's sequence


def read(
    options: Any, form: Form, context: Sequence[tuple[str, str]]
) -> tuple[dict[str, pa.ChunkedArray], dict[str, pa.ChunkedArray]]:
    """Read the files of `--train`, `--valid` and `--test`.

    Args:
        context: (column, name) of the context columns.

    Returns:
        (events, samples): columns user, item and time (the place in the history) of the distinct
        histories; user, item, label, split (a number) and context of the samples. ``user`` is the
        real one, and `OWNER` is the number of the history in both.

    Raises:
        InputError: a file lacks a column, or a cell has a wrong form; the message names the row.
    """
    read_ = []
    for split, paths in enumerate((options.train, options.valid, options.test)):
        for file in [file for path in paths for file in parts(path, options.format)]:
            read_.append(_read(Table(file, form), options, context, split))
    samples = {name: concatenate([part[name] for part in read_]) for name in read_[0]}
    cells = samples.pop("history")
    return _distinct(samples, cells)


def _read(
    table: Table, options: Any, context: Sequence[tuple[str, str]], split: int
) -> dict[str, pa.ChunkedArray]:
    """The samples of one file, one per row, with the history as a list of texts."""
    shown = options.shown_column
    needed = [options.user_column, options.history_column]
    needed += [shown] if shown else [options.item_column, options.label_column]
    for name in needed:
        require(name, table.names, table.name)
    stored = list(dict.fromkeys([*needed, *(column for column, _ in context)]))
    unread = besides(table.names, stored)
    if unread:
        say(f"{table.name}: not read: {', '.join(unread)} (a history in a cell has no times)")
    raw = table.read(stored)
    path = table.name
    user = columns.id_values(raw.column(options.user_column), options.user_column, path)
    made = {
        "user": user,
        "history": _lists(raw.column(options.history_column), options.history_column, options),
        "split": pa.chunked_array([np.full(raw.num_rows, split, np.int8)]),
    }
    for column, name in context:
        kind = Kinds(options.dense).of(name)
        made[name] = kind.values(raw.column(column), column, path, table)
    if shown:
        lists = _lists(raw.column(shown), shown, options).combine_chunks()
        rows = pc.list_parent_indices(lists)
        made = {name: column.take(rows) for name, column in made.items()}
        made |= _pairs(lists.flatten(), rows.to_numpy(), shown, path)
    else:
        item = plain(raw.column(options.item_column))
        made["item"] = pc.utf8_trim(item.cast(pa.large_string()), characters=SPACES)
        columns.id_values(made["item"], options.item_column, path, table.reading)  # none missing
        made["label"] = columns.label_values(
            raw.column(options.label_column),
            options.label_column,
            path,
            tuple(options.positive),
            options.positive_from,
        )
    return made


def _lists(column: pa.ChunkedArray, name: str, options: Any) -> pa.ChunkedArray:
    """Cells as lists of texts; a missing or empty cell is an empty list."""
    kind = pa.large_list(pa.large_string())
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return pc.fill_null(column.cast(kind), pa.scalar([], kind))
    texts = pc.fill_null(plain(column).cast(pa.large_string()), "")
    texts = pc.utf8_trim(texts, characters=SPACES)
    separator = options.cell_separator.replace("\\t", "\t")
    if not separator:
        found = found_separators(texts, SEPARATORS)
        if len(found) > 1:
            raise InputError(
                f"{name}: its cells hold {found[0]!r} and {found[1]!r}, and either may separate"
                " the items; choose with --cell-separator"
            )
        separator = found[0] if found else SEPARATORS[0]
        if found:
            say(f"{name}: cells are lists, separated by {separator!r} (--cell-separator)")
    pieces = pc.split_pattern(texts, separator).cast(kind)
    return pc.if_else(pc.equal(texts, ""), pa.scalar([], kind), pieces)


def _pairs(cells: pa.Array, rows: np.ndarray, name: str, path: str) -> dict[str, pa.ChunkedArray]:
    """Texts such as N1-0 as items and labels."""
    found = pc.extract_regex(pc.utf8_trim(cells, characters=SPACES), SHOWN)
    wrong = pc.is_null(found).to_numpy(zero_copy_only=False)
    if wrong.any():
        at = int(wrong.argmax())
        raise InputError(
            f"{path}: {name} holds {cells[at].as_py()!r} in row {int(rows[at]) + 1:,}; shown items"
            " are written as ITEM-0 or ITEM-1, such as N1-0 N2-1"
        )
    label = pc.struct_field(found, "label").cast(pa.int8())
    item = pc.struct_field(found, "item").cast(pa.large_string())
    return {"item": pa.chunked_array([item]), "label": pa.chunked_array([label])}


def _distinct(
    samples: dict[str, pa.ChunkedArray], cells: pa.ChunkedArray
) -> tuple[dict[str, pa.ChunkedArray], dict[str, pa.ChunkedArray]]:
    """The distinct histories of each user as events, and the samples with the number of their
    history."""
    cells = cells.combine_chunks()
    joined = pc.binary_join(cells.cast(pa.list_(pa.string())), "\x1f").to_pandas()
    users = samples["user"].to_pandas()
    owner = pd.MultiIndex.from_arrays([users, joined]).factorize()[0]
    first = np.unique(owner, return_index=True)[1]
    lists = cells.take(pa.array(first))
    lengths = pc.list_value_length(lists).to_numpy()
    starts = np.cumsum(lengths) - lengths
    history = pc.utf8_trim(lists.flatten(), characters=SPACES)
    if pc.any(pc.equal(history, "")).as_py():
        raise InputError(
            "a history holds an empty item, as in 1||3; set --cell-separator to what separates"
            " the items"
        )
    item = pa.chunked_array([history, *samples["item"].chunks])
    item = columns.id_values(item, "the items of histories and samples", "samples")
    of_events = item.slice(0, len(history))
    samples["item"] = item.slice(len(history))
    samples[OWNER] = pa.chunked_array([owner])
    events = {
        "user": samples["user"].take(pa.array(np.repeat(first, lengths))),
        "item": of_events,
        "time": pa.chunked_array([np.arange(lengths.sum()) - np.repeat(starts, lengths)]),
        OWNER: pa.chunked_array([np.repeat(np.arange(len(first)), lengths)]),
    }
    return events, samples


def with_owners(
    events: pd.DataFrame, samples: pd.DataFrame, users: pd.DataFrame | None
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame | None, str]:
    """Name each history of the users who have several.

    Returns:
        events, samples and users with the names, and a sentence to print with every figure.
    """
    of_owner = samples.drop_duplicates(OWNER).set_index(OWNER)["user"]
    several = bool(of_owner.duplicated().any())
    note = ""
    if several:
        number = of_owner.groupby(of_owner).cumcount() + 1
        names = of_owner.astype(str) + " history " + number.astype(str)
        note = "A user is a history: gAUC groups the rows with equal user and history."
        say(
            f"{of_owner.nunique():,} users have {len(of_owner):,} histories: each history counts"
            " as a separate user"
        )
        if users is not None:
            users = pd.DataFrame({"user": of_owner.to_numpy(), "name": names.to_numpy()}).merge(
                users, on="user", how="left"
            )
            users = users.drop(columns="user").rename(columns={"name": "user"})
        events = events.assign(user=events[OWNER].map(names))
        samples = samples.assign(user=samples[OWNER].map(names))
    samples["split"] = np.array(SPLITS, object)[samples["split"].to_numpy()]
    return events.drop(columns=OWNER), samples.drop(columns=OWNER), users, note
