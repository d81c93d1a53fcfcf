"""An export bundle, opened: an inference engine behind raw ids. Needs no model code, only the
bundle's directory."""

import copy
import dataclasses
import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from paddleinterest.core.checksum import checksum
from paddleinterest.core.errors import InputError, nearest_path
from paddleinterest.core.log import say
from paddleinterest.data.columns import read_parquet
from paddleinterest.data.schema import LATEST, Field, Schema, of_one_user
from paddleinterest.serving import calibration, engine, signature
from paddleinterest.serving.apart import in_fork
from paddleinterest.serving.device import Device
from paddleinterest.serving.engine import Programs
from paddleinterest.serving.history import own
from paddleinterest.serving.history.source import Histories
from paddleinterest.serving.request import Encoded, Request, RequestEncoder
from paddleinterest.serving.snapshot import consistently

CANDIDATES = 4096  # scored at once
MEASURED = 100  # candidates of the request that engines are measured with
ALWAYS = {"signature.yaml", "items.parquet", "users.parquet", "model.pdiparams"}  # in every bundle

Arrays = dict[str, np.ndarray]


class Bundle:
    """Scores rows or requests. One thread at a time may use it; `clone` gives one for another.

    Args:
        directory: what tools/to_static.py wrote.
        threads: CPU threads of one call.
        onednn: use oneDNN kernels.
        use_gpu: run on the first GPU.
        engine: paddle, onnx, or auto: the one that takes less time for a request of 100 candidates,
            measured now. Without ONNX programs, auto is paddle.
        apart: measure in a fork of this process, since no engine may run here before a fork.

    Attributes:
        schema: the dataset's schema, with the checksums of the bundle's files.
        signature: contents of signature.yaml.
        version: 12 hexadecimal digits that tell this export from every other.
        encoder: looks raw ids up.
        histories: gives the history of a user whose request has none.
        calibration: makes probabilities of the net's; None if the bundle was exported without.
        programs: {"model": …, "rank": …}.
        engine: paddle or onnx.
        measured: milliseconds by engine, if they were measured.

    Raises:
        InputError: the directory is not a bundle, is damaged, or changes all the time.

    Example:
        >>> bundle = Bundle("output/din/complete_journey/export")          # doctest: +SKIP
        >>> bundle.rank({"history": ["9"], "candidates": ["10", "9"]})     # doctest: +SKIP
    """

    def __init__(
        self,
        directory: str,
        threads: int = 1,
        onednn: bool = False,
        use_gpu: bool = False,
        engine: str = "paddle",
        apart: bool = False,
    ) -> None:
        self.directory = directory
        self.device = Device(threads, onednn, use_gpu, engine)
        consistently(directory, self._open)
        self._choose_engine(apart)

    def _open(self) -> None:
        directory = self.directory
        if not os.path.isfile(os.path.join(directory, "schema.yaml")):
            raise InputError(_no_bundle(directory))
        self.schema = Schema.load(directory)
        self.version = checksum(os.path.join(directory, "schema.yaml"))[:12]
        _check_whole(directory, self.schema)
        try:
            self.signature = signature.read(directory)
            self.encoder = RequestEncoder(
                directory,
                self.schema,
                self.signature["history_cap"],
                signature.needs_times(self.signature),
                self._unread_vectors(),
            )
            clock = self.schema.time == "seconds"
            self.histories = Histories(self._own_histories(), None, clock, self._event_fields())
            self.calibration = None
            if calibration.FILE in self.schema.files:
                self.calibration = calibration.read(directory)
            self._by_engine = engine.open_programs(
                directory, self.schema.files, self.signature, self.device
            )
        except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as e:
            raise InputError(
                f"{directory} is not an export bundle: {' '.join(str(e).split())}; "
                "make one with tools/to_static.py"
            ) from None

    def _unread_vectors(self) -> frozenset[str]:
        """Vectors that only started the item table: no program reads them."""
        return frozenset(
            f.name
            for f in self.schema.vector_fields
            if not signature.reads(self.signature, f"target_vector_{f.name}")
        )

    def _own_histories(self) -> own.OwnHistories | None:
        if own.FILE not in self.schema.files:
            return None
        encoder = self.encoder
        return own.OwnHistories(
            self.directory, encoder.item_row, encoder.user_row, self.schema.fields, encoder.values
        )

    def _event_fields(self) -> list[Field]:
        return [f for f in self.schema.fields if f.of == "event"]

    def _choose_engine(self, apart: bool) -> None:
        """Keep the programs of one engine: of several, the fastest."""
        self.measured: dict[str, float] = {}
        if len(self._by_engine) > 1:
            self.measured = (
                in_fork(self._measure, "measuring engines") if apart else self._measure()
            )
        self.engine = min(self.measured, key=self.measured.__getitem__, default="")
        self.engine = self.engine or next(iter(self._by_engine))
        self.programs: Programs = self._by_engine[self.engine]
        del self._by_engine
        if self.measured:
            times = ", ".join(f"{name} {ms:.2f} ms" for name, ms in self.measured.items())
            say(f"engine {self.engine}: {MEASURED} candidates take {times}")

    def _measure(self) -> dict[str, float]:
        """Milliseconds that each engine takes to rank items of the catalogue."""
        arrays = self._sample()
        ranking = {name: programs["rank"] for name, programs in self._by_engine.items()}
        return engine.milliseconds(ranking, arrays)

    def try_out(self) -> None:
        """Rank items of the catalogue once.

        Raises:
            InputError: the program cannot be run.
        """
        self.programs["rank"](self._sample())

    def _sample(self) -> Arrays:
        """The arrays of a request of MEASURED items."""
        return self.encoder.encode(self.some_request(MEASURED)).arrays

    def some_request(self, candidates: int) -> Request:
        """A request of known items with as long a history as is read.

        Args:
            candidates: how many, if the catalogue is as large.
        """
        ids = self.encoder.item_row
        most = max(candidates, self.encoder.cap)
        items = [ids[k] for k in range(min(most, len(ids)))]
        events = [{"item": item, "time": 0} for item in items[: self.encoder.cap]]
        return {"history": events, "candidates": items[:candidates], "time": 0}

    def clone(self) -> "Bundle":
        """The same bundle for another thread; tables and weights are shared."""
        made = copy.copy(self)
        made.programs = {name: program.clone() for name, program in self.programs.items()}
        return made

    def check_data(self, directory: str) -> None:
        """Check that a prepared dataset has this bundle's fields and vocabularies, so that index 7
        means the same in both.

        Raises:
            InputError: something differs; the message lists what.
        """
        theirs = Schema.load(directory)
        different = _different_fields(self.schema, theirs)
        for name, facts in self.schema.files.items():
            is_table = name.startswith(("items.", "users.", "vocab/", "vectors/"))
            if different or not is_table or theirs.files.get(name) == facts:
                continue
            if name.startswith("vectors/"):
                different = [name]
                continue
            own = read_parquet(os.path.join(self.directory, name))
            other = read_parquet(os.path.join(directory, name))
            # another version of pyarrow may have written the same table with other bytes
            if not _same_tables(own, other):
                different = [name]
        if different:
            raise InputError(
                f"{directory} is not the dataset that the bundle was trained on; these differ:"
                f" {', '.join(different)}"
            )

    def score(self, arrays: Arrays) -> np.ndarray:
        """Click probabilities of a batch as the reader gives it, float32 [B]; calibrated, if the
        bundle has a calibration.

        Columns that the program does not read are ignored.
        """
        return self.calibrated(self.probabilities(arrays))

    def probabilities(self, arrays: Arrays) -> np.ndarray:
        """The same before calibration: what the net gives."""
        return self.programs["model"](arrays)[0].reshape(-1)

    def calibrated(self, probability: np.ndarray) -> np.ndarray:
        """Calibrated probabilities [N] of the net's; the same if there is no calibration."""
        return self.calibration(probability) if self.calibration else probability

    def rank(self, request: Any) -> dict[str, Any]:
        """The candidates of one request (paddleinterest/serving/request.py), best first.

        A request that names a user and has no ``history`` gets the user's events from `histories`.

        Returns:
            ``candidates`` (each with its place, item, score, and whether the catalogue knows it),
            ``user``, ``known_user`` (None if no user is named), ``history_events`` (how many events
            of the history were used), ``history_from`` (request, none, or what kept them),
            ``unknown_history`` (how many of them the catalogue does not know), ``unknown_values``
            ({field: given values that training never saw}), ``version`` of the bundle and, if
            the scores are calibrated, ``calibration``: platt or isotonic.

        Raises:
            InputError: the request is malformed.
            StoreError: the store of histories does not work.
        """
        request, source = self.with_history(request)
        encoded, score, _ = self.scored(request)
        return self.answer_of(request, source, encoded, score)

    def answer_of(
        self, request: Request, source: str, encoded: Encoded, score: np.ndarray
    ) -> dict[str, Any]:
        """The answer of `rank`, from what `with_history` and `scored` gave.

        The net's probability orders the candidates: a calibration may make some of them equal.
        """
        scores = self.calibrated(score).tolist()
        known = encoded.known.tolist()
        best_first = np.argsort(-score, kind="stable").tolist()
        ranked = [
            {
                "place": place,
                "item": encoded.candidates[k],
                "score": scores[k],
                "known": known[k],
            }
            for place, k in enumerate(best_first, 1)
        ]
        return {
            "user": request.get("user"),
            "known_user": encoded.known_user,
            "candidates": ranked,
            "history_events": encoded.history_events,
            "history_from": source,
            "unknown_history": encoded.unknown_history,
            "unknown_values": encoded.unknown_values,
            "version": self.version,
            **({"calibration": self.calibration.kind} if self.calibration else {}),
        }

    def with_history(self, request: Any) -> tuple[Any, str]:
        """The request with a history, and where the history comes from.

        A history that the request gives wins. If events come from elsewhere and the request has no
        time, it gets one: now, or the time of the last event if times are not a clock.
        """
        if not isinstance(request, dict):
            return request, "none"
        if "history" in request:
            return request, "request"
        user = request.get("user")
        if isinstance(user, bool) or not isinstance(user, (str, int)):
            return request, "none"
        moment = request.get("time")
        until = moment if type(moment) is int and abs(moment) < LATEST else None
        events, source = self.histories.latest(str(user), self.encoder.cap, until)
        if not events:
            return request, "none"
        made = {**request, "history": [event.as_request() for event in events]}
        if "time" not in request:
            now = int(time.time()) if self.histories.clock else events[-1].time
            made["time"] = max(now, events[-1].time)
        return made, source

    def answer(self, requests: Any) -> dict[str, Any]:
        """`rank` of a request, or ``{"answers": […]}`` of a list of them.

        Raises:
            InputError: a request is malformed; the message says which.
        """
        if not isinstance(requests, list):
            return self.rank(requests)
        answers = []
        for k, request in enumerate(requests, 1):
            try:
                answers.append(self.rank(request))
            except InputError as e:
                what = str(e).removeprefix("request: ")
                raise InputError(f"request {k} of {len(requests)}: {what}") from None
        return {"answers": answers}

    def attention(self, request: Any) -> tuple[np.ndarray, np.ndarray]:
        """Scores [N] and attention weights [N, T] of a request's candidates over its history, in
        their own order."""
        _, score, weight = self.scored(request)
        return self.calibrated(score), weight

    def probabilities_of(self, encoded: Encoded) -> np.ndarray:
        """The net's probabilities [N] of an encoded request's candidates, in their order, not
        calibrated; they may be not finite."""
        parts = [self.programs["rank"](arrays)[0] for arrays in _cut(encoded)]
        return np.concatenate([score.reshape(-1) for score in parts])

    def scored(self, request: Any) -> tuple[Encoded, np.ndarray, np.ndarray]:
        """A request's arrays, the net's probabilities [N], not calibrated, and attention [N, T], in
        the order of its candidates."""
        encoded = self.encoder.encode(request)
        parts = [self.programs["rank"](arrays) for arrays in _cut(encoded)]
        score = np.concatenate([score.reshape(-1) for score, _ in parts])
        if not np.isfinite(score).all():
            raise InputError(
                "request: the scores are not finite; a number in it is far outside what"
                " training saw"
            )
        return encoded, score, np.concatenate([weight for _, weight in parts])


def _no_bundle(directory: str) -> str:
    """The message for a directory without a schema.yaml: is a bundle below it, or near it?"""
    what = f"{directory} is not an export bundle (schema.yaml does not exist there)"
    inside = os.path.join(directory, "export")
    if os.path.isfile(os.path.join(inside, "schema.yaml")):
        return f"{what}; name {inside}"
    return (
        f"{what}{nearest_path(directory)}; tools/to_static.py writes one, by default to"
        " output/<model>/<name>/export"
    )


def _cut(encoded: Encoded) -> Iterator[Arrays]:
    """The arrays of a request, at most CANDIDATES of its candidates at a time: memory suffices,
    however many there are."""
    n = len(encoded.candidates)
    for lo in range(0, n, CANDIDATES):
        yield {
            name: a if of_one_user(name) else a[lo : lo + CANDIDATES]
            for name, a in encoded.arrays.items()
        }


def _check_whole(directory: str, schema: Schema) -> None:
    """Check that the files are those that to_static.py wrote, all of them, before any is opened."""
    if not schema.sealed or not ALWAYS <= schema.files.keys():
        raise InputError(
            f"{directory} is not an export bundle, or one of an older version: its schema.yaml"
            " lacks checksums; make it with tools/to_static.py"
        )
    schema.verify(directory)


def _same_tables(own: pa.Table, other: pa.Table) -> bool:
    """True if two tables have the same columns; two missing numbers are equal."""
    if own.column_names != other.column_names or own.num_rows != other.num_rows:
        return False
    for mine, theirs in zip(own.columns, other.columns, strict=True):
        if pa.types.is_floating(mine.type) and pa.types.is_floating(theirs.type):
            if not np.array_equal(mine.to_numpy(), theirs.to_numpy(), equal_nan=True):
                return False
        elif not mine.equals(theirs):
            return False
    return True


def _different_fields(own: Schema, other: Schema) -> list[str]:
    """The differences between the fields of two schemas, in words."""
    ours = {f.name: dataclasses.asdict(f) for f in own.fields}
    theirs = {f.name: dataclasses.asdict(f) for f in other.fields}
    names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    if not names and list(ours) != list(theirs):
        return ["the order of its fields"]
    return [f"field {name}" for name in names]
