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
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import paddle

from paddleinterest.core import distributed
from paddleinterest.core.atomic import whole_file
from paddleinterest.core.errors import InputError
from paddleinterest.nets.sharded import ShardedEmbedding
from paddleinterest.training import run

WEIGHTS = "weights/"
MOMENTS = "optimizer/"
Arrays = dict[str, np.ndarray]
State = dict[str, Any]  # as JSON


def save(
    path: str,
    net: paddle.nn.Layer,
    state: State,
    optimizer: paddle.optimizer.Optimizer | None = None,
) -> None:
    """Write the weights (buffers too), the state and, if given, the optimiser's moments.

    Of several processes the first one writes, and the others wait for it; tables that are split
    over them come out whole.

    Args:
        path: of the file.
        net: whose weights.
        state: what else is needed, JSON-able.
        optimizer: whose moments.

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


def _arrays(
    net: paddle.nn.Layer, state: State, optimizer: paddle.optimizer.Optimizer | None
) -> Iterator[tuple[str, np.ndarray | None]]:
    """Name and array, one after the other: of a split table only one is whole at a time, and in
    the first process alone."""
    split = _split_tables(net)
    bad = [
        name for name, tensor in net.state_dict().items() if not np.isfinite(tensor.numpy()).all()
    ]
    if distributed.sums({"bad": len(bad)})["bad"]:  # all processes come to one answer
        what = bad[0] if bad else "another process's part of a table"
        raise InputError(
            f"{what} is not finite after the last step; try a smaller learning rate or clip_norm"
        )
    for name, tensor in net.state_dict().items():
        rows = split.get(name)
        yield WEIGHTS + name, _whole(tensor, rows)
    found = moments(net, optimizer) if optimizer is not None else {}
    for name, tensor in found.items():
        rows = split.get(name.rpartition("/")[0])
        yield MOMENTS + name, _whole(tensor, rows if tensor.ndim == 2 else None)
    yield "state", np.frombuffer(json.dumps(state).encode(), np.uint8)


def _whole(tensor: paddle.Tensor, rows: int | None) -> np.ndarray | None:
    """A tensor, or the table of `rows` rows of which every process has a part."""
    return distributed.gather_table(tensor.numpy(), rows) if rows else tensor.numpy()


def _write(path: str, arrays: Iterator[tuple[str, np.ndarray | None]]) -> None:
    first = next(arrays)  # nothing is touched if a weight is not finite
    with whole_file(path) as made, zipfile.ZipFile(made, "w") as z:
        # as np.savez, which on NumPy 1 leaves a mess on a full disk
        for name, array in itertools.chain([first], arrays):
            with z.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as f:
                np.lib.format.write_array(f, np.asanyarray(array), allow_pickle=False)


def _split_tables(net: paddle.nn.Layer) -> dict[str, int]:
    """{name: rows of the whole table} of the tables that are split over the processes."""
    return {
        f"{name}.weight": layer.rows
        for name, layer in net.named_sublayers()
        if isinstance(layer, ShardedEmbedding)
    }


def is_split(net: paddle.nn.Layer, name: str) -> bool:
    """True if a weight is of a table that is split over the processes."""
    return name in _split_tables(net)


def load(
    path: str,
    net: paddle.nn.Layer,
    model: str,
    optimizer: paddle.optimizer.Optimizer | None = None,
) -> State:
    """Fill a net (and an optimiser) from a checkpoint.

    Args:
        path: of the file.
        net: to fill with the weights.
        model: the name of the net's model.
        optimizer: to fill with the moments.

    Returns:
        The checkpoint's state.

    Raises:
        InputError: no such file, not a checkpoint, one of another model, or of other sizes.
    """
    arrays, state = read_parts(path, net)
    if state.get("model") != model:
        raise InputError(f"{path} is a checkpoint of model {state.get('model')}, not of {model}")
    weights = _named(arrays, WEIGHTS)
    own = net.state_dict()
    for name in own.keys() | weights.keys():
        ours = list(own[name].shape) if name in own else "nothing"
        theirs = list(weights[name].shape) if name in weights else "nothing"
        if ours != theirs:
            raise InputError(
                f"{path} does not fit this net: {name} is {theirs} there and {ours} here; "
                "were hyper_parameters or the dataset changed?"
            )
        check_weight(path, name, weights[name])
    for name, tensor in own.items():
        tensor.set_value(weights[name])
    if optimizer is not None:
        saved = _named(arrays, MOMENTS)
        if saved:  # Paddle 2.6 has none before the first step; those of the start stay
            set_moments(path, net, optimizer, saved)
    return state


def read_parts(path: str, net: paddle.nn.Layer) -> tuple[Arrays, State]:
    """The arrays of a checkpoint, of split tables this process's part, and its state."""
    split = _split_tables(net)

    def part(name: str, array: np.ndarray) -> np.ndarray:
        of_weight = split.get(name.removeprefix(WEIGHTS))
        of_moment = split.get(name.removeprefix(MOMENTS).rpartition("/")[0])
        rows = of_weight or of_moment
        return (
            distributed.rows_of_this_process(array)
            if rows and array.shape[:1] == (rows,)
            else array
        )

    arrays = read(path, part)
    return arrays, arrays.pop("state")


def start_from(setting: str, path: str, net: paddle.nn.Layer, weights: Arrays) -> set[str]:
    """Fill a new run's net with some weights of the checkpoint at `path`; the others stay as drawn.

    Args:
        setting: that names the checkpoint, for messages.
        path: of the checkpoint.
        net: to fill.
        weights: {name: array}, of the net's own names.

    Returns:
        names of the weights that stay as drawn.

    Raises:
        InputError: there are none, or one has another shape than the net's.
    """
    own = net.state_dict()
    for name, array in weights.items():
        if list(array.shape) != list(own[name].shape):
            raise InputError(
                f"{setting}: {path} does not fit this net: {name} is {list(array.shape)} there and"
                f" {list(own[name].shape)} here"
            )
    if not weights:
        raise InputError(f"{setting}: {path} has none of this net's weights")
    for name, array in weights.items():
        own[name].set_value(array)
    return own.keys() - weights.keys()


def check_weight(path: str, name: str, array: np.ndarray) -> None:
    """Raise InputError unless an array of the checkpoint at `path` can be a weight."""
    if array.dtype != np.float32:
        raise InputError(
            f"{path} is not a checkpoint of this program: {name} is {array.dtype}, not float32"
        )
    if not np.isfinite(array).all():
        raise InputError(f"{path}: {name} is not finite; the file is damaged, or training diverged")


def read(
    path: str, part: Callable[[str, np.ndarray], np.ndarray] = lambda name, array: array
) -> dict[str, Any]:
    """All arrays of a checkpoint file, {name: part(name, array)}, and its "state" as a dict.

    Raises:
        InputError: no such file, or it is not a whole checkpoint.
    """
    run.check_checkpoint(path)
    try:
        with zipfile.ZipFile(path) as z:
            arrays: dict[str, Any] = {}
            for member in _members(z, os.path.getsize(path)):
                name = member.filename.removesuffix(".npy")
                arrays[name] = part(name, _array(z, member))
        arrays["state"] = _state(arrays["state"])
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


def _members(z: zipfile.ZipFile, size: int) -> list[zipfile.ZipInfo]:
    """The members of a checkpoint of `size` bytes; ValueError if they cannot be."""
    members = z.infolist()
    names = {member.filename for member in members}
    if sum(member.file_size for member in members) > size or len(names) < len(members):
        raise ValueError(
            "its members say that they are larger than the file, or have the same name"
        )
    for name in names:
        if name != "state.npy" and not name.startswith((WEIGHTS, MOMENTS)):
            raise ValueError(f"its member {name[:60]!r} is neither a weight nor a moment")
    return members


def _state(array: np.ndarray) -> State:
    state = json.loads(bytes(array).decode())
    if not isinstance(state, dict) or "epoch" not in state:
        raise ValueError("its state names no epoch")
    epoch = state["epoch"]
    if type(epoch) is not int or epoch < 0:
        raise ValueError(f"the epoch of its state is {str(epoch)[:60]!r}")
    if not isinstance(state.get("valid"), (dict, type(None))):
        raise ValueError("the valid of its state is not a mapping")
    return state


def _array(z: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """One array. Its header is believed only if the bytes that it asks for are there: memory is
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


def _named(arrays: Arrays, prefix: str) -> Arrays:
    """Those arrays whose names begin so, without it."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def moments(
    net: paddle.nn.Layer, optimizer: paddle.optimizer.Optimizer
) -> dict[str, paddle.Tensor]:
    """The optimiser's tensors by the net's own names; Paddle's count up with every net a process
    makes."""
    found = {}
    pairs = ((p.name, name) for name, p in net.named_parameters())
    by_paddle_name = sorted(pairs, key=lambda pair: -len(pair[0]))
    for key, value in optimizer.state_dict().items():
        for paddle_name, name in by_paddle_name:
            if key.startswith(paddle_name + "_"):
                found[f"{name}/{key[len(paddle_name) + 1 :]}"] = value
                break
    return found


def set_moments(
    path: str, net: paddle.nn.Layer, optimizer: paddle.optimizer.Optimizer, arrays: Arrays
) -> None:
    """Fill an optimiser from arrays `<parameter>/<moment>` of the checkpoint at `path`."""
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
