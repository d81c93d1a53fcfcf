"""How far a training has come: what its latest checkpoint holds beside the weights."""

from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.core.metrics import Metrics
from paddleinterest.core.settings import Runner

_CONFIG = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())
Count = Annotated[int, Field(ge=0)]


class Stepped(NamedTuple):
    """The result of a step: the batch's logits [B], and the parts of the loss by name."""

    logit: np.ndarray
    loss: dict[str, float]


class PlateauState(BaseModel):
    """The state of schedule.plateau, which lowers the learning rate.

    Attributes:
        best: the best gAUC on valid so far.
        waited: epochs since then, or since the rate was lowered.
        factor: what the rate is multiplied by.
    """

    model_config = _CONFIG

    best: float | None = None
    waited: Count = 0
    factor: Annotated[float, Field(gt=0, le=1)] = 1.0


class State(BaseModel):
    """A training after some steps.

    Attributes:
        model: name of the model.
        settings: those that a resumed run must share (`resume.settings_that_count`).
        epoch: finished epochs.
        batch: finished batches of the current epoch, skipped ones too.
        step: finished batches of all epochs.
        best: the best monitored figure so far, as a number to maximise.
        best_epoch: the epoch that reached it; 0 = none.
        waited: epochs since then.
        loss: {part of the loss: its sum over the rows of the epoch so far}, and "rows".
        learning_rate: of the last step.
        metrics_bytes: length of metrics.jsonl.
        plateau: what lowers the learning rate.
        skipped_batches: batches left out because of bad numbers.
        probe: the net's logits on a fixed batch (`probe.logits`).
    """

    model_config = _CONFIG

    model: str
    settings: dict[str, Any]
    epoch: Count = 0
    batch: Count = 0
    step: Count = 0
    best: float | None = None
    best_epoch: Count = 0
    waited: Count = 0
    loss: dict[str, float] = {}
    learning_rate: Annotated[float, Field(ge=0)] = 0.0
    metrics_bytes: Count = 0
    plateau: PlateauState = PlateauState()
    skipped_batches: Count = 0
    probe: list[float] = []

    def add_loss(self, parts: dict[str, float], rows: int) -> None:
        """Add the parts of a batch's loss to those of the epoch."""
        for name, value in parts.items():
            self.loss[name] = self.loss.get(name, 0.0) + value * rows
        self.loss["rows"] = self.loss.get("rows", 0) + rows

    def mean_loss(self) -> dict[str, float]:
        """The parts of the loss, each a mean over the rows of the epoch so far."""
        return {
            name: value / self.loss["rows"] for name, value in self.loss.items() if name != "rows"
        }

    def is_finished(self, runner: Runner) -> bool:
        """True if no epoch is left, or valid has not improved for too long."""
        is_stopped = bool(runner.early_stop) and self.waited >= runner.early_stop
        return self.epoch >= runner.epochs or is_stopped

    def has_improved(self, valid: Metrics | None, monitor: str) -> bool:
        """True if the epoch that has ended is the best so far; early stopping counts it."""
        value = monitored(valid, monitor, self.epoch)
        if self.best is None or value > self.best:
            self.best = value
            self.best_epoch = self.epoch
            self.waited = 0
            return True
        self.waited += 1
        return False


def monitored(valid: Metrics | None, monitor: str, epoch: int) -> float:
    """The number to maximise. Without a valid split the last epoch is the best."""
    if valid is None:
        return float(epoch)
    found = valid[monitor]
    if found is not None:
        return -found if monitor == "logloss" else found
    say(f"{monitor} is undefined on valid (it needs both classes); the log loss decides instead")
    logloss = valid["logloss"]
    if logloss is None:
        raise InputError(
            "the log loss of valid is undefined, so no epoch is the best; does valid have rows?"
        )
    return -logloss


def read_state(values: dict[str, Any], path: str) -> State:
    """The state in the checkpoint at `path`.

    Raises:
        InputError: a key is missing or unknown, or a value is of a wrong type or out of its range.
    """
    plateau = values.get("plateau")
    is_whole = isinstance(plateau, dict) and plateau.keys() == PlateauState.model_fields.keys()
    if values.keys() != State.model_fields.keys() or not is_whole:
        raise InputError(
            f"{path} is not a checkpoint to resume from: it holds no state of a training by this"
            " version"
        )
    try:
        return State.model_validate(values)
    except ValidationError as e:
        first = e.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{path} is damaged: the {name} of its state is {first['input']!r}"
            f" ({first['msg'][:1].lower()}{first['msg'][1:]}); start the run anew with"
            " runner.overwrite=true"
        ) from None
