"""Events of a log larger than memory: read piece by piece through the same checks, and kept as
Parquet files that an engine on disk reads.

Some facts are of a whole column: the unit of times, whether all ids are whole numbers. They are
found first (`facts.py`); then each piece is read as the whole column would be.
"""

import contextlib
import os
import re
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import held, say
from paddleinterest.data.log import Log
from paddleinterest.data.schema import LATEST
from paddleinterest.data.sources.attributes import Side, join, take_out
from paddleinterest.data.sources.columns import Labelled, two_spellings
from paddleinterest.data.sources.events import (
    TIE,
    Part,
    check_alike,
    columns_of,
    tell_missing,
    typed,
    without_missing,
)
from paddleinterest.data.sources.facts import NotStreamed, facts_of, prepared
from paddleinterest.data.sources.files import parts
from paddleinterest.data.sources.pieces import PieceTable
from paddleinterest.data.sources.plan import Plan
from paddleinterest.data.sources.repeats import Repeats
from paddleinterest.data.sources.times import SECOND
from paddleinterest.data.store import ROW, EventStore
from paddleinterest.data.store import TIE as STORED_TIE
from paddleinterest.data.values import checked_numbers

MOST_ROWS = 2**40  # more than a log has
SEVERAL = 1 << 22  # repeated events that are in memory at once


def read(plan: Plan, folder: str, memory_limit: int | None) -> Log:
    """The log of files of events, with its events in a store on disk.

    Args:
        plan: what the options mean.
        folder: a new folder for the store and its files, removed when the store is closed.
        memory_limit: bytes that preparation may take; None for what is free.

    Raises:
        NotStreamed: the events can only be read into memory.
        InputError: as `event_log.load`.
    """
    files = [file for path in plan.options.events for file in parts(path, plan.options.format)]
    tables = [PieceTable(file, plan.form) for file in files]
    _check_streamed(tables)
    store = EventStore(folder, [*plan.context_names, *plan.event_names], memory_limit)
    try:
        return _filled(plan, tables, store, folder)
    except BaseException:
        store.close()
        raise


def _check_streamed(tables: list[PieceTable]) -> None:
    """Raise NotStreamed if a file can only be read as a whole."""
    for table in tables:
        if table.file.form == "json":
            raise NotStreamed(f"{table.name} is JSON")
        if table.file.form == "parquet" and table.file.member:
            raise NotStreamed(f"{table.name} is in a zip file")


def _filled(plan: Plan, tables: list[PieceTable], store: EventStore, folder: str) -> Log:
    """Read the files into the store; the log of it."""
    writer = _Writer(plan, store, folder)
    for table in tables:
        writer.read(table)
    store.attach(writer.paths, writer.tied)
    tables_of = {}
    for of, side in (("user", plan.users), ("item", plan.items)):
        ids = store.ids(of)
        if not store.whole_ids(of):
            several = "the events, with rows counted through all files"
            _check_spellings(store, of, tables[0].name if len(tables) == 1 else several)
        joined, tables_of[of] = join(pa.chunked_array([ids]), side)
        if not pa.types.is_integer(joined.type):
            store.ids_to_texts(of)
    if writer.kind == "clock":
        _settle(store, plan.options.drop_repeats)
    for of, side in (("user", plan.users), ("item", plan.items)):
        listed = tables_of[of]
        if listed is not None and side.in_events:
            rows = _values_of(store, side, writer.attributes)
            tables_of[of] = take_out(rows, side, listed)
    items = tables_of["item"]
    assert items is not None
    return Log(
        store,
        items,
        tables_of["user"],
        context=plan.context_names,
        event=plan.event_names,
        time="seconds" if writer.kind == "clock" else "order",
        dense=plan.dense(writer.numbers),
        multiple=plan.multiple,
        vectors=plan.items.vectors,
        tie=TIE if store.tied else "",
    )


class _Writer:
    """Reads files of events, and writes each piece as a Parquet file.

    Attributes:
        paths: of the files.
        tied: whether a time has a fraction of a second.
        kind: of the times; empty before the first piece.
        numbers: names of the columns that hold numbers.
        attributes: {attribute of items or users: its column in the files}.
    """

    def __init__(self, plan: Plan, store: EventStore, folder: str) -> None:
        names = [name for _, name in (*plan.items.in_events, *plan.users.in_events)]
        self.attributes = {name: f"a{k}" for k, name in enumerate(names)}
        self.plan = plan
        self.paths: list[str] = []
        self.tied = False
        self.numbers: set[str] = set()
        self._column = store.column
        self._folder = folder
        self._rows = 0
        self._first: Part | None = None

    @property
    def kind(self) -> str:
        """Kind of the times."""
        return self._first.kind if self._first else ""

    def read(self, table: PieceTable) -> None:
        """Read all pieces of a file."""
        of = self.plan.of_events
        wanted = columns_of(table, of)
        if "time" not in wanted:
            raise NotStreamed(f"{table.name} has no column of times")
        facts = facts_of(table, wanted, of, self.plan.clock)
        labels = Labelled()
        rows = 0
        kept = 0  # rows, which messages count
        said: set[str] = set()
        for raw in table.pieces(wanted.values()):
            rows += raw.num_rows
            if of.drop_missing:
                raw = without_missing(raw, wanted)
            if not raw.num_rows:
                continue
            with _numbered(kept), _told(kept, raw.num_rows, said):
                raw = prepared(raw, facts, table)
                self._write(typed(raw, wanted, table, of, facts.clock, labels))
            kept += raw.num_rows
        tell_missing(table.name, rows - kept, rows)
        if "label" in wanted and (of.positive or of.positive_from is not None):
            labels.tell(wanted["label"], table.name, of.positive)

    def _write(self, part: Part) -> None:
        if self._first is None:
            self._first = part
        check_alike(self._first, part)
        self.numbers.update(part.numbers)
        time = part.columns["time"].to_numpy()
        tie = np.zeros(len(time), np.int64)
        if part.kind == "clock":
            tie = time % SECOND
            time = time // SECOND
        self.tied |= bool(tie.any())
        if not (-LATEST < time.min() and time.max() < LATEST):
            at = int(np.argmax(np.abs(time.astype(np.float64))))
            raise InputError(
                f"{part.name}: the time is {time[at]} in row {at + 1:,}, outside ±2**62"
            )
        row = np.arange(self._rows, self._rows + part.rows)
        columns = {
            ROW: pa.array(row),
            "user": part.columns["user"],
            "item": part.columns["item"],
            "time": pa.array(time),
            STORED_TIE: pa.array(tie.astype(np.int32)),
        }
        if "label" in part.columns:
            columns["label"] = part.columns["label"]
        for name, column in self._column.items():
            values = part.columns[name]
            if name in part.numbers:
                columns[column] = pa.array(checked_numbers(values.to_pandas(), name))
            else:
                columns[column] = values.cast(pa.string())
        for name, column in self.attributes.items():
            values = part.columns[name]
            columns[column] = values if name in part.numbers else values.cast(pa.string())
        self._rows += part.rows
        path = os.path.join(self._folder, f"events-{len(self.paths):05d}.parquet")
        pq.write_table(pa.table(columns), path, compression="lz4")
        self.paths.append(path)


@contextlib.contextmanager
def _numbered(before: int) -> Iterator[None]:
    """Within, the row of an InputError counts from the beginning of the file, not of the piece."""
    try:
        yield
    except InputError as e:
        raise InputError(_renumbered(str(e), before)) from None


def _renumbered(text: str, before: int) -> str:
    """The text with larger numbers of rows."""

    def larger(found: re.Match[str]) -> str:
        return f"in row {int(found[1].replace(',', '')) + before:,}"

    return re.sub(r"\bin row ([\d,]*\d)", larger, text)


@contextlib.contextmanager
def _told(before: int, rows: int, said: set[str]) -> Iterator[None]:
    """Within, `say` prints what it has not said of an earlier piece, whatever the numbers in it."""
    with held() as lines:
        yield
    for line in lines:
        key = re.sub(r"'[^']*'|[\d,.]+", "", line)
        if key in said:
            continue
        said.add(key)
        where = f" (counted in {rows:,} rows from row {before + 1:,} on)" if before else ""
        say(_renumbered(line, before) + where)


def _check_spellings(store: EventStore, of: str, path: str) -> None:
    """Raise InputError if two ids are one number, such as 7 and 7.0."""
    pair = two_spellings(store.ids(of))
    if pair is None:
        return
    rows = []
    for spelling in pair:
        store.lend("spelling", pa.table({"id": [spelling]}))
        found = store.row(f'SELECT min({ROW}) FROM events e JOIN spelling s ON e."{of}" = s.id')
        store.take_back("spelling")
        rows.append(found[0] + 1)
    raise InputError(
        f"{path}: {of} is '{pair[1]}' in row {rows[1]:,} and '{pair[0]}' in row {rows[0]:,}: one id"
        " in two spellings? Write each id one way"
    )


def _values_of(store: EventStore, side: Side, attributes: dict[str, str]) -> pd.DataFrame:
    """The values that each item or user has had, as rows for `take_out`.

    Args:
        store: the events.
        side: whose attributes.
        attributes: {attribute: its column in the store}.

    Returns:
        The id, the attributes, and as time the order in which an id got a value.
    """
    tie = STORED_TIE if store.tied else "0"
    order = f"(time::HUGEINT * {SECOND} + {tie}) * {MOST_ROWS} + {ROW}"
    frames = []
    for _, name in side.in_events:
        column = attributes[name]
        found = store.table(
            f'SELECT "{side.of}", {column} FROM events WHERE {column} IS NOT NULL'
            f' GROUP BY "{side.of}", {column} ORDER BY min({order})'
        )
        frames.append(
            pd.DataFrame({side.of: found[side.of].to_pandas(), name: found[column].to_pandas()})
        )
    everyone = pd.DataFrame({side.of: store.ids(side.of).to_pandas()})
    rows = pd.concat([*frames, everyone], ignore_index=True)
    return rows.assign(time=np.arange(len(rows)))


def _settle(store: EventStore, drop: bool) -> None:
    """Decide about events that repeat another, as `repeats.settle` does."""
    key = f'"user", item, time{", " + STORED_TIE if store.tied else ""}'
    store.run(
        f"CREATE TEMP TABLE again AS SELECT {key}, count(*) AS n FROM events GROUP BY {key}"
        " HAVING count(*) > 1"
    )
    (several,) = store.row("SELECT coalesce(sum(n), 0) FROM again")
    repeats = Repeats(drop)
    events = store.rows
    shares = -(-int(several) // SEVERAL)
    gone = []
    for share in range(shares):
        found = store.table(
            f"SELECT e.* FROM events e SEMI JOIN again USING ({key})"
            f' WHERE hash(e."user") % {shares} = {share} ORDER BY {ROW}'
        ).to_pandas()
        if store.tied:
            found["time"] = found["time"] * SECOND + found.pop(STORED_TIE)
        gone.append(repeats.add(found.set_index(ROW)).to_numpy())
    store.run("DROP TABLE again")
    repeats.tell(events)
    rows = np.concatenate([*gone, np.zeros(0, np.int64)])
    if len(rows):
        store.drop_rows(rows)
