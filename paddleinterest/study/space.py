"""A search space of tools/tune.py: a YAML file, checked in full before anything is trained, and
what Optuna draws from it.

    hyper_parameters.embedding_size: [16, 32, 64]                                         # one of
    these
    hyper_parameters.optimizer.learning_rate: {low: 0.0003, high: 0.003, log: true}       # a
    number; `step` where it has one

A space as the functions here pass it is {key: [values …] or {low, high, log, step}}, the values of
the setting's own type.
"""

import json
import math
import os

from paddleinterest.core import settings
from paddleinterest.core.errors import InputError

FOLDER = os.path.join(settings.ROOT, "configs", "tune")
RUNNER = (
    "runner.train_batch_size",
    "runner.history_cap",
    "runner.epochs",
    "runner.early_stop",
    "runner.bucket_batches",
)


def read(path, config_yaml, overrides):
    """The space in the file `path` for the settings of -m `config_yaml` and -o `overrides`; what -o
    sets is not searched.

    Raises:
        InputError: an unknown key, a value or an end of a range that the setting does not take, or
            a space that does not hold the settings that the search starts from.
    """
    base = settings.flatten(settings.load(config_yaml, overrides))
    fixed = {text.partition("=")[0].strip() for text in overrides}
    space = {}
    for key, dimension in settings.read_yaml(path).items():

        def typed(value):
            return _typed(path, config_yaml, key, value)

        if key not in base:
            typed(0)  # says which key is nearest
        if not key.startswith("hyper_parameters.") and key not in RUNNER:
            raise InputError(
                f"{path}: {key} cannot be searched; hyper_parameters.… can, and {', '.join(RUNNER)}"
            )
        dimension = (
            _choice(path, key, dimension, typed)
            if isinstance(dimension, list)
            else _range(path, key, dimension, typed)
        )
        if key in fixed:
            continue
        if not _holds(dimension, base[key]):
            raise InputError(
                f"{path}: {key} is {base[key]!r} where the search starts, and the space does not"
                f" hold that; add it, or fix the setting with -o {key}=VALUE"
            )
        space[key] = dimension
    if not space:
        raise InputError(
            f"{path}: nothing is left to search; -o sets {', '.join(sorted(fixed)) or 'nothing'}"
        )
    return space


def text(value):
    """A value as `-o` takes it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def start(space, base):
    """What to enqueue in Optuna so that its trial is the settings `base` (flat)."""
    return {
        key: text(base[key]) if isinstance(dimension, list) else base[key]
        for key, dimension in space.items()
    }


def draw(space, trial, base):
    """One value a key, {key: value}, by an Optuna trial. Choices are texts there: it stores no
    lists."""
    drawn = {}
    for key, dimension in space.items():
        if isinstance(dimension, list):
            texts = [text(v) for v in dimension]
            drawn[key] = dimension[texts.index(trial.suggest_categorical(key, texts))]
        elif isinstance(dimension["low"], int):
            drawn[key] = trial.suggest_int(key, **{**dimension, "step": dimension["step"] or 1})
        else:
            value = trial.suggest_float(key, **dimension)
            rounded = min(
                max(float(f"{value:.3g}"), dimension["low"]), dimension["high"]
            )  # a tidy file, nothing lost
            drawn[key] = value if value == base[key] else rounded
    return drawn


def _typed(path, config_yaml, key, value):
    """The value as the setting would have it, or InputError."""
    given = f"{key}={text(value)}"
    try:
        return settings.flatten(settings.load(config_yaml, [given]))[key]
    except InputError as e:
        raise InputError(f"{path}: {str(e).removeprefix(f'-o {given}: ')}") from None


def _choice(path, key, dimension, typed):
    values = [typed(v) for v in dimension]
    if not values or any(v in values[:k] for k, v in enumerate(values)):
        raise InputError(f"{path}: {key} must list at least one value, and each once")
    return values


def _range(path, key, dimension, typed):
    if not isinstance(dimension, dict) or not {"low", "high"} <= dimension.keys() <= {
        "low",
        "high",
        "log",
        "step",
    }:
        raise InputError(
            f"{path}: {key} must be a list of values, or {{low, high}} with log: true or a step,"
            f" not {dimension!r}"
        )
    low, high, log = typed(dimension["low"]), typed(dimension["high"]), dimension.get("log", False)
    step = typed(dimension["step"]) if "step" in dimension else None
    if isinstance(low, bool) or not isinstance(low, (int, float)):
        raise InputError(f"{path}: {key} is no number; list its values")
    if not isinstance(log, bool):
        raise InputError(f"{path}: log of {key} is {log!r}, must be true or false")
    if low >= high:
        raise InputError(f"{path}: low of {key} is {low}, must be below high, {high}")
    if log and (step is not None or low <= 0):
        raise InputError(f"{path}: {key}: log: true needs low above 0, and no step")
    dimension = {"low": low, "high": high, "log": log, "step": step}
    if step is not None and (step <= 0 or not _holds(dimension, high)):
        raise InputError(
            f"{path}: step of {key} is {step}, must lead from low, {low}, to high, {high}"
        )
    return dimension


def _holds(dimension, value):
    """Whether a trial could draw the value."""
    if isinstance(dimension, list):
        return value in dimension
    steps = (value - dimension["low"]) / dimension["step"] if dimension["step"] else 0
    return dimension["low"] <= value <= dimension["high"] and math.isclose(
        steps, round(steps), abs_tol=1e-6
    )
