"""A run that is killed, wherever, and started again ends in the same bits; the same seed gives the
same numbers.

Kills are real SIGKILLs of real trainer processes: forks of one process that has imported Paddle
(helpers.ToolServer), as the import alone takes seconds. tests/training/test_trainer.py has the
settings one by one, with a run broken off in the test's process.
"""

import glob
import json
import os
import random
import shutil
import signal
import time

import numpy as np
import pytest
from helpers import ROOT, TINY, TINY_DIN, ToolServer, run_tool, tree
from runs import arrays, lines, ran, same, text

from paddleinterest.core import atomic
from paddleinterest.core.errors import InputError
from paddleinterest.training import checkpoint
from paddleinterest.training import trainer as training

pytestmark = pytest.mark.slow

DIEN, DIN = (os.path.join(ROOT, "models", m, "config.yaml") for m in ("dien", "din"))
EVERYTHING = [  # all that has a state: moments, buffers, negatives, rates, plateau, waiting
    *TINY,
    "hyper_parameters.dropout=0.4",
    "hyper_parameters.item_bias=true",
    "hyper_parameters.regularization=0.001",
    "hyper_parameters.optimizer.clip_norm=0.5",
    "hyper_parameters.schedule.kind=cosine",
    "hyper_parameters.schedule.warmup_steps=11",
    "hyper_parameters.plateau.factor=0.7",
    "hyper_parameters.plateau.patience=0",
    "runner.train_batch_size=30",
    "runner.epochs=24",
    "runner.early_stop=16",
    "runner.visualdl=true",
]


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    with ToolServer(tmp_path_factory.mktemp("server")) as server:
        yield server


def numbers(result):
    """The result on standard output without timings and paths."""
    assert result.status == 0, result.err
    return {
        k: v
        for k, v in result.json.items()
        if k not in ("seconds", "samples_per_second", "run_dir", "checkpoint")
    }


def parts(directory):
    return [name for name in tree(directory) if ".part-" in name or ".old-" in name]


# forty kills


class Moment:
    """Becomes true at a moment between the `after`-th checkpoint that this life writes and the
    next, start-up before the first.

    share: how far into that time; lengths: what start-up and a step took in earlier lives, in
    seconds.
    """

    def __init__(self, path, after, share, lengths):
        self.path, self.after, self.share, self.lengths = path, after, share, lengths
        self.seen, self.mark, self.since = 0, self.look(), time.monotonic()

    def look(self):
        return os.stat(self.path).st_mtime_ns if os.path.exists(self.path) else None

    def __call__(self, _):
        mark, now = self.look(), time.monotonic()
        if mark != self.mark:
            self.lengths[bool(self.seen)] = now - self.since
            self.seen, self.mark, self.since = self.seen + 1, mark, now
        return (
            self.seen > self.after
            or self.seen == self.after
            and now - self.since > self.share * self.lengths[self.seen > 0]
        )


def test_forty_kills_give_the_run_that_was_never_killed(tmp_path, tiny, tools):
    """DIEN with everything that has a state, killed forty times at random moments: start-up, steps,
    writing, evaluation."""

    def trainer(where, *more, **kill):
        return tools.run(
            "trainer",
            "-m",
            DIEN,
            "-o",
            *EVERYTHING,
            "hyper_parameters.auxiliary=inner",
            f"runner.data_dir={tiny}",
            f"runner.model_save_path={where}",
            *more,
            cwd=tmp_path,
            **kill,
        )

    expected = trainer("whole")
    whole, cut = (str(tmp_path / k / "dien" / "tiny") for k in ("whole", "cut"))
    latest, rng, lengths, steps = (
        os.path.join(cut, "checkpoints", "latest.npz"),
        np.random.default_rng(40),
        [0.5, 0.05],
        [],
    )
    for k in range(40):
        moment = Moment(latest, int(rng.integers(0, 4)), rng.random(), lengths)
        killed = trainer(
            "cut",
            f"runner.save_interval={rng.integers(1, 4)}",
            f"runner.resume={k > 0}",
            "runner.overwrite=true",
            interrupt=moment,
            sign=signal.SIGKILL,
        )
        assert killed.status == -signal.SIGKILL and killed.out == "", (
            k,
            killed.status,
            killed.err[-2000:],
        )
        for path in glob.glob(os.path.join(cut, "checkpoints", "*.npz")):
            state = checkpoint.read(path)["state"]  # whole, whenever it was
            steps += [state["step"]] if path == latest else []
        assert len(parts(cut)) <= 1, parts(
            cut
        )  # that of this kill; those of the kills before are gone
    assert (
        steps == sorted(steps) and len(set(steps)) > 20 and sum(s % 16 > 0 for s in steps) > 10
    )  # it did go on, bit by bit
    got = trainer("cut", "runner.resume=true")
    assert numbers(got) == numbers(expected)
    same(arrays(cut), arrays(whole))
    same(arrays(cut, "best"), arrays(whole, "best"))
    assert text(cut) == text(whole) and parts(cut) == []
    points = scalars(cut)
    assert points == scalars(whole)
    assert points["valid/auc"] == [
        (line["step"], np.float32(line["valid"]["auc"])) for line in lines(whole)
    ]


def scalars(directory):
    """What VisualDL shows of a run, timings left out: {tag: [(step, value)]}."""
    from visualdl import LogReader

    files = os.listdir(os.path.join(directory, "visualdl"))
    assert len(files) == 1  # it would show the newest alone
    reader = LogReader(file_path=os.path.join(directory, "visualdl", files[0]))
    return {
        tag: [(p.id, np.float32(p.value)) for p in reader.get_data("scalar", tag)]
        for tag in reader.get_tags()["scalar"]
        if "samples_per_second" not in tag
    }


# every instant of a write

DIE = """
import os, signal, sys
def die_at(n, names, folders):
    left = [n]
    def profile(frame, event, arg):  # before a call is after the one before it
        ours = frame.f_code.co_filename.startswith(folders)
        if event == "c_call" and arg.__name__ in names and ours:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(profile)
"""

SAVES = """
import numpy as np
from paddleinterest.training import checkpoint
net = paddle.nn.Linear(2, 1)
adam = paddle.optimizer.Adam(parameters=net.parameters())
def step(k):
    net(paddle.full([1, 2], float(k))).sum().backward()
    adam.step()
    checkpoint.save("c.npz", net, {"model": "din", "epoch": k}, adam)
step(1)
n, whole = 0, [checkpoint.read("c.npz")]
calls = ("open", "write", "flush", "close", "seek", "fsync", "flock", "replace", "unlink", "remove")
while True:
    n += 1
    pid = os.fork()
    if not pid:
        die_at(n, calls, "")
        step(2)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    found = checkpoint.read("c.npz")
    if found["state"]["epoch"] == 2 and len(whole) == 1:
        whole.append(found)  # killed after it was in place
    expected = whole[found["state"]["epoch"] - 1]
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[k], found[k]) for k in found if k != "state")
    assert len(os.listdir(".")) <= 2, os.listdir(".")
    if not status:
        break
    assert status == -9
    if found["state"]["epoch"] == 2:
        after = n
        checkpoint.save("c.npz", net, {"model": "din", "epoch": 1}, adam)
assert os.listdir(".") == ["c.npz"]
print(n, flush=True)
os._exit(0)
"""


def test_killed_at_every_call_of_a_checkpoints_write(tmp_path, tools):
    """The checkpoint is the one before or the new one, to the bit, and temporary files do not pile
    up."""
    done = tools.run("trainer", cwd=tmp_path, first=DIE + SAVES)
    assert done.status == 0, done.err
    assert int(done.out) > 50


CALLS = ("open", "fsync", "flock", "replace", "truncate", "write")


def test_killed_at_every_call_of_an_epochs_end(tmp_path, tiny, tools):
    """From the second epoch's start to its end: settings, metrics, best and latest are written.
    Best is never ahead for good."""

    def trainer(where, *more, **first):
        return tools.run(
            "trainer",
            "-m",
            DIN,
            "-o",
            *TINY_DIN,
            f"runner.data_dir={tiny}",
            "runner.early_stop=0",
            "hyper_parameters.dropout=0.3",
            f"runner.model_save_path={where}",
            *more,
            cwd=tmp_path,
            **first,
        )

    def state_of(directory):
        best = os.path.join(directory, "checkpoints", "best.npz")
        return (
            arrays(directory)["state"]["epoch"],
            os.path.exists(best) and checkpoint.read(best)["state"]["epoch"],
            len(lines(directory)),
        )

    whole, cut = (str(tmp_path / k / "din" / "tiny") for k in ("whole", "cut"))
    trainer("whole", "runner.epochs=1")
    shutil.copytree(tmp_path / "whole", tmp_path / "one")
    expected = trainer("whole", "runner.epochs=2", "runner.resume=true")
    assert expected.json["best_epoch"] == 2
    seen, n = {}, 0
    while True:
        n += 1
        shutil.rmtree(tmp_path / "cut", ignore_errors=True)
        shutil.copytree(tmp_path / "one", tmp_path / "cut")
        folders = (
            os.path.join(ROOT, "paddleinterest", "training", "trainer.py"),
            os.path.join(ROOT, "paddleinterest", "core", "atomic.py"),
        )
        result = trainer(
            "cut",
            "runner.epochs=2",
            "runner.resume=true",
            first=DIE + f"die_at({n}, {CALLS}, {folders})",
        )
        if result.status == 0:
            break
        assert result.status == -signal.SIGKILL, result.err
        found = state_of(cut)
        if found not in seen:  # start again from each state of the disk once
            assert numbers(trainer("cut", "runner.epochs=2", "runner.resume=true")) == numbers(
                expected
            ), found
            same(arrays(cut), arrays(whole))
            same(arrays(cut, "best"), arrays(whole, "best"))
            assert text(cut) == text(whole) and parts(cut) == []
        seen[found] = n
    assert list(seen) == [
        (1, 1, 1),
        (1, 1, 2),
        (1, 2, 2),
        (2, 2, 2),
    ], seen  # metrics, then best, then latest
    assert n > 15


def test_killed_in_preparation(tmp_path, tools):
    """The dataset is prepared again, and what the killed preparation left is gone."""
    arguments = [
        "-m",
        DIN,
        "-o",
        *TINY_DIN,
        f"runner.dataset={ROOT}/datasets/debug.yaml",
        "runner.epochs=1",
    ]
    assert (
        tools.run(
            "trainer",
            *arguments,
            cwd=tmp_path,
            sign=signal.SIGKILL,
            interrupt=lambda _: bool(parts(tmp_path)),
        ).status
        == -signal.SIGKILL
    )
    assert len(os.listdir(tmp_path / "data")) == 1 and ".part-" in os.listdir(tmp_path / "data")[0]
    assert tools.run("trainer", *arguments, cwd=tmp_path).status == 0
    assert os.listdir(tmp_path / "data") == ["debug"]


# temporary files


def test_what_a_living_writer_writes_is_left_alone(tmp_path):
    path = tmp_path / "c.npz"
    (tmp_path / "c.npz.part-dead").write_text("half")
    (tmp_path / "c.npz.party").write_text("another's")
    with atomic.whole_file(path) as made:
        assert sorted(os.listdir(tmp_path)) == sorted([os.path.basename(made), "c.npz.party"])
        with open(made, "w") as f:
            f.write("first")
        with atomic.whole_file(path) as second, open(second, "w") as f:
            f.write("second")
        assert os.path.exists(made) and path.read_text() == "second"
    assert path.read_text() == "first" and sorted(os.listdir(tmp_path)) == ["c.npz", "c.npz.party"]


def test_a_directory_whose_replacement_was_killed_comes_back(tmp_path):
    """Killed between the two renames: the new one is not there yet, the old one has another
    name."""
    for name in ("d.old-1a", "d.part-1a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text(name)
    atomic.remove_stale(tmp_path / "d")
    assert os.listdir(tmp_path) == ["d"] and (tmp_path / "d" / "f").read_text() == "d.old-1a"
    (tmp_path / "d.old-2b").mkdir()
    atomic.remove_stale(tmp_path / "d")  # killed after them
    assert os.listdir(tmp_path) == ["d"] and (tmp_path / "d" / "f").read_text() == "d.old-1a"


@pytest.mark.parametrize("after", [1, 2, 3])
def test_an_overwrite_that_is_killed_is_not_gone_on_with(tmp_path, tiny, monkeypatch, after):
    """Killed after so many files of the older run are gone."""
    ran(tiny, tmp_path, "runner.epochs=1")
    remove, left = os.remove, [after]

    def last_breath(path):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= os.path.exists(path)
        remove(path)

    monkeypatch.setattr(os, "remove", last_breath)
    with pytest.raises(KeyboardInterrupt):
        ran(tiny, tmp_path, "runner.epochs=1", "runner.seed=5", "runner.overwrite=true")
    monkeypatch.undo()
    _, _, got = ran(tiny, tmp_path, "runner.epochs=1", "runner.seed=5", "runner.resume=true")
    _, _, expected = ran(tiny, tmp_path / "new", "runner.epochs=1", "runner.seed=5")
    same(got, expected)


def test_a_best_checkpoint_ahead_of_the_run_is_not_reported_as_its_own(tmp_path, tiny):
    """Killed after the second epoch's best and before its latest, then started again for one epoch,
    or for two."""
    _, cut, _ = ran(tiny, tmp_path / "cut", "runner.epochs=1")
    result, whole, _ = ran(tiny, tmp_path / "whole", "runner.epochs=2")
    assert result["best_epoch"] == 2
    shutil.copy(os.path.join(whole, "checkpoints", "best.npz"), os.path.join(cut, "checkpoints"))
    with pytest.raises(
        InputError, match="best.npz is of epoch 2, which .*latest.npz has not reached"
    ):
        ran(tiny, tmp_path / "cut", "runner.epochs=1", "runner.resume=true")
    again, _, _ = ran(tiny, tmp_path / "cut", "runner.epochs=2", "runner.resume=true")
    assert again["test"] == result["test"]


def test_a_kill_before_the_result_is_written_leaves_no_older_one(tmp_path, tiny):
    """One of fewer epochs, which the run had ended with before."""
    _, out, _ = ran(tiny, tmp_path, "runner.epochs=1")
    path = os.path.join(out, "result.json")
    shutil.copy(path, tmp_path)
    ran(tiny, tmp_path, "runner.epochs=2", "runner.resume=true")
    shutil.copy(tmp_path / "result.json", path)  # as if it had not come to that
    ran(tiny, tmp_path, "runner.epochs=2", "runner.resume=true")
    with open(path, encoding="utf-8") as f:
        result = json.load(f)
    assert result["epochs"] == 2 and result["samples_per_second"] > 0


# other settings


@pytest.mark.parametrize(
    "change",
    [
        "runner.seed=1",
        "runner.monitor=gauc",
        "runner.history_cap=5",
        "runner.bucket_batches=0",
        "hyper_parameters.optimizer.learning_rate=0.02",
        "hyper_parameters.dropout=0.1",
        "hyper_parameters.schedule.kind=cosine",
        "hyper_parameters.regularization=0.1",
        "hyper_parameters.plateau.factor=0.5",
    ],
)
def test_settings_that_change_the_numbers_are_refused(tmp_path, tiny, change):
    ran(tiny, tmp_path, "runner.epochs=1")
    before = tree(tmp_path)
    with pytest.raises(
        InputError,
        match=f"was trained with {change.partition('=')[0]} .*, not {change.partition('=')[2]}",
    ) as e:
        ran(tiny, tmp_path, "runner.epochs=2", "runner.resume=true", change)
    assert "\n" not in str(e.value) and tree(tmp_path) == before


def test_other_data_is_refused_and_the_same_elsewhere_is_not(tmp_path, tiny, data):
    ran(tiny, tmp_path, "runner.epochs=1", "runner.name=mine")
    with pytest.raises(InputError, match="trained on different data"):
        ran(data, tmp_path, "runner.epochs=2", "runner.name=mine", "runner.resume=true")
    moved = shutil.copytree(tiny, tmp_path / "moved")
    _, _, got = ran(
        str(moved), tmp_path, "runner.epochs=2", "runner.name=mine", "runner.resume=true"
    )
    _, _, expected = ran(tiny, tmp_path / "whole", "runner.epochs=2", "runner.name=mine")
    same(got, expected)


def test_more_epochs_are_refused_where_the_rate_depends_on_them(tmp_path, tiny):
    ran(tiny, tmp_path, "runner.epochs=1", "hyper_parameters.schedule.kind=cosine")
    with pytest.raises(InputError, match="runner.epochs 1, not 2"):
        ran(
            tiny,
            tmp_path,
            "runner.epochs=2",
            "hyper_parameters.schedule.kind=cosine",
            "runner.resume=true",
        )


# same seed, same numbers

RANDOM = [
    "runner.epochs=2",
    "hyper_parameters.dropout=0.3",
    "hyper_parameters.auxiliary=inner",
    "runner.early_stop=0",
]


def ran_dien(data, where, *overrides):
    return ran(data, where, *RANDOM, *overrides, model="dien")


def test_global_random_states_are_neither_read_nor_changed(tmp_path, tiny):
    seen = []
    for k in (1, 2):
        np.random.seed(k)
        random.seed(k)
        before = np.random.get_state(), random.getstate()
        seen.append(ran_dien(tiny, tmp_path / str(k)))
        after = np.random.get_state(), random.getstate()
        assert (
            before[0][2:] == after[0][2:]
            and np.array_equal(before[0][1], after[0][1])
            and before[1] == after[1]
        )
    same(seen[0][2], seen[1][2])
    assert text(seen[0][1]) == text(seen[1][1])


@pytest.mark.parametrize(
    "change",
    [
        "runner.print_interval=1",
        "runner.save_interval=2",
        "runner.infer_batch_size=60",
        "runner.visualdl=true",
        "runner.early_stop=9",
        "runner.skip_bad_batches=3",
    ],
)
def test_settings_of_the_way_change_no_number(tmp_path, tiny, change):
    (a, a_dir, a_latest), (b, b_dir, b_latest) = (
        ran_dien(tiny, tmp_path / k, *more) for k, more in (("a", []), ("b", [change]))
    )
    same(b_latest, a_latest)
    same(arrays(b_dir, "best"), arrays(a_dir, "best"))
    assert text(b_dir) == text(a_dir) and b["test"] == a["test"]


def test_evaluating_more_often_and_in_another_order_changes_no_number(tmp_path, tiny, monkeypatch):
    a, a_dir, a_latest = ran_dien(tiny, tmp_path / "a")
    evaluate = training.Trainer.evaluate

    def test_first(trainer, split):
        evaluate(trainer, "test")
        return evaluate(trainer, split)

    monkeypatch.setattr(training.Trainer, "evaluate", test_first)
    b, b_dir, b_latest = ran_dien(tiny, tmp_path / "b")
    same(b_latest, a_latest)
    assert text(b_dir) == text(a_dir) and (b["valid"], b["test"]) == (a["valid"], a["test"])


def test_two_processes_give_the_same_bits(tmp_path, tiny, tools):
    """One of its own, with its imports and its hash seed, and a fork."""
    arguments = [
        "-m",
        DIEN,
        "-o",
        *TINY,
        *RANDOM,
        f"runner.data_dir={tiny}",
        "runner.cpu_tuning=false",
    ]  # a fork has none
    own = run_tool(
        "trainer", *arguments, "runner.model_save_path=own", cwd=tmp_path, OMP_NUM_THREADS="1"
    )
    fork = tools.run("trainer", *arguments, "runner.model_save_path=fork", cwd=tmp_path)
    assert numbers(own) == numbers(fork)
    own, fork = (str(tmp_path / k / "dien" / "tiny") for k in ("own", "fork"))
    same(arrays(own), arrays(fork))
    assert text(own) == text(fork)
