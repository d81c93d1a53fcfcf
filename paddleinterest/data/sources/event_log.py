"""Your own event log: CSV or Parquet files of events, optionally with files of item and user
attributes.

Files may end in .csv, .tsv (both also with .gz) or .parquet. CSV files have a header line, are
UTF-8, and an empty cell means missing; "NA" and "null" are ordinary texts. Whole numbers become
integers where nothing is lost by it: a column that holds "007" stays text.
"""

import codecs
import csv
import difflib
import gzip
import os
import sys
import zlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from paddleinterest.core.errors import InputError, nearest_path
from paddleinterest.data.log import Log
from paddleinterest.data.schema import LATEST_SECOND, RESERVED

LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
# clock times are held in microseconds until events with fractions of a second are in order
SECOND = 1_000_000
UNITS = {"s": SECOND, "ms": 1000, "us": 1}
TIME_TYPES = (
    pa.int64(),
    pa.float64(),
    pa.timestamp("us"),
    pa.timestamp("us", "UTC"),
    pa.timestamp("ns"),
    pa.timestamp("ns", "UTC"),
)


def add_arguments(group):
    """Add the flags of this source to the argparse group."""
    add = group.add_argument
    add(
        "--events",
        nargs="+",
        metavar="FILE",
        help=(
            "files of events, read one after the other: .csv, .csv.gz, .tsv, .tsv.gz or .parquet;"
            " required"
        ),
    )
    add(
        "--items",
        metavar="FILE",
        help="file with one row an item: its id, then its attributes (default: none)",
    )
    add(
        "--users",
        metavar="FILE",
        help="file with one row a user: its id, then its attributes (default: none)",
    )
    add(
        "--user-column",
        default="user",
        metavar="COL",
        help="the user's id, in events and users (default: user)",
    )
    add(
        "--item-column",
        default="item",
        metavar="COL",
        help="the item's id, in events and items (default: item)",
    )
    add(
        "--time-column",
        default="time",
        metavar="COL",
        help=(
            "the event's time: whole numbers, timestamps or ISO 8601 texts, taken as UTC where they"
            " name no zone; without a column of the default name the order of the rows is the time"
            " (default: time)"
        ),
    )
    add(
        "--time-unit",
        default="s",
        choices=[*UNITS, "order"],
        help=(
            "unit of a time column of whole numbers: s, ms or us since any moment; order where they"
            " only order (default: s)"
        ),
    )
    add(
        "--label-column",
        default="label",
        metavar="COL",
        help=(
            "1 or true where the impression was clicked, else 0 or false; without a column of the"
            " default name every event is a positive one (default: label)"
        ),
    )
    add(
        "--context",
        nargs="+",
        default=[],
        metavar="COL",
        help=(
            "columns of events that describe the moment, such as the device; all others are ignored"
            " (default: none)"
        ),
    )
    add(
        "--dense",
        nargs="+",
        default=[],
        metavar="COL",
        help=(
            "attributes of items, users or events that are numbers, not categories; empty means"
            " missing (default: none)"
        ),
    )
    add(
        "--separator",
        default="",
        metavar="CHAR",
        help=(
            "what separates the columns of CSV files, \\t for a tab (default: tab in .tsv files,"
            " else a comma)"
        ),
    )


def load(args):
    """Return the `Log` that the files describe.

    Every column of items and users but the id is an attribute. Ids that are integers in one file
    and texts in another are compared as texts.

    Raises:
        InputError: a file is missing, empty, cut short or lacks a column; ids are missing or, in
            items and users, double; a time, label or dense value is no such thing; names collide.
            It names file and row.
    """
    if not args.events:
        raise InputError("event_log needs --events FILE: the log to read")
    separator = args.separator.replace("\\t", "\t")
    if len(separator) > 1:
        raise InputError(
            f"--separator is {args.separator!r}; it should be one character, or \\t for a tab"
        )
    items, item_dense = attributes(args.items, args.item_column, args.dense, separator)
    users, user_dense = attributes(args.users, args.user_column, args.dense, separator)
    names = {
        name for table in (items, users) if table is not None for name in table.column_names[1:]
    }
    context = list(
        dict.fromkeys([*args.context, *(name for name in args.dense if name not in names)])
    )
    for name in context:
        if name in args.dense:
            require(name, sorted(names | set(column_names(args.events[0], separator))), "the log")
    check_context(args, items, users, context)

    parts = [read_events(path, args, context, separator) for path in args.events]
    for path, (log, kind) in zip(args.events, parts):
        if (log.keys(), kind) != (parts[0][0].keys(), parts[0][1]):
            raise InputError(
                f"{args.events[0]} and {path} differ: their times are of two kinds, or only one has"
                " labels; bring them to the same columns"
            )
    log = {name: concatenate([part[name] for part, _ in parts]) for name in parts[0][0]}
    user, users = join(log["user"], users, "users", args.users)
    item, items = join(log["item"], items, "items", args.items)
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
        dense=[*item_dense, *user_dense, *(name for name in context if name in args.dense)],
    )


def check_context(args, items, users, context):
    """Raise InputError where a context column is an id, or one name stands for two attributes."""
    for name in context:
        if name in (args.user_column, args.item_column, args.time_column, args.label_column):
            raise InputError(
                f"the column {name!r} of --context or --dense is the user, item, time or label"
                " already"
            )
        check_name(name, "--context")
    owner = {}
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


def read_events(path, args, context, separator):
    """Read one file of events.

    Returns:
        (log, kind): a dict of the Arrow columns user, item, time, label (int8, where the file has
        one) and the context by name. ``kind`` of time: "clock" (int64 microseconds), "order"
        (int64), "rows" (no such column: row numbers).
    """
    names = column_names(path, separator)
    for name, flag in (
        (args.user_column, "--user-column"),
        (args.item_column, "--item-column"),
        *((c, "--context") for c in context),
    ):
        require(name, names, path, flag)
    optional = []
    for default, name in (("time", args.time_column), ("label", args.label_column)):
        if name in names:
            optional.append(name)
        elif name != default:
            require(name, names, path, f"--{default}-column")
    wanted = [args.user_column, args.item_column, *optional, *context]
    if others := besides(names, wanted):
        print(
            f"{path}: not read: {', '.join(others)} (--context names columns that describe the"
            " moment, --label-column the label)",
            file=sys.stderr,
        )
    table = read(path, wanted, separator)
    log = {
        "user": id_values(table[args.user_column], args.user_column, path),
        "item": id_values(table[args.item_column], args.item_column, path),
    }
    kind, log["time"] = "rows", pa.chunked_array([np.arange(table.num_rows)])
    if args.time_column in optional:
        kind, log["time"] = time_values(
            table[args.time_column], args.time_column, path, args.time_unit
        )
    else:
        print(
            f"{path} has no column 'time', only {', '.join(names)}: the order of its rows is taken"
            " for the time (--time-column names another)",
            file=sys.stderr,
        )
    if args.label_column in optional:
        log["label"] = label_values(table[args.label_column], args.label_column, path)
    for name in context:
        log[name] = (number_values if name in args.dense else category_values)(
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
        print(
            f"{len(logged) - known:,} of {len(logged):,} {of} of the log are not in {path}: their"
            " attributes are missing",
            file=sys.stderr,
        )
    columns = {of[:-1]: to_pandas(listed)}
    return ids, pd.DataFrame(
        {**columns, **{name: to_pandas(table[name]) for name in table.column_names[1:]}}
    )


# files --------------------------------------------------------------------------------------------


def is_parquet(path):
    """Whether `path` names a Parquet file, by its ending. InputError for a missing file or an
    unknown ending."""
    if not os.path.isfile(path):
        raise InputError(
            f"{path} is not a file"
            if os.path.exists(path)
            else f"{path} does not exist{nearest_path(path)}"
        )
    name = path.lower()
    if not name.endswith((".parquet", ".csv", ".csv.gz", ".tsv", ".tsv.gz")):
        raise InputError(
            f"{path}: cannot tell its format; it should end in .csv, .csv.gz, .tsv, .tsv.gz or"
            " .parquet"
        )
    return name.endswith(".parquet")


def unreadable(path, error):
    return InputError(
        f"cannot read {path}: {' '.join(str(error).split())[:300]}; is it whole, and of the format"
        " that its name says?"
    )


def delimiter(path, separator):
    """What separates the columns of a CSV file: `separator`, or by the file's ending if that is
    empty."""
    return separator or ("\t" if path.lower().endswith((".tsv", ".tsv.gz")) else ",")


def opened(path, mode, **how):
    """The file, gzip undone."""
    return (gzip.open if path.lower().endswith(".gz") else open)(path, mode, **how)


def column_names(path, separator):
    """The column names of a file."""
    try:
        if is_parquet(path):
            return pa.parquet.read_schema(path).names
        with opened(path, "rb") as f:
            if f.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                raise InputError(f"{path} is UTF-16; save it as UTF-8")
        with opened(
            path, "rt", encoding="utf-8-sig", errors="replace", newline=""
        ) as f:  # `read` judges the encoding
            names = next(csv.reader(f, delimiter=delimiter(path, separator)), None)
    except (pa.ArrowException, OSError, EOFError, zlib.error, ValueError, csv.Error) as e:
        raise unreadable(path, e) from None
    if not names:
        raise InputError(
            f"{path} is empty; it should have a header line, then one row an event, item or user"
        )
    return names


def besides(names, known):
    """The columns that are not among `known`, without pandas' index, which Parquet files hold."""
    return [name for name in names if name not in known and not name.startswith("__index_level_")]


def require(name, names, path, flag=""):
    """Raise InputError unless the file has exactly one column of that name; `flag` is the one that
    names it."""
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        other = next((c for c in ";\t|," if len(names) == 1 and c in names[0]), "")
        raise InputError(
            f"{path} has no column {name!r}"
            + (f", did you mean {near[0]!r}?" if near else ".")
            + f" It has: {', '.join(names)}"
            + (f"; {flag} names another" if flag else "")
            + (f"; is it separated by {other!r}? Then say --separator {other!r}" if other else "")
        )
    if names.count(name) > 1:
        raise InputError(f"{path} has {names.count(name)} columns named {name!r}; rename them")


def read(path, columns, separator):
    """Read those columns as an Arrow table; CSV columns become int64 where `whole` says so, else
    large_string."""
    for name in columns:
        require(name, columns, path)
    try:
        if is_parquet(path):
            table = pa.parquet.read_table(path, columns=columns)
        else:
            convert = pa.csv.ConvertOptions(
                column_types={name: pa.large_string() for name in columns},
                include_columns=columns,
                null_values=[""],
                strings_can_be_null=True,
            )
            form = pa.csv.ParseOptions(
                delimiter=delimiter(path, separator), newlines_in_values=True
            )
            try:
                table = pa.csv.read_csv(path, parse_options=form, convert_options=convert)
                check_quotes(path, table.num_rows)
            except pa.ArrowInvalid:  # slower, but its errors name the row
                check_quotes(path, 0)
                table = pa.csv.read_csv(path, pa.csv.ReadOptions(use_threads=False), form, convert)
            table = pa.table(
                [
                    column if (numbers := whole(column)) is None else numbers
                    for column in table.columns
                ],
                names=columns,
            )
    except (pa.ArrowException, OSError, ValueError) as e:
        raise unreadable(path, e) from None
    if not table.num_rows:
        raise InputError(f"{path} has columns but no rows")
    return table


def check_quotes(path, rows):
    """Raise InputError where a quote is never closed: the reader takes all lines after it for one
    text, and says nothing."""
    quotes = lines = 0
    with opened(path, "rb") as f:
        while block := f.read(1 << 22):
            quotes, lines = quotes + block.count(b'"'), lines + block.count(b"\n")
    if quotes % 2 and rows + 1 < lines:
        raise InputError(
            f"{path}: a double quote opens a text and is never closed, so that the lines after it"
            " are no rows; close it, or write it twice within quotes"
        )


# values: each takes an Arrow column, its name and file, and names the first row that is wrong -----


def bad_row(mask):
    """1-based number of the first row where the boolean column is true, 0 if none; the header does
    not count."""
    return pc.index(mask, True).as_py() + 1


def plain(column):
    """The column without dictionary encoding, texts as large_string."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.large_string())
    return column


def whole(column):
    """The column as int64 where that loses nothing ("007" and 2.5 would), else None. Missing values
    stay missing."""
    text = pa.types.is_large_string(column.type)
    if not text and not pa.types.is_floating(column.type) and not pa.types.is_integer(column.type):
        return None
    try:
        if (
            text and pc.all(pc.ends_with(column, ".0")).as_py()
        ):  # how pandas writes integers with gaps
            column = pc.utf8_slice_codeunits(column, 0, -2)
        numbers = column.cast(pa.int64())
    except pa.ArrowInvalid:
        return None
    return (
        None
        if text and not pc.all(pc.equal(numbers.cast(pa.large_string()), column)).as_py()
        else numbers
    )


def id_values(column, name, path):
    """Ids as int64 or large_string."""
    column = plain(column)
    missing = pc.is_null(column, nan_is_null=True)
    if row := bad_row(missing):
        raise InputError(
            f"{path}: {name} is missing in row {row:,} ({pc.sum(missing).as_py():,} such rows); "
            "every row needs an id: fill it or drop the row"
        )
    ids = column if pa.types.is_large_string(column.type) else whole(column)
    if ids is not None:
        return ids
    if pa.types.is_integer(column.type):  # uint64 hashes
        return column.cast(pa.large_string())
    raise InputError(
        f"{path}: {name} holds {column.type} values such as {column[0].as_py()!r}; ids are integers"
        " or texts"
    )


def time_values(column, name, path, unit):
    """Times as ("clock", int64 microseconds) or ("order", int64)."""
    column = plain(column)
    if row := bad_row(pc.is_null(column)):
        raise InputError(
            f"{path}: {name} is missing in row {row:,}; every event needs a time: fill it or drop"
            " the row"
        )
    if pa.types.is_large_string(column.type):
        parsed = parse(column)
        if parsed is None:
            row = max(first_failure(column, kind) for kind in TIME_TYPES)
            raise InputError(
                f"{path}: {name} is {column[row].as_py()!r} in row {row + 1:,}; times are whole"
                " numbers, or all of one form, such as 2017-01-31 23:59:59 or 2017-01-31T23:59:59Z"
            )
        column = parsed
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return "clock", column.cast(
            pa.timestamp("us", getattr(column.type, "tz", None)), safe=False
        ).cast(pa.int64())
    if pa.types.is_floating(column.type):
        values = column.to_numpy()
        with np.errstate(invalid="ignore"):
            row = first_true(~(np.isfinite(values) & (values == np.floor(values))))
        if row is not None:
            raise InputError(
                f"{path}: {name} is {values[row]} in row {row + 1:,}; times that are numbers must"
                " be whole: round them, or write milliseconds and --time-unit ms"
            )
    if whole(column) is None:
        raise InputError(
            f"{path}: {name} holds {column.type} values such as {column[0].as_py()!r}, not times"
        )
    values = whole(column).to_numpy()
    if unit == "order":
        return "order", pa.chunked_array([values])
    row = first_true(np.abs(values) > LATEST_SECOND * (SECOND // UNITS[unit]))
    if unit == "s" and dates(values):
        raise InputError(
            f"{path}: {name} holds dates written as whole numbers, such as {values[0]}; write them"
            " as 2017-01-31, or say --time-unit order for numbers that only order"
        )
    if row is not None:
        raise InputError(
            f"{path}: {name} is {values[row]} in row {row + 1:,}, too large for --time-unit {unit}:"
            " write ms for milliseconds, us for microseconds, order for numbers that only order"
        )
    return "clock", pa.chunked_array([values * UNITS[unit]])


def dates(values):
    """Whether all integers read as YYYYMMDD of the years 1900 to 2100."""
    month, day = values // 100 % 100, values % 100
    return bool(
        (
            (values >= 19_000_101)
            & (values <= 21_001_231)
            & (1 <= month)
            & (month <= 12)
            & (1 <= day)
            & (day <= 31)
        ).all()
    )


def parse(column):
    """Texts as numbers or timestamps, by the first of TIME_TYPES that all of them are; None where
    there is none."""
    for kind in TIME_TYPES:
        try:
            return column.cast(kind)
        except pa.ArrowInvalid:
            pass
    return None


def first_failure(column, kind):
    """Index of the first value that cannot be cast to `kind`; the length where all can."""
    good, bad = 0, len(column) + 1  # the first `good` values can be cast, the first `bad` cannot
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            column[:middle].cast(kind)
            good = middle
        except pa.ArrowInvalid:
            bad = middle
    return good


def first_true(mask):
    """Index of the first true value of a numpy array, None if there is none."""
    row = int(mask.argmax())
    return row if mask[row] else None


def label_values(column, name, path):
    """Labels as int8 0 and 1."""
    codes = plain(column).dictionary_encode(null_encoding="encode").combine_chunks()
    values = codes.dictionary.to_pylist()
    found = np.array([LABELS.get(str(value).strip().lower(), -1) for value in values], np.int8)
    labels = found[codes.indices.to_numpy()]
    row = first_true(labels < 0)
    if row is not None:
        value = values[codes.indices[row].as_py()]
        raise InputError(
            f"{path}: {name} is {'missing' if value is None else repr(value)} in row {row + 1:,}; "
            "labels are 0 or 1"
        )
    return pa.chunked_array([labels])


def number_values(column, name, path):
    """A dense column as float64, missing values as NaN."""
    column = plain(column)
    text = pa.types.is_large_string(column.type)
    try:
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.int8())
        numbers = column.cast(pa.float64(), safe=False)  # integers beyond 2**53 may round
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        row = first_failure(column, pa.float64()) if text else 0
        raise InputError(
            f"{path}: {name} is {column[row].as_py()!r} in row {row + 1:,}, but --dense says that"
            " it is a number; leave missing numbers empty"
        ) from None
    if row := bad_row(pc.is_inf(numbers)):
        raise InputError(
            f"{path}: {name} is infinite in row {row:,}; dense values are finite, empty where"
            " missing"
        )
    return numbers.fill_null(float("nan"))


def category_values(column, name, path):
    """A column of categories as int64 or large_string, missing values as nulls."""
    column = plain(column)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    text = pa.types.is_large_string(column.type)
    numbers = None if text else whole(column)
    if numbers is not None:
        return numbers
    if pa.types.is_nested(column.type):
        raise InputError(
            f"{path}: {name} holds {column.type} values; an attribute has one value a row:"
            " choose one"
        )
    if pa.types.is_floating(column.type) or text and fractions(column):
        print(
            f"{path}: {name} holds fractions and is read as categories; if it is a number, name it"
            " with --dense",
            file=sys.stderr,
        )
    return column.cast(pa.large_string())


def fractions(column):
    """Whether all texts of the column are numbers, and some have a decimal point."""
    try:
        column.cast(pa.float64())
        return pc.any(pc.match_substring(column, ".")).as_py()
    except pa.ArrowInvalid:
        return False


def concatenate(columns):
    """One column after the other; as texts where their types differ."""
    if len({c.type for c in columns}) > 1:
        columns = [c.cast(pa.large_string()) for c in columns]
    return pa.chunked_array([chunk for c in columns for chunk in c.chunks], columns[0].type)


def to_pandas(column):
    """A pandas Series; integers with missing values as Int64, that 3 stays 3 and does not become
    3.0."""
    if pa.types.is_integer(column.type) and column.null_count:
        return pd.Series(
            pd.arrays.IntegerArray(column.fill_null(0).to_numpy(), column.is_null().to_numpy())
        )
    return pd.Series(column.to_pandas())
