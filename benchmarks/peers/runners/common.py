"""Shared by the runners: flags, samples (benchmarks/peers/samples.py), metrics, epochs and steps,
the record.

Runs in the peers' environment, without Paddle; the metrics are this project's own file.
"""

import argparse
import importlib.util
import json
import os
import statistics
import sys
import time
from importlib import metadata

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
WARM_UP = 5  # steps before the clock starts
SPLITS = ("train", "valid", "test")


def arguments(models):
    p = argparse.ArgumentParser()
    p.add_argument("--model", required=True, choices=models)
    p.add_argument(
        "--samples", required=True, help="directory that benchmarks/peers/samples.py wrote"
    )
    p.add_argument("--out", required=True, help="JSON record to write")
    p.add_argument("--epochs", type=int, default=5)
    p.add_argument(
        "--patience",
        type=int,
        default=2,
        help="end after so many epochs without a better valid AUC",
    )
    p.add_argument("--steps", type=int, default=0, help="time so many steps, and nothing else")
    p.add_argument("--batch-size", type=int, default=1024)
    p.add_argument("--emb", type=int, default=32, help="width of each field's embedding")
    p.add_argument(
        "--item-vocab", type=int, default=0, help="rows of the item table; 0 = as in the data"
    )
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--seed", type=int, default=2026)
    p.add_argument("--gpu", type=int, default=-1, help="number of the GPU; default the CPU")
    args = p.parse_args()
    import torch

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    np.random.seed(args.seed)
    return args


class Samples:
    """The samples' files.

    Attributes:
        cap: longest history.  fields: {item field: rows of its table}, ``item`` first.
        items: {item field: [catalogue rows]}.  splits: {split: arrays of the file}.
    """

    def __init__(self, folder, item_vocab=0):
        with open(os.path.join(folder, "manifest.json"), encoding="utf-8") as f:
            manifest = json.load(f)
        self.cap, self.fields = manifest["history_cap"], manifest["fields"]
        if item_vocab:
            self.fields["item"] = max(item_vocab, self.fields["item"])
        self.items, histories = _arrays(folder, "items"), _arrays(folder, "histories")
        self.offsets, self.values = histories["offsets"], histories["values"]
        self.splits = {split: _arrays(folder, split) for split in SPLITS}

    def history(self, split):
        """Catalogue rows [N, cap], oldest first, 0 behind the newest."""
        rows = self.splits[split]["history"]
        first, length = self.offsets[rows], self.offsets[rows + 1] - self.offsets[rows]
        step = np.arange(self.cap)
        real = step < length[:, None]
        return np.where(real, self.values[np.where(real, first[:, None] + step, 0)], 0)

    def inputs(self, split):
        """{field: [N], hist_<field>: [N, cap]}, embedding indices."""
        item, history = self.splits[split]["item"], self.history(split)
        return {
            **{name: column[item] for name, column in self.items.items()},
            **{f"hist_{name}": column[history] for name, column in self.items.items()},
        }


def _arrays(folder, name):
    with np.load(os.path.join(folder, f"{name}.npz")) as file:
        return {k: file[k].astype(np.int64) for k in file.files}


def versions(*names):
    return {name: metadata.version(name) for name in names}


def click_metrics():
    """paddleinterest/core/metrics.py by its path, as the packages around it are not for this
    environment."""
    path = os.path.join(ROOT, "paddleinterest", "core", "metrics.py")
    spec = importlib.util.spec_from_file_location("click_metrics", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.click_metrics


class StopSteps(Exception):
    """Leaves a library's training loop."""


class StepLimit:
    """Ends a library's own loop after WARM_UP + `steps` optimizer steps; `ms`: milliseconds a step
    of the latter."""

    def __init__(self, optimizer, steps):
        self.left, self.steps, self.ms = WARM_UP + steps, steps, None
        optimizer.register_step_post_hook(self.tick)

    def tick(self, *_, **__):
        self.left -= 1
        if self.left == self.steps:
            self.started = time.perf_counter()
        if self.left == 0:
            self.ms = 1e3 * (time.perf_counter() - self.started) / self.steps
            raise StopSteps


class Record:
    """The figures of a run, written after every epoch; compare.py reads it."""

    def __init__(self, args, samples, model, setting, *packages):
        self.args, self.samples, self.metrics = args, samples, click_metrics()
        self.result = {
            "model": args.model,
            "setting": setting,
            "versions": versions("torch", *packages),
            "epochs": [],
            "parameters": sum(p.numel() for p in model.parameters()),
        }

    def epoch(self, seconds, predict):
        """Evaluate after an epoch of `seconds`; predict(split) → probabilities. Returns whether to
        stop."""
        epochs = self.result["epochs"]
        m = {}
        for split in ("valid", "test"):
            rows = self.samples.splits[split]
            m[split] = self.metrics(
                rows["user"], rows["label"], np.asarray(predict(split), np.float64).reshape(-1)
            )
        speed = len(self.samples.splits["train"]["label"]) / seconds
        epochs.append({"seconds": seconds, "samples_per_second": speed, **m})
        best = max(range(len(epochs)), key=lambda k: epochs[k]["valid"]["auc"])
        later = [e["samples_per_second"] for e in epochs[1:]] or [speed]
        self.result.update(
            {
                "best_epoch": best + 1,
                "valid": epochs[best]["valid"],
                "test": epochs[best]["test"],
                "samples_per_second": statistics.median(later),
            }
        )
        self.write()
        print(
            f"epoch {len(epochs)}: valid auc {m['valid']['auc']:.4f}  {speed:,.0f} samples/s",
            file=sys.stderr,
            flush=True,
        )
        return bool(self.args.patience) and len(epochs) - 1 - best >= self.args.patience

    def steps(self, optimizer, train):
        """Time args.steps steps of `train()`, the library's own loop, which may end and is then
        called again."""
        limit = StepLimit(optimizer, self.args.steps)
        try:
            while True:
                train()
        except StopSteps:
            self.result["ms_a_step"] = limit.ms
            self.write()

    def write(self):
        with open(self.args.out, "w", encoding="utf-8") as f:
            json.dump(self.result, f, indent=1)
