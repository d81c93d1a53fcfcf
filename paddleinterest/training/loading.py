"""A model by its name, and its net with start weights or those of a checkpoint.

Paddle must not be imported before core/environment.py has set this process up, so that callers
import this module late.
"""

import importlib
import inspect
import os
from typing import TYPE_CHECKING, Any

from paddleinterest.core import memory, settings
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.core.settings import Settings
from paddleinterest.data.schema import Schema
from paddleinterest.training import checkpoint, device

if TYPE_CHECKING:
    import paddle

    from paddleinterest.nets.click_model import ClickModel


def bind(config: Settings) -> "ClickModel":
    """The binding of the model's folder (dygraph_model.py), after Paddle's device is set and the
    other processes are connected. Imports Paddle: call environment.set_up first."""
    model = binding(config.folder)
    device.connect(config.runner)
    from paddleinterest.nets import native

    native.use(config.runner.native)
    return model


def binding(folder: str) -> "ClickModel":
    """A `DygraphModel` of the dygraph_model.py in a model folder."""
    path = os.path.join(folder, settings.BINDING)
    module = f"{settings.package(folder)}.dygraph_model"
    try:
        return importlib.import_module(module).DygraphModel()
    except ModuleNotFoundError as e:
        if e.name != module:
            raise
        raise InputError(
            f"{path} does not exist; docs/own_model.md describes its content"
        ) from None
    except AttributeError as e:
        if e.name != "DygraphModel":
            raise
        raise InputError(
            f"{path} has no class DygraphModel; docs/own_model.md describes its content"
        ) from None


def create_net(model: "ClickModel", config: Settings, schema: Schema) -> "paddle.nn.Layer":
    """The net with its start weights drawn from runner.seed; wrong hyper_parameters end in one
    line."""
    import paddle

    paddle.seed(config.runner.seed)
    try:
        with memory.checked_parameters():
            net = model.create_model(config, schema)
    except (ValueError, TypeError, IndexError, OverflowError) as e:
        raise InputError(f"hyper_parameters: {e}") from None
    for method in ("forward", "rank"):  # before it is trained: the export needs both
        if (
            not hasattr(net, method)
            or "return_attention" not in inspect.signature(getattr(net, method)).parameters
        ):
            raise InputError(
                f"the net of {config.model} needs a method {method}(batch,"
                " return_attention=False); docs/own_model.md describes its result"
            )
    _refuse_fast_forms(model, net, config, schema)
    return net


def _refuse_fast_forms(
    model: "ClickModel", net: "paddle.nn.Layer", config: Settings, schema: Schema
) -> None:
    """Turn off what is faster than the net's own equations but computes something else."""
    from paddleinterest.nets import fast

    feeds = model.create_feeds(model.example_batch(config, schema))
    for sentence in fast.refuse_what_differs(net, lambda: model.train_forward(net, feeds)):
        say(sentence)


def trained_net(
    model: "ClickModel", config: Settings, data: str, schema: Schema, path: str
) -> tuple["paddle.nn.Layer", dict[str, Any]]:
    """The net with the weights of the checkpoint `path`, and the checkpoint's state.

    Shorter or longer histories than it was trained with give a warning.

    Raises:
        InputError: the checkpoint does not fit the net, or was trained with other settings of it,
            or on other data: the same sizes may hide other ids.
    """
    net = create_net(model, config, schema)
    state = checkpoint.load(path, net, config.model)
    trained = state.get("settings")
    if not isinstance(trained, dict):
        raise InputError(
            f"{path} is not a checkpoint of this version: it names no settings; train again"
        )
    now = settings.flatten(config)
    of_the_net = {d.key for d in config.hyper_parameters.all_declared("hyper_parameters.")}
    of_the_net -= set(settings.keys_that(config, "of_training"))
    for key in sorted(trained.keys() & of_the_net):
        if trained[key] != now[key]:
            own = os.path.join(os.path.dirname(os.path.dirname(path)), "config.yaml")
            raise InputError(
                f"{path} was trained with {key}={trained[key]}, not {now[key]}, which makes a"
                " different network; pass the settings that it was trained with by -o or"
                f" -m{f' {own}' if os.path.isfile(own) else ''}"
            )
    if trained.get("runner.history_cap") != now["runner.history_cap"]:
        say(
            f"warning: {path} was trained with histories of {trained.get('runner.history_cap')}"
            f" events, not {now['runner.history_cap']}"
        )
    if trained.get("ids") != schema.ids_fingerprint():
        raise InputError(
            f"{path} was trained on other data than {data} is now, so an id may mean a"
            " different item or value; name its own dataset with runner.data_dir, or train again"
        )
    _check_probe(model, net, config, schema, path, state)
    return net, state


def _check_probe(
    model: "ClickModel",
    net: "paddle.nn.Layer",
    config: Settings,
    schema: Schema,
    path: str,
    state: dict[str, Any],
) -> None:
    """Refuse a checkpoint whose net was edited after training."""
    kept = state.get("probe", [])
    if not isinstance(kept, list) or not all(type(x) is float for x in kept):
        raise InputError(f"{path} is damaged: the probe of its state is not a list of numbers")
    from paddleinterest.training import probe

    probe.check(path, kept, probe.logits(model, net, config, schema), config.folder)
