"""Your own event log: files of events, optionally with files of item and user attributes.

CSV and other delimited text, JSON lines and Parquet are read, also gzipped, in a zip file, or as a
folder of parts. Text is UTF-8 unless --encoding names another encoding; an empty cell means
missing. Whole numbers become integers if that loses nothing: a column that holds "007" stays text.
--dense, --multiple, --vectors and --event say which columns hold something else than a category.
"""

from dataclasses import dataclass

import pandas as pd

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.data.log import Log
from paddleinterest.data.options import option
from paddleinterest.data.sources import cells, own_split
from paddleinterest.data.sources import events as event_files
from paddleinterest.data.sources.attributes import join, take_out
from paddleinterest.data.sources.columns import concatenate
from paddleinterest.data.sources.facts import NotStreamed
from paddleinterest.data.sources.files import FORMS
from paddleinterest.data.sources.plan import Plan, make_plan
from paddleinterest.data.sources.repeats import settle
from paddleinterest.data.sources.times import DIGITS, UNITS


@dataclass
class Options:
    """The options of this source."""

    events: list[str] = option(
        [],
        "files of events, read one after the other, folders of parts, or zip files (x.zip/member"
        " names what is in one); with --train they only make histories; required without --train",
        metavar="FILE",
    )
    train: list[str] = option(
        [],
        "your own split, in place of --events: files of training samples, with labels (default:"
        " none)",
        metavar="FILE",
    )
    valid: list[str] = option(
        [], "files of validation samples, with --train (default: none)", metavar="FILE"
    )
    test: list[str] = option(
        [], "files of test samples, with --train (default: none)", metavar="FILE"
    )
    impressions: list[str] = option(
        [],
        "files of impressions with labels, which only make samples, split by time 80/10/10;"
        " --events then only make histories (default: none)",
        metavar="FILE",
    )
    items: str = option(
        "",
        "file with one row per item: its id, then its attributes (default: none)",
        metavar="FILE",
    )
    users: str = option(
        "",
        "file with one row per user: its id, then its attributes (default: none)",
        metavar="FILE",
    )
    user_column: str = option(
        "user", "the user's id, in events and users (default: user)", metavar="COL"
    )
    item_column: str = option(
        "item", "the item's id, in events and items (default: item)", metavar="COL"
    )
    time_column: str = option(
        "time",
        "the event's time: a number, a date or a text such as 2017-01-31 23:59:59; without a column"
        " of the default name the order of the rows is the time (default: time)",
        metavar="COL",
    )
    history_column: str = option(
        "",
        "a history in a cell of each sample of --train, such as 1|2|3, oldest first (default:"
        " none)",
        metavar="COL",
    )
    shown_column: str = option(
        "",
        "several shown items with their labels in a cell, such as N1-0 N2-1, with"
        " --history-column (default: none)",
        metavar="COL",
    )
    cell_separator: str = option(
        "",
        "what separates the items in such a cell (default: detected)",
        metavar="CHAR",
    )
    time_unit: str = option(
        "",
        "unit of times that are numbers: s, ms, us or ns since 1970, or the form of a date"
        " written as digits; order if they only give an order (default: detected)",
        choices=[*UNITS, "order", *DIGITS],
    )
    time_zone: str = option(
        "",
        "time zone of times without one, such as Asia/Shanghai (default: UTC)",
        metavar="ZONE",
    )
    time_format: str = option(
        "",
        "form of times that are texts, in the letters of strptime, such as '%%d/%%m/%%Y %%H:%%M'"
        " (default: detected)",
        metavar="FORM",
    )
    label_column: str = option(
        "label",
        "1 or true if the impression was clicked, else 0 or false; without a column of the"
        " default name every event is positive (default: label)",
        metavar="COL",
    )
    positive: list[str] = option(
        [],
        "values of the label column that count as 1, such as buy; all others are 0 (default: none)",
        metavar="VALUE",
    )
    positive_from: float | None = option(
        None,
        "labels are numbers, such as ratings: this one and larger ones count as 1 (default: none)",
        metavar="N",
    )
    context: list[str] = option(
        [],
        "columns of events that describe the moment, such as the device, as COL or COL=NAME; all"
        " others are ignored (default: none)",
        metavar="COL",
    )
    item_columns: list[str] = option(
        [],
        "attributes of items, as COL or COL=NAME: columns of --items, or of the events, where an"
        " item's value is the earliest one (default: all columns of --items)",
        metavar="COL",
    )
    user_columns: list[str] = option(
        [],
        "attributes of users, as COL or COL=NAME: columns of --users, or of the events, where a"
        " user's value is the earliest one (default: all columns of --users)",
        metavar="COL",
    )
    event: list[str] = option(
        [],
        "columns of events that describe an event of a history, such as the action or the price"
        " paid, as COL or COL=NAME; a candidate has none (default: none)",
        metavar="COL",
    )
    multiple: list[str] = option(
        [],
        "attributes of items or users with several values, such as genres: lists in Parquet and"
        " JSON, War|Comedy in text (default: none)",
        metavar="COL",
    )
    value_separator: list[str] = option(
        [],
        "what separates the values in such a cell, for all columns or one, as COL=CHAR (default:"
        " detected)",
        metavar="CHAR",
    )
    vectors: list[str] = option(
        [],
        "attributes of items that are lists of equally many numbers, such as an embedding of text"
        " (default: none)",
        metavar="COL",
    )
    dense: list[str] = option(
        [],
        "attributes of items, users or events that are numbers, not categories; empty means missing"
        " (default: none)",
        metavar="COL",
    )
    columns: list[str] = option(
        [],
        "the names of all columns of the events, if their files have no header line"
        " (default: the header line's)",
        metavar="NAME",
    )
    items_header: list[str] = option(
        [],
        "the same for --items (default: the header line's)",
        metavar="NAME",
    )
    users_header: list[str] = option(
        [],
        "the same for --users (default: the header line's)",
        metavar="NAME",
    )
    format: str = option(
        "",
        "format of the files of events (default: by the ending of their names)",
        choices=sorted(set(FORMS.values())),
    )
    separator: str = option(
        "",
        "what separates the columns of text files, such as '|' or ::, \\t for a tab (default: a"
        " comma in .csv, a tab in .tsv, else detected from the first lines)",
        metavar="CHAR",
    )
    quote: str = option(
        "double",
        "double = double quotes enclose cells of text files; none = they are ordinary characters"
        " (default: double)",
        choices=["double", "none"],
    )
    encoding: str = option(
        "", "encoding of text files, such as gbk or latin-1 (default: UTF-8)", metavar="NAME"
    )
    null: list[str] = option(
        [],
        "texts that mean a missing value, such as NA '\\N'; '' means empty cells only (default:"
        " empty cells, and an id that looks missing is refused)",
        metavar="TEXT",
    )
    drop_missing: bool = option(
        False, "leave out events without user, item, time or label (default: they are refused)"
    )
    drop_repeats: bool = option(
        False, "keep one of the events with the same user, item and time (default: all stay)"
    )


def load(options: Options, seed: int = 0, folder: str = "", memory_limit: int | None = None) -> Log:
    """Return the `Log` that the files describe.

    Every column of items and users except the id is an attribute. Ids that are integers in one file
    and texts in another are compared as texts.

    Args:
        options: of this source.
        seed: not used.
        folder: a new folder for events that are larger than memory, which then stay on disk
            (`stream.py`), if the files can be read piece by piece; empty to read them into memory.
        memory_limit: bytes that preparation may take; None for what is free.

    Raises:
        InputError: a file is missing, empty, cut short or lacks a column; ids are missing or, in
            items and users, double; a time, label or dense value is wrong; names collide. The
            message names file and row.
    """
    plan = make_plan(options)
    if options.history_column:
        return _from_cells(plan)
    if plan.own:
        return _from_splits(plan)
    if folder:
        from paddleinterest.data.sources import stream  # needs duckdb

        try:
            return stream.read(plan, folder, memory_limit)
        except NotStreamed as e:
            say(f"the events are read into memory first: {e}")
    return _from_events(plan)


def _from_events(plan: Plan) -> Log:
    """The log of files of events."""
    options = plan.options
    read = event_files.read_parts(
        options.events, plan.form, options.format, plan.of_events, plan.clock
    )
    columns = event_files.joined(read)
    columns["user"], users = join(columns["user"], plan.users)
    columns["item"], items = join(columns["item"], plan.items)
    kind = read[0].kind
    events = event_files.frame(columns)
    if kind == "clock":
        events = settle(events, options.drop_repeats)
    events = event_files.in_seconds(events, kind)
    return _log(plan, read, events, items, users)


def _from_splits(plan: Plan) -> Log:
    """The log of the user's own split, or of impressions beside events."""
    read, columns = own_split.read(plan.options, plan.form, plan.of_samples, plan.clock, plan.event)
    columns["user"], users = join(columns["user"], plan.users)
    columns["item"], items = join(columns["item"], plan.items)
    events = event_files.in_seconds(event_files.frame(columns), read[0].kind)
    log = _log(plan, read, events, items, users)
    log.events, log.samples = own_split.apart(log.events, bool(plan.options.impressions), log.event)
    return log


def _log(
    plan: Plan,
    read: list[event_files.Part],
    events: pd.DataFrame,
    items: pd.DataFrame,
    users: pd.DataFrame | None,
) -> Log:
    """The log of typed events and of the tables of items and users."""
    if users is not None:
        users = take_out(events, plan.users, users)
    items = take_out(events, plan.items, items)
    numbers = {name for part in read for name in part.numbers}
    return Log(
        events,
        items,
        users,
        context=plan.context_names,
        event=plan.event_names,
        time="seconds" if read[0].kind == "clock" else "order",
        dense=plan.dense(numbers),
        multiple=plan.multiple,
        vectors=plan.items.vectors,
        tie=event_files.TIE if event_files.TIE in events else "",
    )


def _from_cells(plan: Plan) -> Log:
    """The log of samples whose histories are in cells."""
    options = plan.options
    if plan.items.in_events or plan.users.in_events or options.events:
        raise InputError(
            "--history-column reads histories from the samples, so it excludes --events;"
            " attributes come from --items and --users"
        )
    if options.event:
        raise InputError(
            f"--event {options.event[0]}: a history in a cell is of items alone; give the events as"
            " rows, with --events, for fields of theirs"
        )
    events, samples = cells.read(options, plan.form, plan.context)
    past = len(events["user"])
    for of, side in (("user", plan.users), ("item", plan.items)):
        both = concatenate([events[of], samples[of]])
        both, table = join(both, side)
        events[of] = both.slice(0, past)
        samples[of] = both.slice(past)
        if side is plan.users:
            people = table
        elif table is not None:
            listed = table
    made = cells.with_owners(event_files.frame(events), event_files.frame(samples), people)
    return Log(
        made[0],
        listed,
        made[2],
        context=plan.context_names,
        time="order",
        dense=plan.dense(set(options.dense)),
        multiple=plan.multiple,
        vectors=plan.items.vectors,
        samples=made[1],
        note=made[3],
    )
