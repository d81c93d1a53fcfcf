"""Resume a run that was stopped, only with the settings and the data of its numbers so far."""

import os
from typing import Any

import paddle

from paddleinterest.core import settings
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.data.schema import Schema
from paddleinterest.training import checkpoint
from paddleinterest.training.run_directory import RunDirectory
from paddleinterest.training.state import State, read_state


def settings_that_count(config: settings.Settings, schema: Schema) -> dict[str, Any]:
    """The settings that a run must be resumed with, {key: value}, and marks of its dataset's
    content. The others change no number of training, or only the last digits, as another machine
    would."""
    free = set(settings.keys_that(config, "may_change_on_resume"))
    kept = {key: value for key, value in settings.flatten(config).items() if key not in free}
    if config.hyper_parameters.schedule.kind == "cosine":  # which falls to 0 over all epochs
        kept["runner.epochs"] = config.runner.epochs
    return {**kept, "data": schema.fingerprint(), "ids": schema.ids_fingerprint()}


def saved_state(path: str, new: State, batches: int) -> State:
    """The state in the checkpoint of a run that is to be resumed.

    Args:
        path: of the checkpoint.
        new: the state of a run that starts.
        batches: per epoch.

    Raises:
        InputError: no such checkpoint, it is damaged, or the run was started with settings or data
            that give other numbers.
    """
    saved = read_state(checkpoint.read(path)["state"], path)
    if saved.model != new.model:
        raise InputError(f"{path} is a checkpoint of model {saved.model}, not of {new.model}")
    was, now = saved.settings, new.settings
    if was.get("data") != now["data"]:
        raise InputError(
            f"{path} was trained on different data: prepare the same data again, or start a new"
            " runner.name"
        )
    for key in sorted(was.keys() | now.keys()):
        before, asked = was.get(key, "unknown"), now.get(key, "unknown")
        if before != asked:
            raise InputError(
                f"{path} was trained with {key} {before}, not {asked}, which changes the numbers:"
                " resume with the same setting, or start a new runner.name"
            )
    if saved.batch > batches or saved.step != saved.epoch * batches + saved.batch:
        raise InputError(
            f"{path} is damaged: its state is at epoch {saved.epoch}, batch {saved.batch} and step"
            f" {saved.step}, which is impossible with {batches} batches per epoch; start"
            " again with runner.overwrite=true"
        )
    return saved


def restore(
    directory: RunDirectory,
    new: State,
    net: paddle.nn.Layer,
    optimizer: paddle.optimizer.Optimizer,
    batches: int,
    runner: settings.Runner,
) -> State:
    """The state that a training begins with: that of its latest checkpoint if it is to be resumed
    and has one, whose weights and moments go into the net and the optimiser; otherwise `new`.

    Args:
        directory: of the run.
        new: the state of a run that starts.
        net: what to fill with the weights.
        optimizer: what to fill with the moments.
        batches: per epoch.
        runner: the settings of the run.

    Raises:
        InputError: as in `saved_state`.
    """
    if not runner.resume:
        return new
    if not os.path.exists(directory.latest):
        say(f"{directory.path} holds no run to resume: it starts from the beginning")
        return new
    state = saved_state(directory.latest, new, batches)
    checkpoint.load(directory.latest, net, state.model, optimizer)
    where = f" after epoch {state.epoch}"
    if state.batch:
        where += f", step {state.step}"
    if state.is_finished(runner):
        where += ": it is finished"
    say(f"resuming {directory.path}{where}")
    return state
