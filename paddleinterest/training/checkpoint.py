"""One checkpoint = one .npz file, written whole or not at all, read without running anything from
it.

Arrays `weights/<parameter>`, `optimizer/<parameter>/<moment>` and `state`, a JSON text as bytes.
NumPy reads it with pickling forbidden, so a stranger's checkpoint can hold wrong numbers but no
code.
"""

import itertools
import json
import math
import os
import struct
import zipfile
import zlib

import numpy as np
import paddle

from paddleinterest.core import distributed
from paddleinterest.core.atomic import whole_file
from paddleinterest.core.errors import InputError
from paddleinterest.nets.sharded import ShardedEmbedding
from paddleinterest.training import run


def save(path, net, state, optimizer=None):
    """Write the weights (buffers too), `state` (JSON-able) and, if given, the optimiser's moments.

    Of several processes the first one writes, and the others wait for it; tables that are spread
    over them come out whole.

    Raises:
        InputError: a weight is not finite; the checkpoint written before stays.
    """
    arrays = _arrays(net, state, optimizer)
    if distributed.process_index():
        for _ in arrays:
            pass
    else:
        _write(path, arrays)
    distributed.wait()


def _arrays(net, state, optimizer):
    """Name and array, one after the other: of a spread table only one is whole at a time, and at
    rank 0 alone."""
    spread = _spread(net)
    for name, tensor in net.state_dict().items():
        if not np.isfinite(tensor.numpy()).all():
            raise InputError(
                f"{name} is not finite after the last step; try a smaller learning rate or"
                " clip_norm"
            )
    for name, tensor in net.state_dict().items():
        yield (
            f"weights/{name}",
            distributed.whole(tensor.numpy(), spread[name]) if name in spread else tensor.numpy(),
        )
    for name, tensor in (_moments(net, optimizer) if optimizer is not None else {}).items():
        rows = spread.get(name.rpartition("/")[0])
        yield (
            f"optimizer/{name}",
            distributed.whole(tensor.numpy(), rows)
            if rows and tensor.ndim == 2
            else tensor.numpy(),
        )
    yield "state", np.frombuffer(json.dumps(state).encode(), np.uint8)


def _write(path, arrays):
    first = next(arrays)  # nothing is touched where a weight is not finite
    with whole_file(path) as made, zipfile.ZipFile(made, "w") as z:
        for name, array in itertools.chain(
            [first], arrays
        ):  # as np.savez, which on NumPy 1 leaves a mess on a full disk
            with z.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as f:
                np.lib.format.write_array(f, np.asanyarray(array), allow_pickle=False)


def _spread(net):
    """{name: rows of the whole table} of the tables that the processes share out."""
    return {
        f"{name}.weight": layer.rows
        for name, layer in net.named_sublayers()
        if isinstance(layer, ShardedEmbedding)
    }


def load(path, net, model, optimizer=None):
    """Fill `net` (and `optimizer`) from `path`; returns the state.

    Raises:
        InputError: no such file, not a checkpoint, one of another model, or of other sizes.
    """
    spread = _spread(net)

    def part(name, array):
        rows = spread.get(
            name.removeprefix("weights/"),
            spread.get(name.removeprefix("optimizer/").rpartition("/")[0]),
        )
        return distributed.own(array) if rows and array.shape[:1] == (rows,) else array

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
            raise InputError(
                f"{path} does not fit this net: {name} is {theirs} there and {ours} here; "
                "were hyper_parameters or the dataset changed?"
            )
        if weights[name].dtype != np.float32:
            raise InputError(
                f"{path} is no checkpoint of this program: {name} is {weights[name].dtype}, not"
                " float32"
            )
        if not np.isfinite(weights[name]).all():
            raise InputError(
                f"{path}: {name} is not finite; it was damaged, or training went astray"
            )
    for name, tensor in own.items():
        tensor.set_value(weights[name])
    if optimizer is not None:
        moments = {k[10:]: v for k, v in arrays.items() if k.startswith("optimizer/")}
        if (
            moments
        ):  # Paddle 2.6 has none before the first step; those that the optimiser starts with stay
            _set_moments(path, net, optimizer, moments)
    return state


def read(path, part=lambda name, array: array):
    """All arrays of a checkpoint file, {name: part(name, array)}, and its `state` as a dict."""
    run.check_checkpoint(path)
    try:
        with zipfile.ZipFile(path) as z:
            members = z.infolist()
            if sum(m.file_size for m in members) > os.path.getsize(path) or len(
                {m.filename for m in members}
            ) < len(members):
                raise ValueError(
                    "its members say that they are larger than the file, or have the same name"
                )
            arrays = {
                m.filename.removesuffix(".npy"): part(m.filename.removesuffix(".npy"), _array(z, m))
                for m in members
            }
        arrays["state"] = json.loads(bytes(arrays["state"]).decode())
        if not isinstance(arrays["state"], dict) or "epoch" not in arrays["state"]:
            raise ValueError("its state names no epoch")
        return arrays
    except (
        ValueError,
        KeyError,
        EOFError,
        OSError,
        RecursionError,
        NotImplementedError,
        RuntimeError,
        SyntaxError,
        TypeError,
        OverflowError,
        MemoryError,
        struct.error,
        zipfile.BadZipFile,
        zlib.error,
    ) as e:
        raise InputError(
            f"{path} is not a whole checkpoint: {' '.join(str(e).split())[:120]}"
        ) from None


def _array(z, member):
    """One array. Its header is believed only where the bytes that it asks for are there: memory is
    taken by what it says."""
    with z.open(member) as f:
        version = np.lib.format.read_magic(f)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read_header(f)
        if not dtype.hasobject and f.tell() + math.prod(shape) * dtype.itemsize != member.file_size:
            raise ValueError(f"{member.filename} is not as long as its header says")
    with z.open(member) as f:
        return np.lib.format.read_array(f, allow_pickle=False)  # of Python objects nothing is read


def _moments(net, optimizer):
    """The optimiser's tensors by the net's own names; Paddle's count up with every net a process
    makes."""
    moments = {}
    by_paddle_name = sorted(
        ((p.name, k) for k, p in net.named_parameters()), key=lambda x: -len(x[0])
    )
    for key, value in optimizer.state_dict().items():
        for paddle_name, name in by_paddle_name:
            if key.startswith(paddle_name + "_"):
                moments[f"{name}/{key[len(paddle_name) + 1 :]}"] = value
                break
    return moments


def _set_moments(path, net, optimizer, arrays):
    parameters = dict(net.named_parameters())
    state = {}
    for key, value in arrays.items():
        name, _, moment = key.rpartition("/")
        if name not in parameters or list(value.shape) not in (list(parameters[name].shape), [1]):
            raise InputError(
                f"{path} does not fit this net: the optimizer's {key} is {list(value.shape)} there"
            )
        if value.dtype != np.float32 or not np.isfinite(value).all():
            raise InputError(f"{path}: the optimizer's {key} is not finite, or not float32")
        state[f"{parameters[name].name}_{moment}"] = paddle.to_tensor(value)
    optimizer.set_state_dict(state)
