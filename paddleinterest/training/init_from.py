"""A new run that starts from yesterday's run on another dataset: by raw value.

An item that both datasets know takes its row of every table, and its moments, whatever its row in
each; so do all values of all categories. The other weights are taken as they are.
"""

import os
from dataclasses import dataclass

import numpy as np
import paddle

from paddleinterest.core import distributed, settings
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.data.matching import NEW, Dataset, keeps_indices, matched_rows
from paddleinterest.data.schema import FIRST_ID, PADDING, UNKNOWN, Schema
from paddleinterest.data.tables import ItemTable
from paddleinterest.nets.field_tables import field_tables, other_tables
from paddleinterest.training import checkpoint
from paddleinterest.training.run_directory import RunDirectory

KEY = "runner.init_from"


@dataclass
class Past:
    """The checkpoint of a finished run.

    Attributes:
        path: of the checkpoint whose weights are taken.
        arrays: its weights, and the moments of the run's latest checkpoint.
        data: the dataset that it was trained on.
        optimizer: class of its optimiser.
    """

    path: str
    arrays: checkpoint.Arrays
    data: Dataset
    optimizer: str


def init_from(
    config: settings.Settings,
    net: paddle.nn.Layer,
    optimizer: paddle.optimizer.Optimizer,
    now: Dataset,
) -> None:
    """Give a net the weights, and its optimiser the moments and counts, of the run named in
    runner.init_from.

    Args:
        config: the settings of the new run.
        net: to fill.
        optimizer: to fill.
        now: the dataset that the net will be trained on.

    Raises:
        InputError: no such run, one of another model or other sizes, or its dataset is missing.
    """
    past = _past(config)
    rows = _rows(net, past.data, now)
    found = {}
    for name in net.state_dict():
        array = past.arrays.get(checkpoint.WEIGHTS + name)
        if array is None or rows.get(name, ()) is None:
            continue
        checkpoint.check_weight(past.path, name, array)
        if name in rows:
            found[name] = _carried(array, rows[name], net, name, past, now, config)
        else:
            found[name] = array
    drawn = checkpoint.start_from(KEY, past.path, net, found)
    moments = _moments(past, rows, net, found, config)
    if moments:
        checkpoint.set_moments(past.path, net, optimizer, moments)
    _tell(past, drawn, rows, bool(moments))


def _past(config: settings.Settings) -> Past:
    """The run that runner.init_from names, by its folder or by a checkpoint of it."""
    named = config.runner.init_from
    is_file = os.path.isfile(named)
    folder = os.path.dirname(os.path.dirname(os.path.abspath(named))) if is_file else named
    run = RunDirectory(folder)
    if not os.path.isfile(run.config):
        raise InputError(
            f"{KEY}: {named} must be the folder of a run, or a checkpoint in it; {run.config} does"
            " not exist"
        )
    path = named if is_file else run.best
    arrays = checkpoint.read(path)
    state = arrays.pop("state")
    if state.get("model") != config.model:
        raise InputError(
            f"{KEY}: {path} is a checkpoint of model {state.get('model')}, not of {config.model};"
            " runner.warm_start takes weights of other models, on the same dataset"
        )
    trained = state.get("settings")
    if not isinstance(trained, dict):
        raise InputError(f"{KEY}: {path} names no settings; train again")
    if not is_file:  # the best has no moments
        latest = checkpoint.read(run.latest)
        arrays.update({k: v for k, v in latest.items() if k.startswith(checkpoint.MOMENTS)})
    optimizer = str(trained.get("hyper_parameters.optimizer.class"))
    return Past(path, arrays, _dataset(run, path, trained.get("ids")), optimizer)


def _dataset(run: RunDirectory, path: str, ids: object) -> Dataset:
    """The dataset that a run was trained on, as it was then."""
    runner = settings.read_yaml(run.config)["runner"]
    where = runner["data_dir"]
    if not where:
        recipe = settings.read_yaml(settings.from_root(runner["dataset"]), "numbers")
        where = os.path.join("data", str(recipe["name"]))
    try:
        schema = Schema.load(where)
    except InputError as e:
        raise InputError(
            f"{KEY}: the run needs the dataset that it was trained on, for the raw values of its"
            f" rows: {e}"
        ) from None
    if schema.ids_fingerprint() != ids:
        raise InputError(
            f"{KEY}: {path} was trained on other data than {where} is now, so its rows mean"
            " other values; keep yesterday's dataset, and prepare today's in a new folder"
        )
    schema.verify(where, "vocab/", "items.parquet")
    return Dataset(where, schema)


def _rows(net: paddle.nn.Layer, before: Dataset, now: Dataset) -> dict[str, np.ndarray | None]:
    """{table: the row before of each row}, None for a table that cannot be carried over."""
    found = {name: matched_rows(before, now, field) for name, field in field_tables(net).items()}
    kept = True
    for name, field in field_tables(net).items():
        old, rows = before.category(field), found[name]
        kept = kept and old is not None and rows is not None and keeps_indices(rows, old.size)
    if not kept:  # such as crosses of two indices, which are now those of other values
        found.update(dict.fromkeys(other_tables(net)))
    return found


def _carried(
    array: np.ndarray,
    rows: np.ndarray | None,
    net: paddle.nn.Layer,
    name: str,
    past: Past,
    now: Dataset,
    config: settings.Settings,
) -> np.ndarray:
    """A table of the new run: this process's part of it, if it is split."""
    assert rows is not None
    if array.ndim != 2 or rows.max() >= len(array):
        raise InputError(f"{KEY}: {past.path} does not fit its dataset: {name} is {array.shape}")
    made = array[np.where(rows == NEW, UNKNOWN, rows)]
    if config.runner.init_new_rows == "attributes" and field_tables(net)[name] == "item":
        made = from_attributes(made, rows == NEW, ItemTable(now.directory, now.schema))
    return _own(made, net, name)


def from_attributes(table: np.ndarray, is_new: np.ndarray, items: ItemTable) -> np.ndarray:
    """New items' rows as means: of the old items with the same value of an attribute, and of these
    over the attributes. An item none of whose values an old item has keeps its row.

    Args:
        table: rows of the item's table, [size, width].
        is_new: which are new, [size].
        items: attributes of the same items, in the same order.

    Example:
        >>> from types import SimpleNamespace
        >>> brand = np.array([0, 1, 2, 2, 2, 3])
        >>> table = np.array([[0.0], [9.0], [4.0], [6.0], [9.0], [9.0]])
        >>> new = np.array([False, False, False, False, True, True])
        >>> from_attributes(table, new, SimpleNamespace(fields={"brand": brand})).ravel().tolist()
        [0.0, 9.0, 4.0, 6.0, 5.0, 9.0]
    """
    size = len(table)
    old = np.flatnonzero(~is_new)
    old = old[old >= FIRST_ID]
    new = np.flatnonzero(is_new)
    total = np.zeros((len(new), table.shape[1]))
    found = np.zeros(len(new))
    for name, index in items.fields.items():
        if name == "item":
            continue
        index = index[:size]
        values = int(index.max(initial=0)) + 1
        sums = np.zeros((values, table.shape[1]))
        np.add.at(sums, index[old], table[old])
        count = np.bincount(index[old], minlength=values)
        use = (index[new] > UNKNOWN) & (count[index[new]] > 0)
        total[use] += sums[index[new][use]] / count[index[new][use]][:, None]
        found += use
    out = table.copy()
    out[new[found > 0]] = (total[found > 0] / found[found > 0][:, None]).astype(table.dtype)
    return out


def _own(table: np.ndarray, net: paddle.nn.Layer, name: str) -> np.ndarray:
    """A table, or this process's part of one that is split."""
    return distributed.rows_of_this_process(table) if checkpoint.is_split(net, name) else table


def _moments(
    past: Past,
    rows: dict[str, np.ndarray | None],
    net: paddle.nn.Layer,
    weights: checkpoint.Arrays,
    config: settings.Settings,
) -> checkpoint.Arrays:
    """The moments and counts of the weights that are carried over; new rows have none yet."""
    if past.optimizer != config.hyper_parameters.optimizer.class_:
        return {}
    found = {}
    for key, array in past.arrays.items():
        if not key.startswith(checkpoint.MOMENTS):
            continue
        key = key.removeprefix(checkpoint.MOMENTS)
        name = key.rpartition("/")[0]
        if name not in weights:
            continue
        at = rows.get(name)
        if at is not None and array.ndim == 2:
            array = array[np.maximum(at, PADDING)]
            array[at == NEW] = 0.0
            array = _own(array, net, name)
        found[key] = array
    return found


def _tell(past: Past, drawn: set[str], rows: dict[str, np.ndarray | None], moments: bool) -> None:
    new = {name: int((at == NEW).sum()) for name, at in rows.items() if at is not None}
    listed = ", ".join(f"{name} {n:,}" for name, n in new.items() if n)
    say(
        f"weights{' and moments' if moments else ''} start from {os.path.normpath(past.path)}, by"
        f" raw value; new rows: {listed or 'none'}"
        + (f"; drawn anew: {', '.join(sorted(drawn))}" if drawn else "")
    )
