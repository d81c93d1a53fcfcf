"""Two machines train one net: network namespaces if this is root's machine, two loopback addresses
otherwise. One is killed and both start again."""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np
import paddle.distributed as dist
import pytest
from helpers import ROOT, TINY_DIN, _text, small_dataset

from paddleinterest.training import checkpoint

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not sys.platform.startswith("linux") or not dist.is_available(),
        reason="this Paddle has no Gloo, which carries numbers between processes on CPUs",
    ),
]


@dataclass
class Machine:
    """An address, its network interface, and what runs a command there."""

    address: str
    interface: str
    within: list[str]


def namespaces(names):
    """Two machines that see each other alone; OSError or CalledProcessError if not allowed."""
    one, other = names

    def ip(*words):
        subprocess.run(["ip", *words], check=True, capture_output=True)

    for name in names:
        ip("netns", "add", name)
    ip("link", "add", "v0", "netns", one, "type", "veth", "peer", "name", "v1", "netns", other)
    machines = []
    for number, name in enumerate(names):
        ip("-n", name, "address", "add", f"10.77.0.{number + 1}/24", "dev", f"v{number}")
        ip("-n", name, "link", "set", f"v{number}", "up")
        ip("-n", name, "link", "set", "lo", "up")
        machines.append(
            Machine(f"10.77.0.{number + 1}", f"v{number}", ["ip", "netns", "exec", name])
        )
    return machines


@pytest.fixture(scope="module")
def machines():
    names = [f"paddleinterest-{os.getpid()}-{k}" for k in (0, 1)]
    try:
        try:
            yield namespaces(names)
        except (OSError, subprocess.CalledProcessError):
            yield [Machine(f"127.0.0.{k}", "lo", []) for k in (1, 2)]
    finally:
        for name in names if shutil.which("ip") else ():
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("two"), "tiny", users=30, impressions=20)


class Node:
    """The launcher of one machine."""

    def __init__(self, machines, number, port, folder, data, *overrides):
        here = machines[number]
        os.makedirs(folder, exist_ok=True)
        self.log_folder = os.path.join(folder, f"log{number}")
        self.out = open(os.path.join(folder, f"out{number}"), "w+")
        command = [*here.within, sys.executable, "-m", "paddle.distributed.launch"]
        command += ["--nnodes", "2", "--rank", str(number), "--nproc_per_node", "1"]
        command += ["--master", f"{machines[0].address}:{port}", "--host", here.address]
        command += ["--log_dir", self.log_folder, os.path.join(ROOT, "tools", "trainer.py")]
        command += ["-m", os.path.join(ROOT, "models", "din", "config.yaml"), "-o", *TINY_DIN]
        command += [f"runner.data_dir={data}", f"runner.model_save_path={folder}", *overrides]
        self.process = subprocess.Popen(
            command,
            stdout=self.out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": here.interface},
        )

    def workers(self):
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as f:
            return [int(pid) for pid in f.read().split()]

    def kill(self):
        """The launcher and its process, as if the machine were off."""
        with contextlib.suppress(OSError):
            for pid in (self.process.pid, *self.workers()):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(30)
        self.out.close()

    def log(self):
        found = [name for name in os.listdir(self.log_folder) if name.startswith("workerlog")]
        return "".join(_text(os.path.join(self.log_folder, name)) for name in sorted(found))


@contextlib.contextmanager
def both(machines, folder, data, *overrides):
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
    nodes = []
    try:
        for number in (0, 1):
            nodes.append(Node(machines, number, port, str(folder), data, *overrides))
        yield nodes
    finally:
        for node in nodes:
            node.kill()


def ended(nodes):
    for node in nodes:
        assert node.process.wait(240) == 0, node.log()[-3000:]
    said = [x for x in _text(nodes[0].out.name).splitlines() if x.startswith("{")]
    summary = json.loads(said[-1])
    summary["checkpoint"] = os.path.relpath(summary["checkpoint"], summary["run_dir"])
    return summary


def without_speed(thing):
    if not isinstance(thing, dict):
        return thing
    kept = {k: without_speed(v) for k, v in thing.items()}
    return {k: v for k, v in kept.items() if not any(w in k for w in ("second", "run_dir"))}


def run_of(folder):
    run = os.path.join(folder, "din", "tiny")
    lines = [json.loads(x) for x in _text(os.path.join(run, "metrics.jsonl")).splitlines()]
    arrays = {}
    for name in ("latest", "best"):
        found = checkpoint.read(os.path.join(run, "checkpoints", f"{name}.npz"))
        arrays.update({f"{name}/{k}": v for k, v in found.items() if k != "state"})
    return [without_speed(x) for x in lines], arrays


def test_one_of_two_machines_is_killed_and_both_start_again(machines, data, tmp_path):
    """The figures and the weights are those of a run that nothing stopped, to the last bit."""
    seed = random.randrange(10**6)
    print(f"random seed {seed}")
    draw = random.Random(seed)
    settings = ["runner.epochs=4", "runner.early_stop=0", "runner.resume=true"]
    settings += ["runner.save_interval=2", "runner.train_batch_size=64", "runner.name=tiny"]
    with both(machines, tmp_path / "whole", data, *settings) as nodes:
        whole = ended(nodes)
    with both(machines, tmp_path / "killed", data, *settings) as nodes:
        lines = str(tmp_path / "killed" / "din" / "tiny" / "metrics.jsonl")
        enough = draw.randrange(1, 3)
        until = time.monotonic() + 120
        while not os.path.exists(lines) or _text(lines).count("\n") < enough:
            assert time.monotonic() < until, nodes[0].log()[-3000:]
            time.sleep(0.01)
        time.sleep(draw.random() * 0.2)
        victim = draw.randrange(2)
        nodes[victim].kill()
        began = time.monotonic()
        assert nodes[1 - victim].process.wait(60) != 0
        assert time.monotonic() - began < 45
        assert "of this run has ended" in nodes[1 - victim].log()
        assert "Traceback" not in nodes[1 - victim].log()
    assert _text(lines).count("\n") < 4
    with both(machines, tmp_path / "killed", data, *settings) as nodes:
        resumed = ended(nodes)
        assert "resum" in nodes[0].log()
    assert without_speed(resumed) == without_speed(whole)
    one, other = run_of(tmp_path / "whole"), run_of(tmp_path / "killed")
    assert one[0] == other[0] and len(one[0]) == 4
    assert one[1].keys() == other[1].keys()
    assert all(np.array_equal(one[1][k], other[1][k]) for k in one[1])


def test_a_machine_without_the_data_ends_the_other_one_too(machines, data, tmp_path):
    """No shared folder: the second machine finds no dataset."""
    with both(machines, tmp_path, data, "runner.epochs=1") as nodes:
        nodes[1].kill()
        nodes[1] = Node(
            machines, 1, port_of(nodes[0]), str(tmp_path / "b"), tmp_path / "no", "runner.epochs=1"
        )
        for node in reversed(nodes):
            assert node.process.wait(120) != 0
        assert "no prepared dataset at" in nodes[1].log()
        assert "of this run has ended" in nodes[0].log()
        assert "Traceback" not in nodes[0].log() + nodes[1].log()


def port_of(node):
    command = node.process.args
    return int(command[command.index("--master") + 1].rpartition(":")[2])
