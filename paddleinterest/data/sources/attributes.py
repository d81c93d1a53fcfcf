"""Attributes of items and users: from their own file, or from columns of the events."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.data.sources import columns, lists
from paddleinterest.data.sources.columns import to_pandas, two_spellings
from paddleinterest.data.sources.files import parts
from paddleinterest.data.sources.kinds import DENSE, MULTIPLE, VECTOR, Kind, Kinds
from paddleinterest.data.sources.names import besides, check_name, renamed, require
from paddleinterest.data.sources.table_file import Form, Table


@dataclass
class Side:
    """The attributes of items, or of users.

    Attributes:
        of: "item" or "user".
        path: of their file; empty without a file. ids: the file's ids as an Arrow column, None
            without a file.
        attributes: the file's attributes by name.
        dense, multiple, vectors: those of all attributes that are numbers, lists of categories, and
            lists of numbers.
        in_events: (column, name) of the attributes that come from the events.
    """

    of: str
    path: str = ""
    ids: pa.ChunkedArray | None = None
    attributes: dict[str, pa.ChunkedArray] = field(default_factory=dict)
    dense: list[str] = field(default_factory=list)
    multiple: list[str] = field(default_factory=list)
    vectors: list[str] = field(default_factory=list)
    in_events: list[tuple[str, str]] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The names of all attributes."""
        return [*self.attributes, *(name for _, name in self.in_events)]

    def note(self, name: str, kind: Kind) -> None:
        """Keep what an attribute holds."""
        of_kind = {DENSE: self.dense, MULTIPLE: self.multiple, VECTOR: self.vectors}
        if kind.of in of_kind:
            of_kind[kind.of].append(name)


def read_side(
    of: str,
    path: str,
    id_column: str,
    asked: Sequence[str],
    kinds: Kinds,
    form: Form,
) -> Side:
    """Read the file of items or users.

    Args:
        of: "item" or "user".
        path: of the file, or empty.
        asked: COLUMN or COLUMN=NAME of the attributes; empty takes all columns of the file.
            Attributes that are not in the file come from the events.
        kinds: what the attributes hold.

    Raises:
        InputError: the file cannot be read, an id is missing or occurs twice, or a name cannot be
            an attribute's.
    """
    side = Side(of, path)
    if not path:
        side.in_events = [renamed(each, []) for each in asked]
    else:
        _read_file(side, id_column, asked, kinds, form)
    for _, name in side.in_events:
        check_name(name, f"--{of}-columns")
        side.note(name, kinds.of(name))
        if name in side.vectors:
            raise InputError(
                f"--vectors {name}: vectors are read from the file of items, {path or '--items'},"
                " and not out of the events; put the column there"
            )
    if of == "user" and side.vectors:
        raise InputError(f"--vectors {side.vectors[0]}: only items have vectors, users do not")
    return side


def _read_file(
    side: Side,
    id_column: str,
    asked: Sequence[str],
    kinds: Kinds,
    form: Form,
) -> None:
    tables = [Table(file, form) for file in parts(side.path)]
    names = tables[0].names
    if tables[0].file.form == "atomic" and id_column == side.of:
        id_column = f"{side.of}_id"
    require(id_column, names, side.path, f"--{side.of}-column")
    chosen = [(name, name) for name in besides(names, [id_column])]
    if asked:
        pairs = [renamed(each, names) for each in asked]
        chosen = [pair for pair in pairs if pair[0] in names]
        side.in_events = [pair for pair in pairs if pair[0] not in names]
        unread = besides(names, [id_column, *(column for column, _ in chosen)])
        if unread:
            say(f"{side.path}: not read: {', '.join(unread)} (add them with --{side.of}-columns)")
    for _, name in chosen:
        check_name(name, side.path)
    stored = [id_column, *(column for column, _ in chosen)]
    raw = pa.concat_tables([table.read(stored) for table in tables])
    side.ids = columns.id_values(raw.column(0), id_column, side.path, tables[0].reading)
    _check_once(side.ids, id_column, side.path)
    for k, (column, name) in enumerate(chosen, 1):
        kind = kinds.of(name, tables[0].declared.get(column, ""))
        side.note(name, kind)
        side.attributes[name] = kind.values(raw.column(k), name, side.path, tables[0])


def _check_once(ids: pa.ChunkedArray, name: str, path: str) -> None:
    """Raise InputError if an id has more than one row."""
    counts = pc.value_counts(ids.combine_chunks())
    values = counts.field("values")
    times = counts.field("counts")
    twice = pc.greater(times, 1)
    if not pc.any(twice).as_py():
        return
    values = values.filter(twice)
    times = times.filter(twice)
    raise InputError(
        f"{path}: {name} {values[0].as_py()!r} occurs {times[0].as_py()} times (ids with more"
        f" than one row: {len(values):,}); keep one row per id"
    )


def join(ids: pa.ChunkedArray, side: Side) -> tuple[pa.ChunkedArray, pd.DataFrame | None]:
    """Bring the ids of the log and of the items' or users' file to one type.

    Returns:
        (ids, frame): the log's ids, and the file as a DataFrame whose id column is named ``item``
        or ``user``. For items without a file it lists the log's items; for users it is None.

    Raises:
        InputError: no id of the log is in the file, or one id has two spellings in the two.
    """
    if side.ids is None:
        if side.of == "user" and not side.in_events:
            return ids, None
        return ids, pd.DataFrame({side.of: to_pandas(pc.unique(ids))})
    listed = side.ids
    if listed.type != ids.type:
        listed = listed.cast(pa.large_string())
        ids = ids.cast(pa.large_string())
    logged = pc.unique(ids)
    known = pc.sum(pc.is_in(logged, value_set=pc.unique(listed))).as_py()
    if pa.types.is_large_string(ids.type) and known < len(logged):
        both = pc.unique(pa.chunked_array([logged, pc.unique(listed)]))
        pair = two_spellings(both)
        if pair:
            raise InputError(
                f"the {side.of} {pair[0]!r} of the log and {pair[1]!r} of {side.path}, or the other"
                " way round: one id in two spellings? Write each id one way"
            )
    if not known:
        raise InputError(
            f"none of the {len(logged):,} {side.of}s of the log is in {side.path}: the log has ids"
            f" such as {logged[0].as_py()!r}, the file {listed[0].as_py()!r}"
        )
    if known < len(logged):
        say(
            f"{len(logged) - known:,} of {len(logged):,} {side.of}s of the log are not in"
            f" {side.path}: their attributes are missing"
        )
    frame = {side.of: to_pandas(listed)}
    frame.update({name: to_pandas(column) for name, column in side.attributes.items()})
    return ids, pd.DataFrame(frame)


def take_out(events: pd.DataFrame, side: Side, table: pd.DataFrame) -> pd.DataFrame:
    """Move the attributes of `side.in_events` from columns of `events` to `table`.

    An item's (or user's) value is that of its earliest event that has one, by time, then by row: a
    later value could reveal what a sample must not know. How many differ is reported.

    Returns:
        The table with the attributes; one row per id of the events.
    """
    names = [name for _, name in side.in_events]
    if not names:
        return table
    of = side.of
    listed = pd.DataFrame({of: events[of].unique()})
    table = pd.concat([table, listed[~listed[of].isin(table[of])]], ignore_index=True)
    order = np.argsort(events["time"].to_numpy(), kind="stable")
    for name in names:
        values = events[name].iloc[order]
        present = pd.DataFrame({of: events[of].iloc[order], name: values})[
            values.notna().to_numpy()
        ]
        distinct = present.drop_duplicates()
        first = distinct.drop_duplicates(of)
        several = distinct[of][distinct[of].duplicated()].nunique()
        if several:
            say(
                f"{name} differs over time for {several:,} of {len(first):,} {of}s: the earliest"
                f" value is the {of}'s (a column of the moment is --context {name})"
            )
        found = first.set_index(of)[name]
        if found.dtype.kind == "i":  # as floats, large integers would become other numbers
            found = found.astype("Int64")
        found = found.reindex(table[of])
        table[name] = (lists.parted(found) if name in side.multiple else found).array
        del events[name]
    return table
