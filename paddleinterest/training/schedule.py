"""The learning rate of a step, and what lowers it."""

import math

from paddleinterest.core.metrics import Metrics
from paddleinterest.core.settings import Plateau, Settings
from paddleinterest.training.state import PlateauState, State


def learning_rate(config: Settings, state: State, batches: int) -> float:
    """The rate of the step about to be made: base · schedule · warm-up · plateau factor.

    Args:
        config: the run's settings.
        state: how far it has come.
        batches: per epoch.
    """
    schedule = config.hyper_parameters.schedule
    rate = config.hyper_parameters.optimizer.learning_rate * state.plateau.factor
    if schedule.kind == "cosine":
        steps = batches * config.runner.epochs
        rate *= 0.5 * (1 + math.cos(math.pi * state.step / steps))
    elif schedule.kind == "exponential":
        rate *= schedule.gamma**state.epoch
    if schedule.warmup_steps:
        rate *= min(1.0, (state.step + 1) / schedule.warmup_steps)
    return rate


def plateau(state: PlateauState, valid: Metrics | None, setting: Plateau) -> None:
    """Multiply the learning rate by `factor` if gAUC on valid has not risen for more than
    `patience` epochs."""
    gauc = valid["gauc"] if valid else None
    if setting.factor == 1.0 or gauc is None:
        return
    if state.best is None or gauc > state.best:
        state.best = gauc
        state.waited = 0
    else:
        state.waited += 1
    if state.waited > setting.patience:
        state.factor *= setting.factor
        state.waited = 0
