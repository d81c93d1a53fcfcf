"""tools/tune.py: the space's checks, which trials are run, what a search leaves behind, and that
none of it reads test.

Searches run with a stand-in for the trainer, whose figure is known for every setting, but for those
at the end.
"""

import argparse
import csv
import glob
import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import optuna
import pytest
import yaml
from helpers import ROOT, ToolServer, run_tool, settings_of, small_dataset, tree

from paddleinterest.commands import tune
from paddleinterest.core import child, environment, settings
from paddleinterest.core.errors import InputError
from paddleinterest.data.schema import Schema
from paddleinterest.study import search as search_module
from paddleinterest.study import space

pytestmark = pytest.mark.slow

BASE, BST = (os.path.join(ROOT, "models", m, "config.yaml") for m in ("base", "bst"))
RATE, SIZE, TOWER = (
    "hyper_parameters.optimizer.learning_rate",
    "hyper_parameters.embedding_size",
    "hyper_parameters.tower",
)
SPACE = {
    RATE: {"low": 3e-4, "high": 3e-3, "log": True},
    SIZE: [16, 32, 64],
    TOWER: [[200, 80], [8, 4]],
    "hyper_parameters.dropout": {"low": 0.0, "high": 0.3, "step": 0.1},
}
NAMES = sorted(f[:-5] for f in os.listdir(space.FOLDER))


def written(path, content):
    path.write_text(
        content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
    )
    return str(path)


# the space


@pytest.mark.parametrize(
    "text, words",
    [
        (
            "hyper_parameters.dropot: [0.0]",
            "unknown key hyper_parameters.dropot; nearest is hyper_parameters.dropout",
        ),
        ("hyper_parameters.heads: [4]", "unknown key"),
        ("hyper_parameters: {dropout: [0.0]}", "hyper_parameters is a section"),
        ("runner.seed: [1, 2]", "runner.seed cannot be searched"),
        ("model: [base, din]", "model cannot be searched"),
        (f"{SIZE}: [32, many]", "'many', must be an integer"),
        (f"{SIZE}: [32, 0]", "is 0, must be at least 1"),
        (f"{SIZE}: [32, {{a: 1}}]", "is a value, not a section"),
        (f"{SIZE}: [32, null]", "must be an integer"),
        ("hyper_parameters.activation: [relu, gelu]", "'gelu', must be one of relu"),
        (f"{SIZE}: []", "at least one value"),
        (f"{SIZE}: [32, 16, 32]", "each once"),
        (f"{RATE}: [0.001, 1e-3]", "each once"),
        (f"{SIZE}: 32", "must be a list of values"),
        (f"{SIZE}: {{low: 8}}", "must be a list of values"),
        (f"{SIZE}: {{low: 8, high: 64, steps: 8}}", "must be a list of values"),
        (f"{SIZE}: {{low: 0, high: 64}}", "is 0, must be at least 1"),
        (f"{SIZE}: {{low: 8, high: 40.5}}", "must be an integer"),
        (f"{RATE}: {{low: 0.0, high: 0.01}}", "must be above 0"),
        (f"{RATE}: {{low: 0.01, high: 0.001}}", "must be below high"),
        ("hyper_parameters.dropout: {low: 0, high: 1}", "at most 0.99"),
        (f"{SIZE}: {{low: 8, high: 64, step: 9}}", "must lead from low"),
        ("hyper_parameters.dropout: {low: 0, high: 0.5, log: true}", "needs low above 0"),
        (f"{SIZE}: {{low: 8, high: 64, log: 2}}", "log of"),
        (f"{SIZE}: {{low: 16, high: 64, log: true, step: 16}}", "no step"),
        ("hyper_parameters.sparse: {low: 0, high: 1}", "must be true or false"),
        (f"{TOWER}: {{low: 8, high: 9}}", "must be a list"),
        (f"{SIZE}: [16, 32]", "is 64 at the start of the search"),
        (f"{SIZE}: {{low: 16, high: 66, step: 10}}", "is 64 at"),
        ("hyper_parameters.dropout: {low: 0.4, high: 0.6}", "is 0.3 at"),
        ("[]", "must hold keys"),
        ("{}", "nothing is left to search"),
    ],
)
def test_wrong_spaces(tmp_path, text, words):
    path = written(tmp_path / "space.yaml", text)
    with pytest.raises(InputError) as e:
        space.read(path, BASE, [])
    assert words in str(e.value) and "\n" not in str(e.value) and "space.yaml" in str(e.value), (
        e.value
    )


def test_the_types_are_the_settings(tmp_path):
    path = written(
        tmp_path / "space.yaml",
        f"{RATE}: {{low: 3e-4, high: 3e-3, log: true}}\n{TOWER}: [[8], [200, 80]]\n"
        "hyper_parameters.dropout: [0, 3e-1]\nhyper_parameters.sparse: [false, true]\n"
        "runner.epochs: {low: 1, high: 30}\n",
    )
    found = space.as_yaml(space.read(path, BASE, []))
    assert found == {
        RATE: {"low": 0.0003, "high": 0.003, "log": True, "step": None},
        TOWER: [[8], [200, 80]],
        "hyper_parameters.dropout": [0.0, 0.3],
        "hyper_parameters.sparse": [False, True],
        "runner.epochs": {"low": 1, "high": 30, "log": False, "step": None},
    }
    assert type(found["hyper_parameters.dropout"][0]) is float


def test_what_the_command_line_sets_is_not_searched(tmp_path):
    path = written(tmp_path / "space.yaml", SPACE)
    assert set(space.read(path, BASE, [f"{SIZE}=24"])) == set(SPACE) - {SIZE}
    with pytest.raises(InputError, match="nothing is left"):
        space.read(written(tmp_path / "one.yaml", {SIZE: [32]}), BASE, [f"{SIZE}=24"])
    mine = written(tmp_path / "mine.yaml", "model: base\nhyper_parameters: {embedding_size: 24}\n")
    with pytest.raises(InputError, match="is 24 at the start of the search"):
        space.read(path, mine, [])


def draws(dimensions, base, number):
    """{key: value} of so many trials, the first of them the enqueued start."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=5))
    study.enqueue_trial(space.start(dimensions, base))
    return [space.draw(dimensions, study.ask(), base) for _ in range(number)]


@pytest.mark.parametrize("name", NAMES)
def test_the_spaces_that_we_ship(name):
    """Every model has one; it starts at the defaults; what it draws is taken by the settings and by
    the net."""
    from toy import SCHEMA

    from paddleinterest.training import loading

    assert settings.models() == NAMES
    path = os.path.join(ROOT, "models", name, "config.yaml")
    base = settings.flatten(settings.load(path))
    dimensions = space.read(os.path.join(space.FOLDER, f"{name}.yaml"), path, [])
    factor = dimensions["hyper_parameters.plateau.factor"]
    assert {1.0, 0.5} <= set(factor.values) and RATE in dimensions
    first, *others = draws(dimensions, base, 12)
    assert first == {k: base[k] for k in dimensions}
    for drawn in others:
        config = settings.load(path, [f"{k}={space.text(v)}" for k, v in drawn.items()])
        assert {k: settings.flatten(config)[k] for k in drawn} == drawn
        loading.create_net(loading.bind(config), config, SCHEMA)
    for (
        key,
        dimension,
    ) in dimensions.items():  # nothing is drawn but what the file says, and most of it is
        seen = [d[key] for d in others]
        assert len({str(v) for v in seen}) > 1, key
        assert all(
            (
                v in dimension.values
                if isinstance(dimension, space.Choice)
                else dimension.low <= v <= dimension.high
            )
            for v in seen
        )


# which trials are run, and what is left


@pytest.fixture(scope="module")
def clicks(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("clicks"), "clicks", users=20, impressions=12)


class Ended:
    """A tool that has ended at once."""

    def __init__(self, *result):
        self.result = lambda: result

    def is_running(self):
        return False


class Trainer:
    """Stands in for `child.Tool`: the figure is best at learning rate 0.002, 64 wide. `does`:
    {trial: what happens instead}."""

    def __init__(self, does=None):
        self.does, self.runs, self.given = does or {}, [], []

    def __call__(self, tool, arguments, stderr):
        assert tool == "tools/trainer.py" and arguments[:3] == ["-m", BASE, "-o"]
        config = settings.load(BASE, arguments[3:])
        r = config.runner
        assert r.test is False and r.resume != r.overwrite
        out = os.path.join(r.model_save_path, "base", r.name)
        number = int(r.name.removeprefix("trial-"))
        self.runs.append(number)
        self.given.append(config)
        os.makedirs(os.path.join(out, "checkpoints"), exist_ok=True)
        for name in ("metrics.jsonl", "checkpoints/best.npz"):
            open(os.path.join(out, name), "a").close()
        settings.save(config, os.path.join(out, "config.yaml"))
        if number in self.does:
            outcome = self.does.pop(number)
            if isinstance(outcome, str):
                stderr.write(outcome)
                return Ended(1, None)
            raise outcome
        return Ended(0, {"valid": self.figures(config), "best_epoch": 3})

    @staticmethod
    def figures(config):
        h = config.hyper_parameters
        far = (
            abs(math.log(h.optimizer.learning_rate / 0.002))
            + abs(math.log2(h.embedding_size / 64))
            + h.dropout
        )
        return {"auc": 0.9 - far / 20, "gauc": None, "logloss": 0.3 + far / 20}


@pytest.fixture
def search(tmp_path, monkeypatch, clicks):
    """Runs a search in tmp_path: search(trials, trainer, *-o, **arguments of the tool) → the tool's
    JSON."""
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path / "space.yaml", SPACE)

    monkeypatch.setattr(search_module, "POLL", 0.0)

    def go(trials, trainer, *overrides, space=path, out="s", seed=1, data=clicks, **flags):
        monkeypatch.setattr(child, "Tool", trainer)
        return tune.work(
            argparse.Namespace(
                config_yaml=BASE,
                override=[f"runner.data_dir={data}", *overrides],
                trials=trials,
                space=space,
                seed=seed,
                out=out,
                typed=["-m", BASE],
                **{"jobs": 1, "prune_from": 2, "keep_one_of": 3, **flags},
            )
        )

    return go


def rows(out="s", without=("seconds",)):
    with open(os.path.join(out, "trials.csv"), newline="") as f:
        return [{k: v for k, v in row.items() if k not in without} for row in csv.DictReader(f)]


def test_a_search(search, clicks, capfd):
    trainer = Trainer()
    result = search(16, trainer, "runner.visualdl=false", "runner.epochs=2")
    assert trainer.runs == list(range(16)) and result["trials"] == 16 and result["failed"] == 0
    assert (
        trainer.given[0].hyper_parameters == settings_of("base").hyper_parameters
    )  # the defaults come first
    figures = [trainer.figures(c)["auc"] for c in trainer.given]
    assert result["default"] == figures[0] and result["best"] == max(figures) > figures[0]
    assert result["best_trial"] == figures.index(max(figures))
    assert [float(r["auc"]) for r in rows()] == figures and [r["trial"] for r in rows()] == [
        str(k) for k in range(16)
    ]
    for row, config in zip(rows(), trainer.given, strict=True):
        flat = settings.flatten(config)
        assert {k: row[k] for k in SPACE} == {k: space.text(flat[k]) for k in SPACE}
        assert len(row[RATE].strip("0.")) <= 3 and row["hyper_parameters.dropout"] in (
            "0.0",
            "0.1",
            "0.2",
            "0.3",
        )  # tidy
    assert len({str(sorted(r.items())) for r in rows(without=("seconds", "trial", "auc"))}) > 12
    # checkpoints of the best alone; everything else of every run
    best = f"s/base/trial-{result['best_trial']:04d}"
    assert glob.glob("s/base/*/checkpoints/*") == [f"{best}/checkpoints/best.npz"]
    assert len(glob.glob("s/base/*/metrics.jsonl")) == len(glob.glob("s/base/*/config.yaml")) == 16
    assert not glob.glob("s/base/*.err")
    # best.yaml: what that trial trained with, but for where and on which machine; nothing that is
    # the default
    config, default = settings.load(result["best_yaml"]), settings_of("base")
    given = trainer.given[result["best_trial"]]
    assert config.hyper_parameters == given.hyper_parameters and config.runner.epochs == 2
    text = open(result["best_yaml"]).read()
    own, flat = settings.flatten(yaml.safe_load(text)), settings.flatten(default)
    assert (
        own.pop("model") == "base"
        and all(v != flat[k] for k, v in own.items())
        and "runner.epochs" in own
    )
    assert not {k for k in own if k.startswith("runner.")} - {"runner.epochs"}
    assert text.startswith(
        f"# Trial {result['best_trial']} of 16 on clicks: auc on valid {result['best']:.6f}; "
        f"where the search started, {result['default']:.6f}.\n# python tools/tune.py -m "
    )
    command = shlex.split(result["command"])
    assert command[:5] == ["python", "tools/trainer.py", "-m", "s/best.yaml", "-o"]
    assert set(command[5:]) == {
        f"runner.data_dir={clicks}",
        "runner.visualdl=false",
        "runner.name=s-tuned",
    }
    # a line a trial, then the ten best in order
    err = capfd.readouterr().err
    assert (
        sum(line.startswith("trial ") and " of 16): auc 0." in line for line in err.splitlines())
        == 16
    )
    table = err[err.index("trial      auc  settings") :].splitlines()[1:]
    assert [float(line.split()[1]) for line in table] == [
        round(v, 4) for v in sorted(figures)[:-11:-1]
    ]


def test_the_default_folder_and_space(search, monkeypatch):
    trainer = Trainer()
    search(1, trainer, "runner.name=mine", out=None, space=None)
    assert sorted(os.listdir("output/tune/base/clicks-mine")) == [
        "base",
        "best.yaml",
        "journal.log",
        "search.yaml",
        "trials.csv",
    ]
    assert trainer.given[0].hyper_parameters == settings_of("base").hyper_parameters
    assert yaml.safe_load(open("output/tune/base/clicks-mine/best.yaml")) == {"model": "base"}


def test_more_trials_go_on_and_come_to_the_same(search):
    whole = Trainer()
    search(12, whole, out="whole")
    part = Trainer()
    search(5, part)
    again = Trainer()
    assert search(5, again)["trials"] == 5 and again.runs == []  # nothing is missing
    more = Trainer()
    assert search(12, more)["trials"] == 12 and (part.runs, more.runs) == (
        list(range(5)),
        list(range(5, 12)),
    )
    assert rows() == rows("whole")
    other = Trainer()
    search(5, other, seed=2, out="other")
    assert rows("other")[0] == rows()[0] and rows("other")[1:] != rows()[1:5]


@pytest.mark.parametrize("at", [0, 10])
def test_an_interrupted_search_goes_on(search, at):
    """Ctrl-C in a training: that very trial is taken up again, in its directory, and the search
    comes to the same."""
    search(12, Trainer(), out="whole")
    first = Trainer({at: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        search(12, first)
    assert first.runs == list(range(at + 1)) and (at == 0 or len(rows()) == at)
    second = Trainer()
    assert search(12, second)["trials"] == 12 and second.runs == list(range(at, 12))
    begun, taken_up = first.given[at], second.given[0]
    assert taken_up.runner.resume and not taken_up.runner.overwrite
    assert begun.runner.overwrite and not begun.runner.resume
    how = ("runner.resume", "runner.overwrite")
    assert settings.as_dict(taken_up, without=how) == settings.as_dict(begun, without=how)
    assert all(c.runner.overwrite for c in second.given[1:])
    assert rows() == rows("whole")


def test_a_journal_that_was_cut_short_and_a_lock_that_was_left(search):
    search(4, Trainer(), out="whole")
    search(3, Trainer())
    with open("s/journal.log", "ab") as f:
        f.write(b'{"op_code":5,"worker_id":"x')
    os.symlink("nowhere", "s/journal.log.lock")
    trainer = Trainer()
    assert search(4, trainer)["trials"] == 4 and trainer.runs == [3] and rows() == rows("whole")


def test_a_failing_trial_is_recorded_and_survived(search, capfd):
    trainer = Trainer(
        {0: "noise\r 5%|x\rerror: the loss is nan\n", 2: "Traceback\nRuntimeError: odd\n"}
    )
    result = search(4, trainer)
    assert (
        trainer.runs == [0, 1, 2, 3]
        and (result["trials"], result["failed"]) == (4, 2)
        and result["default"] is None
    )
    found = rows()
    assert [r["note"] for r in found] == ["the loss is nan", "", "RuntimeError: odd", ""] and found[
        0
    ]["auc"] == ""
    assert "trial 0 (1 of 4): failed: the loss is nan" in capfd.readouterr().err
    assert sorted(glob.glob("s/base/*.err")) == ["s/base/trial-0000.err", "s/base/trial-0002.err"]
    assert search(4, trainer)["trials"] == 4 and trainer.runs == [0, 1, 2, 3]  # not tried again
    with pytest.raises(InputError, match="no trial succeeded; message of the first one: bad"):
        search(2, Trainer({0: "bad", 1: "worse"}), out="none")


def test_settings_that_were_tried_are_not_trained_again(search, tmp_path):
    trainer = Trainer()
    result = search(12, trainer, space=written(tmp_path / "small.yaml", {SIZE: [32, 64]}))
    assert len(trainer.runs) == 2 and result["trials"] == 12
    for row in rows():
        if row["note"]:
            same = rows()[int(row["note"].removeprefix("as trial "))]
            assert (same[SIZE], same["auc"], same["note"]) == (row[SIZE], row["auc"], "")


def test_log_loss_is_minimised_and_an_undefined_figure_is_a_failure(search):
    search(13, Trainer(), out="auc")
    trainer = Trainer()
    result = search(13, trainer, "runner.monitor=logloss")
    assert (
        result["best"]
        == min(trainer.figures(c)["logloss"] for c in trainer.given)
        < result["default"]
    )
    # it falls where AUC rises, so that the same is tried
    assert [{k: r[k] for k in SPACE} for r in rows()] == [
        {k: r[k] for k in SPACE} for r in rows("auc")
    ]
    with pytest.raises(InputError, match="gauc is undefined on valid"):
        search(1, Trainer(), "runner.monitor=gauc", out="g")


def test_another_search_in_the_folder_is_refused(search, tmp_path):
    search(1, Trainer())
    before = tree("s")
    other = written(tmp_path / "other.yaml", {**SPACE, SIZE: [16, 32, 48]})
    data = small_dataset(tmp_path / "more", "clicks", users=20, impressions=12, seed=9)
    for arguments, how, words in (
        (["runner.epochs=3"], {}, "settings.runner.epochs 25, not 3"),
        ([], {"space": other}, SIZE),
        ([], {"data": data}, "another dataset"),
        ([], {"seed": 2}, "seed 1, not 2"),
        ([f"{SIZE}=16"], {}, SIZE),
    ):
        with pytest.raises(InputError, match=words.replace("[", r"\[")) as e:
            search(2, Trainer(), *arguments, **how)
        assert "\n" not in str(e.value) and tree("s") == before
    with pytest.raises(InputError, match="is not the folder of a search"):
        search(1, Trainer(), out=str(tmp_path))

    class Second(Trainer):
        def __call__(self, *arguments):
            with pytest.raises(InputError, match="another process searches"):
                search(3, Trainer())
            return super().__call__(*arguments)

    assert search(2, Second())["trials"] == 2


@pytest.mark.parametrize(
    "override", ["runner.test=true", "runner.resume=true", "runner.overwrite=true"]
)
def test_wrong_arguments(search, override):
    with pytest.raises(InputError, match="a search sets this itself"):
        search(1, Trainer(), override)
    with pytest.raises(InputError, match="--trials is 0, must be at least 1"):
        search(0, Trainer())
    assert not os.path.exists("s")


def test_a_dataset_without_valid_is_refused(search, tmp_path, clicks):
    shutil.copytree(clicks, tmp_path / "two")
    schema = Schema.load(tmp_path / "two")
    del schema.rows["valid"]
    schema.save(tmp_path / "two")
    with pytest.raises(InputError, match="has no valid split"):
        search(1, Trainer(), data=str(tmp_path / "two"))


# several at a time, and the poor ones stopped


SIX = "runner.epochs=6"  # as many as `Gradual` has


class Gradual(Trainer):
    """Trainings that end an epoch each time they are looked at; `running` and `most` count those
    at a time, `epochs` those of each trial, of `length`(number). The figure rises by 0.001 an
    epoch."""

    def __init__(self, length=lambda number: 6, does=None):
        super().__init__(does)
        self.length = length
        self.running, self.most = 0, 0
        self.epochs, self.stopped, self.threads = {}, [], []

    def __call__(self, tool, arguments, stderr):
        ended = super().__call__(tool, arguments, stderr)
        status, result = ended.result()
        config = self.given[-1]
        number = self.runs[-1]
        self.threads.append(config.runner.threads)
        folder = os.path.join(config.runner.model_save_path, "base", config.runner.name)
        begun = config.runner.resume and self.epochs.get(number, 0)
        if not begun:
            open(os.path.join(folder, "metrics.jsonl"), "w").close()
            self.epochs[number] = 0
        self.running += 1
        self.most = max(self.most, self.running)
        return Growing(self, number, os.path.join(folder, "metrics.jsonl"), status, result)


class Growing:
    def __init__(self, trainer, number, path, status, result):
        self.trainer, self.number, self.path = trainer, number, path
        self.status, self.value = status, result and result["valid"]["auc"]

    def is_running(self):
        epochs = self.trainer.epochs
        if epochs[self.number] == self.trainer.length(self.number):
            return False
        epochs[self.number] += 1
        value = self.value + 0.001 * epochs[self.number]
        line = {"epoch": epochs[self.number], "valid": {"auc": value, "gauc": None, "logloss": 1}}
        with open(self.path, "a") as f:
            f.write(json.dumps(line) + "\n")
        return True

    def result(self):
        self.trainer.running -= 1
        gained = 0.001 * self.trainer.epochs[self.number]
        valid = {"auc": self.value + gained, "gauc": None, "logloss": 1}
        return 0, {"valid": valid, "best_epoch": self.trainer.length(self.number)}

    def stop(self):
        self.trainer.running -= 1
        self.trainer.stopped.append(self.number)


def test_poor_trials_are_stopped(search, capfd):
    """By hand: after 2 epochs a trial goes on if it is among the best third of those that came so
    far; the first three always do."""
    trainer = Gradual()
    result = search(15, trainer, SIX)
    figures = [trainer.figures(c)["auc"] for c in trainer.given]
    assert trainer.stopped and result["stopped"] == len(trainer.stopped) >= 5
    for number, figure in enumerate(figures):
        so_far = sorted(figures[: number + 1], reverse=True)
        best_third = so_far[: max(1, len(so_far) // 3)]
        stopped = number >= 3 and figure not in best_third
        assert (number in trainer.stopped) == stopped, number
        assert trainer.epochs[number] == (2 if stopped else 6)
    assert (
        result["best"] == max(f for k, f in enumerate(figures) if k not in trainer.stopped) + 0.006
    )
    for row in rows():
        number = int(row["trial"])
        stopped = number in trainer.stopped
        assert row["note"] == ("stopped after epoch 2" if stopped else "")
        assert float(row["auc"]) == pytest.approx(figures[number] + (0.002 if stopped else 0.006))
        assert row["best_epoch"] == ("2" if stopped else "6")
    assert not glob.glob("s/base/*.err")
    err = capfd.readouterr().err
    assert err.count("(stopped after epoch 2)") == len(trainer.stopped)
    # interrupted at any place, it comes to the same
    for at in (3, 9):
        part = Gradual(does={at: KeyboardInterrupt()})
        with pytest.raises(KeyboardInterrupt):
            search(15, part, SIX, out=f"part-{at}")
        search(15, Gradual(), SIX, out=f"part-{at}")
        assert rows(f"part-{at}") == rows()
    whole = Gradual()
    assert search(15, whole, SIX, out="whole", prune_from=0)["stopped"] == 0 and not whole.stopped


def test_trials_in_parallel(search, capfd):
    trainer = Gradual()
    result = search(10, trainer, jobs=4, prune_from=0)
    assert trainer.most == 4 and sorted(trainer.runs) == list(range(10)) and result["trials"] == 10
    assert [r["trial"] for r in rows()] == [str(k) for k in range(10)]
    assert set(trainer.threads) == {max(1, environment.cores() // 4)}
    settings_of_trials = {str(sorted((k, r[k]) for k in SPACE)) for r in rows()}
    assert len(settings_of_trials) > 7
    # each line says what is left, and how long that takes
    left = [int(n) for n in re.findall(r"(\d+) left, about \d+ s", capfd.readouterr().err)]
    assert left == list(range(9, 0, -1))
    own = Gradual()
    search(3, own, "runner.threads=2", jobs=2, out="own")
    assert set(own.threads) == {2}


@pytest.mark.parametrize("at", [2, 6])
def test_a_parallel_search_that_was_interrupted(search, at):
    """Every training that was running is stopped, and resumed with its own settings; none is lost
    or made twice."""
    first = Gradual(length=lambda number: 3 + number % 4, does={at: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        search(10, first, jobs=3, prune_from=0)
    assert first.running == 0 and first.stopped
    begun = {k: c for k, c in zip(first.runs, first.given, strict=True)}
    second = Gradual()
    second.epochs = first.epochs
    assert search(10, second, jobs=3, prune_from=0)["trials"] == 10
    assert set(first.stopped) | {at} <= set(second.runs)
    for number, config in zip(second.runs, second.given, strict=True):
        if number in first.stopped:
            assert config.hyper_parameters == begun[number].hyper_parameters
            assert config.runner.resume and not config.runner.overwrite
    assert sorted({*first.runs, *second.runs}) == list(range(10))
    assert [r["trial"] for r in rows()] == [str(k) for k in range(10)]


def test_how_long_it_will_take():
    assert [search_module.duration(s) for s in (0.4, 89, 90, 3599, 3600, 12_345)] == [
        "0 s",
        "89 s",
        "2 min",
        "1 h 0 min",
        "1 h 0 min",
        "3 h 26 min",
    ]


@pytest.mark.parametrize(
    "flags, words",
    [
        ({"jobs": 0}, "--jobs is 0, must be at least 1"),
        ({"prune_from": -1}, "--prune-from is -1, must be at least 0"),
        ({"keep_one_of": 1}, "--keep-one-of is 1, must be at least 2"),
    ],
)
def test_wrong_numbers(search, flags, words):
    with pytest.raises(InputError, match=words):
        search(1, Trainer(), **flags)


def test_other_pruning_is_another_search(search):
    search(1, Trainer())
    with pytest.raises(InputError, match="prune_from 2, not 3"):
        search(2, Trainer(), prune_from=3)


# for real


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_training_ends_with_the_search(tmp_path, how):
    tool = written(
        tmp_path / "tool.py",
        f"import os, time\nopen('{tmp_path}/pid', 'w').write(str(os.getpid()) + ' ')\n"
        "time.sleep(60)\n",
    )
    program = (
        f"import signal, sys; sys.path.insert(0, {ROOT!r}); from paddleinterest.core import child\n"
        # a background job starts with it ignored
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); child.run({tool!r}, [])"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    until = time.time() + 120
    while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text().endswith(" "):
        assert time.time() < until
        time.sleep(0.02)
    parent.send_signal(how)
    parent.wait(120)
    pid = int((tmp_path / "pid").read_text())
    while (
        os.path.exists(f"/proc/{pid}")
        and open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] != "Z"
    ):
        assert time.time() < until, "it goes on without its parent"
        time.sleep(0.02)


def test_what_a_failed_training_says(tmp_path, clicks):
    """`child.run` of the trainer itself: heads that do not divide the width are the net's to
    refuse."""
    from paddleinterest.study.trial import last_words

    with open(tmp_path / "err", "w") as f:
        assert child.run(
            "tools/trainer.py",
            [
                "-m",
                BST,
                "-o",
                f"runner.data_dir={clicks}",
                "hyper_parameters.heads=5",
                f"runner.model_save_path={tmp_path}",
            ],
            f,
        ) == (1, None)
    assert last_words(str(tmp_path / "err")).startswith(
        "hyper_parameters: heads is 5, must divide the width"
    )


def test_for_real_killed_and_gone_on_with_without_reading_test(tmp_path):
    """A search killed in a training, and what comes of it; the test split's bytes are nonsense
    until it is done."""
    small_dataset(tmp_path, "clicks", users=20, impressions=20)
    part = glob.glob(str(tmp_path / "clicks" / "test" / "*.parquet"))[0]
    whole = open(part, "rb").read()
    open(part, "wb").write(bytes(len(whole)))
    written(tmp_path / "space.yaml", {RATE: {"low": 0.001, "high": 0.1, "log": True}})
    common = [
        "runner.data_dir=clicks",
        "runner.visualdl=false",
        "runner.epochs=2",
        "runner.train_batch_size=64",
        "hyper_parameters.embedding_size=4",
        "hyper_parameters.tower=[8,4]",
    ]
    arguments = ["-m", BST, "-o", *common, "--space", "space.yaml"]
    with open(tmp_path / "err", "w") as f:
        search = subprocess.Popen(
            [sys.executable, os.path.join(ROOT, "tools", "tune.py"), *arguments, "--trials", "3"],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=f,
        )
    until = time.time() + 240
    folder = tmp_path / "output" / "tune" / "bst" / "clicks"
    while not (folder / "bst" / "trial-0001.err").exists():
        assert time.time() < until and search.poll() is None, (tmp_path / "err").read_text()
        time.sleep(0.02)
    search.kill()
    search.wait()
    assert len(rows(str(folder))) == 1
    result = run_tool("tune", *arguments, "--trials", "3", cwd=tmp_path)
    assert (
        result.status == 0
        and "resuming" in result.err
        and "1 of 3 trials are finished" in result.err
    ), result.err
    found, best = rows(str(folder)), result.json
    assert (
        len(found) == 3
        and (best["trials"], best["failed"]) == (3, 0)
        and best["default"] == float(found[0]["auc"])
    )
    with ToolServer(tmp_path) as tools:
        train = shlex.split(best["command"])[2:]
        refused = tools.run("trainer", *train, cwd=tmp_path)
        assert (
            refused.status == 1 and "test" in refused.err
        )  # the nonsense is read as soon as test is
        open(part, "wb").write(whole)
        trained = tools.run("trainer", *train, cwd=tmp_path)
        assert trained.status == 0, trained.err
        assert trained.json["valid"]["auc"] == best["best"]
        assert trained.json["best_epoch"] == int(found[best["best_trial"]]["best_epoch"])
        rest = ["-m", train[1], "-o", "runner.data_dir=clicks", train[-1]]
        inferred = tools.run("infer", *rest, cwd=tmp_path)
        assert abs(inferred.json["auc"] - trained.json["test"]["auc"]) < 1e-6
        exported = tools.run("to_static", *rest, cwd=tmp_path)
        assert exported.json["bundle"] == os.path.join("output", "bst", "clicks-tuned", "export")
