"""The folder of a search: its lock, and the files about its trials.

best.yaml     for -m: the best trial's settings that differ from the defaults
trials.csv    one line per trial
search.yaml   what is searched; a different search is refused here
journal.log   Optuna's own record
<model>/trial-0000 …    the trainings; only the best keeps its checkpoints
"""

import contextlib
import csv
import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import optuna
from optuna.storages.journal import JournalFileBackend

from paddleinterest.core import settings
from paddleinterest.core.atomic import whole_file
from paddleinterest.core.errors import InputError
from paddleinterest.study import space
from paddleinterest.study.space import Flat

STUDY = "search"  # its name in Optuna's journal
Direction: TypeAlias = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Tried:
    """A trial that has ended.

    Attributes:
        number: from 0.
        drawn: its settings, those of the space.
        value: the monitored figure; None if it failed. The best figure so far for a trial that was
            stopped early, which cannot be the best trial.
        seconds: its duration.
        best_epoch: the epoch of `value`.
        note: why it failed, was stopped, or was not trained.
        counts: it was trained to its end, or is a copy of one that was.
    """

    number: int
    drawn: Flat
    value: float | None
    seconds: float
    best_epoch: int | None
    note: str
    counts: bool

    @classmethod
    def of(cls, trial: "optuna.trial.FrozenTrial") -> "Tried":
        """From Optuna's record."""
        facts = trial.user_attrs
        return cls(
            number=facts["number"],
            drawn=facts["settings"],
            value=trial.value,
            seconds=facts["seconds"],
            best_epoch=facts.get("best_epoch"),
            note=facts.get("error") or facts.get("note") or "",
            counts=trial.state == optuna.trial.TrialState.COMPLETE,
        )


class SearchFolder:
    """The folder `out` of a search.

    Args:
        out: its path.
        facts: what is searched, as in search.yaml.

    Raises:
        InputError: it holds something else.
    """

    def __init__(self, out: str, facts: dict[str, Any]) -> None:
        self.out = out
        self.facts = facts
        self._check()

    def path(self, name: str) -> str:
        return os.path.join(self.out, name)

    def run_name(self, number: int) -> str:
        return f"trial-{number:04d}"

    def _check(self) -> None:
        """Refuse a folder that holds something else, before anything is written."""
        facts = self.path("search.yaml")
        if not os.path.isfile(facts):
            if os.path.isdir(self.out) and os.listdir(self.out):
                raise InputError(
                    f"{self.out} exists and is not the folder of a search; choose a different --out"
                )
            return
        found = settings.flatten(settings.read_yaml(facts))
        asked = settings.flatten(self.facts)
        for key in [*asked, *found]:
            if found.get(key) == asked.get(key):
                continue
            what = f"{key} {found.get(key)}, not {asked.get(key)}"
            if key == "data":
                what = "another dataset"
            raise InputError(
                f"{self.out} holds a search with {what}; choose a different --out or runner.name,"
                " or remove the folder"
            )

    @contextlib.contextmanager
    def opened(self, direction: Direction) -> Iterator["optuna.Study"]:
        """Optuna's study of this folder. Within the block no other process may search here; the
        system releases the lock when this process ends, however it ends.

        Args:
            direction: maximize or minimize.

        Raises:
            InputError: another process searches here.
        """
        os.makedirs(self.out, exist_ok=True)
        handle = os.open(self.out, os.O_RDONLY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    f"another process searches in {self.out}; wait for it, or stop it"
                ) from None
            facts = self.path("search.yaml")
            if not os.path.isfile(facts):
                with whole_file(facts) as made:
                    settings.save(self.facts, made)
            yield _study(os.path.abspath(self.path("journal.log")), direction)
        finally:
            os.close(handle)

    def write_trials(self, tried: list[Tried], monitor: str, keys: list[str]) -> None:
        """trials.csv.

        Args:
            tried: in the order of their numbers.
            monitor: name of the figure.
            keys: of the space.
        """
        with (
            whole_file(self.path("trials.csv")) as made,
            open(made, "w", encoding="utf-8", newline="") as f,
        ):
            writer = csv.writer(f)
            writer.writerow(["trial", monitor, "best_epoch", "seconds", *keys, "note"])
            for one in tried:
                values = [space.text(one.drawn[key]) for key in keys]
                first = [one.number, one.value, one.best_epoch, one.seconds]
                writer.writerow([*first, *values, one.note])

    def write_best(self, text: str) -> None:
        """best.yaml."""
        with (
            whole_file(self.path("best.yaml")) as made,
            open(made, "w", encoding="utf-8") as f,
        ):
            f.write(text)

    def drop_checkpoints(self, model: str, numbers: list[int]) -> None:
        """Remove the checkpoints of these trials; everything else of them stays."""
        for number in numbers:
            run = os.path.join(self.out, model, self.run_name(number))
            shutil.rmtree(os.path.join(run, "checkpoints"), ignore_errors=True)


def _study(path: str, direction: Direction) -> "optuna.Study":
    """Optuna's study in a journal, without a last line that a kill or a full disk cut short."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if os.path.exists(path):
        with open(path, "rb+") as f:
            f.truncate(f.read().rfind(b"\n") + 1)
    with contextlib.suppress(FileNotFoundError):
        os.remove(f"{path}.lock")  # from a killed process, since no other runs (`opened`)
    storage = optuna.storages.JournalStorage(JournalFileBackend(path))
    return optuna.create_study(
        storage=storage, study_name=STUDY, load_if_exists=True, direction=direction
    )
