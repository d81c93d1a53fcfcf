"""Score every row of a file, in order, with memory for some thousand rows."""

import collections
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from paddleinterest.core.errors import InputError, nearest_path
from paddleinterest.core.log import progress, say
from paddleinterest.data.schema import LATEST
from paddleinterest.data.sources.names import require
from paddleinterest.serving.bundle import Arrays, Bundle
from paddleinterest.serving.day import output
from paddleinterest.serving.day.meaning import Names, meaning
from paddleinterest.serving.day.requests import Made, RequestMaker, identifier, value
from paddleinterest.serving.day.rows import Block, Rows
from paddleinterest.serving.history.source import Histories, open_store
from paddleinterest.serving.request import Encoded, Request

TOGETHER = 512  # rows with one candidate that are scored at once
MOST = 100_000  # candidates of one row
RANKED = 16  # rows with many candidates that are held at once
NOT_FINITE = "its score is not a finite number; a number in it is far outside what training saw"


@dataclass(frozen=True)
class Job:
    """The job: a file to score, and how.

    Attributes:
        events: the file of rows.
        out: the file to write.
        candidates: a file of items that each row ranks; empty = its own item or list.
        top: the best so many candidates of each row; 0 = all.
        names: of the file's columns.
        block: rows that are read at once.
        keep_going: a row that cannot be scored gets an empty score; otherwise it ends the tool.
        overwrite: replace `out`.
    """

    events: str
    out: str
    candidates: str = ""
    top: int = 0
    names: Names = Names()
    block: int = 4096
    keep_going: bool = False
    overwrite: bool = False


@dataclass
class Row:
    """A row of the file, scored or refused.

    Attributes:
        request: what it asks for; empty if it cannot be read.
        refused: why it has no score; None if it has.
        encoded: its arrays.
        score: the net's probabilities of its candidates, not calibrated, [N].
    """

    request: Request = field(default_factory=dict)
    refused: InputError | None = None
    encoded: Encoded | None = None
    score: np.ndarray | None = None


class Counts(collections.Counter[str]):
    """How many rows and scores there were, and what in them was unknown."""

    def add(self, row: Row) -> None:
        """Count a row."""
        self["rows"] += 1
        if row.encoded is None or row.score is None:
            self["refused"] += 1
            return
        self["scores"] += len(row.score)
        self["unknown_users"] += row.encoded.known_user is False
        self["unknown_items"] += int((~row.encoded.known).sum())
        self["unknown_history"] += row.encoded.unknown_history
        self["empty_histories"] += not row.encoded.history_events
        self["unknown_values"] += sum(row.encoded.unknown_values.values())


class DayScorer:
    """Scores the rows of one file.

    Args:
        bundle: scores them.
        histories: gives the histories of users; used only if the file has none.
        job: what is to be scored.
    """

    def __init__(self, bundle: Bundle, histories: Histories, job: Job) -> None:
        self.bundle = bundle
        self.histories = histories
        self.job = job
        self.rows = Rows(job.events)
        self.meaning = meaning(
            bundle.schema,
            self.rows.names,
            job.events,
            job.names,
            bool(job.candidates),
            bundle.encoder.unread,
        )
        candidates = read_candidates(bundle, job) if job.candidates else None
        encoder = bundle.encoder
        self.maker = RequestMaker(self.meaning, encoder.item_row, encoder.user_row, candidates)
        self.ranks = candidates is not None or self.meaning.lists
        if job.top and not self.ranks:
            raise InputError("--top goes with --candidates, or with a column candidates")

    def run(self) -> dict[str, Any]:
        """Score all rows and write them.

        Returns:
            The counts.

        Raises:
            InputError: a row cannot be scored, unless `keep_going`.
        """
        self._say_unused()
        counts = Counts(dict.fromkeys(("rows", "scores", "refused"), 0))
        names = self._names()
        size = min(RANKED, self.job.block) if self.ranks else self.job.block
        with (
            output.opened(self.job.out, names) as writer,
            progress(self.rows.total, "scoring") as bar,
        ):
            for block in self.rows.blocks(self.meaning.columns, size):
                rows = self._scored(block)
                for k, row in enumerate(rows):
                    self._check(row, block, k, counts)
                    counts.add(row)
                writer.write(self._written(rows, block, names))
                bar.update(len(rows))
        return dict(counts)

    def _say_unused(self) -> None:
        if self.meaning.unused:
            say(f"{self.job.events}: columns not read: {', '.join(self.meaning.unused)}")

    def _check(self, row: Row, block: Block, k: int, counts: Counts) -> None:
        """End at a row without a score, or say so of the first one."""
        if row.refused is None:
            return
        text = str(row.refused).removeprefix("request: ")
        message = f"{block.file}, row {block.first + k:,}: {text}"
        if not self.job.keep_going:
            raise InputError(f"{message}; --keep-going leaves the scores of such rows empty")
        if not counts["refused"]:
            say(f"{message}; its score is empty, as are those of other rows like it")

    # scores ---------------------------------------------------------------------------------------

    def _scored(self, block: Block) -> list[Row]:
        rows = [self._encoded(made) for made in self.maker.requests(block)]
        fine = [row for row in rows if row.encoded is not None]
        if self.ranks:
            for row in fine:
                row.score = self.bundle.probabilities_of(_there(row))
        else:
            self._score_together(fine)
        for row in fine:
            if row.score is not None and not np.isfinite(row.score).all():
                row.refused = InputError(NOT_FINITE)
                row.score = None
        return rows

    def _encoded(self, made: Made) -> Row:
        if isinstance(made, InputError):
            return Row(refused=made)
        try:
            if len(made["candidates"]) > MOST:
                raise InputError(
                    f"{len(made['candidates']):,} candidates; at most {MOST:,} are taken"
                )
            return Row(made, encoded=self.bundle.encoder.encode(self._with_history(made)))
        except InputError as e:
            return Row(made, refused=e)

    def _with_history(self, request: Request) -> Request:
        """The request with the events of its user that are before its time, strictly: the row may
        be one of them."""
        if "history" in request or "user" not in request:
            return request
        moment = request.get("time")
        until = None if moment is None else max(moment, 1 - LATEST) - 1
        events, _ = self.histories.latest(request["user"], self.bundle.encoder.cap, until)
        return {**request, "history": [event.as_request() for event in events]}

    def _score_together(self, rows: list[Row]) -> None:
        """Score rows with one candidate each, those with histories of like length together."""
        lengths = [_there(row).history_events for row in rows]
        order = np.argsort(lengths, kind="stable").tolist()
        for lo in range(0, len(order), TOGETHER):
            some = [rows[k] for k in order[lo : lo + TOGETHER]]
            score = self.bundle.probabilities(self._stacked([_there(row).arrays for row in some]))
            for row, each in zip(some, score, strict=True):
                row.score = np.array([each])

    def _stacked(self, arrays: Sequence[Arrays]) -> Arrays:
        """One batch of requests with one candidate each; shorter histories and lists are padded."""
        inputs = self.bundle.signature["programs"]["model"]["inputs"]
        return {name: stacked([each[name] for each in arrays]) for name in inputs}

    # what is written ------------------------------------------------------------------------------

    def _names(self) -> list[str]:
        user = ["user"] * bool(self.meaning.user)
        time = ["time"] * bool(self.meaning.time)
        if self.ranks:
            return ["row", *user, *time, "place", "item", "score"]
        return [*user, "item", *time, "score"]

    def _written(self, rows: list[Row], block: Block, names: list[str]) -> output.Columns:
        columns: output.Columns = {name: [] for name in names}
        for k, row in enumerate(rows):
            for place, item, score in self._lines(row, block, k):
                line = {
                    "row": block.first + k,
                    "user": _text(block, self.meaning.user, k),
                    "time": row.request.get("time"),
                    "place": place,
                    "item": item,
                    "score": score,
                }
                for name, values in columns.items():
                    values.append(line[name])
        return columns

    def _lines(
        self, row: Row, block: Block, k: int
    ) -> Iterator[tuple[int | None, str | None, float | None]]:
        """Yield place, item and score of what is written of a row."""
        if row.score is None or row.encoded is None:
            yield None, None if self.ranks else _text(block, self.meaning.item, k), None
            return
        order = np.argsort(-row.score, kind="stable")[: self.job.top or None]
        calibrated = self.bundle.calibrated(row.score[order])
        scores = [float(f"{each:.9g}") for each in calibrated]
        for place, (at, score) in enumerate(zip(order.tolist(), scores, strict=True), 1):
            yield place, str(row.encoded.candidates[at]), score


def _there(row: Row) -> Encoded:
    assert row.encoded is not None
    return row.encoded


def _text(block: Block, column: str, k: int) -> str | None:
    """A cell as text; None if it is missing."""
    raw = block.columns[column][k] if column else None
    return None if raw is None else str(raw)


def stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays [1, …] as one, [B, …], padded with 0 to the longest in each dimension."""
    shapes = {array.shape for array in arrays}
    if len(shapes) == 1:
        return np.concatenate(arrays)
    longest = np.max([array.shape[1:] for array in arrays], axis=0)
    made = np.zeros((len(arrays), *longest), arrays[0].dtype)
    for k, array in enumerate(arrays):
        corner = tuple(slice(0, size) for size in array.shape[1:])
        made[k][corner] = array[0]
    return made


def read_candidates(bundle: Bundle, job: Job) -> list[Any]:
    """The items of --candidates as a request has them, with the attributes that the file gives.

    Raises:
        InputError: the file cannot be read, has an item twice, or more than `MOST`.
    """
    path = job.candidates
    rows = Rows(path)
    column = str(bundle.schema.recipe.get("item_column", "item"))
    column = column if column in rows.names else "item"
    require(column, rows.names, path)
    fields = {f.name: f for f in bundle.schema.fields if f.of == "item" and f.name != "item"}
    unread = bundle.encoder.unread
    there = {n: f for n, f in fields.items() if n in rows.names and n not in unread}
    found: dict[str, Any] = {}
    for block in rows.blocks([column, *there], job.block):
        for k in range(len(block)):
            row = block.row(k)
            where = f"{block.file}, row {block.first + k:,}"
            try:
                item = identifier(row.get(column), column, bundle.encoder.item_row)
                own = {name: value(row[name], f, name) for name, f in there.items() if name in row}
            except InputError as e:
                raise InputError(f"{where}: {e}") from None
            if item in found:
                raise InputError(f"{where}: item {item!r} is in the file twice")
            own = {name: raw for name, raw in own.items() if raw is not None}
            found[item] = {"item": item, **own} if own else item
            if len(found) > MOST:
                raise InputError(f"{path} has more than {MOST:,} items")
    return list(found.values())


def histories(bundle: Bundle, form: str) -> Histories:
    """Where the histories of users come from.

    Args:
        bundle: with its own.
        form: value of --history.

    Raises:
        InputError: the bundle or the store has none.
    """
    file = form.removeprefix("sqlite:")
    if file != form and not os.path.isfile(file):
        raise InputError(f"--history {form}: {file} does not exist{nearest_path(file)}")
    known = bundle.histories
    own = None if form == "none" else known.own
    return Histories(own, open_store(form), known.clock, list(known.fields.values()))
