"""Named tables of results: their YAML files, and the cells that they consist of.

A table has a title, seeds, datasets (recipes), rows, and maybe the `baseline` row of RelaImpr and
`pairs` of rows whose difference is tested. A row is one of

    {label, model}            a model with its config.yaml; `set` lays settings over it
    {label, config}           a settings file, such as configs/paper/din.yaml, or one per dataset,
                              such as configs/tuned/din_{dataset}.yaml; `set` lays settings over it
    {label, tool}             a tool that learns nothing, such as popularity; one figure for all
                              seeds
"""

import argparse
import hashlib
import itertools
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from paddleinterest.core import settings
from paddleinterest.core.errors import InputError, nearest_path

FOLDER = os.path.join(settings.ROOT, "configs", "tables")
LONGEST_TAG = 100  # characters; a run's name has at most 200 bytes
KEYS: dict[str, type] = {
    "title": str,
    "seeds": list,
    "datasets": list,
    "baseline": str,
    "pairs": list,
    "rows": list,
}
ROW_KEYS = (
    {"label", "model"},
    {"label", "model", "set"},
    {"label", "config"},
    {"label", "config", "set"},
    {"label", "tool"},
)


@dataclass(frozen=True)
class Row:
    """A row: of `model`, `config` and `tool` one is given.

    Attributes:
        label: its name.
        model: a model's folder.
        set: -o settings laid over the model's config.yaml, or over `config`.
        config: path of a settings file; {dataset} is replaced by the dataset's name.
        tool: a tool that learns nothing.
    """

    label: str
    model: str = ""
    set: tuple[str, ...] = ()
    config: str = ""
    tool: str = ""


@dataclass(frozen=True)
class Table:
    """A named table; `pairs` holds (one label, other label)."""

    name: str
    title: str
    seeds: list[int]
    datasets: list[str]
    rows: list[Row]
    baseline: str = ""
    pairs: list[tuple[str, str]] = field(default_factory=list)

    def seeds_of(self, row: Row) -> list[int]:
        """A tool learns nothing, so one seed is enough."""
        return self.seeds[:1] if row.tool else self.seeds


@dataclass(frozen=True)
class Cell:
    """One row on one dataset with one seed, and the command that makes its figure."""

    row: str
    dataset: str
    seed: int
    command: list[str]

    @property
    def trains(self) -> bool:
        """False for a tool that learns nothing."""
        return "-m" in self.command

    @property
    def key(self) -> tuple[str, str, int]:
        return self.row, self.dataset, self.seed


def names() -> list[str]:
    """The tables in configs/tables."""
    return sorted(file[:-5] for file in os.listdir(FOLDER) if file.endswith(".yaml"))


def add_choice(parser: argparse.ArgumentParser, only: str) -> None:
    """Flags that choose cells: --rows, --datasets, --seeds.

    Args:
        parser: of the tool.
        only: the beginning of their help.
    """
    parser.add_argument("--rows", nargs="+", metavar="LABEL", help=f"{only} these rows")
    parser.add_argument(
        "--datasets",
        nargs="+",
        metavar="NAME",
        help=f"{only} these datasets, such as beauty",
    )
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help=f"{only} these seeds")


def read(table: str) -> Table:
    """A table's YAML file, checked.

    Args:
        table: its name, or the path of a file that ends in .yaml.

    Raises:
        InputError: the table does not exist or is wrong.
    """
    path = table if table.endswith(".yaml") else os.path.join(FOLDER, f"{table}.yaml")
    if not os.path.isfile(path):
        raise InputError(
            f"the table {table} is unknown{nearest_path(path)}; configs/tables has"
            f" {', '.join(names())}"
        )
    content = {"baseline": "", "pairs": [], **settings.read_yaml(path)}
    _check_keys(path, content)
    rows = [_row(path, row) for row in content["rows"]]
    _check_rows(path, rows)
    labels = [row.label for row in rows]
    if content["baseline"] and content["baseline"] not in labels:
        raise InputError(f"{path}: baseline {content['baseline']} is not the label of a row")
    return Table(
        name=dataset_name(path),
        title=content["title"],
        seeds=content["seeds"],
        datasets=content["datasets"],
        rows=rows,
        baseline=content["baseline"],
        pairs=[_pair(path, pair, labels) for pair in content["pairs"]],
    )


def _check_keys(path: str, content: dict[str, Any]) -> None:
    for key in sorted(KEYS.keys() ^ content.keys(), key=str):
        what = f"unknown key {key}" if key in content else f"the key {key} is missing"
        raise InputError(f"{path}: {what}; a table has the keys {', '.join(KEYS)}")
    for key, kind in KEYS.items():
        if not isinstance(content[key], kind):
            raise InputError(f"{path}: {key} is {content[key]!r}, must be a {kind.__name__}")
    for key, kind in (("seeds", int), ("datasets", str)):
        values = content[key]
        if not values or not all(type(value) is kind for value in values):
            raise InputError(
                f"{path}: {key} is {values!r}, must be a list of at least one {kind.__name__}"
            )


def _row(path: str, row: Any) -> Row:
    if not isinstance(row, dict) or row.keys() not in ROW_KEYS:
        raise InputError(
            f"{path}: the row {row} must have a label, and a model, a config or a tool; a model"
            " or a config may also have `set`"
        )
    texts = [row.get(key, "") for key in ("label", "model", "config", "tool")]
    own = row.get("set", [])
    if not all(isinstance(text, str) for text in texts) or not isinstance(own, list):
        raise InputError(
            f"{path}: the row {row} must have texts as label, model, config and tool, and a list"
            " as `set`"
        )
    return Row(**{**row, "set": tuple(map(str, own))})


def _check_rows(path: str, rows: list[Row]) -> None:
    if all(row.tool for row in rows):
        raise InputError(f"{path} has no row with a model or a config, must have at least one")
    labels = [row.label for row in rows]
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(f"{path}: two rows have the label {label!r}; rename one")


def _pair(path: str, pair: Any, labels: list[str]) -> tuple[str, str]:
    right = isinstance(pair, list) and len(pair) == 2 and all(label in labels for label in pair)
    if not right:
        raise InputError(f"{path}: the pair {pair} must be two labels of rows")
    return pair[0], pair[1]


def cells(
    table: Table,
    rows: Sequence[str] | None = None,
    datasets: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> list[Cell]:
    """Each cell, seeds outermost so that a table fills evenly.

    Args:
        table: the table.
        rows: only the rows of these labels.
        datasets: only these datasets, by name.
        seeds: only these seeds.

    Raises:
        InputError: the table has no such row, dataset or seed.
    """
    _check_chosen(table, "row", rows, [row.label for row in table.rows])
    _check_chosen(table, "dataset", datasets, [dataset_name(d) for d in table.datasets])
    _check_chosen(table, "seed", seeds, table.seeds)
    found = []
    for seed, dataset, row in itertools.product(table.seeds, table.datasets, table.rows):
        chosen = (
            (not seeds or seed in seeds)
            and (not datasets or dataset_name(dataset) in datasets)
            and (not rows or row.label in rows)
        )
        if chosen and seed in table.seeds_of(row):
            found.append(Cell(row.label, dataset, seed, _command(row, dataset, seed)))
    return found


def _check_chosen(table: Table, what: str, chosen: Sequence | None, known: list) -> None:
    for one in chosen or []:
        if one not in known:
            listed = ", ".join(map(repr, known))
            raise InputError(f"table {table.name} has no {what} {one!r}; it has {listed}")


def dataset_name(dataset: str) -> str:
    """The name in the path of a recipe or a table: its file's, without the ending."""
    return os.path.splitext(os.path.basename(dataset))[0]


def _command(row: Row, dataset: str, seed: int) -> list[str]:
    """The command that computes this cell."""
    if row.tool:
        return ["python", f"tools/{row.tool}.py", "--dataset", dataset]
    config = f"models/{row.model}/config.yaml"
    if row.config:
        config = row.config.replace("{dataset}", dataset_name(dataset))
    return [
        "python",
        "tools/trainer.py",
        "-m",
        config,
        "-o",
        f"runner.dataset={dataset}",
        f"runner.seed={seed}",
        f"runner.name={dataset_name(dataset)}{_tag(row, config)}-{seed}",
        *row.set,
    ]


def _tag(row: Row, config: str) -> str:
    """The part of a run's name that distinguishes it from the model's other runs, such as
    -epochs_1."""
    words = []
    for setting in row.set:
        key, _, value = setting.partition("=")
        words.append(f"{key.split('.')[-1]}_{value.lower()}")
    if row.config:
        words.append(os.path.basename(os.path.dirname(config)))
    tag = "".join("-" + re.sub(r"[^a-z0-9]+", "_", word) for word in words)
    if len(tag) <= LONGEST_TAG:
        return tag
    digest = hashlib.sha256(tag.encode()).hexdigest()[:8]
    return f"{tag[:LONGEST_TAG]}-{digest}"
