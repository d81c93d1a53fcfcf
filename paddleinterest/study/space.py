"""A search space of tools/tune.py: a YAML file, checked in full before anything is trained, and
what Optuna draws from it.

    hyper_parameters.embedding_size: [16, 32, 64]                 # one of these
    hyper_parameters.dropout: {low: 0.0, high: 0.5, step: 0.1}    # a number
    hyper_parameters.optimizer.learning_rate: {low: 0.0003, high: 0.003, log: true}
"""

import json
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from paddleinterest.core import settings
from paddleinterest.core.errors import InputError

if TYPE_CHECKING:
    import optuna

FOLDER = os.path.join(settings.ROOT, "configs", "tune")
RUNNER = (
    "runner.train_batch_size",
    "runner.history_cap",
    "runner.epochs",
    "runner.early_stop",
    "runner.bucket_batches",
)

Flat: TypeAlias = dict[str, Any]  # {key: value} of settings


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: list[Any]

    def holds(self, value: Any) -> bool:
        return value in self.values

    def start(self, value: Any) -> Any:
        """A value as Optuna stores it: choices are texts, because it stores no lists."""
        return text(value)

    def draw(self, key: str, trial: "optuna.Trial", base: Any) -> Any:
        texts = [text(value) for value in self.values]
        return self.values[texts.index(trial.suggest_categorical(key, texts))]

    def as_yaml(self) -> Any:
        return self.values


@dataclass(frozen=True)
class Range:
    """A number from `low` to `high`; on a logarithmic scale, or in steps."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def holds(self, value: Any) -> bool:
        steps = (value - self.low) / self.step if self.step else 0
        whole = math.isclose(steps, round(steps), abs_tol=1e-6)
        return self.low <= value <= self.high and whole

    def start(self, value: Any) -> Any:
        return value

    def draw(self, key: str, trial: "optuna.Trial", base: Any) -> Any:
        if isinstance(self.low, int):
            return trial.suggest_int(
                key, self.low, int(self.high), step=int(self.step or 1), log=self.log
            )
        value = trial.suggest_float(key, self.low, self.high, step=self.step, log=self.log)
        if value == base:
            return value
        tidy = float(f"{value:.3g}")  # rounded for the readers of the files
        return min(max(tidy, self.low), self.high)

    def as_yaml(self) -> Any:
        return {"low": self.low, "high": self.high, "log": self.log, "step": self.step}


Space: TypeAlias = dict[str, Choice | Range]


def read(path: str, config_yaml: str, overrides: list[str]) -> Space:
    """The space in a file for some settings.

    Args:
        path: the YAML file.
        config_yaml: -m, the settings that the search starts from.
        overrides: -o; what it sets is not searched.

    Raises:
        InputError: an unknown key, a value or an end of a range that the setting does not take, or
            a space that does not hold the settings that the search starts from.
    """
    base = settings.flatten(settings.load(config_yaml, overrides))
    fixed = {override.partition("=")[0].strip() for override in overrides}
    space = {}
    for key, content in settings.read_yaml(path).items():
        dimension = _Reader(path, config_yaml, key).dimension(content, key in base)
        if key in fixed:
            continue
        if not dimension.holds(base[key]):
            raise InputError(
                f"{path}: {key} is {base[key]!r} at the start of the search, which is not in the"
                f" space; add it, or fix the setting with -o {key}=VALUE"
            )
        space[key] = dimension
    if not space:
        raise InputError(
            f"{path}: nothing is left to search; -o sets {', '.join(sorted(fixed)) or 'nothing'}"
        )
    return space


def text(value: Any) -> str:
    """A value as `-o` takes it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def start(space: Space, base: Flat) -> Flat:
    """The values to enqueue in Optuna for a trial with the settings `base`."""
    return {key: dimension.start(base[key]) for key, dimension in space.items()}


def draw(space: Space, trial: "optuna.Trial", base: Flat) -> Flat:
    """One value per key, by an Optuna trial."""
    return {key: dimension.draw(key, trial, base[key]) for key, dimension in space.items()}


def as_yaml(space: Space) -> Flat:
    """The space for search.yaml."""
    return {key: dimension.as_yaml() for key, dimension in space.items()}


@dataclass(frozen=True)
class _Reader:
    """Reads one key of the file `path`, for the settings of -m `config_yaml`."""

    path: str
    config_yaml: str
    key: str

    def dimension(self, content: Any, is_known: bool) -> Choice | Range:
        key = self.key
        if not is_known:
            self._typed(0)  # the error names the nearest key
        if not str(key).startswith("hyper_parameters.") and key not in RUNNER:
            raise InputError(
                f"{self.path}: {key} cannot be searched; hyper_parameters.… can, and"
                f" {', '.join(RUNNER)}"
            )
        return self._choice(content) if isinstance(content, list) else self._range(content)

    def _typed(self, value: Any) -> Any:
        """The value as the setting would have it, or InputError."""
        given = f"{self.key}={text(value)}"
        try:
            return settings.flatten(settings.load(self.config_yaml, [given]))[self.key]
        except InputError as e:
            raise InputError(f"{self.path}: {str(e).removeprefix(f'-o {given}: ')}") from None

    def _choice(self, content: list) -> Choice:
        values = [self._typed(value) for value in content]
        if not values or any(value in values[:k] for k, value in enumerate(values)):
            raise InputError(f"{self.path}: {self.key} must list at least one value, and each once")
        return Choice(values)

    def _range(self, content: Any) -> Range:
        known = {"low", "high", "log", "step"}
        if not isinstance(content, dict) or not {"low", "high"} <= content.keys() <= known:
            raise InputError(
                f"{self.path}: {self.key} must be a list of values, or {{low, high}} with log: true"
                f" or a step, not {content!r}"
            )
        low = self._typed(content["low"])
        high = self._typed(content["high"])
        step = self._typed(content["step"]) if "step" in content else None
        found = Range(low, high, content.get("log", False), step)
        self._check(found)
        return found

    def _check(self, found: Range) -> None:
        where = f"{self.path}: "
        if isinstance(found.low, bool) or not isinstance(found.low, (int, float)):
            raise InputError(f"{where}{self.key} is not a number; list its values")
        if not isinstance(found.log, bool):
            raise InputError(f"{where}log of {self.key} is {found.log!r}, must be true or false")
        if found.low >= found.high:
            raise InputError(
                f"{where}low of {self.key} is {found.low}, must be below high, {found.high}"
            )
        if found.log and (found.step is not None or found.low <= 0):
            raise InputError(f"{where}{self.key}: log: true needs low above 0, and no step")
        if found.step is not None and (found.step <= 0 or not found.holds(found.high)):
            raise InputError(
                f"{where}step of {self.key} is {found.step}, must lead from low, {found.low}, to"
                f" high, {found.high}"
            )
