"""Your own event log: files of events, optionally with files of item and user attributes.

CSV and other delimited text, JSON lines and Parquet are read, also gzipped, in a zip file, or as a
folder of parts. Text is UTF-8 unless --encoding names another encoding; an empty cell means
missing. Whole numbers become integers if that loses nothing: a column that holds "007" stays text.
--dense, --multiple, --vectors and --event say which columns hold something else than a category.
"""

from dataclasses import dataclass, replace

from paddleinterest.core.errors import InputError
from paddleinterest.data.log import Log
from paddleinterest.data.options import option
from paddleinterest.data.sources import cells, own_split
from paddleinterest.data.sources import events as event_files
from paddleinterest.data.sources.attributes import Side, join, read_side, take_out
from paddleinterest.data.sources.columns import concatenate
from paddleinterest.data.sources.events import Columns
from paddleinterest.data.sources.files import FORMS, parts
from paddleinterest.data.sources.kinds import Kinds, check_one_kind
from paddleinterest.data.sources.lists import separators
from paddleinterest.data.sources.names import check_name, require
from paddleinterest.data.sources.repeats import settle
from paddleinterest.data.sources.table_file import Form, Table, check_form
from paddleinterest.data.sources.times import DIGITS, UNITS, Clock, check_clock


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


def load(options: Options, seed: int = 0) -> Log:
    """Return the `Log` that the files describe.

    Every column of items and users except the id is an attribute. Ids that are integers in one file
    and texts in another are compared as texts.

    Raises:
        InputError: a file is missing, empty, cut short or lacks a column; ids are missing or, in
            items and users, double; a time, label or dense value is wrong; names collide. The
            message names file and row.
    """
    if options.impressions and (options.train or not options.events):
        raise InputError(
            "--impressions needs --events, which make the histories, and cannot be used with"
            " --train"
        )
    own = options.train or options.impressions
    if not options.events and not own:
        raise InputError("event_log needs --events FILE: the log to read (or --train and --test)")
    if (options.train or options.valid or options.test) and not (options.train and options.test):
        raise InputError("your own split needs --train FILE and --test FILE, perhaps --valid FILE")
    if (options.history_column or options.shown_column) and not options.train:
        raise InputError(
            "--history-column and --shown-column describe samples: name the files with --train"
            " and --test"
        )
    if options.shown_column and not options.history_column:
        raise InputError(
            "--shown-column needs --history-column; otherwise write one row per shown item"
        )
    null = tuple(options.null) if options.null else None
    form = check_form(Form(options.separator, options.quote == "double", options.encoding, null))
    clock = Clock(options.time_unit, options.time_zone, options.time_format)
    check_clock(clock)
    kinds = Kinds(
        options.dense, options.multiple, options.vectors, separators(options.value_separator)
    )
    check_one_kind(kinds)
    items = _side("item", options, kinds, form)
    users = _side("user", options, kinds, form)
    form = check_form(replace(form, header=tuple(options.columns)))
    first = Table(parts((own or options.events)[0], options.format)[0], form)
    of_events = first
    if own and options.events:
        of_events = Table(parts(options.events[0], options.format)[0], form)
    event = event_files.pairs(options.event, of_events.names)
    context = _context(options, items, users, event, first)
    _check_names(options, items, users, context, event)
    _check_kinds(kinds, items, users, [name for _, name in [*context, *event]])
    if options.history_column:
        return _from_cells(options, form, items, users, context)

    of = Columns(
        options.user_column,
        options.item_column,
        options.time_column,
        options.label_column,
        (*items.in_events, *users.in_events, *context),
        kinds,
        tuple(options.positive),
        options.positive_from,
        options.drop_missing,
    )
    samples = None
    if own:
        read, events = own_split.read(options, form, of, clock, event)
    else:
        of = replace(of, others=(*of.others, *event))
        read = event_files.read_parts(options.events, form, options.format, of, clock)
        events = event_files.joined(read)
    events["user"], user_table = join(events["user"], users)
    events["item"], item_table = join(events["item"], items)
    kind = read[0].kind
    events = event_files.frame(events)
    if kind == "clock" and not own:
        events = settle(events, options.drop_repeats)
    events = event_files.in_seconds(events, kind)
    if user_table is not None:
        user_table = take_out(events, users, user_table)
    item_table = take_out(events, items, item_table)
    if own:
        events, samples = own_split.apart(
            events, bool(options.impressions), [name for _, name in event]
        )
    in_rows = [name for _, name in [*context, *event]]
    numbers = {name for part in read for name in part.numbers}
    return Log(
        events,
        item_table,
        user_table,
        context=[name for _, name in context],
        event=[name for _, name in event],
        time="seconds" if kind == "clock" else "order",
        dense=[*items.dense, *users.dense, *(name for name in in_rows if name in numbers)],
        multiple=[*items.multiple, *users.multiple],
        vectors=items.vectors,
        samples=samples,
        tie=event_files.TIE if event_files.TIE in events else "",
    )


def _from_cells(
    options: Options, form: Form, items: Side, users: Side, context: list[tuple[str, str]]
) -> Log:
    """The log of samples whose histories are in cells."""
    if items.in_events or users.in_events or options.events:
        raise InputError(
            "--history-column reads histories from the samples, so it excludes --events;"
            " attributes come from --items and --users"
        )
    if options.event:
        raise InputError(
            f"--event {options.event[0]}: a history in a cell is of items alone; give the events as"
            " rows, with --events, for fields of theirs"
        )
    events, samples = cells.read(options, form, context)
    past = len(events["user"])
    for of, side in (("user", users), ("item", items)):
        both = concatenate([events[of], samples[of]])
        both, table = join(both, side)
        events[of] = both.slice(0, past)
        samples[of] = both.slice(past)
        if side is users:
            people = table
        elif table is not None:
            listed = table
    made = cells.with_owners(event_files.frame(events), event_files.frame(samples), people)
    return Log(
        made[0],
        listed,
        made[2],
        context=[name for _, name in context],
        time="order",
        dense=[*items.dense, *users.dense, *(n for _, n in context if n in options.dense)],
        multiple=[*items.multiple, *users.multiple],
        vectors=items.vectors,
        samples=made[1],
        note=made[3],
    )


def _side(of: str, options: Options, kinds: Kinds, form: Form) -> Side:
    """The attributes of items or users before the events are read."""
    header = options.items_header if of == "item" else options.users_header
    return read_side(
        of,
        options.items if of == "item" else options.users,
        options.item_column if of == "item" else options.user_column,
        options.item_columns if of == "item" else options.user_columns,
        kinds,
        check_form(replace(form, header=tuple(header))),
    )


def _context(
    options: Options, items: Side, users: Side, event: list[tuple[str, str]], first: Table
) -> list[tuple[str, str]]:
    """(column, name) of the context columns: those of --context, and those of --dense that are
    neither an attribute nor a field of events."""
    asked = event_files.pairs(options.context, first.names)
    names = [*items.names, *users.names, *(name for _, name in event)]
    taken = {name for _, name in asked}
    for name in options.dense:
        if name not in names and name not in taken:
            require(name, sorted({*names, *first.names}), "the log", "--dense")
            asked.append((name, name))
    return list(dict.fromkeys(asked))


def _check_names(
    options: Options,
    items: Side,
    users: Side,
    context: list[tuple[str, str]],
    event: list[tuple[str, str]],
) -> None:
    """Raise InputError if a column is already an id, or if two attributes have one name."""
    special = (options.user_column, options.item_column, options.time_column, options.label_column)
    for side, flag in ((items, "--item-columns"), (users, "--user-columns")):
        for column, _ in side.in_events:
            _check_free(column, special, flag)
    for column, name in context:
        _check_free(column, special, "--context or --dense")
        check_name(name, "--context")
    for column, name in event:
        _check_free(column, special, "--event")
        check_name(name, "--event")
    owner: dict[str, str] = {}
    for of, names in (
        ("--items", items.names),
        ("--users", users.names),
        ("--context", [name for _, name in context]),
        ("--event", [name for _, name in event]),
    ):
        for name in names:
            if name in owner:
                raise InputError(
                    f"{owner[name]} and {of} both have an attribute {name!r}; give one of them a"
                    f" different name, such as {name}={name}_1"
                )
            owner[name] = of


def _check_kinds(kinds: Kinds, items: Side, users: Side, in_rows: list[str]) -> None:
    """Raise InputError if --multiple, --vectors or --value-separator names what it cannot."""
    in_lists = [*items.multiple, *users.multiple, *items.vectors]
    separated = [name for name in kinds.separators if name]
    for flag, names, known, what in (
        (
            "--multiple",
            kinds.multiple,
            [*items.names, *users.names],
            "an attribute of items or users",
        ),
        ("--vectors", kinds.vectors, list(items.attributes), "a column of --items"),
        ("--value-separator", separated, in_lists, "named by --multiple or --vectors"),
    ):
        for name in names:
            if name in in_rows:
                raise InputError(
                    f"{flag} {name}: a column of --context or --event has one value per row;"
                    " lists are attributes of items or users"
                )
            if name not in known:
                raise InputError(
                    f"{flag} names {name!r}, which is not {what}; those are:"
                    f" {', '.join(known) or 'none'}"
                )


def _check_free(column: str, special: tuple[str, ...], flag: str) -> None:
    if column in special:
        raise InputError(
            f"the column {column!r} of {flag} is the user, item, time or label already"
        )
