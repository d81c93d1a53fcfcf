"""Trained runs: their directories, and the files that the trainer wrote into them."""

import os
from dataclasses import dataclass, field
from typing import Annotated, TypeAlias, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveInt, ValidationError

from paddleinterest.core import settings
from paddleinterest.core.errors import InputError, nearest_path
from paddleinterest.data.schema import Schema
from paddleinterest.study.slices import Slice
from paddleinterest.study.tables import Cell
from paddleinterest.training import run


class Missing(InputError):
    """A part of a run is missing."""


class Written(BaseModel):
    """A part of a JSON file that the trainer writes; other keys are ignored."""

    model_config = ConfigDict(strict=True)


class TrainLine(Written):
    """The figures on train in a line of metrics.jsonl."""

    loss: FiniteFloat  # mean log loss of the clicks


class ValidLine(Written):
    """The figures on a split, in a line of metrics.jsonl or in result.json."""

    auc: Annotated[float, Field(ge=0, le=1)] | None = None


class Epoch(Written):
    """A line of metrics.jsonl."""

    epoch: PositiveInt
    train: TrainLine
    valid: ValidLine | None


class Rows(Written):
    """Samples in each split; only train's are read here."""

    train: PositiveInt


class Result(Written):
    """The keys of result.json that are used here."""

    samples_per_second: Annotated[float, Field(gt=1e-3, lt=1e12)] | None
    rows: Rows
    threads: int | None = None
    valid: ValidLine | None = None
    test: ValidLine | None = None

    @property
    def seconds_per_epoch(self) -> float:
        assert self.samples_per_second is not None
        return self.rows.train / self.samples_per_second


@dataclass
class Split:
    """The test split that the runs of one dataset share.

    Attributes:
        directory: the prepared dataset.
        schema: its schema.
        user: the user of each row, [N].
        label: 0 or 1, [N].
        length: of each row's whole history, uncapped, [N].
        slices: ways to divide the rows.
    """

    directory: str
    schema: Schema
    user: np.ndarray = field(repr=False)
    label: np.ndarray = field(repr=False)
    length: np.ndarray = field(repr=False)
    slices: list[Slice] = field(repr=False)


@dataclass
class Run:
    """One run directory.

    Attributes:
        directory: its path.
        config: the settings it was trained with.
        epochs: the lines of metrics.jsonl.
        result: result.json; None if it is missing or without a speed.
        label: name of its model and settings, the same for all seeds.
        split: the test split; this and the following are set by `scores.score_runs`.
        score: probabilities of the split's rows, [N].
        best_epoch: the epoch that is best on valid.
    """

    directory: str
    config: settings.Settings
    epochs: list[Epoch]
    result: Result | None
    label: str = ""
    split: Split = field(init=False, repr=False)
    score: np.ndarray = field(init=False, repr=False)
    best_epoch: int = 0

    @property
    def model(self) -> str:
        return self.config.model

    @property
    def seed(self) -> int:
        return self.config.runner.seed


Series: TypeAlias = dict[str, list[Run]]  # {label: its runs, by seed}


def of_table(cells: list[Cell]) -> dict[str, str]:
    """The run directories that tools/reproduce.py trains in.

    Args:
        cells: of `tables.cells`. Those of a tool that learns nothing have no directory.

    Returns:
        {run directory: label of its row}.
    """
    found = {}
    for cell in cells:
        command = cell.command
        if not cell.trains:
            continue
        at = command.index("-o")
        path = os.path.join(settings.ROOT, command[at - 1])
        config = settings.load(path, command[at + 1 :])
        found[run.directory(config)] = cell.row
    return found


def open_run(directory: str, label: str = "") -> Run:
    """The run in `directory`, without its scores.

    Raises:
        Missing: no such directory, or no settings, epochs, best checkpoint or prepared dataset.
        InputError: one of its files cannot be read.
    """
    settings_file = os.path.join(directory, "config.yaml")
    if not os.path.isdir(directory):
        raise Missing(f"{directory} does not exist{nearest_path(directory)}; name a run's folder")
    if not os.path.isfile(settings_file):
        raise Missing(f"{directory} is not a run directory: it has no config.yaml")
    for name in ("metrics.jsonl", "checkpoints/best.npz"):
        if not os.path.isfile(os.path.join(directory, name)):
            raise Missing(f"{directory} has no {name}: has it finished an epoch?")
    config = settings.load(settings_file)
    data = run.data_directory(config)
    if not os.path.isdir(data):
        raise Missing(
            f"{directory} was trained on {data}, which is missing (looked up from the current"
            " directory)"
        )
    epochs = _epochs(os.path.join(directory, "metrics.jsonl"))
    result = _result(os.path.join(directory, "result.json"))
    return Run(directory, config, epochs, result, label)


def _epochs(path: str) -> list[Epoch]:
    """The lines of metrics.jsonl."""
    with open(path, "rb") as f:
        lines = [_checked(Epoch, line, path) for line in f]
    if not lines:
        raise Missing(f"{path} holds no epoch yet")
    return lines


def _result(path: str) -> Result | None:
    """The result that the trainer printed; None if it is missing or without a speed."""
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as f:
        result = _checked(Result, f.read(), path)
    return result if result.samples_per_second else None


Kind = TypeVar("Kind", bound=Written)


def _checked(kind: type[Kind], text: bytes, path: str) -> Kind:
    """A JSON object of a file that the trainer writes, or InputError in one line."""
    try:
        return kind.model_validate_json(text)
    except ValidationError as e:
        first = e.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        what = f"{place}: {first['msg']}" if place else first["msg"]
        raise InputError(f"{path} is not a file of the trainer: {what}") from None


def series_of(runs: list[Run]) -> dict[str, Series]:
    """{dataset: its runs by label}, labels in the order of their first run, runs by seed.

    Raises:
        InputError: two runs are the same model, settings and seed.
    """
    found: dict[str, Series] = {}
    for one in runs:
        of_label = found.setdefault(one.split.schema.name, {}).setdefault(one.label, [])
        twin = next((other for other in of_label if other.seed == one.seed), None)
        if twin:
            raise InputError(
                f"{twin.directory} and {one.directory} have the same model, settings and seed;"
                " name only one of them"
            )
        of_label.append(one)
    for series in found.values():
        for of_label in series.values():
            of_label.sort(key=lambda one: one.seed)
    return found


def by_model(runs: list[Run]) -> list[Run]:
    """The runs grouped by model, models in the order of their first run."""
    order = list(dict.fromkeys(one.model for one in runs))
    return sorted(runs, key=lambda one: (order.index(one.model), len(one.label), one.label))
