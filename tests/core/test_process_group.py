"""Several processes: what travels between them, for any number of them, and what the others do when
one of them ends. The processes are forks of one that has imported Paddle."""

import json
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers import ROOT

from paddleinterest.core.distributed.exchange import meetings

pytestmark = pytest.mark.slow

PROGRAM = """
import hashlib, json, os, signal, sys, time
sys.path.insert(0, sys.argv[1])
count, ports, out = int(sys.argv[2]), sys.argv[3].split(","), sys.argv[4]
os.environ.update(
    PADDLE_TRAINERS_NUM=str(count),
    PADDLE_TRAINER_ENDPOINTS=",".join(f"127.0.0.1:{p}" for p in ports[1:]),
    PADDLE_MASTER=f"127.0.0.1:{ports[0]}",
)
import numpy as np
import paddle
from paddleinterest.core import distributed
from paddleinterest.core.errors import InputError
from paddleinterest.nets.sharded import ShardedEmbedding
paddle.set_device("cpu")
children = []
for index in range(count):
    child = os.fork()
    if not child:
        break
    children.append(child)
else:
    for child in children:
        os.waitpid(child, 0)
    os._exit(0)
os.environ["PADDLE_TRAINER_ID"] = str(index)
os.environ["PADDLE_CURRENT_ENDPOINT"] = f"127.0.0.1:{ports[1 + index]}"
began = time.monotonic()
try:
    distributed.start(False, LONGEST_WAIT)
    result = work(index, count)
except InputError as e:
    result = {"error": str(e)}
with open(f"{out}.{index}", "w") as f:
    json.dump({"result": result, "seconds": time.monotonic() - began}, f)
os._exit(0)
"""


def free_ports(number):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def run(tmp_path, count, work, longest_wait=60):
    """What `work(index, count)`, a text, gives in each process; None for one that was killed."""
    head, rest = PROGRAM.split("children = []\n")
    program = head + work + "children = []\n" + rest.replace("LONGEST_WAIT", str(longest_wait))
    out = str(tmp_path / f"out{count}")
    subprocess.run(
        [sys.executable, "-c", program, ROOT, str(count), ",".join(map(str, free_ports(count + 1)))]
        + [out],
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOG_minloglevel": "2"},
        check=True,
        timeout=120,
    )
    found = []
    for index in range(count):
        try:
            with open(f"{out}.{index}") as f:
                found.append(json.load(f))
        except FileNotFoundError:
            found.append(None)
    return found


# what travels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", range(2, 20, 2))
def test_each_pair_meets_once_and_both_at_the_same_time(count):
    plans = [list(meetings(count, me)) for me in range(count)]
    for me, plan in enumerate(plans):
        assert sorted(plan) == [other for other in range(count) if other != me]
    at = [0] * count
    left = sum(map(len, plans))
    while left:  # a pair can meet only when both have come to it
        met = [
            (a, plans[a][at[a]])
            for a in range(count)
            if at[a] < len(plans[a]) and plans[plans[a][at[a]]][at[plans[a][at[a]]]] == a
        ]
        assert met, "everybody waits for somebody else"
        for a, _ in met:
            at[a] += 1
        left -= len(met)


EXCHANGE = """
def work(index, count):
    found = {}
    for kind in ("int64", "float32"):
        lengths = np.array([[(s + 2 * r) % 4 for r in range(count)] for s in range(count)])
        parts = [
            paddle.full([int(lengths[index, r])], 100 * index + r, kind) for r in range(count)
        ]
        received = distributed.exchange(parts, lengths)
        found[kind] = [[str(x.dtype), x.numpy().tolist()] for x in received]
    return found
"""


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_everybody_gets_what_was_sent_to_it(tmp_path, count):
    for me, found in enumerate(run(tmp_path, count, EXCHANGE)):
        for kind in ("int64", "float32"):
            for sender, (dtype, values) in enumerate(found["result"][kind]):
                assert dtype.endswith(kind)
                assert values == [100 * sender + me] * ((sender + 2 * me) % 4)


GRADIENTS = """
class Net(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.one = paddle.nn.Embedding(23, 3, sparse=True)
        self.two = paddle.nn.Embedding(7, 5, sparse=True)
        self.out = paddle.nn.Linear(8, 1)

def work(index, count):
    paddle.seed(1)
    net = Net()
    rng = np.random.default_rng(index)
    rows = 4 if index else 1  # one process has few rows, and one table none of some owner
    a = rng.integers(0, 23, rows)
    b = rng.integers(0, 7, rows) if index != 1 else np.zeros(rows, int)
    scale = paddle.to_tensor(rng.normal(size=(rows, 1)).astype("float32"))
    x = paddle.concat([net.one(paddle.to_tensor(a)), net.two(paddle.to_tensor(b))], 1)
    (net.out(x) * scale).sum().backward()
    before = {k: dense(p) for k, p in net.named_parameters()}
    distributed.sync_gradients(net)
    after = {k: dense(p) for k, p in net.named_parameters()}
    kept = all(p.grad.is_selected_rows() for p in (net.one.weight, net.two.weight))
    return {"before": before, "after": after, "sparse": kept}

def dense(p):
    if not p.grad.is_selected_rows():
        return p.grad.numpy().tolist()
    from paddle.nn.clip import get_tensor_from_selected_rows, merge_selected_rows
    merged = merge_selected_rows(p.grad)
    out = np.zeros(p.shape, "float32")
    out[np.asarray(merged.rows())] = get_tensor_from_selected_rows(merged).numpy()
    return out.tolist()
"""


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_gradients_are_summed_and_all_hold_the_same_bits(tmp_path, count):
    found = [f["result"] for f in run(tmp_path, count, GRADIENTS)]
    for name in found[0]["after"]:
        ordered = np.float32(found[0]["before"][name])
        for other in found[1:]:
            ordered = ordered + np.float32(other["before"][name])
        after = [np.float32(f["after"][name]) for f in found]
        assert all(np.array_equal(a, after[0]) for a in after)
        assert np.abs(ordered).max() > 0
        if name in ("one.weight", "two.weight"):
            assert np.array_equal(after[0], ordered)  # in the order of the processes
        else:
            np.testing.assert_allclose(after[0], ordered, rtol=1e-6, atol=1e-7)
    assert all(f["sparse"] for f in found)


SPLIT = """
def work(index, count):
    paddle.seed(1)
    whole = paddle.nn.Embedding(23, 3)
    paddle.seed(1)
    split = ShardedEmbedding(23, 3, padding_idx=0, sparse=True)
    rng = np.random.default_rng(index)
    ids = rng.integers(0, 23, (4, index + 1)) if index != 1 else np.zeros((2, 2), int)
    out = split(paddle.to_tensor(ids))
    want = whole.weight.numpy()[ids] * (ids != 0)[..., None]
    scale = paddle.to_tensor(rng.normal(size=out.shape).astype("float32"))
    (out * scale).sum().backward()
    from paddle.nn.clip import get_tensor_from_selected_rows, merge_selected_rows
    merged = merge_selected_rows(split.weight.grad)
    mine = np.zeros(split.weight.shape, "float32")
    mine[np.asarray(merged.rows())] = get_tensor_from_selected_rows(merged).numpy()
    given = np.zeros((23, 3), "float32")
    real = (ids.reshape(-1) != 0)[:, None]
    np.add.at(given, ids.reshape(-1), scale.numpy().reshape(-1, 3) * real)
    return {
        "same": bool(np.array_equal(out.numpy(), want)),
        "mine": mine[:-1].tolist(),
        "nobodys": float(np.abs(mine[-1]).max()),
        "given": given.tolist(),
    }
"""


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_a_split_table_is_the_whole_one(tmp_path, count):
    found = [f["result"] for f in run(tmp_path, count, SPLIT)]
    assert all(f["same"] for f in found) and all(f["nobodys"] == 0 for f in found)
    want = np.sum([f["given"] for f in found], 0)
    assert np.abs(want).max() > 0
    for me, f in enumerate(found):
        np.testing.assert_allclose(f["mine"], want[me::count], rtol=1e-5, atol=1e-6)


# one that ends ------------------------------------------------------------------------------------

ENDS = {
    "killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "failed": "raise InputError('no prepared dataset')",
    "left": "return 'done'",
}
WAITS = {
    "wait": "distributed.wait()",
    "wait for a path": "distributed.wait_for('/nowhere/at/all')",
}


@pytest.mark.parametrize("who, count", [(1, 2), (2, 3), (0, 3)])
@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("where", WAITS)
def test_nobody_waits_for_a_process_that_has_ended(tmp_path, who, count, how, where):
    work = f"""
def work(index, count):
    distributed.wait()
    if index == {who}:
        {ENDS[how]}
    {WAITS[where]}
"""
    began = time.monotonic()
    found = run(tmp_path, count, work, longest_wait=100)
    assert time.monotonic() - began < 60
    for index, f in enumerate(found):
        if index == who:
            assert (f is None) == (how == "killed")
            continue
        assert "of this run has ended" in f["result"]["error"] and f["seconds"] < 20
        assert "\n" not in f["result"]["error"]


def test_the_process_that_has_ended_is_named(tmp_path):
    work = f"""
def work(index, count):
    distributed.wait()
    if index == 2:
        {ENDS["killed"]}
    distributed.wait_for("/nowhere/at/all")
"""
    found = run(tmp_path, 4, work)
    for index in (0, 1, 3):
        assert found[index]["result"]["error"].startswith("process 2 of this run has ended")


@pytest.mark.parametrize("where", WAITS)
def test_waiting_has_a_bound(tmp_path, where):
    work = f"""
def work(index, count):
    if index:
        time.sleep(6)  # alive, but it does not come
        return "slept"
    {WAITS[where]}
"""
    found = run(tmp_path, 2, work, longest_wait=1.5)
    assert found[1]["result"] == "slept"
    error = found[0]["result"]["error"]
    assert error.startswith("waited 0.025 minutes for ") and "runner.wait_minutes" in error


def test_a_slow_process_is_waited_for(tmp_path):
    work = """
def work(index, count):
    time.sleep(3 * index)
    distributed.wait()
    time.sleep(2 - index)
    distributed.wait()
    return distributed.sums({"a": index + 1.0})["a"]
"""
    assert [f["result"] for f in run(tmp_path, 3, work)] == [6.0] * 3


def test_waiting_for_a_path_ends_when_it_is_there(tmp_path):
    work = f"""
def work(index, count):
    if index:
        distributed.wait_for({str(tmp_path / "made")!r})
        return "there"
    time.sleep(1)
    os.mkdir({str(tmp_path / "made")!r})
"""
    assert [f["result"] for f in run(tmp_path, 2, work)] == [None, "there"]
