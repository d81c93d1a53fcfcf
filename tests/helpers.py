"""What several test files share: a small log with every kind of column, settings for tiny nets, and
tools run cheaply."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd

from paddleinterest.core import settings
from paddleinterest.data.builder import build
from paddleinterest.data.log import Log

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TINY = [
    "runner.visualdl=false",
    "runner.train_batch_size=64",
    "runner.bucket_batches=4",
    "runner.history_cap=12",
    "runner.print_interval=5",
    "hyper_parameters.activation=dice",
    "hyper_parameters.embedding_size=4",
    "hyper_parameters.tower=[8,4]",
    "hyper_parameters.dropout=0",
    "hyper_parameters.regularization=0",
    "hyper_parameters.optimizer.learning_rate=0.01",
]
TINY_DIN = [
    *TINY,
    "hyper_parameters.attention_softmax=false",
    "hyper_parameters.attention_units=[6,5]",
]


def small_log(users=60, impressions=40, items=90, seed=0):
    """Impressions of users who click items of their two favourite categories (0.85) and seldom
    others (0.1).

    Item attributes: category (text), brand (text, some missing), maker (integer); item dense: price
    (some missing). User attribute: age (some missing). Context: hour. Six users never click: their
    histories are empty throughout.
    """
    rng = np.random.default_rng(seed)
    category = rng.integers(0, 8, items)
    price = np.round(rng.lognormal(2, 0.7, items), 2)
    price[::11] = np.nan
    item_frame = pd.DataFrame(
        {
            "item": [f"i{k}" for k in range(items)],
            "category": [f"c{k}" for k in category],
            "brand": [None if k % 13 == 0 else f"b{k % 10}" for k in range(items)],
            "maker": category % 3,
            "price": price,
        }
    )
    user_frame = pd.DataFrame(
        {
            "user": [f"u{k}" for k in range(users)],
            "age": [
                None if k % 9 == 0 else ("young", "middle", "old")[k % 3] for k in range(users)
            ],
        }
    )
    favourite = np.array([rng.choice(8, 2, replace=False) for _ in range(users)])
    user = np.repeat(np.arange(users), impressions)
    item = rng.integers(0, items, len(user))
    likes = (category[item][:, None] == favourite[user]).any(1)
    item = np.where(
        ~likes & (rng.random(len(user)) < 0.3),  # show what they like more often than chance would
        np.array([rng.choice(np.flatnonzero(category == favourite[u, 0])) for u in user]),
        item,
    )
    likes = (category[item][:, None] == favourite[user]).any(1)
    label = (rng.random(len(user)) < np.where(likes, 0.85, 0.1)).astype(int)
    label[user % 10 == 7] = 0
    time = 1_700_000_000 + rng.integers(0, 500_000, len(user))
    events = pd.DataFrame(
        {
            "user": [f"u{k}" for k in user],
            "item": [f"i{k}" for k in item],
            "time": time,
            "label": label,
            "hour": [f"h{t // 3600 % 4}" for t in time],
        }
    )
    return Log(events, item_frame, user_frame, context=["hour"], dense=["price"])


def small_dataset(directory, name="small", protocol="impressions", **log):
    """`small_log` prepared at `directory`/`name`; returns the path as text."""
    out = os.path.join(str(directory), name)
    build(small_log(**log), out, protocol=protocol, name=name, seed=3)
    return out


def settings_of(model, *overrides):
    """The resolved settings of a model with `-o` overrides."""
    return settings.load(os.path.join(ROOT, "models", model, "config.yaml"), list(overrides))


def random_batch(schema, rows, lengths, seed=0, width=None):
    """A batch as the reader gives it, of random indices. lengths: history length of each row, or
    one for all."""
    rng = np.random.default_rng(seed)
    lengths = np.broadcast_to(np.asarray(lengths), rows)
    width = max(1, int(lengths.max())) if width is None else width
    real = np.arange(width) < lengths[:, None]
    batch = {}
    for f in schema.item_fields:
        batch[f"history_{f.name}"] = np.where(real, rng.integers(1, f.size, real.shape), 0)
        batch[f"target_{f.name}"] = rng.integers(1, f.size, rows)
    for of in ("user", "context"):
        for f in schema.categories(of):
            batch[f"{of}_{f.name}"] = rng.integers(1, f.size, rows)
    if schema.dense_fields:
        batch["dense"] = rng.normal(size=(rows, len(schema.dense_fields))).astype(np.float32)
    batch["label"] = (rng.random(rows) < 0.5).astype(np.float32)
    ago = np.sort(10 ** rng.uniform(-1, 9, real.shape), 1)[:, ::-1].astype(
        np.int64
    )  # from under a second to 30 years
    batch["target_time"] = rng.integers(1_600_000_000, 1_700_000_000, rows)
    batch["history_time"] = np.where(real, batch["target_time"][:, None] - ago, 0)
    return batch


def scramble(net, seed=0, scale=0.4):
    """Give every weight and every buffer of a net a random value that matters (variances positive,
    padding 0)."""
    rng = np.random.default_rng(seed)
    for name, tensor in net.state_dict().items():
        value = rng.normal(0, scale, tensor.shape)
        if name.endswith("variance"):
            value = 0.5 + np.abs(value)
        if name.startswith("embeddings.tables"):
            value[0] = 0
        tensor.set_value(value.astype(np.float32))
    return net


# what must hold for every net


def probabilities(net, batch):
    """Click probabilities [B] in evaluation."""
    import paddle

    net.eval()
    with paddle.no_grad():
        return paddle.nn.functional.sigmoid(
            net({k: paddle.to_tensor(v) for k, v in batch.items()})
        ).numpy()


def check_invariants(net, schema, tolerance=1e-6):
    """Extra padding, batch mates and batch size change no prediction by more than `tolerance`; 9
    rows of all lengths. What changes one is named."""
    lengths = np.array([0, 0, 1, 1, 2, 5, 9, 17, 30])
    batch = random_batch(schema, 9, lengths, seed=5)
    whole = probabilities(net, batch)
    assert np.std(whole) > 0.02, f"the net scores all rows alike, so nothing is tested: {whole}"
    assert 0.001 < whole.min() and whole.max() < 0.999, f"saturated scores hide faults: {whole}"

    def same(got, rows, what):
        moved = np.abs(got - whole[rows])
        worst = int(moved.argmax())
        assert moved[worst] <= tolerance, (
            f"{what}: the probability of a row with {lengths[rows[worst]]} events moves from"
            f" {whole[rows[worst]]:.6f} to {got[worst]:.6f}"
        )

    padded = {
        k: np.pad(v, ((0, 0), (0, 13))) if k.startswith("history_") else v for k, v in batch.items()
    }
    same(probabilities(net, padded), np.arange(9), "13 more positions of padding")
    for row in range(9):
        width = max(1, lengths[row])  # padded no further than it needs
        alone = {
            k: v[row : row + 1, :width] if k.startswith("history_") else v[row : row + 1]
            for k, v in batch.items()
        }
        same(probabilities(net, alone), np.array([row]), "alone in its batch")
    shuffled = np.random.default_rng(1).permutation(np.repeat(np.arange(9), 40))
    mates = {k: v[shuffled] for k, v in batch.items()}
    same(probabilities(net, mates), shuffled, "in a batch of 360, in another order")


def next_item_terms(net, batch):
    """The next-item loss of each state but the last, [B, T − 1]; `forward_train` of a net with a
    `NextItemLoss` computes their mean."""
    import paddle

    seen = []
    hook = net.next_item.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs))
    net.eval()
    with paddle.no_grad():
        net.forward_train({k: paddle.to_tensor(v) for k, v in batch.items()})
        hook.remove()
        states, history, valid, feeds, embeddings = seen[0]
        return net.next_item.losses(states, history, feeds, embeddings).numpy() * valid.numpy()


def check_no_leak(net, batch):
    """A state that must name item t + 1 has not read it: another item there, and its attributes,
    leave the terms of the states before t as they were, and change that of state t."""
    before = next_item_terms(net, batch)
    steps = batch["history_item"].shape[1]
    assert np.count_nonzero(before) > len(before)
    for t in range(steps - 1):
        other = {k: v.copy() for k, v in batch.items()}
        for name, values in other.items():
            if name.startswith("history_") and name != "history_time":
                values[:, t + 1] = np.where(values[:, t + 1] == 1, 2, 1)
        after = next_item_terms(net, other)
        close(after[:, :t], before[:, :t], 1e-6)
        counted = before[:, t] != 0
        assert (np.abs(after[:, t] - before[:, t]) > 1e-5)[counted].all()


def trained(model, data, directory, *overrides, **scrambled):
    """A run on disk as the trainer leaves it, with scrambled weights in place of trained ones:
    settings, binding, net."""
    from paddleinterest.data.schema import Schema
    from paddleinterest.training import checkpoint, loading, resume, run

    config = settings_of(
        model, *overrides, f"runner.data_dir={data}", f"runner.model_save_path={directory}"
    )
    binding = loading.bind(config)
    schema = Schema.load(data)
    net = scramble(loading.create_net(binding, config, schema), **scrambled)
    folder = os.path.join(run.directory(config), "checkpoints")
    state = {
        "model": model,
        "epoch": 1,
        "valid": None,
        "settings": resume.settings_that_count(config, schema),
    }
    checkpoint.save(os.path.join(folder, "best.npz"), net, state)
    settings.save(config, os.path.join(run.directory(config), "config.yaml"))
    net.eval()
    return config, binding, net


def check_saving(model, data, directory, *overrides):
    """A checkpoint read into a net with other start weights gives the same predictions, to the
    bit."""
    from paddleinterest.data.schema import Schema
    from paddleinterest.training import checkpoint, loading, run

    config, binding, net = trained(model, data, directory, *overrides)
    schema = Schema.load(data)
    other = loading.create_net(binding, settings_of(model, *overrides, "runner.seed=99"), schema)
    batch = random_batch(schema, 30, np.arange(30) % 12)
    assert np.abs(probabilities(other, batch) - probabilities(net, batch)).max() > 1e-3
    checkpoint.load(run.checkpoint_path(config), other, model)
    close(probabilities(other, batch), probabilities(net, batch), 0)


def check_export(
    model, data, directory, *overrides, lengths=range(51), onednn=(False, True), tolerance=1e-6
):
    """The bundle's programs give the dynamic graph's predictions: batch sizes 1, 7 and 500, the
    lengths given, empty histories, rows of different lengths, and one user's candidates through the
    rank program."""
    import paddle

    from paddleinterest.data.schema import Schema
    from paddleinterest.serving.bundle import Bundle
    from paddleinterest.serving.export import export

    config, _, net = trained(model, data, directory, *overrides, scale=0.3)
    schema, out = Schema.load(data), os.path.join(str(directory), "bundle")
    export(config, data, out)
    bundles = [Bundle(out, onednn=o) for o in onednn]
    for rows in (1, 7, 500):
        for length in lengths:
            for mixed in (False, True):
                if rows == 1 and mixed or length % 25 and (rows == 500 or rows == 7 and not mixed):
                    continue
                batch = random_batch(
                    schema, rows, np.arange(rows) % (length + 1) if mixed else length, seed=length
                )
                expected = probabilities(net, batch)
                of_user = ("history_", "user_", "context_", "target_time")
                one_user = {k: v[:1] if k.startswith(of_user) else v for k, v in batch.items()}
                repeated = {
                    k: v if len(v) == rows else np.repeat(v, rows, 0) for k, v in one_user.items()
                }
                ranked = probabilities(net, repeated)
                with paddle.no_grad():
                    _, weight = net(
                        {k: paddle.to_tensor(v) for k, v in repeated.items()}, return_attention=True
                    )
                for bundle in bundles:
                    close(bundle.score(batch), expected, tolerance)
                    score, attention = bundle.programs["rank"](one_user)
                    close(score.reshape(-1), ranked, tolerance)
                    close(attention, weight.numpy(), 1e-5)
    assert np.std(expected) > 0.01


def close(a, b, tolerance):
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


# the tools as processes


class Result:
    """What a tool did. `json` is the last line of its standard output."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    @property
    def json(self):
        return json.loads(self.out.splitlines()[-1])

    @property
    def lines(self):
        """Lines of standard error that a person sees, progress bars (which a carriage return
        overwrites) left out."""
        return [
            line.rpartition("\r")[2].strip()
            for line in self.err.splitlines()
            if line.rpartition("\r")[2].strip()
        ]


def run_tool(tool, *arguments, cwd, **env):
    """Run tools/<tool>.py as a user does, in a process of its own, from directory `cwd`."""
    done = subprocess.run(
        [sys.executable, os.path.join(ROOT, "tools", f"{tool}.py"), *map(str, arguments)],
        cwd=str(cwd),
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **env},
    )
    return Result(done.returncode, done.stdout, done.stderr)


class ToolServer:
    """Runs tools in forks of one process that has imported Paddle: the same as `run_tool`, without
    its seconds of import.

    Example:
        with ToolServer() as tools:
            result = tools.run("infer", "-m", "models/din/config.yaml", cwd=tmp_path)
    """

    PROGRAM = """
import json, os, runpy, signal, sys
sys.path.insert(0, sys.argv[1])
import numpy, pandas, pyarrow.parquet, pyarrow.ipc, paddle, paddle.inference
import paddleinterest.data.builder, paddleinterest.training.trainer
for line in sys.stdin:
    job = json.loads(line)
    pid = os.fork()
    if not pid:
        break
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
else:
    sys.exit()
os.chdir(job["cwd"])
for fd, path in ((0, os.devnull), (1, job["out"]), (2, job["err"])):
    os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), fd)
sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", buffering=1, closefd=False)
sys.argv = job["argv"]
exec(job["first"])
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
    status = 0
except SystemExit as e:  # anything else keeps its traceback
    status = e.code or 0
    if not isinstance(status, int):
        print(status, file=sys.stderr)
        status = 1
sys.stdout.flush(), sys.stderr.flush()
os._exit(status)  # taking Paddle down in an orderly way costs half a second
"""

    def __init__(self, folder):
        self.folder, self.jobs = str(folder), 0

    def __enter__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM, ROOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "GLOG_minloglevel": "2"},
        )
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()

    def run(self, tool, *arguments, cwd, interrupt=None, sign=signal.SIGINT, first=""):
        """Run tools/<tool>.py, after the Python source `first`.

        With `interrupt`, a function of the standard error so far, send Ctrl-C, or signal `sign`,
        once it is true.
        """
        self.jobs += 1
        out, err = (os.path.join(self.folder, f"{self.jobs}.{k}") for k in ("out", "err"))
        job = {
            "argv": [os.path.join(ROOT, "tools", f"{tool}.py"), *map(str, arguments)],
            "cwd": str(cwd),
            "out": out,
            "err": err,
            "first": first,
        }
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        pid = int(self.process.stdout.readline())
        if interrupt:
            until = time.time() + 60
            while not interrupt(_text(err)) and _lives(pid):
                if time.time() > until:
                    os.kill(pid, signal.SIGKILL)
                    self.process.stdout.readline()
                    raise AssertionError(f"the moment to interrupt {tool} never came: {_text(err)}")
                time.sleep(0.002)
            with contextlib.suppress(ProcessLookupError):  # it was done before the moment came
                os.kill(pid, sign)
        return Result(int(self.process.stdout.readline()), _text(out), _text(err))


def _lives(pid):
    try:
        os.kill(pid, 0)
        return True
    except ProcessLookupError:
        return False


def _text(path):
    try:
        with open(path, encoding="utf-8", errors="replace", newline="") as f:
            return f.read()
    except FileNotFoundError:
        return ""


def tree(directory):
    """Every file below `directory` with its size, {relative path: bytes}; to see what a failed tool
    left behind."""
    return {
        os.path.relpath(os.path.join(folder, name), directory): os.path.getsize(
            os.path.join(folder, name)
        )
        for folder, _, names in os.walk(str(directory))
        for name in names
    }
