"""The meaning of the options of event_log: the columns of each file, checked before any row is
read."""

from dataclasses import dataclass, replace
from typing import Any

from paddleinterest.core.errors import InputError
from paddleinterest.data.sources import events as event_files
from paddleinterest.data.sources.attributes import Side, read_side
from paddleinterest.data.sources.events import Columns
from paddleinterest.data.sources.files import parts
from paddleinterest.data.sources.kinds import Kinds, check_one_kind
from paddleinterest.data.sources.lists import separators
from paddleinterest.data.sources.names import check_name, require
from paddleinterest.data.sources.table_file import Form, Table, check_form
from paddleinterest.data.sources.times import Clock, check_clock


@dataclass
class Plan:
    """The options of event_log, checked against the names of the columns.

    Attributes:
        options: the source's.
        form: how the text of events and samples is read.
        clock: how times are read.
        kinds: what columns hold.
        items, users: their attributes; the files of items and users are read already.
        context: (column, name) of what describes the moment.
        event: (column, name) of what describes an event of a history.
    """

    options: Any
    form: Form
    clock: Clock
    kinds: Kinds
    items: Side
    users: Side
    context: list[tuple[str, str]]
    event: list[tuple[str, str]]

    @property
    def own(self) -> bool:
        """True if the files are samples: the user's own split, or impressions."""
        return bool(self.options.train or self.options.impressions)

    @property
    def of_samples(self) -> Columns:
        """The columns of files of samples."""
        o = self.options
        return Columns(
            o.user_column,
            o.item_column,
            o.time_column,
            o.label_column,
            (*self.items.in_events, *self.users.in_events, *self.context),
            self.kinds,
            tuple(o.positive),
            o.positive_from,
            o.drop_missing,
        )

    @property
    def of_events(self) -> Columns:
        """The columns of files of events."""
        of = self.of_samples
        return replace(of, others=(*of.others, *self.event))

    @property
    def context_names(self) -> list[str]:
        """Names of the context columns."""
        return [name for _, name in self.context]

    @property
    def event_names(self) -> list[str]:
        """Names of the fields of events."""
        return [name for _, name in self.event]

    @property
    def multiple(self) -> list[str]:
        """Names of the attributes that are lists."""
        return [*self.items.multiple, *self.users.multiple]

    def dense(self, numbers: set[str]) -> list[str]:
        """Names of all columns of numbers; `numbers` are those of the events."""
        rows = [*self.context_names, *self.event_names]
        return [
            *self.items.dense,
            *self.users.dense,
            *(name for name in rows if name in numbers),
        ]


def make_plan(options: Any) -> Plan:
    """Check the options, and read the files of items and users.

    Args:
        options: the source's.

    Raises:
        InputError: options that do not fit together, a column that is missing, two columns of one
            name, or a wrong file of items or users.
    """
    _check_files(options)
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
    own = options.train or options.impressions
    first = Table(parts((own or options.events)[0], options.format)[0], form)
    of_events = first
    if own and options.events:
        of_events = Table(parts(options.events[0], options.format)[0], form)
    event = event_files.pairs(options.event, of_events.names)
    context = _context(options, items, users, event, first)
    _check_names(options, items, users, context, event)
    _check_kinds(kinds, items, users, [name for _, name in [*context, *event]])
    return Plan(options, form, clock, kinds, items, users, context, event)


def _check_files(options: Any) -> None:
    """Raise InputError unless the options name the files that belong together."""
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


def _side(of: str, options: Any, kinds: Kinds, form: Form) -> Side:
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
    options: Any, items: Side, users: Side, event: list[tuple[str, str]], first: Table
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
    options: Any,
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
