"""One trial of a search: a training in its own process, watched epoch by epoch."""

import json
import os
from dataclasses import dataclass

from paddleinterest.core import child, settings
from paddleinterest.core.errors import InputError
from paddleinterest.study import space


@dataclass
class Outcome:
    """The outcome of a training.

    Attributes:
        value: the monitored figure of the best epoch; None if it failed.
        best_epoch: that epoch.
        error: why it failed.
    """

    value: float | None
    best_epoch: int | None = None
    error: str = ""


class Training:
    """A training of tools/trainer.py, begun or resumed.

    Args:
        config_yaml: -m.
        overrides: -o.
        folder: where runs are written; the run goes to `folder`/<model>/`name`, and its standard
            error to a file next to it that ends in .err, which stays if it fails.
        name: of the run.
        monitor: the metric on valid that counts.
    """

    def __init__(
        self, config_yaml: str, overrides: list[str], folder: str, name: str, monitor: str
    ) -> None:
        overrides = [
            *overrides,
            f"runner.model_save_path={folder}",
            f"runner.name={name}",
            "runner.test=false",
        ]
        config = settings.load(config_yaml, overrides)
        directory = os.path.join(folder, config.model, name)
        begun = _same_run(directory, config)
        overrides += [
            f"runner.resume={space.text(begun)}",
            f"runner.overwrite={space.text(not begun)}",
        ]
        self.monitor = monitor
        self._errors = f"{directory}.err"
        self._metrics = os.path.join(directory, "metrics.jsonl")
        self._seen = 0  # lines of metrics.jsonl
        os.makedirs(os.path.dirname(directory), exist_ok=True)
        if not begun and os.path.exists(self._metrics):
            os.remove(self._metrics)  # from an older run, which the trainer is about to replace
        with open(self._errors, "w", encoding="utf-8") as f:
            self._tool = child.Tool("tools/trainer.py", ["-m", config_yaml, "-o", *overrides], f)

    def is_running(self) -> bool:
        return self._tool.is_running()

    def new_epochs(self) -> list[tuple[int, float]]:
        """(epoch, the monitored figure) of the epochs that have ended since the last call; those
        without a figure are left out."""
        if not os.path.exists(self._metrics):
            return []
        with open(self._metrics, encoding="utf-8") as f:
            lines = [line for line in f if line.endswith("\n")]
        found = []
        for line in lines[self._seen :]:
            said = json.loads(line)
            value = (said["valid"] or {}).get(self.monitor)
            if value is not None:
                found.append((said["epoch"], value))
        self._seen = max(self._seen, len(lines))
        return found

    def outcome(self) -> Outcome:
        """The outcome; waits until it ends."""
        status, result = self._tool.result()
        if result is None:
            said = last_words(self._errors) if status > 0 else ""
            return Outcome(None, error=said or f"exit status {status}")
        os.remove(self._errors)
        value = result["valid"][self.monitor]
        if value is None:
            return Outcome(None, error=f"{self.monitor} is undefined on valid")
        return Outcome(value, result["best_epoch"])

    def stop(self) -> None:
        """Stop it and drop its messages."""
        self._tool.stop()
        if os.path.exists(self._errors):
            os.remove(self._errors)


def _same_run(directory: str, config: settings.Settings) -> bool:
    """True if `directory` holds an interrupted training with exactly these settings."""
    path = os.path.join(directory, "config.yaml")
    how = ("runner.resume", "runner.overwrite")
    try:
        found = settings.as_dict(settings.load(path, folder=config.folder), without=how)
    except InputError:
        return False
    return found == settings.as_dict(config, without=how)


def last_words(path: str) -> str:
    """The message of a failed trainer: its error line, or the last line."""
    with open(path, encoding="utf-8", errors="replace") as f:
        lines = [line.rpartition("\r")[2].strip() for line in f.read().splitlines()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return next(iter(errors or [line for line in reversed(lines) if line]), "")
