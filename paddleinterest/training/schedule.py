"""The learning rate of a step, and what lowers it."""

import math


def learning_rate(config, state, batches):
    """The rate of the step about to be made: base · schedule · warm-up · plateau factor."""
    h = config.hyper_parameters
    s, step = h.schedule, state["step"]
    rate = h.optimizer.learning_rate * state["plateau"]["factor"]
    if s.kind == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * step / (batches * config.runner.epochs)))
    elif s.kind == "exponential":
        rate *= s.gamma ** state["epoch"]
    return rate * min(1.0, (step + 1) / s.warmup_steps) if s.warmup_steps else rate


def plateau(p, valid, setting):
    """Multiply the learning rate by `factor` when gAUC on valid has not risen for more than
    `patience` epochs."""
    gauc = valid and valid["gauc"]
    if setting.factor == 1.0 or gauc is None:
        return
    p["waited"] = 0 if p["best"] is None or gauc > p["best"] else p["waited"] + 1
    p["best"] = gauc if p["best"] is None else max(gauc, p["best"])
    if p["waited"] > setting.patience:
        p["factor"], p["waited"] = p["factor"] * setting.factor, 0
