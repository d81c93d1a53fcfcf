"""Read files of events into typed columns."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.data.sources import columns, lists
from paddleinterest.data.sources.columns import SPACES, Labelled, concatenate, to_pandas
from paddleinterest.data.sources.files import parts
from paddleinterest.data.sources.kinds import DENSE, MULTIPLE, Kind, Kinds
from paddleinterest.data.sources.names import besides, renamed, require
from paddleinterest.data.sources.table_file import Form, Table
from paddleinterest.data.sources.times import SECOND, Clock, time_values

TIE = "microsecond of the second"
RECBOLE = {"user": "user_id", "item": "item_id", "time": "timestamp"}  # names in .inter files


@dataclass(frozen=True)
class Columns:
    """The columns of the events by their meaning.

    Attributes:
        user, item, time, label: their names in the files; time and label may be missing if they
            have the default names.
        others: (column, name) of context columns, of fields of the event, and of attributes taken
            out of the events.
        kinds: what these hold.
        positive, positive_from: see `columns.label_values`.
        drop_missing: leave out rows without user, item, time or label.
    """

    user: str = "user"
    item: str = "item"
    time: str = "time"
    label: str = "label"
    others: tuple[tuple[str, str], ...] = ()
    kinds: Kinds = Kinds()
    positive: tuple[str, ...] = ()
    positive_from: float | None = None
    drop_missing: bool = False


@dataclass
class Part:
    """The columns of one file.

    Attributes:
        name: name of the file.
        columns: user, item, time (int64), label (int8, if the file has one) and the others; lists
            as `lists.joined` texts.
        kind: kind of time: "clock" (microseconds), "order", or "rows" if the file has no time
            column.
        rows: number of rows.
        numbers: those of the others that hold numbers.
    """

    name: str
    columns: dict[str, pa.ChunkedArray]
    kind: str
    rows: int
    numbers: list[str] = field(default_factory=list)


def read_parts(paths: Sequence[str], form: Form, format: str, of: Columns, clock: Clock) -> list:
    """Read files of events, folders and zip files of them, one after the other.

    Raises:
        InputError: a file cannot be read or lacks a column, or a value is wrong; the message names
            the row.
    """
    files = [file for path in paths for file in parts(path, format)]
    read = [_read(Table(file, form), of, clock) for file in files]
    for part in read[1:]:
        check_alike(read[0], part)
    return read


def check_alike(first: Part, part: Part) -> None:
    """Raise InputError unless two parts have the same columns and kind of time."""
    if (part.columns.keys(), part.kind) != (first.columns.keys(), first.kind):
        raise InputError(
            f"{first.name} and {part.name} differ: their times are of two kinds, or only one has"
            " labels; give them the same columns"
        )


def joined(parts_: Sequence[Part]) -> dict[str, pa.ChunkedArray]:
    """The columns of several files, joined."""
    return {
        name: concatenate([part.columns[name] for part in parts_]) for name in parts_[0].columns
    }


def _read(table: Table, of: Columns, clock: Clock) -> Part:
    wanted = columns_of(table, of)
    raw = table.read(list(dict.fromkeys(wanted.values())))
    if of.drop_missing:
        rows = raw.num_rows
        raw = without_missing(raw, wanted)
        tell_missing(table.name, rows - raw.num_rows, rows)
    return typed(raw, wanted, table, of, clock)


def typed(
    raw: pa.Table,
    wanted: dict[str, str],
    table: Table,
    of: Columns,
    clock: Clock,
    labels: Labelled | None = None,
) -> Part:
    """The rows of a file, or of a piece of it, as typed columns.

    Args:
        raw: the rows as read.
        wanted: {what: column}, of `columns_of`.
        table: the file.
        of: the columns by their meaning.
        clock: how times are read.
        labels: of a piece: where its labels are counted.

    Raises:
        InputError: a value is wrong.
    """
    path = table.name
    rows = raw.num_rows
    found = {
        name: columns.id_values(raw.column(wanted[name]), wanted[name], path, table.reading)
        for name in ("user", "item")
    }
    kind = "rows"
    times = np.arange(rows)
    if "time" in wanted:
        kind, times = time_values(raw.column(wanted["time"]), wanted["time"], path, clock)
    found["time"] = pa.chunked_array([times])
    if "label" in wanted:
        column = wanted["label"]
        found["label"] = columns.label_values(
            raw.column(column), column, path, of.positive, of.positive_from, labels
        )
    numbers = []
    for column, name in of.others:
        holds = kind_of(column, name, table, of)
        found[name] = holds.values(raw.column(column), column, path, table)
        if holds.of == MULTIPLE:
            found[name] = lists.joined(found[name])
        if holds.of == DENSE:
            numbers.append(name)
    return Part(path, found, kind, rows, numbers)


def kind_of(column: str, name: str, table: Table, of: Columns) -> Kind:
    """The kind of a further column of the events."""
    # what a file declares of lists is for files of items and users
    declared = DENSE if table.declared.get(column) == DENSE else ""
    return of.kinds.of(name, declared)


def columns_of(table: Table, of: Columns) -> dict[str, str]:
    """{what: column} of the columns to read; reports those that are not read."""
    names = table.names
    path = table.name
    wanted = {}
    for what, column in (("user", of.user), ("item", of.item)):
        column = _own_name(what, column, table)
        require(column, names, path, f"--{what}-column")
        wanted[what] = column
    for what, column in (("time", of.time), ("label", of.label)):
        column = _own_name(what, column, table)
        if column in names:
            require(column, names, path)
            wanted[what] = column
        elif column not in (what, RECBOLE.get(what)):
            require(column, names, path, f"--{what}-column")
    for column, _ in of.others:
        require(column, names, path, "--context, --event, --item-columns or --user-columns")
        wanted[column] = column
    unread = besides(names, wanted.values())
    if unread:
        say(
            f"{path}: not read: {', '.join(unread)} (--item-columns takes what describes the item,"
            " --user-columns the user, --context the moment, --event the event of a history;"
            " --label-column names the label)"
        )
    if "time" not in wanted:
        say(
            f"{path} has no column {of.time!r}, only {', '.join(names)}: the order of its rows is"
            " used as the time (--time-column names another column)"
        )
    return wanted


def _own_name(what: str, column: str, table: Table) -> str:
    """The column that a default name means: RecBole's files have their own names."""
    if table.file.form == "atomic" and column == what and column not in table.names:
        return RECBOLE.get(what, column)
    return column


def without_missing(raw: pa.Table, wanted: dict[str, str]) -> pa.Table:
    """The rows that have user, item, time and label."""
    missing = np.zeros(raw.num_rows, bool)
    for what in ("user", "item", "time", "label"):
        if what not in wanted:
            continue
        column = columns.plain(raw.column(wanted[what]))
        gone = pc.is_null(column, nan_is_null=True)
        if pa.types.is_large_string(column.type):
            gone = pc.or_kleene(gone, pc.equal(pc.utf8_trim(column, characters=SPACES), ""))
        missing |= gone.to_numpy()
    return raw.filter(pa.array(~missing)) if missing.any() else raw


def tell_missing(path: str, gone: int, rows: int) -> None:
    """Say how many rows of a file `without_missing` left out.

    Raises:
        InputError: all of them.
    """
    if not gone:
        return
    say(
        f"{path}: {gone:,} of {rows:,} rows have no user, item, time or label and are left out"
        " (--drop-missing)"
    )
    if gone == rows:
        raise InputError(f"{path}: no row has user, item, time and label")


def frame(found: dict[str, pa.ChunkedArray]) -> pd.DataFrame:
    """The columns as a DataFrame."""
    return pd.DataFrame({name: to_pandas(column) for name, column in found.items()})


def in_seconds(events: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Turn the times of the log from microseconds to seconds, or from row numbers to positions
    within the user. Fractions of seconds go to the column `TIE`, which orders a second's events."""
    if kind == "rows":
        events["time"] = events.groupby("user", sort=False).cumcount().to_numpy(np.int64)
    if kind != "clock":
        return events
    ticks = events["time"].to_numpy()
    if (ticks % SECOND).any():
        events[TIE] = ticks % SECOND
        events = events.iloc[np.argsort(ticks, kind="stable")].reset_index(drop=True)
        ticks = events["time"].to_numpy()
    events["time"] = ticks // SECOND
    return events


def pairs(asked: Sequence[str], names: Sequence[str]) -> list[tuple[str, str]]:
    """COLUMN or COLUMN=NAME as (column, name)."""
    return [renamed(each, names) for each in asked]
