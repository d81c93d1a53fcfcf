"""Several processes train what one trains: same loss curve, same weights on every rank, one run
written; and they stop together."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import paddle.distributed as dist
import pytest
from helpers import ROOT, TINY, TINY_DIN, _text, close, settings_of, small_dataset, tree

from paddleinterest.core import distributed
from paddleinterest.core.errors import InputError
from paddleinterest.data.schema import Schema
from paddleinterest.nets import fast
from paddleinterest.training import checkpoint, loading
from paddleinterest.training.trainer import step_seed, train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not sys.platform.startswith("linux") or not dist.is_available(),
        reason="this Paddle has no Gloo, which carries numbers between processes on CPUs",
    ),
]

# Imports once, then forks the ranks; each trains job after job and leaves a digest of its weights.
RANKS = """
import hashlib, json, os, sys
sys.path[:0] = [sys.argv[1], os.path.join(sys.argv[1], "tests")]
import numpy as np, paddle
from helpers import settings_of
from paddleinterest.core.errors import InputError
import paddleinterest.training.trainer as training
from paddleinterest.training import loading, checkpoint, run
jobs, ports = json.load(open(sys.argv[2])), sys.argv[3].split(",")
ends = ",".join(f"127.0.0.1:{p}" for p in ports[1:])
os.environ.update(PADDLE_TRAINERS_NUM=str(len(ports) - 1), PADDLE_TRAINER_ENDPOINTS=ends)
os.environ.update(PADDLE_MASTER=f"127.0.0.1:{ports[0]}")
children = []
for rank in range(len(ports) - 1):
    pid = os.fork()
    if not pid:
        break
    children.append(pid)
else:
    ended = [os.waitpid(pid, 0)[1] for pid in children]
    sys.exit(f"ended with {ended}" if any(ended) else 0)
os.environ.update(PADDLE_TRAINER_ID=str(rank), PADDLE_CURRENT_ENDPOINT=ends.split(",")[rank])
nets, create_net = [], loading.create_net
loading.create_net = lambda *a: nets.append(create_net(*a)) or nets[-1]
status = 1
try:
    for job in jobs:
        config = settings_of(job["model"], *job["overrides"])
        try:
            result = training.train(config, config.runner.data_dir)
        except InputError as e:
            result = {"error": str(e)}
        weights = b"".join(v.numpy().tobytes() for v in nets[-1].state_dict().values())
        digest = hashlib.sha256(weights).hexdigest()
        json.dump([result, digest], open(f"{sys.argv[2]}.{job['name']}.{rank}", "w"))
    status = 0
except BaseException:
    import traceback
    traceback.print_exc()
sys.stderr.flush()
os._exit(status)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """480 rows of train."""
    return small_dataset(tmp_path_factory.mktemp("data"), "tiny", users=30, impressions=20)


def ports(number):
    sockets = [socket.socket() for _ in range(number)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    found = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return found


def overrides_of(data, where, model, *overrides):
    tiny = {"din": TINY_DIN}.get(model, TINY)
    return [
        *tiny,
        f"runner.data_dir={data}",
        f"runner.model_save_path={where}",
        "runner.epochs=1",
        "runner.early_stop=0",
        "hyper_parameters.activation=prelu",
        *overrides,
    ]


def train_together(number, jobs, folder):
    """Train (name, model, overrides) one after the other in so many processes; {name: (result,
    digest) of each rank}."""
    path = os.path.join(str(folder), "jobs.json")
    with open(path, "w") as f:
        json.dump([dict(zip(("name", "model", "overrides"), job, strict=True)) for job in jobs], f)
    done = subprocess.run(
        [sys.executable, "-c", RANKS, ROOT, path, ",".join(map(str, ports(number + 1)))],
        text=True,
        capture_output=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOG_minloglevel": "2"},
    )
    assert done.returncode == 0, done.stderr[-9000:]
    return {
        job[0]: [json.loads(_text(f"{path}.{job[0]}.{r}")) for r in range(number)] for job in jobs
    }


def files(result):
    """Lines of metrics.jsonl and arrays of the latest checkpoint."""
    lines = [
        json.loads(line)
        for line in _text(os.path.join(result["run_dir"], "metrics.jsonl")).splitlines()
    ]
    return lines, checkpoint.read(os.path.join(result["run_dir"], "checkpoints", "latest.npz"))


def same_curve(one, other, loss=1e-6, weights=1e-5):
    """Two runs agree within float error: losses of the epochs, metrics, weights."""
    (a_lines, a), (b_lines, b) = files(one), files(other)
    assert len(a_lines) == len(b_lines) and a.keys() == b.keys()
    for x, y in zip(a_lines, b_lines, strict=True):
        assert x["train"].keys() == y["train"].keys() and (x["epoch"], x["step"]) == (
            y["epoch"],
            y["step"],
        )
        for part in x["train"]:
            close(x["train"][part], y["train"][part], loss)
        close(x["valid"]["logloss"], y["valid"]["logloss"], loss)
    for name in a:
        if name.startswith("weights/"):
            close(a[name], b[name], weights)
    for split in ("valid", "test"):
        for metric, value in one[split].items():
            close(value, other[split][metric], 1e-5)


# the same numbers

# Plain gradient descent: unlike Adam it does not blow a gradient of nearly 0 up to a full step.
SGD = [
    "hyper_parameters.optimizer.class=sgd",
    "hyper_parameters.optimizer.learning_rate=0.5",
    "runner.train_batch_size=60",
]
AUXILIARY = "hyper_parameters.auxiliary=inner"
CASES = {
    "adam, one row left over": (
        "din",
        ["runner.train_batch_size=479", "hyper_parameters.item_bias=true"],
    ),
    "dice, clipped": (
        "din",
        [*SGD, "hyper_parameters.activation=dice", "hyper_parameters.optimizer.clip_norm=0.05"],
    ),
    "regularisation": (
        "din",
        [*SGD, "hyper_parameters.regularization=0.3", "runner.train_batch_size=37"],
    ),
    "dense gradients": ("base", ["hyper_parameters.sparse=false"]),
    "adagrad": ("deepfm", ["hyper_parameters.optimizer.class=adagrad"]),
    "dien": ("dien", [*SGD, AUXILIARY, "runner.train_batch_size=479"]),
    "dien, all mlp": (
        "dien",
        [
            *SGD,
            "hyper_parameters.activation=dice",
            "hyper_parameters.attention=mlp",
            "hyper_parameters.auxiliary=mlp",
        ],
    ),
    "bst": ("bst", SGD),
    "rnn, next item of all": ("rnn", [*SGD, "hyper_parameters.next_item=full"]),
    "rnn, next item of the batch": (
        "rnn",
        [*SGD, "hyper_parameters.next_item=batch", "runner.train_batch_size=479"],
    ),
    "rnn, next item or a drawn one": ("rnn", [*SGD, "hyper_parameters.next_item=binary"]),
}


SPREAD = {
    "spread, regularised": (
        "din",
        [
            "hyper_parameters.regularization=0.3",
            "runner.train_batch_size=160",
            "hyper_parameters.item_bias=true",
        ],
    ),
    "spread, dien": ("dien", [*SGD, AUXILIARY, "runner.train_batch_size=160"]),
    "spread, next item of the batch": ("rnn", [*SGD, "hyper_parameters.next_item=batch"]),
}


def after_a_run(data, where):
    """Train a run in one process; overrides of a run that starts from it, with split tables."""
    more = SPREAD["spread, regularised"][1]
    past = train(settings_of("din", *overrides_of(data, where / "past", "din", *more)), data)
    begun = f"runner.init_from={past['run_dir']}"
    return overrides_of(data, where / "begun", "din", *more, begun, "runner.shard_tables=10")


@pytest.fixture(scope="module")
def together(data, tmp_path_factory):
    """Every case in two processes, and what follows them: {name: (result, digest) of each rank},
    and where they lie."""
    where = tmp_path_factory.mktemp("two")
    jobs = [
        (name, model, overrides_of(data, where / name, model, *more))
        for name, (model, more) in CASES.items()
    ]
    dropout = overrides_of(
        data, where / "whole", "din", "hyper_parameters.dropout=0.5", "runner.epochs=3"
    )
    cut = overrides_of(
        data, where / "cut", "din", "hyper_parameters.dropout=0.5", "runner.epochs=2"
    )
    jobs += [
        ("whole", "din", dropout),
        ("cut", "din", cut),
        ("resumed", "din", [*cut, "runner.epochs=3", "runner.resume=true"]),
    ]
    handed = overrides_of(data, where / "handed", "din", *SGD, "runner.epochs=1")
    train(settings_of("din", *handed), data)  # one process begins what two go on with
    jobs += [
        (name, model, overrides_of(data, where / name, model, *more, "runner.shard_tables=10"))
        for name, (model, more) in SPREAD.items()
    ]
    more = overrides_of(
        data, where / "spread on", "din", "runner.epochs=1", "hyper_parameters.item_bias=true"
    )
    train(settings_of("din", *more), data)
    jobs += [
        (
            "spread on",
            "din",
            [*more, "runner.epochs=2", "runner.resume=true", "runner.shard_tables=10"],
        )
    ]
    jobs += [("spread, from a run", "din", after_a_run(data, where))]
    bad = [
        "hyper_parameters.optimizer.learning_rate=1e30",
        "runner.shard_tables=10",
    ]  # the second step reads weights of 1e30
    jobs += [
        ("bad", "din", overrides_of(data, where / "bad", "din", *bad)),
        (
            "skipped",
            "din",
            overrides_of(data, where / "skipped", "din", *bad, "runner.skip_bad_batches=99"),
        ),
    ]
    jobs += [("handed on", "din", [*handed, "runner.epochs=2", "runner.resume=true"])]
    return train_together(2, jobs, where), where


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_what_one_trains(together, data, tmp_path, name):
    model, more = CASES[name]
    one = train(settings_of(model, *overrides_of(data, tmp_path, model, *more)), data)
    (first, a), (second, b) = together[0][name]
    assert a == b  # the weights of both, to the bit
    assert first["valid"] == second["valid"] and first["test"] == second["test"]
    same_curve(one, first)
    start = loading.create_net(
        loading.bind(settings_of(model, *TINY)),
        settings_of(model, *overrides_of(data, tmp_path, model, *more)),
        Schema.load(data),
    )
    moved = max(
        np.abs(v.numpy() - files(one)[1][f"weights/{k}"]).max()
        for k, v in start.state_dict().items()
    )
    assert moved > 0.01  # else the comparison says little


# tables that are spread


def test_split_tables_start_from_a_run(together, data, tmp_path):
    """Each process takes its part of the weights and of the moments."""
    overrides = [x for x in after_a_run(data, tmp_path) if "shard_tables" not in x]
    one = train(settings_of("din", *overrides), data)
    same_curve(one, together[0]["spread, from a run"][0][0])


@pytest.mark.parametrize("name", SPREAD)
def test_tables_that_are_spread_learn_the_same(together, data, tmp_path, name):
    """Moments as well; the checkpoint is whole, as if one process had written it."""
    model, more = SPREAD[name]
    one = train(settings_of(model, *overrides_of(data, tmp_path, model, *more)), data)
    spread = together[0][name][0][0]
    same_curve(one, spread)
    a, b = files(one)[1], files(spread)[1]
    for k in a.keys() - {"state"}:
        close(a[k], b[k], 1e-5)
    items = a[
        "weights/embeddings.tables.item.weight"
    ]  # 4 columns of 4 bytes; what has fewer than ten rows is not spread
    tables = {f.name: f.size for f in Schema.load(data).fields if f.kind == "category"}
    assert len(items) == tables["item"] > 20 and min(tables.values()) < 10
    half = {
        name: (size + 1) // 2 + 1 if size >= 10 else size for name, size in tables.items()
    }  # and a row that is nobody's
    bias = 4 * (model == "din")
    said = (
        f"each holds about {16 * sum(half.values()) + bias * half['item']:,} of "
        f"{16 * sum(tables.values()) + bias * tables['item']:,} bytes of tables"
    )
    assert said in _text(os.path.join(spread["run_dir"], "log.txt")), said


def test_one_process_goes_on_with_spread_tables_and_they_with_its(together, data, tmp_path):
    results, where = together
    more = ["runner.epochs=2", "hyper_parameters.item_bias=true"]
    whole = train(settings_of("din", *overrides_of(data, tmp_path / "a", "din", *more)), data)
    same_curve(whole, results["spread on"][0][0])
    name = "spread, regularised"
    more = [*SPREAD[name][1], "runner.epochs=2"]
    whole = train(settings_of("din", *overrides_of(data, tmp_path / "b", "din", *more)), data)
    same_curve(
        whole,
        train(
            settings_of(
                "din", *overrides_of(data, where / name, "din", *more), "runner.resume=true"
            ),
            data,
        ),
    )


def test_clipping_of_spread_tables_is_refused(monkeypatch, data, tmp_path):
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")
    monkeypatch.setattr(distributed, "start", lambda use_gpu, longest_wait: None)
    monkeypatch.setattr(fast, "refuse_what_differs", lambda net, run: [])  # asks the other process
    with pytest.raises(InputError, match="clip_norm needs the norm of the whole gradient"):
        train(
            settings_of(
                "din",
                *overrides_of(
                    data,
                    tmp_path,
                    "din",
                    "runner.shard_tables=10",
                    "hyper_parameters.optimizer.clip_norm=1.0",
                ),
            ),
            data,
        )
    assert not list(tmp_path.iterdir())
    distributed.split_from(0)


def test_three_processes_and_a_last_batch_of_one_row(data, tmp_path):
    more = [*SGD, "runner.train_batch_size=479", "hyper_parameters.item_bias=true"]
    more += ["hyper_parameters.activation=dice"]
    model = "din"
    job = ("three", model, overrides_of(data, tmp_path / "three", model, *more))
    results = train_together(3, [job], tmp_path)["three"]
    assert len({digest for _, digest in results}) == 1
    same_curve(
        train(settings_of(model, *overrides_of(data, tmp_path / "one", model, *more)), data),
        results[0][0],
    )


# stopping, going on


def test_two_processes_go_on_to_the_same_bits(together):
    """Dropout too: its masks depend on seed, step and rank."""
    results = together[0]
    assert results["resumed"][0][1] == results["resumed"][1][1] == results["whole"][0][1]
    (a_lines, a), (b_lines, b) = files(results["whole"][0][0]), files(results["resumed"][0][0])
    assert a_lines == b_lines and len(a_lines) == 3
    assert all(np.array_equal(a[k], b[k]) for k in a if k != "state")


def test_bad_numbers_end_or_skip_a_batch_in_all_processes(together):
    """And leave them in step: the jobs after these two are the same processes'."""
    results, where = together
    (first, _), (second, _) = results["bad"]
    assert first == second and first["error"].startswith(
        "the loss is nan at step 2 (epoch 1, batch 2), "
    )
    (first, _), (second, _) = results["skipped"]
    assert first == second and "the model's scores are not finite" in first["error"]
    assert (
        _text(str(where / "skipped" / "din" / "tiny" / "log.txt")).count(
            "skipped a batch: the loss is nan at step "
        )
        == 7
    )


def test_masks_of_dropout_differ_between_processes(monkeypatch):
    alone = step_seed(5, 7)
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "3")
    seeds = []
    for r in range(3):
        monkeypatch.setenv("PADDLE_TRAINER_ID", str(r))
        seeds.append(step_seed(5, 7))
    assert seeds[0] == alone and len(set(seeds)) == 3


def test_another_number_of_processes_goes_on_within_float_error(together, data, tmp_path):
    """One begins and two go on; two begin and one goes on."""
    results, where = together
    overrides = [*SGD, "runner.epochs=2"]
    whole = train(settings_of("din", *overrides_of(data, tmp_path, "din", *overrides)), data)
    same_curve(whole, results["handed on"][0][0])
    more = overrides_of(
        data, where / "regularisation", "din", *CASES["regularisation"][1], "runner.epochs=3"
    )
    resumed = train(settings_of("din", *more, "runner.resume=true"), data)
    more = overrides_of(data, tmp_path / "3", "din", *CASES["regularisation"][1], "runner.epochs=3")
    same_curve(train(settings_of("din", *more), data), resumed)


# the launcher


class Launch:
    """`python -m paddle.distributed.launch` of two trainers, as a user types it, from directory
    `cwd`."""

    def __init__(self, cwd, *overrides):
        self.cwd = str(cwd)
        self.out, self.err = (
            open(os.path.join(self.cwd, f"{id(self)}.{k}"), "w+") for k in ("out", "err")
        )
        command = [
            "-m",
            "paddle.distributed.launch",
            "--nproc_per_node",
            "2",
            "--log_dir",
            "log",
            os.path.join(ROOT, "tools", "trainer.py"),
            "-m",
            os.path.join(ROOT, "models", "din", "config.yaml"),
            "-o",
            *[k for k in TINY_DIN if "activation" not in k],
            *overrides,
        ]
        self.process = subprocess.Popen(
            [sys.executable, *command],
            cwd=self.cwd,
            stdout=self.out,
            stderr=self.err,
            text=True,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for stop in (*self.workers().values(), self.process.pid):
            try:
                os.kill(stop, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait(30)
        self.out.close(), self.err.close()

    def workers(self):
        """Process number of each rank that runs."""
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat") as f:
                    parent = int(f.read().rpartition(")")[2].split()[1])
                with open(f"/proc/{pid}/environ", "rb") as f:
                    environment = dict(
                        x.partition("=")[::2] for x in f.read().decode(errors="replace").split("\0")
                    )
            except OSError:
                continue
            if parent == self.process.pid and "PADDLE_TRAINER_ID" in environment:
                found[int(environment["PADDLE_TRAINER_ID"])] = int(pid)
        return found

    def ended(self, seconds=120):
        """Exit status, standard output, standard error."""
        status = self.process.wait(seconds)
        return status, _text(self.out.name), _text(self.err.name)

    def log(self, number):
        """What one rank wrote, without Paddle's list of flags."""
        return [
            line
            for line in _text(os.path.join(self.cwd, "log", f"workerlog.{number}")).splitlines()
            if line.strip() and not line.startswith(("===", "FLAGS("))
        ]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipe")
    with open(folder / "small.yaml", "w") as f:
        f.write(
            "name: small\nsource: synthetic\nprotocol: impressions\nusers: 60\nitems:"
            " 50\nimpressions: 20\n"
        )
    return f"runner.dataset={folder / 'small.yaml'}"


@pytest.fixture(scope="module")
def killed(tmp_path_factory, recipe):
    """Two processes that prepare a dataset and train; then one is killed: directory, status,
    seconds, output, rank 0's log."""
    cwd = tmp_path_factory.mktemp("killed")
    with Launch(
        cwd,
        recipe,
        "runner.epochs=100000",
        "runner.early_stop=0",
        "hyper_parameters.activation=dice",
    ) as launch:
        lines = cwd / "output" / "din" / "small" / "metrics.jsonl"
        until = time.time() + 120
        while _text(str(lines)).count("\n") < 3:
            assert time.time() < until and launch.process.poll() is None, launch.log(0)
            time.sleep(0.05)
        os.kill(launch.workers()[1], signal.SIGKILL)
        began = time.time()
        status, out, err = launch.ended(60)
        seconds, left = time.time() - began, launch.workers()
        return cwd, status, seconds, out, err, launch.log(0), launch.log(1), left


def test_a_killed_process_stops_the_others_with_a_line(killed):
    _, status, seconds, out, err, zero, _, left = killed
    assert status != 0 and seconds < 60 and not left
    said = [line for line in zero if "another process of this run has ended" in line]
    by_launch = (
        status == 256 - signal.SIGTERM and not said
    )  # a race: `launch` looked before rank 0 met the broken connection
    assert by_launch or len(said) == 1 and said[0].startswith("error: ") and said[0] in out
    assert (
        "Traceback" not in "".join(zero) and "Container failed" in err
    )  # which rank it names is a race, too


def test_one_process_prepares_writes_and_speaks(killed):
    cwd, _, _, out, _, zero, one, _ = killed
    said = [
        line for line in zero if "preparing " in line
    ]  # of what `launch` shows, it may quote the end a second time
    assert len(said) == 1 and said[0] in out and one == []
    steps = [
        json.loads(line)
        for line in _text(str(cwd / "output" / "din" / "small" / "metrics.jsonl")).splitlines()
    ]
    assert [k["epoch"] for k in steps] == list(range(1, len(steps) + 1))
    assert not [name for name in tree(cwd / "output") if ".part-" in name]
    assert {os.path.basename(name) for name in tree(cwd / "output") if "log" not in name} == {
        "config.yaml",
        "metrics.jsonl",
        "latest.npz",
        "best.npz",
    }


def test_what_was_killed_goes_on_and_reports_once(killed, recipe):
    """The last line of standard output is the result, as without the launcher."""
    cwd = killed[0]
    done = len(_text(str(cwd / "output" / "din" / "small" / "metrics.jsonl")).splitlines())
    with Launch(
        cwd,
        recipe,
        f"runner.epochs={done + 1}",
        "runner.early_stop=0",
        "hyper_parameters.activation=dice",
        "runner.resume=true",
    ) as launch:
        status, out, err = launch.ended()
        assert status == 0, err[-2000:]
        result = json.loads(out.splitlines()[-1])
        assert result["epochs"] == done + 1 and out.count('"run_dir"') == 1 and launch.log(1) == []


def test_a_mistake_is_said_once(tmp_path, data):
    """By each process in its own log; only that of rank 0 is on the terminal (and once more where
    the launcher quotes it)."""
    with Launch(tmp_path, f"runner.data_dir={data}", "runner.epoch=3") as launch:
        status, out, _ = launch.ended()
        message = "error: -o runner.epoch=3: unknown key runner.epoch; nearest is runner.epochs"
        assert (
            status != 0
            and launch.log(0) == [message]
            and launch.log(1) == [f"process 1: {message}"]
        )
        assert (
            "process 1: " not in out
            and "Traceback" not in out
            and sorted(set(out.splitlines())) == [message]
        )
    assert not (tmp_path / "output").exists()


def test_fewer_rows_than_processes_are_refused(monkeypatch, data, tmp_path):
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "4")
    monkeypatch.setattr(distributed, "start", lambda use_gpu, longest_wait: None)
    with pytest.raises(InputError, match="train_batch_size is 3, must be at least 4"):
        train(
            settings_of("din", *overrides_of(data, tmp_path, "din", "runner.train_batch_size=3")),
            data,
        )
    assert not list(tmp_path.iterdir())
