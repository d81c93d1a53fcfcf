"""Facts of whole columns of a file that is read piece by piece."""

from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from paddleinterest.core.log import held, say
from paddleinterest.data.sources.columns import SPACES, Texts, plain, whole
from paddleinterest.data.sources.events import Columns, kind_of, without_missing
from paddleinterest.data.sources.kinds import CATEGORY
from paddleinterest.data.sources.pieces import PieceTable
from paddleinterest.data.sources.times import (
    INTEGERS,
    NUMBERS,
    PARTS,
    WAYS,
    Clock,
    Units,
    fits,
    zones,
)

WITH_POINT = r"^-?\d+\.0+$"  # 7.0 is the id 7 if all ids of the column are whole numbers


class NotStreamed(Exception):
    """The events must be in memory at once; the text says why."""


@dataclass
class Facts:
    """The facts that hold for all pieces of a file.

    Attributes:
        clock: how times are read, with the unit that was found.
        whole: columns of texts or floats that hold whole numbers alone.
        texts: columns of floats that are read as texts, since some have a fraction.
    """

    clock: Clock
    whole: set[str] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)


def facts_of(table: PieceTable, wanted: dict[str, str], of: Columns, clock: Clock) -> Facts:
    """Read what must be known of whole columns.

    Args:
        table: the file.
        wanted: {what: column}, of `events.columns_of`.
        of: the columns by their meaning.
        clock: how times are read.

    Raises:
        NotStreamed: a column can only be read as a whole.
        InputError: the times have no unit, or two.
    """
    ids = [wanted["user"], wanted["item"]]
    categories = [c for c, name in of.others if kind_of(c, name, table, of).of == CATEGORY]
    label = [wanted["label"]] if "label" in wanted and of.positive else []
    text_file = table.file.form != "parquet"
    seen = {name: _Wholeness(text_file) for name in categories}
    seen |= {name: _Wholeness(texts=False) for name in label}
    seen |= {name: _Wholeness(texts=True) for name in ids}
    times = _Times(clock)
    needed = [name for name in (*seen, wanted["time"]) if not _is_plain(table, name, clock, ids)]
    if needed and of.drop_missing:
        needed += [wanted[what] for what in ("user", "item", "time", "label") if what in wanted]
    with held():  # what is odd is said when the pieces are read for good
        for raw in table.pieces(needed) if needed else ():
            if of.drop_missing:
                raw = without_missing(raw, wanted)
            for name, wholeness in seen.items():
                if name in needed:
                    wholeness.add(plain(raw.column(name)))
            if wanted["time"] in needed:
                times.add(plain(raw.column(wanted["time"])))
    facts = Facts(times.found(f"{table.name}: {wanted['time']}"))
    for name, wholeness in seen.items():
        if wholeness.whole:
            facts.whole.add(name)
        elif name in label and wholeness.floats:
            raise NotStreamed(f"{table.name}: {name} holds fractions")
        elif name in ids and wholeness.with_point:
            raise NotStreamed(f"{table.name}: {name} holds ids such as 7.0")
        elif wholeness.floats and name not in ids:
            say(f"{table.name}: {name} holds fractions, so all its values are read as texts")
            facts.texts.add(name)
    return facts


def _is_plain(table: PieceTable, name: str, clock: Clock, ids: list[str]) -> bool:
    """True if a column is read the same way whatever its other pieces hold."""
    kind = table.type_of(name)
    if kind is None:  # a text file
        return False
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_boolean(kind):
        return True
    return pa.types.is_integer(kind) and (name in ids or bool(clock.unit))


class _Wholeness:
    """Finds out if all values of a column are whole numbers.

    Attributes:
        texts: texts may be whole numbers too.
        whole: all so far are.
        floats: the column holds floats.
        with_point: some texts are such as 7.0.
    """

    def __init__(self, texts: bool) -> None:
        self.texts = texts
        self.whole = True
        self.floats = False
        self.with_point = False

    def add(self, column: pa.ChunkedArray) -> None:
        """See a piece of the column."""
        self.floats |= pa.types.is_floating(column.type)
        if pa.types.is_large_string(column.type) and not self.texts:
            self.whole = False
        elif pa.types.is_large_string(column.type):
            values = pc.utf8_trim(pc.unique(column), characters=SPACES)
            values = values.filter(pc.not_equal(values, ""))
            self.with_point |= bool(pc.any(pc.match_substring_regex(values, WITH_POINT)).as_py())
            self.whole = self.whole and whole(values) is not None
        elif self.floats:
            self.whole = self.whole and whole(_real(column)) is not None


class _Times:
    """How the times of a column are to be read."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ways = list(WAYS)
        self._units = Units()
        self._texts = False
        self._zones: set[bool] = set()

    def add(self, column: pa.ChunkedArray) -> None:
        """See a piece of the column."""
        clock = self._clock
        if pa.types.is_large_string(column.type):
            if clock.form:
                return
            self._texts = True
            column = pc.utf8_trim(column.drop_null(), characters=SPACES)
            column = column.filter(pc.not_equal(column, ""))
            own = [way for way in WAYS if fits(column, way)]
            self._ways = [way for way in self._ways if way in own]
            if own[0] not in (INTEGERS, NUMBERS):
                self._zones |= zones(column)
            if self._ways[0] not in (INTEGERS, NUMBERS):
                return
            column = column.cast(pa.int64() if self._ways[0] == INTEGERS else pa.float64())
        numeric = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        if not clock.unit and numeric:
            real = _real(column)
            numbers = whole(real)
            values = (real if numbers is None else numbers).to_numpy()
            self._units.add(values[np.isfinite(values)])

    def found(self, of: str) -> Clock:
        """The clock of all pieces; `of` names the column in a message."""
        clock = self._clock
        if self._texts:
            if self._ways[0] == PARTS and len(self._zones) > 1 and not clock.zone:
                raise NotStreamed(f"some of the times {of} have a time zone, some have none")
            clock = replace(clock, way=self._ways[0])
        if self._units.rows and (not self._texts or self._ways[0] in (INTEGERS, NUMBERS)):
            clock = replace(clock, unit=self._units.unit(of))
        return clock


def _real(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The numbers of a column without missing ones."""
    column = column.drop_null()
    if pa.types.is_floating(column.type):
        column = column.filter(pc.invert(pc.is_nan(column)))
    return column


def prepared(raw: pa.Table, facts: Facts, table: PieceTable) -> pa.Table:
    """A piece with whole numbers or texts where the whole column is so."""
    for k, name in enumerate(raw.column_names):
        column = plain(raw.column(k))
        if name in facts.whole and pa.types.is_large_string(column.type):
            raw = raw.set_column(k, name, _numbers(column, name, table))
        elif name in facts.texts:
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
            raw = raw.set_column(k, name, column.cast(pa.large_string()))
    return raw


def _numbers(column: pa.ChunkedArray, name: str, table: PieceTable) -> pa.ChunkedArray:
    """Texts of whole numbers: as numbers in a text file, in one spelling where they are typed."""
    texts = Texts(column)
    texts.trim(name, table.name)
    values = pc.if_else(
        pc.equal(texts.values, ""), pa.scalar(None, texts.values.type), texts.values
    )
    numbers = whole(values)
    assert numbers is not None  # as those of all pieces are
    return texts.column(numbers.cast(values.type) if table.file.form == "parquet" else numbers)
