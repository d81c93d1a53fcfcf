"""The best checkpoint of each run on test: scored once, the scores kept in the run directory."""

import os
import zipfile

import numpy as np

from paddleinterest.core.atomic import whole_file
from paddleinterest.core.checksum import checksum
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.data.reader import Reader
from paddleinterest.study.results import Run, Split
from paddleinterest.study.slices import slices_of
from paddleinterest.training import run

SCORES = "test-scores.npz"


def score_runs(runs: list[Run]) -> None:
    """Fill in split, score and best_epoch of every run; runs of one dataset share their `Split`.

    Raises:
        InputError: a checkpoint or dataset cannot be read, or two datasets of one name differ.
    """
    by_directory: dict[str, Split] = {}
    by_name: dict[str, Split] = {}
    for one in runs:
        try:
            data = run.dataset(one.config)
            if data not in by_directory:
                by_directory[data] = _split(data)
            one.split = _same(by_name, by_directory[data])
            _score(one, data)
        except InputError as e:
            raise InputError(f"{one.directory}: {e}") from None


def _split(data: str) -> Split:
    reader = Reader(data, "test", 1)
    if reader.label.min() == reader.label.max():
        raise InputError(f"the test split of {data} has only one class: AUC is undefined")
    return Split(
        directory=data,
        schema=reader.schema,
        user=reader.user,
        label=reader.label,
        length=reader.end,
        slices=slices_of(reader),
    )


def _same(by_name: dict[str, Split], split: Split) -> Split:
    """The split of the dataset's name. The runs are compared row by row, so all must have this
    split."""
    first = by_name.setdefault(split.schema.name, split)
    for column in ("user", "label", "length"):
        if not np.array_equal(getattr(first, column), getattr(split, column)):
            raise InputError(
                f"{first.directory} and {split.directory} are both called {split.schema.name},"
                " but their test splits differ; make separate reports"
            )
    return first


def _score(one: Run, data: str) -> None:
    """Probabilities of the test rows under the best checkpoint, kept for the next time."""
    best = os.path.join(one.directory, "checkpoints", "best.npz")
    path = os.path.join(one.directory, SCORES)
    key = _fingerprint(
        best, os.path.join(one.directory, "config.yaml"), os.path.join(data, "schema.yaml")
    )
    kept = _kept(path, key, len(one.split.label))
    if kept is not None:
        one.score, one.best_epoch = kept
        return
    from paddleinterest.training.predict import score_checkpoint  # imports Paddle

    say(f"scoring {one.directory}")
    _, _, one.score, state = score_checkpoint(one.config, data, best, "test")
    one.best_epoch = state["epoch"]
    _keep(path, key, one)


def _fingerprint(*paths: str) -> str:
    """A hash of everything that the scores depend on; schema.yaml holds the hashes of the dataset's
    files."""
    return " ".join(checksum(path) for path in paths)


def _kept(path: str, key: str, rows: int) -> tuple[np.ndarray, int] | None:
    """Scores and best epoch of an earlier call with the same key, or None."""
    try:
        with np.load(path, allow_pickle=False) as f:
            if str(f["key"]) == key and f["score"].shape == (rows,):
                return f["score"], int(f["epoch"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # missing or incomplete: score again
    return None


def _keep(path: str, key: str, one: Run) -> None:
    try:
        with whole_file(path) as made, open(made, "wb") as f:
            np.savez(f, key=np.array(key), score=one.score, epoch=np.array(one.best_epoch))
    except OSError as e:  # another user's run, or a full disk: only the next call is slower
        say(f"the scores cannot be kept: {' '.join(str(e).split())}")
