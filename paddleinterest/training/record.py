"""What a training writes into its run: settings, a line of metrics.jsonl an epoch, VisualDL's
scalars, the result.

Of several processes rank 0 alone writes.
"""

import json
import os
import shutil

from paddleinterest.core import cli, distributed, json_text, settings
from paddleinterest.core.atomic import remove_stale, whole_file
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.core.metrics import format_metrics


def check_free(out, r):
    """InputError where a run lies there that is neither to be gone on with nor to be replaced."""
    if os.path.isdir(os.path.join(out, "checkpoints")) and not r.resume and not r.overwrite:
        raise InputError(
            f"{out} holds a run already; add -o runner.resume=true to go on with it, "
            "runner.overwrite=true to replace it, or runner.name=NAME for a new one"
        )


def open_directory(out, config, latest, best, metrics_bytes):
    """Make the run's directory, with its settings, and the lines of metrics.jsonl that its latest
    checkpoint knows of.

    An older run goes, and so do temporary files of one that was killed as it wrote.
    """
    if distributed.process_index():
        return
    if os.path.isdir(os.path.join(out, "checkpoints")) and not config.runner.resume:
        if os.path.exists(latest):
            os.remove(latest)  # first: killed half-way, it must not be gone on with
        shutil.rmtree(out)
    os.makedirs(out, exist_ok=True)
    for path in (latest, best):
        remove_stale(path)
    lines = os.path.join(out, "metrics.jsonl")
    if os.path.exists(lines) and os.path.getsize(lines) > metrics_bytes:
        os.truncate(lines, metrics_bytes)
    with whole_file(os.path.join(out, "config.yaml")) as made:
        settings.save(config, made)


def epoch(out, state, valid, speed, scalars):
    """Write the epoch's line, for a person and into metrics.jsonl."""
    loss = {k: v / state["loss"]["rows"] for k, v in state["loss"].items() if k != "rows"}
    line = {
        "epoch": state["epoch"],
        "step": state["step"],
        "learning_rate": state["learning_rate"],
        "train": loss,
        "valid": valid,
        "skipped_batches": state["skipped_batches"],
    }
    if not distributed.process_index():
        with open(os.path.join(out, "metrics.jsonl"), "a", encoding="utf-8") as f:
            f.write(json_text.dumps(line) + "\n")
            state["metrics_bytes"] = f.tell()
            os.fsync(f.fileno())  # before a checkpoint that counts on it
    say(
        f"epoch {state['epoch']:2d}  "
        + " ".join(f"{k} {v:.4f}" for k, v in loss.items())
        + (f"  valid {format_metrics(valid)}" if valid else "")
        + (
            f"  {state['skipped_batches']} batches skipped so far"
            if state["skipped_batches"]
            else ""
        )
        + f"  {speed:,.0f} samples/s"
    )
    scalars.add(line, speed)
    state["loss"] = {}


def keep_result(path, result):
    """Write the result into the run, with the speed of the one that is there if nothing was left to
    train.

    It is always written: the one that is there may be of fewer epochs, from before a kill.
    """
    if distributed.process_index():
        return
    if result["samples_per_second"] is None and os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            result = {**result, "samples_per_second": json.load(f)["samples_per_second"]}
    with whole_file(path) as made, open(made, "w", encoding="utf-8") as f:
        f.write(json_text.dumps(cli.plain(result), indent=1))


class Scalars:
    """VisualDL scalars of a run, or nothing where VisualDL is off or not installed.

    VisualDL shows a folder's newest file alone. So a run that goes on starts a new one with the
    lines that metrics.jsonl has by then: no point is lost or there twice, but for the speed of
    earlier epochs.
    """

    def __init__(self, out, wanted):
        self.writer = None
        if wanted and not distributed.process_index():
            try:
                from visualdl import LogWriter

                shutil.rmtree(os.path.join(out, "visualdl"), ignore_errors=True)
                self.writer = LogWriter(logdir=os.path.join(out, "visualdl"), display_name=out)
                self._repeat(os.path.join(out, "metrics.jsonl"))
            except ImportError:
                say("visualdl is not installed: no scalars are written (pip install visualdl)")

    def _repeat(self, path):
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                for line in f:
                    self.add(json.loads(line))

    def add(self, line, speed=None):
        """The points of one line of metrics.jsonl, and the speed in samples a second where it is
        known."""
        if self.writer:
            values = {
                **{f"train/{k}": v for k, v in line["train"].items()},
                "train/samples_per_second": speed,
                "train/learning_rate": line["learning_rate"],
                **{f"valid/{k}": v for k, v in (line["valid"] or {}).items()},
            }
            for tag, value in values.items():
                if value is not None:
                    self.writer.add_scalar(tag=tag, step=line["step"], value=value)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.writer:
            self.writer.close()
