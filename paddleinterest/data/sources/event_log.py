"""Your own event log: CSV or Parquet files of events, optionally with files of item and user
attributes.

Files may end in .csv, .tsv (both also with .gz) or .parquet. CSV files have a header line, are
UTF-8, and an empty cell means missing; "NA" and "null" are ordinary texts. Whole numbers become
integers where nothing is lost by it: a column that holds "007" stays text.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.data.log import Log
from paddleinterest.data.options import option
from paddleinterest.data.schema import RESERVED
from paddleinterest.data.sources.columns import (
    category_values,
    concatenate,
    id_values,
    label_values,
    number_values,
    to_pandas,
)
from paddleinterest.data.sources.table_file import besides, column_names, read, require
from paddleinterest.data.sources.times import SECOND, UNITS, time_values


@dataclass
class Options:
    """The options of this source."""

    events: list[str] = option(
        [],
        (
            "files of events, read one after the other: .csv, .csv.gz, .tsv, .tsv.gz or "
            ".parquet; required"
        ),
        metavar="FILE",
    )
    items: str = option(
        "",
        "file with one row an item: its id, then its attributes (default: none)",
        metavar="FILE",
    )
    users: str = option(
        "",
        "file with one row a user: its id, then its attributes (default: none)",
        metavar="FILE",
    )
    user_column: str = option(
        "user",
        "the user's id, in events and users (default: user)",
        metavar="COL",
    )
    item_column: str = option(
        "item",
        "the item's id, in events and items (default: item)",
        metavar="COL",
    )
    time_column: str = option(
        "time",
        (
            "the event's time: whole numbers, timestamps or ISO 8601 texts, taken as UTC "
            "where they name no zone; without a column of the default name the order of the "
            "rows is the time (default: time)"
        ),
        metavar="COL",
    )
    time_unit: str = option(
        "s",
        (
            "unit of a time column of whole numbers: s, ms or us since any moment; order "
            "where they only order (default: s)"
        ),
        choices=[*UNITS, "order"],
    )
    label_column: str = option(
        "label",
        (
            "1 or true where the impression was clicked, else 0 or false; without a column of"
            " the default name every event is a positive one (default: label)"
        ),
        metavar="COL",
    )
    context: list[str] = option(
        [],
        (
            "columns of events that describe the moment, such as the device; all others are "
            "ignored (default: none)"
        ),
        metavar="COL",
    )
    dense: list[str] = option(
        [],
        (
            "attributes of items, users or events that are numbers, not categories; empty "
            "means missing (default: none)"
        ),
        metavar="COL",
    )
    separator: str = option(
        "",
        (
            "what separates the columns of CSV files, \\t for a tab (default: tab in .tsv "
            "files, else a comma)"
        ),
        metavar="CHAR",
    )


def load(options: Options, seed: int = 0) -> Log:
    """Return the `Log` that the files describe.

    Every column of items and users but the id is an attribute. Ids that are integers in one file
    and texts in another are compared as texts.

    Raises:
        InputError: a file is missing, empty, cut short or lacks a column; ids are missing or, in
            items and users, double; a time, label or dense value is no such thing; names collide.
            It names file and row.
    """
    if not options.events:
        raise InputError("event_log needs --events FILE: the log to read")
    separator = options.separator.replace("\\t", "\t")
    if len(separator) > 1:
        raise InputError(
            f"--separator is {options.separator!r}; it should be one character, or \\t for a tab"
        )
    items, item_dense = attributes(options.items, options.item_column, options.dense, separator)
    users, user_dense = attributes(options.users, options.user_column, options.dense, separator)
    names = {
        name for table in (items, users) if table is not None for name in table.column_names[1:]
    }
    context = list(
        dict.fromkeys([*options.context, *(name for name in options.dense if name not in names)])
    )
    for name in context:
        if name in options.dense:
            require(
                name, sorted(names | set(column_names(options.events[0], separator))), "the log"
            )
    check_context(options, items, users, context)

    parts = [read_events(path, options, context, separator) for path in options.events]
    for path, (log, kind) in zip(options.events, parts, strict=True):
        if (log.keys(), kind) != (parts[0][0].keys(), parts[0][1]):
            raise InputError(
                f"{options.events[0]} and {path} differ: their times are of two kinds, or only one"
                " has labels; bring them to the same columns"
            )
    log = {name: concatenate([part[name] for part, _ in parts]) for name in parts[0][0]}
    user, users = join(log["user"], users, "users", options.users)
    item, items = join(log["item"], items, "items", options.items)
    log.update(user=user, item=item)
    events = in_seconds(
        pd.DataFrame({name: to_pandas(column) for name, column in log.items()}), kind
    )
    return Log(
        events,
        items,
        users,
        context=context,
        time="seconds" if kind == "clock" else "order",
        dense=[*item_dense, *user_dense, *(name for name in context if name in options.dense)],
    )


def check_context(options, items, users, context):
    """Raise InputError where a context column is an id, or one name stands for two attributes."""
    for name in context:
        if name in (
            options.user_column,
            options.item_column,
            options.time_column,
            options.label_column,
        ):
            raise InputError(
                f"the column {name!r} of --context or --dense is the user, item, time or label"
                " already"
            )
        check_name(name, "--context")
    owner: dict[str, str] = {}
    for of, names in (
        ("--items", items.column_names[1:] if items is not None else []),
        ("--users", users.column_names[1:] if users is not None else []),
        ("--context", context),
    ):
        for name in names:
            if name in owner:
                raise InputError(
                    f"{owner[name]} and {of} both have an attribute {name!r}; rename one of them"
                )
            owner[name] = of


def check_name(name, where):
    """Raise InputError where `name` cannot be an attribute's."""
    if name in RESERVED:
        raise InputError(
            f"{where} has an attribute named {name!r}, which has a meaning of its own here; rename"
            f" it (reserved: {', '.join(RESERVED)})"
        )
    if not name or "/" in name or "\\" in name or name.startswith(".") or not name.isprintable():
        raise InputError(
            f"{where} has a column named {name!r}: attributes need a name that can be a file name "
            "(pandas writes its index as a column without a name: use index=False)"
        )


def attributes(path, id_column, dense, separator):
    """Read a file of items or users.

    Returns:
        (table, dense): the Arrow table, its first column the id, and the names of its numbers;
        (None, []) if no path.
    """
    if not path:
        return None, []
    names = column_names(path, separator)
    require(id_column, names, path)
    others = besides(names, [id_column])
    for name in others:
        check_name(name, path)
    table = read(path, [id_column, *others], separator)
    ids = id_values(table[id_column], id_column, path)
    counts = pc.value_counts(ids.combine_chunks()).flatten()
    double = pc.greater(counts[1], 1)
    if pc.any(double).as_py():
        values, times = (part.filter(double) for part in counts)
        raise InputError(
            f"{path}: {id_column} {values[0].as_py()!r} occurs {times[0].as_py()} times (ids with "
            f"more than one row: {len(values):,}); keep one row an id"
        )
    numbers = [name for name in others if name in dense]
    columns = [
        number_values(table[n], n, path) if n in numbers else category_values(table[n], n, path)
        for n in others
    ]
    return pa.table([ids, *columns], names=[id_column, *others]), numbers


def read_events(path, options, context, separator):
    """Read one file of events.

    Returns:
        (log, kind): a dict of the Arrow columns user, item, time, label (int8, where the file has
        one) and the context by name. ``kind`` of time: "clock" (int64 microseconds), "order"
        (int64), "rows" (no such column: row numbers).
    """
    names = column_names(path, separator)
    for name, flag in (
        (options.user_column, "--user-column"),
        (options.item_column, "--item-column"),
        *((c, "--context") for c in context),
    ):
        require(name, names, path, flag)
    optional = []
    for default, name in (("time", options.time_column), ("label", options.label_column)):
        if name in names:
            optional.append(name)
        elif name != default:
            require(name, names, path, f"--{default}-column")
    wanted = [options.user_column, options.item_column, *optional, *context]
    if others := besides(names, wanted):
        say(
            f"{path}: not read: {', '.join(others)} (--context names columns that describe the"
            " moment, --label-column the label)"
        )
    table = read(path, wanted, separator)
    log = {
        "user": id_values(table[options.user_column], options.user_column, path),
        "item": id_values(table[options.item_column], options.item_column, path),
    }
    kind, log["time"] = "rows", pa.chunked_array([np.arange(table.num_rows)])
    if options.time_column in optional:
        kind, log["time"] = time_values(
            table[options.time_column], options.time_column, path, options.time_unit
        )
    else:
        say(
            f"{path} has no column 'time', only {', '.join(names)}: the order of its rows is taken"
            " for the time (--time-column names another)"
        )
    if options.label_column in optional:
        log["label"] = label_values(table[options.label_column], options.label_column, path)
    for name in context:
        log[name] = (number_values if name in options.dense else category_values)(
            table[name], name, path
        )
    return log, kind


def in_seconds(events, kind):
    """Turn the times of the log from microseconds to seconds, or from row numbers to positions
    within the user."""
    if kind == "rows":
        events["time"] = events.groupby("user", sort=False).cumcount().to_numpy(np.int64)
    if kind != "clock":
        return events
    ticks = events["time"].to_numpy()
    events["time"] = ticks // SECOND
    if (ticks % SECOND).any():  # events of one second would keep the row order otherwise
        events = events.iloc[np.argsort(ticks, kind="stable")].reset_index(drop=True)
    return events


def join(ids, table, of, path):
    """Bring the ids of the log and of the items' or users' table to one type.

    Returns:
        (ids, frame): the log's ids, and the table as a DataFrame whose id column is named ``item``
        or ``user``. For items without a table it lists the log's items; for users it is None.
    """
    if table is None:
        return ids, None if of == "users" else pd.DataFrame({"item": to_pandas(pc.unique(ids))})
    listed = table[0]
    if listed.type != ids.type:
        listed, ids = listed.cast(pa.large_string()), ids.cast(pa.large_string())
    logged = pc.unique(ids)
    known = pc.sum(pc.is_in(logged, value_set=pc.unique(listed))).as_py()
    if not known:
        raise InputError(
            f"none of the {len(logged):,} {of} of the log is in {path}: the log has ids such as "
            f"{logged[0].as_py()!r}, the file {listed[0].as_py()!r}"
        )
    if known < len(logged):
        say(
            f"{len(logged) - known:,} of {len(logged):,} {of} of the log are not in {path}: their"
            " attributes are missing"
        )
    columns = {of[:-1]: to_pandas(listed)}
    return ids, pd.DataFrame(
        {**columns, **{name: to_pandas(table[name]) for name in table.column_names[1:]}}
    )
