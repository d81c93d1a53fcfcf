"""Trained runs as numbers: which directories, what lies in them, and what their best checkpoints
say of test."""

import json
import os
import zipfile
from dataclasses import dataclass, field

import numpy as np

from paddleinterest.core import settings
from paddleinterest.core.atomic import whole_file
from paddleinterest.core.checksum import checksum
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.data.schema import Schema
from paddleinterest.training import run

NAMES = {
    "base": "base",
    "wide_deep": "Wide & Deep",
    "deepfm": "DeepFM",
    "pnn": "PNN",
    "din": "DIN",
    "dien": "DIEN",
    "bst": "BST",
}
# Of runner: what may differ between two seeds of one model. All else tells models apart.
BESIDE = {*settings.PLACE, *settings.MACHINE, "seed"}
SCORES = "test-scores.npz"


class Missing(InputError):
    """A part of a run is not there."""


@dataclass
class Run:
    """One run directory.

    Attributes:
        directory, config: where it lies, the settings it was trained with.
        epochs: the lines of metrics.jsonl.
        result: result.json, what the trainer printed; None where there is none.
        label: name of its model and settings, the same for all seeds.
        split: its `Split`, score: probabilities of its rows, best_epoch; from `score`.
    """

    directory: str
    config: dict
    epochs: list
    result: dict
    label: str = ""
    split: "Split" = None
    score: "np.ndarray" = field(default=None, repr=False)
    best_epoch: int = 0

    @property
    def model(self):
        return self.config["model"]

    @property
    def seed(self):
        return self.config["runner"]["seed"]


@dataclass
class Split:
    """The test split that the runs of one dataset share: its rows' users, labels and whole history
    lengths, uncapped."""

    directory: str
    schema: "Schema"
    user: "np.ndarray" = field(repr=False)
    label: "np.ndarray" = field(repr=False)
    length: "np.ndarray" = field(repr=False)


def of_table(table):
    """{run directory: row's label} of the cells of `tables.cells`; the directories that
    reproduce.py trains in.

    Rows of a tool that learns nothing have none.
    """
    found = {}
    for cell in (c for c in table if "-m" in c["command"]):
        at = cell["command"].index("-o")
        config = settings.load(
            os.path.join(settings.ROOT, cell["command"][at - 1]), cell["command"][at + 1 :]
        )
        found[run.directory(config)] = cell["row"]
    return found


def open_run(directory, label=""):
    """The run in `directory`, all but its scores.

    Raises:
        Missing: no such directory, or no settings, epochs, best checkpoint or prepared dataset.
            InputError: unreadable ones.
    """
    path = {
        name: os.path.join(directory, *name.split("/"))
        for name in ("config.yaml", "metrics.jsonl", "checkpoints/best.npz", "result.json")
    }
    if not os.path.isfile(path["config.yaml"]):
        raise Missing(f"{directory} is not a run directory: it has no config.yaml")
    for name in ("metrics.jsonl", "checkpoints/best.npz"):
        if not os.path.isfile(path[name]):
            raise Missing(f"{directory} has no {name}: has it been trained to the end of an epoch?")
    config = settings.load(path["config.yaml"])
    data = run.data_directory(config)
    if not os.path.isdir(data):
        raise Missing(
            f"{directory} was trained on {data}, which is not there (looked up from the current"
            " directory)"
        )
    return Run(
        directory, config, _epochs(path["metrics.jsonl"]), _result(path["result.json"]), label
    )


def _epochs(path):
    try:
        with open(path, encoding="utf-8") as f:
            lines = [json.loads(line) for line in f]
        for line in lines:
            (
                float(line["epoch"]),
                float(line["train"]["loss"]),
                float((line["valid"] or {}).get("auc") or 0),
            )
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise InputError(
            f"{path} is not what the trainer writes: {' '.join(str(e).split())[:120]}"
        ) from None
    if not lines:
        raise Missing(f"{path} holds no epoch yet")
    return lines


def _result(path):
    """What the trainer printed, or None where it printed nothing (yet) or no speed."""
    if not os.path.isfile(path):
        return None
    try:
        with open(path, encoding="utf-8") as f:
            result = json.load(f)
        return result if result["samples_per_second"] and result["rows"]["train"] else None
    except (ValueError, KeyError, TypeError) as e:
        raise InputError(
            f"{path} is not what the trainer writes: {' '.join(str(e).split())[:120]}"
        ) from None


def name_runs(runs):
    """Give each run without a label one: the model's name, and the settings in which runs of the
    model differ, unless default."""
    for model in {r.model for r in runs}:
        own = [(r, settings_of(r.config)) for r in runs if r.model == model]
        default = default_settings(model)
        varied = [k for k in own[0][1] if any(s[k] != own[0][1][k] for _, s in own)]
        for r, s in own:
            own_label = [
                NAMES.get(model, model),
                *(say_setting(k, s[k]) for k in varied if s[k] != default[k]),
            ]
            r.label = r.label or ", ".join(own_label)


def settings_of(config):
    """What makes a run's model, {key: value}: all but seed, names and what changes no figure."""
    return {
        k: v
        for k, v in settings.flatten(config).items()
        if k.removeprefix("runner.") not in BESIDE and k != "model"
    }


def default_settings(model):
    return settings_of(settings.load(os.path.join(settings.ROOT, "models", model, "config.yaml")))


def own_settings(runs):
    """The settings of a model's runs that are not its defaults, in words; of all of them, should
    they differ under one label."""
    default = default_settings(runs[0].model)
    said = [
        say_setting(k, v) for r in runs for k, v in settings_of(r.config).items() if v != default[k]
    ]
    return list(dict.fromkeys(said))


def say_setting(key, value):
    return f"{key.split('.', 1)[1]}={str(value).lower() if isinstance(value, bool) else value}"


def score_runs(runs):
    """Fill in split, score and best_epoch of every run; runs of one dataset share their `Split`."""
    by_directory, by_name = {}, {}
    for r in runs:
        try:
            data = run.dataset(r.config)
            if data not in by_directory:
                by_directory[data] = _split(data)
            r.split = _same(by_name, by_directory[data])
            _score(r, data)
        except InputError as e:
            raise InputError(f"{r.directory}: {e}") from None


def _split(data):
    from paddleinterest.data.reader import Reader

    reader = Reader(data, "test", 1)
    if reader.label.min() == reader.label.max():
        raise InputError(f"the test split of {data} has only one class: AUC is undefined")
    return Split(data, reader.schema, reader.user, reader.label, reader.end)


def _same(by_name, split):
    """The split that stands for the dataset's name; the runs' numbers are compared row by row, so
    it must be this one."""
    first = by_name.setdefault(split.schema.name, split)
    for column in ("user", "label", "length"):
        if not np.array_equal(getattr(first, column), getattr(split, column)):
            raise InputError(
                f"{first.directory} and {split.directory} are both called {split.schema.name}, but"
                " their test splits differ; report on them apart"
            )
    return first


def _score(r, data):
    """Probabilities of the test rows under the best checkpoint, kept in the run directory for the
    next time."""
    from paddleinterest.training.predict import score_checkpoint

    best, kept = (
        os.path.join(r.directory, "checkpoints", "best.npz"),
        os.path.join(r.directory, SCORES),
    )
    key = _fingerprint(
        best, os.path.join(r.directory, "config.yaml"), os.path.join(data, "schema.yaml")
    )
    found = _kept(kept, key, len(r.split.label))
    if found is None:
        say(f"scoring {r.directory}")
        _, _, r.score, state = score_checkpoint(r.config, data, best, "test")
        r.best_epoch = state["epoch"]
        _keep(kept, key, r)
    else:
        r.score, r.best_epoch = found


def _fingerprint(*paths):
    """Of everything that the scores depend on; schema.yaml holds the hashes of the dataset's
    files."""
    return " ".join(map(checksum, paths))


def _kept(path, key, rows):
    try:
        with np.load(path, allow_pickle=False) as f:
            if str(f["key"]) == key and f["score"].shape == (rows,):
                return f["score"], int(f["epoch"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # not there, or not whole: score again
    return None


def _keep(path, key, r):
    try:
        with whole_file(path) as made, open(made, "wb") as f:
            np.savez(f, key=np.array(key), score=r.score, epoch=np.array(r.best_epoch))
    except OSError as e:  # somebody else's run, or a full disk: only the next call is slower
        say(f"scores are not kept: {' '.join(str(e).split())}")


def series(runs):
    """{dataset: {label: [runs, by seed]}}, models in the order of NAMES or, with labels from a
    table, of the table."""
    found = {}
    for r in runs:
        of_label = found.setdefault(r.split.schema.name, {}).setdefault(r.label, [])
        twin = next((o for o in of_label if o.seed == r.seed), None)
        if twin:
            raise InputError(
                f"{twin.directory} and {r.directory} are the same model, settings and seed; name"
                " one of them"
            )
        of_label.append(r)
    return {
        dataset: {k: sorted(v, key=lambda r: r.seed) for k, v in labels.items()}
        for dataset, labels in found.items()
    }


def in_order(runs):
    """Runs sorted by model, label and seed."""
    order = [*NAMES, *settings.models()]
    return sorted(runs, key=lambda r: (order.index(r.model), len(r.label), r.label, r.seed))
