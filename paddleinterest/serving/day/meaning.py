"""The meaning of the columns of a file of rows."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from paddleinterest.core.errors import InputError
from paddleinterest.data.schema import Field, Schema
from paddleinterest.data.sources.names import require
from paddleinterest.data.sources.times import Clock

HISTORY, CANDIDATES = "history", "candidates"
SIDES = ("context", "user_attributes")  # objects of a request, which JSON lines may have
RENAMED = ("context", "item_columns", "user_columns")  # COL=NAME in the recipe of event_log


@dataclass(frozen=True)
class Names:
    """The columns and the form of times that the command line names; empty = those of the log that
    the bundle's dataset was prepared from, or else user, item, time and seconds."""

    user: str = ""
    item: str = ""
    time: str = ""
    time_unit: str = ""
    time_zone: str = ""


@dataclass(frozen=True)
class Meaning:
    """Where a row has its values.

    Attributes:
        user, item, time: columns; empty if the file lacks them.
        history: whether the file has a column of histories.
        lists: whether each row brings its own candidates.
        fields: {column: field}.
        sides: which of `SIDES` the file has.
        clock: how times are read.
        unused: columns that are not read.
    """

    user: str
    item: str
    time: str
    clock: Clock
    history: bool = False
    lists: bool = False
    fields: dict[str, Field] = field(default_factory=dict)
    sides: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        """The columns to read."""
        single = [name for name in (self.user, self.item, self.time) if name]
        more = [HISTORY] * self.history + [CANDIDATES] * self.lists
        return [*single, *more, *self.sides, *self.fields]


def meaning(
    schema: Schema,
    names: Sequence[str],
    path: str,
    asked: Names,
    ranks: bool,
    unread: Collection[str] = (),
) -> Meaning:
    """Find what the columns of a file are.

    Args:
        schema: of the bundle.
        names: of the file's columns.
        path: of the file, for messages.
        asked: what the command line says.
        ranks: each row gets the items of another file as candidates.
        unread: fields that the bundle does not read.

    Raises:
        InputError: a column is missing that scoring needs, or occurs twice.
    """
    recipe = schema.recipe
    user = _column(asked.user, str(recipe.get("user_column", "user")), names, path, "user")
    item = _column(asked.item, str(recipe.get("item_column", "item")), names, path, "item")
    time = _column(asked.time, str(recipe.get("time_column", "time")), names, path, "time")
    history = HISTORY in names
    lists = CANDIDATES in names and not ranks
    if not user and not history:
        require("user", names, path, "--user-column")
    if lists and item:
        raise InputError(
            f"{path} has a column {item!r} and a column {CANDIDATES!r}; it is unclear which of them"
            " is to be scored: leave out one"
        )
    if not (item or lists or ranks):
        require("item", names, path, "--item-column")
    one = bool(item) and not ranks
    found = Meaning(
        user,
        item if one else "",
        time,
        _clock(schema, asked),
        history,
        lists,
        {c: f for c, f in _fields(schema, names, path, one).items() if f.name not in unread},
        tuple(name for name in SIDES if name in names),
    )
    read = found.columns
    return replace(found, unused=tuple(name for name in names if name not in read))


def _column(asked: str, default: str, names: Sequence[str], path: str, what: str) -> str:
    """The column of a role; empty if the file has none and nobody asked for one."""
    if asked:
        require(asked, names, path, f"--{what}-column")
        return asked
    name = default if default in names else what
    if name not in names:
        return ""
    require(name, names, path)
    return name


def _fields(schema: Schema, names: Sequence[str], path: str, items: bool) -> dict[str, Field]:
    """{column: field} of user, context and, if a row has one item, of that item."""
    columns = {}
    for key in RENAMED:
        for each in schema.recipe.get(key) or []:
            column, _, name = str(each).partition("=")
            columns[name or column] = column
    found = {}
    for f in schema.fields:
        if f.of == "event" or f.name == "item" or f.of == "item" and not items:
            continue
        column = columns.get(f.name, f.name)
        column = column if column in names else f.name
        if column in names:
            require(column, names, path)
            found[column] = f
    return found


def _clock(schema: Schema, asked: Names) -> Clock:
    recipe = schema.recipe
    unit = asked.time_unit or str(recipe.get("time_unit", "")) or "s"
    zone = asked.time_zone or str(recipe.get("time_zone", ""))
    form = str(recipe.get("time_format", ""))
    return Clock("order" if schema.time == "order" else unit, zone, form)
