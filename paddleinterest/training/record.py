"""The output of a training while it runs: its first lines, a line of metrics.jsonl per epoch,
VisualDL's scalars, the result.

If there are several processes, only the first one writes.
"""

import json
import os
from typing import Any

import numpy as np
import paddle

from paddleinterest.core import cli, distributed, json_text
from paddleinterest.core.atomic import whole_file
from paddleinterest.core.log import say
from paddleinterest.core.metrics import Metrics, format_metrics
from paddleinterest.core.settings import Settings
from paddleinterest.data import targets
from paddleinterest.data.protocols import PAIRED
from paddleinterest.data.reader import Reader
from paddleinterest.nets.sharded import ShardedEmbedding
from paddleinterest.training.run_directory import RunDirectory
from paddleinterest.training.state import State

FEW_STEPS = 10  # per epoch


def log_file(directory: RunDirectory) -> str:
    """Path of the log of this process."""
    return os.devnull if distributed.process_index() else directory.log


def introduce(config: Settings, readers: dict[str, Reader], net: paddle.nn.Layer) -> None:
    """Say the first lines of the log."""
    schema = readers["train"].schema
    batches = readers["train"].batches
    samples = ", ".join(f"{split} {reader.rows:,}" for split, reader in readers.items())
    parameters = sum(int(np.prod(p.shape)) for p in net.parameters())
    say(
        f"{config.model} on {schema.name} ({schema.protocol}): {samples} samples; {parameters:,}"
        " parameters"
    )
    say(_negatives(config, schema.protocol))
    if schema.note:
        say(schema.note)
    if batches < FEW_STEPS:
        say(
            f"only {batches} steps per epoch: on a log of this size a smaller"
            f" runner.train_batch_size (now {config.runner.train_batch_size}) learns more"
        )
    if distributed.process_count() > 1:
        say(f"{distributed.process_count()} processes share every batch{_tables(net)}")


def _negatives(config: Settings, protocol: str) -> str:
    """A line about train's negatives."""
    runner = config.runner
    kind, number = targets.resolve(runner.negatives, runner.negatives_per_positive, protocol)
    chosen = " (auto)" if runner.negatives == targets.AUTO else ""
    if protocol not in PAIRED:
        return f"negatives of train{chosen}: none drawn, protocol {protocol} has the log's labels"
    how = "drawn anew every epoch" if kind == "fresh" else "as prepared"
    return f"negatives of train{chosen}: {kind}, {how}, {number} per positive of weight 1/{number}"


def advise(config: Settings, state: State, has_valid: bool) -> None:
    """Say at the end what may give a better net."""
    is_last = state.best_epoch == state.epoch == config.runner.epochs
    if has_valid and is_last and state.epoch > 1:
        say(
            "the last epoch was the best: with more runner.epochs and runner.resume=true it may"
            " learn more"
        )


def epoch(path: str, state: State, valid: Metrics | None, speed: float, scalars: "Scalars") -> None:
    """Say and write the line of the epoch that has ended; the sums of its loss start anew.

    Args:
        path: of metrics.jsonl.
        state: of the training.
        valid: metrics on valid, if there is such a split.
        speed: samples per second.
        scalars: where VisualDL's go.
    """
    line = {
        "epoch": state.epoch,
        "step": state.step,
        "learning_rate": state.learning_rate,
        "train": state.mean_loss(),
        "valid": valid,
        "skipped_batches": state.skipped_batches,
    }
    if not distributed.process_index():
        with open(path, "a", encoding="utf-8") as f:
            f.write(json_text.dumps(line) + "\n")
            state.metrics_bytes = f.tell()
            os.fsync(f.fileno())  # before a checkpoint that counts on it
    words = [f"epoch {state.epoch:2d}"]
    words.append(" ".join(f"{name} {value:.4f}" for name, value in state.mean_loss().items()))
    if valid:
        words.append(f"valid {format_metrics(valid)}")
    if state.skipped_batches:
        words.append(f"{state.skipped_batches} batches skipped so far")
    words.append(f"{speed:,.0f} samples/s")
    say("  ".join(words))
    scalars.add(line, speed)
    state.loss = {}


def keep_result(path: str, result: dict[str, Any]) -> None:
    """Write the result into the run, with the speed of the earlier result if nothing was left to
    train.

    It is always written: an earlier one may be of fewer epochs, from before a kill.
    """
    if distributed.process_index():
        return
    if result["samples_per_second"] is None:
        result = {**result, "samples_per_second": _earlier_speed(path)}
    with whole_file(path) as made, open(made, "w", encoding="utf-8") as f:
        f.write(json_text.dumps(cli.plain(result), indent=1))


def _earlier_speed(path: str) -> float | None:
    """The speed in an earlier result; None if it cannot be read."""
    try:
        with open(path, encoding="utf-8") as f:
            speed = json.load(f)["samples_per_second"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return speed if isinstance(speed, (int, float)) else None


class Scalars:
    """VisualDL scalars of a run, or nothing if VisualDL is off or not installed.

    VisualDL shows a folder's newest file alone. So a run that is resumed starts a new one with the
    lines that metrics.jsonl has by then: no point is lost or there twice, but for the speed of
    earlier epochs.

    Args:
        directory: of the run.
        enabled: whether to write them.
    """

    def __init__(self, directory: RunDirectory, enabled: bool) -> None:
        self.writer: Any = None
        if not enabled or distributed.process_index():
            return
        try:
            from visualdl import LogWriter
        except ImportError:
            say("visualdl is not installed: no scalars are written (pip install visualdl)")
            return
        directory.remove_scalars()
        self.writer = LogWriter(logdir=directory.visualdl, display_name=directory.path)
        self._repeat(directory.metrics)

    def _repeat(self, path: str) -> None:
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                for line in f:
                    self.add(json.loads(line))

    def add(self, line: dict[str, Any], speed: float | None = None) -> None:
        """Write the points of one line of metrics.jsonl, and the speed in samples per second if it
        is known."""
        if not self.writer:
            return
        values = {f"train/{name}": value for name, value in line["train"].items()}
        values["train/samples_per_second"] = speed
        values["train/learning_rate"] = line["learning_rate"]
        for name, value in (line["valid"] or {}).items():
            values[f"valid/{name}"] = value
        for tag, value in values.items():
            if value is not None:
                self.writer.add_scalar(tag=tag, step=line["step"], value=value)

    def __enter__(self) -> "Scalars":
        return self

    def __exit__(self, *_: object) -> None:
        if self.writer:
            self.writer.close()


def _tables(net: paddle.nn.Layer) -> str:
    """How much of the tables this process holds, if they are split over the processes."""
    tables = [layer for layer in net.sublayers() if isinstance(layer, paddle.nn.Embedding)]
    if not any(isinstance(table, ShardedEmbedding) for table in tables):
        return ""
    own = sum(_bytes(table, table.weight.shape[0]) for table in tables)
    whole = sum(_bytes(table, getattr(table, "rows", table.weight.shape[0])) for table in tables)
    return f"; each holds about {own:,} of {whole:,} bytes of tables, moments aside"


def _bytes(table: paddle.nn.Embedding, rows: int) -> int:
    return 4 * rows * table.weight.shape[1]
