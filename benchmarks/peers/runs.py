"""One run of one side as a process of its own: its command line, its peak memory, its record."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from typing import Any, TextIO, TypeAlias

from benchmarks import memory
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

Settings: TypeAlias = dict[str, Any]  # of a comparison (compare.settings_of)


def sides(model: str, peers: list[str]) -> list[str]:
    """Who can run a model, ours first."""
    return [OURS, *(p for p in peers if model in PEERS[p])]


def command(
    side: str, model: str, repeat: int, s: Settings, python: str, samples: str, out: str
) -> list[str]:
    """The command line of a run.

    Args:
        side: ours, or a peer.
        model: din, dien or bst.
        repeat: number of the run, from 0.
        s: the settings of the comparison.
        python: the Python of the peers' environment.
        samples: the peers' samples.
        out: path of the run's files, without ending.
    """
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
    made = [python, os.path.join(HERE, "runners", f"run_{side}.py")]
    for name, value in flags.items():
        made += [f"--{name}", str(value)]
    return made


def _ours(model: str, seed: int, s: Settings, out: str) -> list[str]:
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
        # the peers train on the prepared negatives, without regularisation or dropout
        "negatives": "once",
        "negatives_per_positive": 1,
    }
    hyper = {
        "embedding_size": s["emb"],
        "tower": "[200,80]",
        "regularization": 0.0,
        "dropout": 0.0,
        "optimizer.class": "adam",
        "optimizer.learning_rate": 1e-3,
    }
    if model != "bst":
        hyper["attention_units"] = "[80,40]"
    if model == "dien":
        hyper["auxiliary"] = "inner"
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


def run(arguments: list[str], threads: int, out: str) -> dict[str, Any]:
    """Run a command from the repository's root and return its record, with {"failed": last line}
    if it did not work.

    Its standard error goes to `out`.log; lines about an epoch are shown too.
    """
    env = {**os.environ, **{f"{k}_NUM_THREADS": str(threads) for k in ("OMP", "MKL", "OPENBLAS")}}
    if os.path.exists(out + RESULT):
        os.remove(out + RESULT)
    started = time.time()
    lines: list[str] = []  # the last ones of its standard error
    process = subprocess.Popen(
        arguments,
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    assert process.stdout and process.stderr
    peak = Peak(process.pid)
    watchers = [
        threading.Thread(target=_follow, args=(process.stderr, out + ".log", lines), daemon=True),
        threading.Thread(target=peak.watch, daemon=True),
    ]
    for thread in watchers:
        thread.start()
    try:
        stdout = process.stdout.read()
        status = process.wait()
    except BaseException:  # Ctrl-C: leave nothing running
        process.terminate()
        process.wait()
        raise
    finally:
        peak.done.set()
    for thread in watchers:
        thread.join()
    record = {
        "seconds": time.time() - started,
        "peak_rss_mb": peak.own,
        "peak_rss_with_workers_mb": peak.tree,
    }
    if status:
        last = next((line for line in reversed(lines) if line.strip()), f"exit status {status}")
        return {**record, "failed": last.strip()}
    return {**_result(stdout, out), **record}


def _result(stdout: str, out: str) -> dict[str, Any]:
    """The run's own result: peers write a file, ours prints its last line."""
    if os.path.exists(out + RESULT):
        with open(out + RESULT, encoding="utf-8") as f:
            return json.load(f)
    return json.loads(stdout.splitlines()[-1])


def _follow(stream: TextIO, path: str, lines: list[str]) -> None:
    """Copy a stream to a file; keep its last lines, and show those about an epoch."""
    with open(path, "w", encoding="utf-8") as log:
        for line in stream:
            log.write(line)
            lines[:-20] = []
            lines.append(line)
            if re.match(r"epoch +\d+:? .*valid.*samples/s", line):
                say("    " + line.rstrip())


class Peak:
    """Peak resident memory of a process.

    Attributes:
        own: of the process itself, MB; None if it is unknown.
        tree: with the children that ran at the same time. Pages that a forked loader shares with
            its parent count twice.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.own: int | None = None
        self.tree: int | None = None
        self.done = threading.Event()

    def watch(self) -> None:
        """Look at the memory until `done` is set."""
        while not self.done.wait(POLL):
            main = memory.held(self.pid)
            if main:
                workers = filter(None, map(memory.held, memory.children(self.pid)))
                self.own = main.peak
                together = main.peak + sum(worker.peak for worker in workers)
                self.tree = max(self.tree or 0, together)


def load(path: str, settings: Settings) -> dict[str, Any] | None:
    """The record of an earlier run of this comparison, or None.

    Raises:
        InputError: it was made with other settings.
    """
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as f:
        record = json.load(f)
    if record["settings"] != settings:
        raise InputError(f"{path} was made with other settings; name another --out, or remove it")
    return record
