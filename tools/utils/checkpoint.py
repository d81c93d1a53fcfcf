"""One checkpoint = one .npz file, written whole or not at all, read without running anything from it.

Arrays `weights/<parameter>`, `optimizer/<parameter>/<moment>` and `state`, a JSON text as bytes. NumPy reads
it with pickling forbidden, so a stranger's checkpoint can hold wrong numbers but no code.
"""
import itertools
import json
import os
import zipfile
import zlib

import numpy as np
import paddle

from datasets.atomic import whole_file
from datasets.schema import InputError
from models.sharded import ShardedEmbedding
from tools.utils import ranks


def save(path, net, state, optimizer=None):
    """Write the weights (buffers too), `state` (JSON-able) and, if given, the optimiser's moments.

    Of several processes the first one writes, and the others wait for it; tables that are spread over them come out whole.

    Raises:
        InputError: a weight is not finite; the checkpoint written before stays.
    """
    arrays = _arrays(net, state, optimizer)
    if ranks.rank():
        for _ in arrays:
            pass
    else:
        _write(path, arrays)
    ranks.wait()


def _arrays(net, state, optimizer):
    """Name and array, one after the other: of a spread table only one is whole at a time, and at rank 0 alone."""
    spread = _spread(net)
    for name, tensor in net.state_dict().items():
        if not np.isfinite(tensor.numpy()).all():
            raise InputError(f"{name} is not finite after the last step; try a smaller learning rate or clip_norm")
    for name, tensor in net.state_dict().items():
        yield f"weights/{name}", ranks.whole(tensor.numpy(), spread[name]) if name in spread else tensor.numpy()
    for name, tensor in (_moments(net, optimizer) if optimizer is not None else {}).items():
        rows = spread.get(name.rpartition("/")[0])
        yield f"optimizer/{name}", ranks.whole(tensor.numpy(), rows) if rows and tensor.ndim == 2 else tensor.numpy()
    yield "state", np.frombuffer(json.dumps(state).encode(), np.uint8)


def _write(path, arrays):
    first = next(arrays)  # nothing is touched where a weight is not finite
    with whole_file(path) as made, zipfile.ZipFile(made, "w") as z:
        for name, array in itertools.chain([first], arrays):  # as np.savez, which on NumPy 1 leaves a mess on a full disk
            with z.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as f:
                np.lib.format.write_array(f, np.asanyarray(array), allow_pickle=False)


def _spread(net):
    """{name: rows of the whole table} of the tables that the processes share out."""
    return {f"{name}.weight": layer.rows for name, layer in net.named_sublayers() if isinstance(layer, ShardedEmbedding)}


def load(path, net, model, optimizer=None):
    """Fill `net` (and `optimizer`) from `path`; returns the state.

    Raises:
        InputError: no such file, not a checkpoint, one of another model, or of other sizes.
    """
    spread = _spread(net)

    def part(name, array):
        rows = spread.get(name.removeprefix("weights/"), spread.get(name.removeprefix("optimizer/").rpartition("/")[0]))
        return ranks.own(array) if rows and array.shape[:1] == (rows,) else array

    arrays = read(path, part)
    state = arrays.pop("state")
    if state.get("model") != model:
        raise InputError(f"{path} is a checkpoint of model {state.get('model')}, not of {model}")
    weights = {k[8:]: v for k, v in arrays.items() if k.startswith("weights/")}
    own = net.state_dict()
    for name in own.keys() | weights.keys():
        ours = list(own[name].shape) if name in own else "nothing"
        theirs = list(weights[name].shape) if name in weights else "nothing"
        if ours != theirs:
            raise InputError(f"{path} does not fit this net: {name} is {theirs} there and {ours} here; "
                             "were hyper_parameters or the dataset changed?")
        if weights[name].dtype != np.float32:
            raise InputError(f"{path} is no checkpoint of this program: {name} is {weights[name].dtype}, not float32")
    for name, tensor in own.items():
        tensor.set_value(weights[name])
    if optimizer is not None:
        moments = {k[10:]: v for k, v in arrays.items() if k.startswith("optimizer/")}
        if moments:  # Paddle 2.6 has none before the first step; those that the optimiser starts with stay
            _set_moments(net, optimizer, moments)
    return state


def read(path, part=lambda name, array: array):
    """All arrays of a checkpoint file, {name: part(name, array)}, and its `state` as a dict."""
    if not os.path.isfile(path):
        raise InputError(f"no checkpoint at {path}; train first with tools/trainer.py")
    try:
        with zipfile.ZipFile(path):  # np.load alone would take a lone array, too
            pass
        with np.load(path, allow_pickle=False) as f:
            arrays = {k: part(k, f[k]) for k in f.files}
        arrays["state"] = json.loads(bytes(arrays["state"]).decode())
        if not isinstance(arrays["state"], dict) or "epoch" not in arrays["state"]:
            raise ValueError("its state names no epoch")
        return arrays
    except (ValueError, KeyError, EOFError, OSError, RecursionError, NotImplementedError, zipfile.BadZipFile,
            zlib.error) as e:
        raise InputError(f"{path} is not a whole checkpoint: {' '.join(str(e).split())[:120]}") from None


def _moments(net, optimizer):
    """The optimiser's tensors by the net's own names; Paddle's count up with every net a process makes."""
    moments = {}
    by_paddle_name = sorted(((p.name, k) for k, p in net.named_parameters()), key=lambda x: -len(x[0]))
    for key, value in optimizer.state_dict().items():
        for paddle_name, name in by_paddle_name:
            if key.startswith(paddle_name + "_"):
                moments[f"{name}/{key[len(paddle_name) + 1:]}"] = value
                break
    return moments


def _set_moments(net, optimizer, arrays):
    paddle_names = {k: p.name for k, p in net.named_parameters()}
    state = {}
    for key, value in arrays.items():
        name, _, moment = key.rpartition("/")
        state[f"{paddle_names[name]}_{moment}"] = paddle.to_tensor(value)
    optimizer.set_state_dict(state)
