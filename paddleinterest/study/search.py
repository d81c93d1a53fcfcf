"""A search for better settings: trials drawn by Optuna, trained in parallel, the poor ones stopped
early.

A trial depends only on the search's seed, its number and the earlier results. So with one trial at
a time, an interrupted search has the same trials as an uninterrupted one. With several at a time,
the order in which they end counts too.
"""

import os
import shlex
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from paddleinterest.core import environment, settings, yaml_text
from paddleinterest.core.checksum import checksum
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.data.schema import Schema
from paddleinterest.study import space
from paddleinterest.study.search_folder import Direction, SearchFolder, Tried
from paddleinterest.study.space import Flat, Space
from paddleinterest.study.trial import Outcome, Training

POLL = 0.2  # seconds between looks at the trainings
STARTUP = 5  # trials that Optuna draws at random before it learns from results


@dataclass(frozen=True)
class Plan:
    """The options of a search.

    Attributes:
        config_yaml: -m of trial 0.
        overrides: -o of trial 0; what they set is not searched.
        space: what may differ in the other trials.
        data: the prepared dataset.
        out: the folder.
        seed: seed of the draws, not of the trainings.
        trials: number of trials, including those of earlier calls.
        jobs: trainings at a time.
        prune_from: epochs after which poor trials are stopped for the first time; 0 = never.
        keep_one_of: one of this many trials that reach a rung continues beyond it. The rungs are
            `prune_from` epochs, `keep_one_of` times as many, and so on.
        command: the command that best.yaml names.
    """

    config_yaml: str
    overrides: list[str]
    space: Space
    data: str
    out: str
    seed: int
    trials: int
    jobs: int = 1
    prune_from: int = 2
    keep_one_of: int = 3
    command: str = ""


@dataclass
class _Active:
    """A trial that has begun; `best` is its best figure so far."""

    trial: optuna.Trial
    number: int
    drawn: Flat
    training: Training | None = None  # None: its settings were tried before
    started: float = field(default_factory=time.time)
    best: float | None = None
    best_epoch: int | None = None


class Search:
    """One search. `run` is to be called once."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.config = settings.load(plan.config_yaml, plan.overrides)
        self.base = settings.flatten(self.config)
        self.monitor = self.config.runner.monitor
        self.lower_is_better = self.monitor == "logloss"
        self.dataset = Schema.load(plan.data).name
        self.folder = SearchFolder(plan.out, self._facts())
        self.study: optuna.Study

    def _facts(self) -> dict[str, Any]:
        """The facts that must be the same when a search is resumed."""
        plan = self.plan
        place = settings.keys_that(self.config, "place")
        return {
            "data": checksum(
                os.path.join(plan.data, "schema.yaml")
            ),  # it contains the hash of every file
            "seed": plan.seed,
            "prune_from": plan.prune_from,
            "keep_one_of": plan.keep_one_of,
            "space": space.as_yaml(plan.space),
            "settings": settings.as_dict(self.config, without=place),
        }

    def run(self) -> dict[str, Any]:
        """Train until all trials have ended. Returns what the tool prints.

        Raises:
            InputError: another process searches in the folder, or no trial succeeded.
        """
        direction: Direction = "minimize" if self.lower_is_better else "maximize"
        with self.folder.opened(direction) as self.study:
            self.study.pruner = self._pruner()
            self._take_up()
            done = len(self.tried())
            if done:
                trials = max(done, self.plan.trials)
                say(f"resuming {self.plan.out}: {done} of {trials} trials are finished")
            self._train_all()
            self._write()
            if self.best() is None:
                raise InputError(
                    f"no trial succeeded; message of the first one: {self.tried()[0].note}"
                )
            say(self._table())
            return self._result()

    def _pruner(self) -> optuna.pruners.BasePruner:
        if not self.plan.prune_from:
            return optuna.pruners.NopPruner()
        return optuna.pruners.SuccessiveHalvingPruner(
            min_resource=self.plan.prune_from, reduction_factor=self.plan.keep_one_of
        )

    def tried(self) -> list[Tried]:
        """The trials that have ended, by their numbers, without interrupted ones."""
        ended = (TrialState.COMPLETE, TrialState.PRUNED)
        found = [
            Tried.of(trial)
            for trial in self.study.get_trials(deepcopy=False)
            if trial.state in ended or "error" in trial.user_attrs
        ]
        return sorted(found, key=lambda one: one.number)

    def best(self) -> Tried | None:
        """The best trial, the first of equals."""
        return next(iter(self._ranked()), None)

    def _ranked(self) -> list[Tried]:
        """The trials that count, the best first."""
        sign = 1 if self.lower_is_better else -1
        counting = [one for one in self.tried() if one.counts and one.value is not None]
        return sorted(counting, key=lambda one: sign * (one.value or 0.0))

    # trainings

    def _take_up(self) -> None:
        """Enqueue interrupted trials again and, in a new search, the first trial."""
        for stopped in self.study.get_trials(states=(TrialState.RUNNING,)):
            self.study.tell(stopped.number, state=TrialState.FAIL)
            if "settings" in stopped.user_attrs:
                self._enqueue(stopped.user_attrs["number"], stopped.user_attrs["settings"])
        if 0 not in {*self._waiting(), *(one.number for one in self.tried())}:
            self._enqueue(0, {})

    def _enqueue(self, number: int, drawn: Flat) -> None:
        parameters = space.start(self.plan.space, {**self.base, **drawn})
        self.study.enqueue_trial(parameters, user_attrs={"number": number})

    def _waiting(self) -> list[int]:
        """Numbers of the enqueued trials, in order."""
        trials = self.study.get_trials(states=(TrialState.WAITING,))
        return [trial.user_attrs["number"] for trial in trials]

    def _train_all(self) -> None:
        active: list[_Active] = []
        try:
            while self._remaining(active) or active:
                while len(active) < self.plan.jobs and self._remaining(active):
                    active.append(self._begin(active))
                active = [one for one in active if not self._advance(one)]
                if len(active) == self.plan.jobs or not self._remaining(active):
                    time.sleep(POLL)
        except BaseException:  # Ctrl-C or SIGTERM: the next call resumes them
            for one in active:
                if one.training:
                    one.training.stop()
            raise

    def _remaining(self, active: list[_Active]) -> int:
        """Trials that have not begun."""
        return self.plan.trials - len(self.tried()) - len(active)

    def _begin(self, active: list[_Active]) -> _Active:
        """Draw the settings of the next trial, and begin to train with them."""
        waiting = self._waiting()
        taken = {one.number for one in active} | {one.number for one in self.tried()}
        free = next(number for number in range(self.plan.trials) if number not in taken)
        number = waiting[0] if waiting else free
        seed = np.random.SeedSequence([self.plan.seed, number]).generate_state(1)[0]
        self.study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=STARTUP, seed=int(seed), constant_liar=True
        )
        trial = self.study.ask()
        drawn = space.draw(self.plan.space, trial, self.base)
        trial.set_user_attr("number", number)
        trial.set_user_attr("settings", drawn)
        begun = _Active(trial, number, drawn)
        if self._twin(drawn) is None:
            begun.training = self._training(number, drawn)
        return begun

    def _twin(self, drawn: Flat) -> Tried | None:
        """An earlier trial with these settings that was trained to its end."""
        return next((one for one in self.tried() if one.counts and one.drawn == drawn), None)

    def _training(self, number: int, drawn: Flat) -> Training:
        overrides = self._overrides(drawn)
        if self.plan.jobs > 1 and not self.base["runner.threads"]:
            share = max(1, environment.cores() // self.plan.jobs)
            overrides = [*overrides, f"runner.threads={share}"]
        name = self.folder.run_name(number)
        plan = self.plan
        return Training(plan.config_yaml, overrides, plan.out, name, self.monitor)

    def _advance(self, one: _Active) -> bool:
        """Look at a trial. Returns whether it has ended, or has been stopped."""
        if one.training is None:
            twin = self._twin(one.drawn)
            assert twin is not None
            outcome = Outcome(twin.value, twin.best_epoch)
            self._end(one, outcome, note=f"as trial {twin.number}")
            return True
        running = one.training.is_running()
        for epoch, value in one.training.new_epochs():
            if one.best is None or self._is_better(value, one.best):
                one.best = value
                one.best_epoch = epoch
            one.trial.report(one.best, epoch)
            if self._is_poor(one, epoch):
                one.training.stop()
                outcome = Outcome(one.best, one.best_epoch)
                self._end(one, outcome, note=f"stopped after epoch {epoch}", pruned=True)
                return True
        if running:
            return False
        self._end(one, one.training.outcome())
        return True

    def _is_poor(self, one: _Active, epoch: int) -> bool:
        """True if successive halving stops the trial after this epoch.

        The first trials have too few others to compare with, and all others are compared with
        trial 0, so these continue. Nothing is saved after the last epoch.
        """
        halted = one.trial.should_prune()
        last = one.drawn.get("runner.epochs", self.base["runner.epochs"])
        return halted and one.number >= self.plan.keep_one_of and epoch < last

    def _is_better(self, value: float, other: float) -> bool:
        return value < other if self.lower_is_better else value > other

    def _end(self, one: _Active, outcome: Outcome, note: str = "", pruned: bool = False) -> None:
        """Record the end of a trial and print it."""
        seconds = time.time() - one.started if one.training else 0.0
        one.trial.set_user_attr("seconds", round(seconds, 1))
        one.trial.set_user_attr("best_epoch", outcome.best_epoch)
        one.trial.set_user_attr("note", note)
        if outcome.error:
            one.trial.set_user_attr("error", outcome.error)
        if outcome.value is None:
            self.study.tell(one.trial, state=TrialState.FAIL)
        elif pruned:
            self.study.tell(one.trial, state=TrialState.PRUNED)
        else:
            self.study.tell(one.trial, outcome.value)
        self._write()
        self._say(one, outcome, note, seconds)

    def _say(self, one: _Active, outcome: Outcome, note: str, seconds: float) -> None:
        """A line about a trial that has ended."""
        figure = f"failed: {outcome.error}"
        if outcome.value is not None:
            figure = f"{self.monitor} {outcome.value:.4f}"
        best = self.best()
        words = [
            f"trial {one.number} ({len(self.tried())} of {self.plan.trials}): {figure}",
            self._differing(one.drawn) + (f" ({note})" if note else ""),
            f"{seconds:.0f} s",
            f"best {best.value:.4f} (trial {best.number})" if best else "",
            self._forecast(),
        ]
        say("  ".join(word for word in words if word))

    def _forecast(self) -> str:
        """The number of trials left, and the time they will take at the present speed."""
        tried = self.tried()
        remaining = self.plan.trials - len(tried)
        trained = [one.seconds for one in tried if one.seconds]
        if remaining <= 0 or not trained:
            return ""
        rounds = -(-remaining // self.plan.jobs)
        return f"{remaining} left, about {duration(rounds * sum(trained) / len(trained))}"

    # files

    def _overrides(self, drawn: Flat) -> list[str]:
        """The -o flags of a trial, without settings that are the same as at the start."""
        changed = {key: value for key, value in drawn.items() if value != self.base[key]}
        own = [f"{key}={space.text(value)}" for key, value in changed.items()]
        return [*self.plan.overrides, *own]

    def _differing(self, drawn: Flat) -> str:
        """A trial's settings for a person."""
        words = [
            f"{key.removeprefix('hyper_parameters.')}={space.text(value)}"
            for key, value in drawn.items()
            if value != self.base[key]
        ]
        return " ".join(words) or "the settings of the start"

    def _write(self) -> None:
        """Write trials.csv and best.yaml and remove all checkpoints except the best trial's: after
        every trial, so Ctrl-C loses nothing."""
        tried = self.tried()
        best = self.best()
        others = [one.number for one in tried if not best or one.number != best.number]
        self.folder.drop_checkpoints(self.config.model, others)
        self.folder.write_trials(tried, self.monitor, list(self.plan.space))
        if best:
            self.folder.write_best(self._best_yaml(best))

    def _best_yaml(self, best: Tried) -> str:
        config = settings.load(self.plan.config_yaml, self._overrides(best.drawn))
        left_out = {
            *settings.keys_that(config, "place"),
            *settings.keys_that(config, "machine"),
        } - {"runner.dataset"}
        own = settings.as_dict(config, without=left_out)
        kept = settings.difference(own, settings.as_dict(self._default(), without=left_out))
        tried = self.tried()
        start = tried[0].value
        started = "failed" if start is None else f"{start:.6f}"
        return (
            f"# Trial {best.number} of {len(tried)} on {self.dataset}: {self.monitor} on valid"
            f" {best.value:.6f}; where the search started, {started}.\n# {self.plan.command}\n"
            + yaml_text.dump({"model": config.model, **kept})
        )

    def _default(self) -> settings.Settings:
        return settings.load(os.path.join(self.config.folder, "config.yaml"))

    def _train_command(self) -> str:
        """The command that trains with the best trial's settings: best.yaml, and the settings of
        place and machine."""
        default = settings.flatten(self._default())
        machine = settings.keys_that(self.config, "machine")
        left_out = [
            f"{key}={space.text(self.base[key])}"
            for key in ("runner.data_dir", "runner.model_save_path", *machine)
            if self.base[key] != default[key]
        ]
        name = f"runner.name={os.path.basename(os.path.normpath(self.plan.out))}-tuned"
        best = self.folder.path("best.yaml")
        return shlex.join(["python", "tools/trainer.py", "-m", best, "-o", *left_out, name])

    def _table(self) -> str:
        """The ten best."""
        lines = [f"{'trial':>5s}  {self.monitor:>7s}  settings"]
        for one in self._ranked()[:10]:
            lines.append(f"{one.number:5d}  {one.value:7.4f}  {self._differing(one.drawn)}")
        return "\n".join(lines)

    def _result(self) -> dict[str, Any]:
        """The tool's JSON."""
        tried = self.tried()
        best = self.best()
        assert best is not None
        return {
            "model": self.config.model,
            "dataset": self.dataset,
            "monitor": self.monitor,
            "best": best.value,
            "default": tried[0].value,
            "best_trial": best.number,
            "trials": len(tried),
            "stopped": sum(not one.counts and one.value is not None for one in tried),
            "failed": sum(one.value is None for one in tried),
            "best_yaml": self.folder.path("best.yaml"),
            "trials_csv": self.folder.path("trials.csv"),
            "command": self._train_command(),
        }


def duration(seconds: float) -> str:
    """A time for a person: 40 s, 12 min, 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
