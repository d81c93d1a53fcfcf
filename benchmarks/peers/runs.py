"""One run of one side as a process of its own: its command line, its peak memory, its record."""

import json
import os
import re
import subprocess
import sys
import threading
import time

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
OURS = "ours"
PEERS = {
    "fuxictr": ("din", "dien", "bst"),
    "deepctr": ("din", "dien"),
    "rechub": ("din", "dien", "bst"),
}
RESULT = ".result.json"  # ending of the file that a peer's runner writes
POLL = 0.1  # seconds between looks at the memory


def sides(model, peers):
    """Who can run a model, ours first."""
    return [OURS, *(p for p in peers if model in PEERS[p])]


def command(side, model, repeat, s, python, samples, out):
    """The command line of a run. s: the settings of the comparison; python: of the peers; out: path
    without ending."""
    seed = s["seed"] + repeat
    if side == OURS:
        return _ours(model, seed, s, out)
    flags = {
        "model": model,
        "samples": samples,
        "out": out + RESULT,
        "epochs": s["epochs"],
        "patience": s["patience"],
        "steps": s["steps"],
        "batch-size": s["batch_size"],
        "emb": s["emb"],
        "item-vocab": s["item_vocab"],
        "threads": s["threads"],
        "seed": seed,
    }
    return [
        python,
        os.path.join(HERE, "runners", f"run_{side}.py"),
        *(part for name, value in flags.items() for part in (f"--{name}", str(value))),
    ]


def _ours(model, seed, s, out):
    runner = {
        "data_dir": s["data"],
        "model_save_path": out + ".run",
        "overwrite": "true",
        "visualdl": "false",
        "seed": seed,
        "epochs": s["epochs"],
        "early_stop": s["patience"],
        "train_batch_size": s["batch_size"],
        "history_cap": s["history_cap"],
        "threads": s["threads"],
    }
    hyper = {
        "embedding_size": s["emb"],
        "tower": "[200,80]",
        "optimizer.class": "adam",
        "optimizer.learning_rate": 1e-3,
    }
    if model != "bst":
        hyper["attention_units"] = "[80,40]"
    program = ["tools/trainer.py"]
    if s["steps"]:
        program = [
            "benchmarks/peers/ours_steps.py",
            "--steps",
            str(s["steps"]),
            "--item-vocab",
            str(s["item_vocab"]),
        ]
    return [
        sys.executable,
        *program,
        "-m",
        f"models/{model}/config.yaml",
        "-o",
        *(f"runner.{k}={v}" for k, v in runner.items()),
        *(f"hyper_parameters.{k}={v}" for k, v in hyper.items()),
    ]


def run(arguments, threads, out):
    """Run a command from the repository's root and return its record, {"failed": last line} where
    it did not work.

    Its standard error goes to `out`.log; lines about an epoch are shown too.
    """
    env = {**os.environ, **{f"{k}_NUM_THREADS": str(threads) for k in ("OMP", "MKL", "OPENBLAS")}}
    if os.path.exists(out + RESULT):
        os.remove(out + RESULT)
    started, lines = time.time(), []
    process = subprocess.Popen(
        arguments,
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    memory = Memory(process.pid)
    watchers = [
        threading.Thread(target=_follow, args=(process.stderr, out + ".log", lines), daemon=True),
        threading.Thread(target=memory.watch, daemon=True),
    ]
    for thread in watchers:
        thread.start()
    try:
        stdout, status = process.stdout.read(), process.wait()
    except BaseException:  # Ctrl-C: leave nothing running
        process.terminate()
        process.wait()
        raise
    finally:
        memory.done.set()
    for thread in watchers:
        thread.join()
    record = {
        "seconds": time.time() - started,
        "peak_rss_mb": memory.own,
        "peak_rss_with_workers_mb": memory.tree,
    }
    if status:
        return {
            **record,
            "failed": (
                next((x for x in reversed(lines) if x.strip()), f"exit status {status}").strip()
            ),
        }
    return {**_result(stdout, out), **record}


def _result(stdout, out):
    """What the run says of itself: peers write a file, ours prints its last line."""
    if os.path.exists(out + RESULT):
        with open(out + RESULT, encoding="utf-8") as f:
            return json.load(f)
    return json.loads(stdout.splitlines()[-1])


def _follow(stream, path, lines):
    with open(path, "w", encoding="utf-8") as log:
        for line in stream:
            log.write(line)
            lines[:-20] = []
            lines.append(line)
            if re.match(r"epoch +\d+:? .*valid.*samples/s", line):
                say("    " + line.rstrip())


class Memory:
    """Peak resident memory of a process (`own`) and with the children that lived beside it
    (`tree`), MB, from Linux's own high-water marks. Pages that a forked loader shares with its
    parent count twice in `tree`.
    """

    def __init__(self, pid):
        self.pid, self.own, self.tree, self.done = pid, None, None, threading.Event()

    def watch(self):
        while not self.done.wait(POLL):
            own = _high_water(self.pid)
            if own:
                children = sum(_high_water(pid) or 0 for pid in _children(self.pid))
                self.own, self.tree = own, round(max(self.tree or 0, own + children), 1)


def _children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            return [int(child) for child in f.read().split()]
    except OSError:
        return []


def _high_water(pid):
    try:
        with open(f"/proc/{pid}/status") as f:
            return next(
                (round(int(line.split()[1]) / 1024, 1) for line in f if line.startswith("VmHWM")),
                None,
            )
    except OSError:
        return None


def load(path, settings):
    """The record of an earlier run of this comparison, or None; InputError where it was made with
    other settings."""
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as f:
        record = json.load(f)
    if record["settings"] != settings:
        raise InputError(f"{path} was made with other settings; name another --out, or remove it")
    return record
