"""A new run that starts from the weights of a finished run."""

import os

import paddle

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.data.schema import Schema
from paddleinterest.training import checkpoint

KEY = "runner.warm_start"


def warm_start(path: str, net: paddle.nn.Layer, schema: Schema) -> None:
    """Give a net the weights that a checkpoint has under the same names; the others stay as drawn.

    The checkpoint may be of another model: FM's embeddings can start DeepFM's.

    Args:
        path: of the checkpoint.
        net: to fill.
        schema: of the dataset that the net will be trained on.

    Raises:
        InputError: the checkpoint is of other data, has a weight of the same name and another
            shape, or has none of the net's.
    """
    arrays, state = checkpoint.read_parts(path, net)
    trained = state.get("settings")
    ids = trained.get("ids") if isinstance(trained, dict) else None
    if ids != schema.ids_fingerprint():
        raise InputError(
            f"{KEY}: {path} was trained on different data, in which an id may"
            " mean a different item or value; train it on the same dataset"
        )
    found = {}
    for name in net.state_dict():
        array = arrays.get(checkpoint.WEIGHTS + name)
        if array is not None:
            checkpoint.check_weight(path, name, array)
            found[name] = array
    drawn = checkpoint.start_from(KEY, path, net, found)
    rest = f"; drawn anew: {', '.join(sorted(drawn))}" if drawn else ""
    whole = len(found) + len(drawn)
    say(f"{len(found)} of {whole} weights start from {os.path.normpath(path)}{rest}")
