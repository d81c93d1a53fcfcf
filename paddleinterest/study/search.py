"""A search on disk: its trials in Optuna's journal, each of them one training, and what is written
about them.

A trial depends on the search's seed, the trial's number and the results before it alone, so that a
search that was interrupted goes on to the trials that it would have come to. A number counts
finished trials; Optuna's own also counts those that were interrupted.
"""

import contextlib
import csv
import fcntl
import os
import shlex
import shutil
import time

import numpy as np
import optuna
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from paddleinterest.core import child, settings, yaml_text
from paddleinterest.core.atomic import whole_file
from paddleinterest.core.checksum import checksum
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.data.schema import Schema
from paddleinterest.study import space


class Search:
    """One search in the folder `out`. Use it as a context: meanwhile no other process may search
    there.

    Args:
        out: the folder, new or of this very search.  config_yaml, overrides: what trial 0 trains
            with.
        dimensions: the space (`space.read`).  data: the prepared dataset.  seed: of what is drawn.

    Raises:
        InputError: the folder holds something else, or a search is at work there.
    """

    def __init__(self, out, config_yaml, overrides, dimensions, data, seed):
        self.out, self.config_yaml, self.overrides, self.space, self.seed = (
            out,
            config_yaml,
            list(overrides),
            dimensions,
            seed,
        )
        self.config = settings.load(config_yaml, overrides)
        self.base = settings.flatten(self.config)
        self.monitor = self.config.runner.monitor
        self.sign = -1 if self.monitor == "logloss" else 1
        self.dataset = Schema.load(data).name
        self.facts = {
            "data": checksum(os.path.join(data, "schema.yaml")),  # it lists every file's hash
            "seed": seed,
            "space": dimensions,
            "settings": settings.as_dict(
                self.config, without=settings.keys_that(self.config, "place")
            ),
        }

    def __enter__(self):
        self._check_folder()
        os.makedirs(self.out, exist_ok=True)
        with contextlib.ExitStack() as held:
            held.enter_context(_alone(self.out))
            facts = os.path.join(self.out, "search.yaml")
            if not os.path.isfile(facts):
                with whole_file(facts) as made:
                    settings.save(self.facts, made)
            self.study = _study(os.path.abspath(os.path.join(self.out, "journal.log")), self.sign)
            self.held = held.pop_all()
        return self

    def __exit__(self, *_):
        self.held.close()

    def run(self, trials, command):
        """Train until `trials` are finished; `command` is what best.yaml says it was made with."""
        for left in self.study.get_trials(states=(TrialState.RUNNING,)):
            self.study.tell(left.number, state=TrialState.FAIL)  # interrupted
        done = len(self.finished())
        if done:
            say(f"going on with {self.out}: {done} of {max(done, trials)} trials are finished")
        for number in range(done, trials):
            self._trial(number, trials)
            self._write(command)
        if done >= trials:
            self._write(command)
        if self.best() is None:
            raise InputError(
                f"no trial succeeded; the first one said: {self.finished()[0].user_attrs['error']}"
            )
        say(self._table())

    def finished(self):
        """Optuna's trials in the order of their numbers; those that were interrupted are not among
        them."""
        return [
            t
            for t in self.study.get_trials(deepcopy=False)
            if t.state == TrialState.COMPLETE or "error" in t.user_attrs
        ]

    def best(self):
        """The best trial, the first of equals, or None."""
        return next(iter(self._ranked()), None)

    def result(self):
        """The tool's JSON."""
        finished, best = self.finished(), self.best()
        return {
            "model": self.config.model,
            "dataset": self.dataset,
            "monitor": self.monitor,
            "best": best.value,
            "default": finished[0].value,
            "best_trial": best.user_attrs["number"],
            "trials": len(finished),
            "failed": sum(t.value is None for t in finished),
            "best_yaml": self._path("best.yaml"),
            "trials_csv": self._path("trials.csv"),
            "command": self._train_command(),
        }

    def _trial(self, number, trials):
        """Draw settings, train with them, and record how it went."""
        if number == 0 and not self.study.get_trials(states=(TrialState.WAITING,)):
            self.study.enqueue_trial(space.start(self.space, self.base))
        seed = np.random.SeedSequence([self.seed, number]).generate_state(1)[0]
        self.study.sampler = optuna.samplers.TPESampler(n_startup_trials=5, seed=int(seed))
        trial = self.study.ask()
        drawn = space.draw(self.space, trial, self.base)
        started = time.time()
        same = next(
            (
                t
                for t in self.finished()
                if t.value is not None and t.user_attrs["settings"] == drawn
            ),
            None,
        )
        if same:
            known = same.user_attrs
            value, facts = (
                same.value,
                {"best_epoch": known["best_epoch"], "note": f"as trial {known['number']}"},
            )
        else:
            value, facts = self._train(number, drawn)
        seconds = round(time.time() - started, 1)
        for name, fact in {
            "number": number,
            "settings": drawn,
            "seconds": seconds,
            **facts,
        }.items():
            trial.set_user_attr(name, fact)
        self.study.tell(trial, value, state=TrialState.FAIL if value is None else None)
        best = self.best()
        say(
            f"trial {number} ({number + 1} of {trials}): "
            + (f"failed: {facts['error']}" if value is None else f"{self.monitor} {value:.4f}")
            + f"  {self._differing(drawn)}"
            + (f" ({facts['note']})" if same else "")
            + f"  {seconds:.0f} s"
            + (f"  best {best.value:.4f} (trial {best.user_attrs['number']})" if best else "")
        )

    def _train(self, number, drawn):
        """One training. Returns (the monitored figure, {best_epoch}), or (None, {error}); then its
        stderr is kept."""
        directory = self._directory(number)
        overrides = [
            *self._overrides(drawn),
            f"runner.model_save_path={self.out}",
            f"runner.name={os.path.basename(directory)}",
            "runner.test=false",
        ]
        begun = _same_run(directory, settings.load(self.config_yaml, overrides))
        overrides += [
            f"runner.resume={space.text(begun)}",
            f"runner.overwrite={space.text(not begun)}",
        ]
        os.makedirs(os.path.dirname(directory), exist_ok=True)
        with open(f"{directory}.err", "w", encoding="utf-8") as f:
            status, result = child.run(
                "tools/trainer.py", ["-m", self.config_yaml, "-o", *overrides], f
            )
        if status:
            return None, {
                "error": status > 0 and last_words(f"{directory}.err") or f"exit status {status}"
            }
        os.remove(f"{directory}.err")
        value = result["valid"][self.monitor]
        if value is None:
            return None, {"error": f"{self.monitor} is undefined on valid"}
        return value, {"best_epoch": result["best_epoch"]}

    def _place_and_machine(self):
        return [
            *settings.keys_that(self.config, "place"),
            *settings.keys_that(self.config, "machine"),
        ]

    def _overrides(self, drawn):
        """-o of a trial; what is as it was at the start is left out."""
        return [
            *self.overrides,
            *(f"{k}={space.text(v)}" for k, v in drawn.items() if v != self.base[k]),
        ]

    def _differing(self, drawn):
        """A trial's settings for a person."""
        differing = [
            f"{k.removeprefix('hyper_parameters.')}={space.text(v)}"
            for k, v in drawn.items()
            if v != self.base[k]
        ]
        return " ".join(differing) or "the settings that it starts from"

    def _ranked(self):
        return sorted(
            (t for t in self.finished() if t.value is not None), key=lambda t: -self.sign * t.value
        )

    def _directory(self, number):
        return os.path.join(self.out, self.config.model, f"trial-{number:04d}")

    def _path(self, name):
        return os.path.join(self.out, name)

    def _write(self, command):
        """trials.csv, best.yaml, and no checkpoints but the best trial's; after every trial, so
        that Ctrl-C loses nothing."""
        best = self.best()
        for t in self.finished():
            if not best or t.number != best.number:
                shutil.rmtree(
                    os.path.join(self._directory(t.user_attrs["number"]), "checkpoints"),
                    ignore_errors=True,
                )
        with (
            whole_file(self._path("trials.csv")) as made,
            open(made, "w", encoding="utf-8", newline="") as f,
        ):
            writer = csv.writer(f)
            writer.writerow(["trial", self.monitor, "best_epoch", "seconds", *self.space, "note"])
            for t in self.finished():
                a = t.user_attrs
                writer.writerow(
                    [
                        a["number"],
                        t.value,
                        a.get("best_epoch"),
                        a["seconds"],
                        *(space.text(a["settings"][k]) for k in self.space),
                        a.get("error") or a.get("note"),
                    ]
                )
        if best:
            with (
                whole_file(self._path("best.yaml")) as made,
                open(made, "w", encoding="utf-8") as f,
            ):
                f.write(self._best_yaml(command))

    def _best_yaml(self, command):
        config = settings.load(
            self.config_yaml, self._overrides(self.best().user_attrs["settings"])
        )
        beside = set(self._place_and_machine()) - {"runner.dataset"}
        kept = settings.difference(
            *(settings.as_dict(c, without=beside) for c in (config, _default(config)))
        )
        start, best = self.finished()[0], self.best()
        started = "failed" if start.value is None else f"{start.value:.6f}"
        return (
            f"# Trial {best.user_attrs['number']} of {len(self.finished())} on {self.dataset}:"
            f" {self.monitor} on valid {best.value:.6f}; where the search started, {started}.\n#"
            f" {command}\n" + yaml_text.dump({"model": config.model, **kept})
        )

    def _train_command(self):
        """What trains with the best trial's settings: best.yaml, and what it leaves out of the
        place and of the machine."""
        default = settings.flatten(_default(self.config))
        machine = settings.keys_that(self.config, "machine")
        left_out = [
            f"{k}={space.text(self.base[k])}"
            for k in ("runner.data_dir", "runner.model_save_path", *machine)
            if self.base[k] != default[k]
        ]
        name = f"runner.name={os.path.basename(os.path.normpath(self.out))}-tuned"
        return shlex.join(
            ["python", "tools/trainer.py", "-m", self._path("best.yaml"), "-o", *left_out, name]
        )

    def _table(self):
        """The ten best."""
        lines = [f"{'trial':>5s}  {self.monitor:>7s}  settings"]
        return "\n".join(
            lines
            + [
                f"{t.user_attrs['number']:5d}  {t.value:7.4f} "
                f" {self._differing(t.user_attrs['settings'])}"
                for t in self._ranked()[:10]
            ]
        )

    def _check_folder(self):
        """Refuse a folder with something else in it, before anything is written."""
        facts = os.path.join(self.out, "search.yaml")
        if not os.path.isfile(facts):
            if os.path.isdir(self.out) and os.listdir(self.out):
                raise InputError(f"{self.out} exists and holds no search; choose another --out")
            return
        found, wanted = (settings.flatten(f) for f in (settings.read_yaml(facts), self.facts))
        for key in [*wanted, *found]:
            if found.get(key) != wanted.get(key):
                what = (
                    "another dataset"
                    if key == "data"
                    else f"{key} {found.get(key)}, not {wanted.get(key)}"
                )
                raise InputError(
                    f"{self.out} holds a search with {what}; choose another --out or runner.name, "
                    "or remove the folder"
                )


def _default(config):
    """The settings of the model where nobody changes any."""
    return settings.load(os.path.join(config.folder, "config.yaml"))


def _same_run(directory, config):
    """Whether an interrupted training with these very settings lies there."""
    path = os.path.join(directory, "config.yaml")
    how = ("runner.resume", "runner.overwrite")
    try:
        found = settings.as_dict(settings.load(path, folder=config.folder), without=how)
        return found == settings.as_dict(config, without=how)
    except InputError:
        return False


def _study(path, sign):
    """Optuna's study in a journal, without the line that a kill or a full disk may have cut
    short."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if os.path.exists(path):
        with open(path, "rb+") as f:
            f.truncate(f.read().rfind(b"\n") + 1)
    with contextlib.suppress(FileNotFoundError):
        os.remove(
            f"{path}.lock"
        )  # of a process that was killed: `_alone` says that there is no other
    storage = optuna.storages.JournalStorage(JournalFileBackend(path))
    return optuna.create_study(
        storage=storage,
        study_name="search",
        load_if_exists=True,
        direction="maximize" if sign > 0 else "minimize",
    )


def last_words(path):
    """What a failed trainer said: its line of error, or the last line of all."""
    with open(path, encoding="utf-8", errors="replace") as f:
        lines = [line.rpartition("\r")[2].strip() for line in f.read().splitlines()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return next(iter(errors or [line for line in reversed(lines) if line]), "")


@contextlib.contextmanager
def _alone(folder):
    """Hold the folder; the system lets go of it when the process ends, however it ends."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"a search is at work in {folder}; let it finish, or end it") from None
        yield
    finally:
        os.close(handle)
