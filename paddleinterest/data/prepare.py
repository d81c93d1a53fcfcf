"""Turn a raw log into a prepared dataset, by a recipe.

Example:
    >>> schema, out = prepare_file("datasets/beauty.yaml")                     # doctest: +SKIP
    >>> recipe = make_recipe({"source": "synthetic", "protocol": "impressions"})
    >>> recipe.options.users
    4000
"""

import contextlib
import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from paddleinterest.core import memory
from paddleinterest.core.atomic import temporary_directory
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.core.memory import GIB, bytes_of
from paddleinterest.core.names import check_folder_name
from paddleinterest.core.settings import nearest, read_yaml
from paddleinterest.data import leaks, summary, withhold
from paddleinterest.data.builder import build, check_free
from paddleinterest.data.engines import ENGINES
from paddleinterest.data.log import Log
from paddleinterest.data.options import declared, option, read
from paddleinterest.data.protocols import MATCHED, NEW_USERS, PAIRED, PROTOCOLS, UNTOUCHED
from paddleinterest.data.schema import Schema
from paddleinterest.data.sources import SOURCES, event_log
from paddleinterest.data.sources.size import memory_needed

MOST_BUCKETS = 2**30  # embedding rows of a hashed field
OTHER_NEGATIVES = {
    "last_event": "negatives by popularity",
    "by_time": "negatives from the items that exist by then",
}
LEAST_MEMORY = 10**9  # bytes; a part of the log takes about half of it
OWN_SPLITS = ("ebnerd", "mind", "paddlerec_text")  # sources whose files are train, valid, test


@dataclass
class Options:
    """The options that all sources share."""

    source: str = option("", "where the raw log comes from", choices=sorted(SOURCES))
    protocol: str = option(
        "",
        "how events become samples and splits: every_prefix (each event is a positive, last one"
        " test), last_event (last event of each user, users split 80/10/10), impressions (labels"
        " in the log, split by time), by_user (labels in the log, users split 65/7/28), by_day"
        " (labels in the log, days split 80/10/10), by_time (each event is a positive, split by"
        " time, negatives from the items that exist by then); default every_prefix."
        " mind, ebnerd and paddlerec_text are always `given`",
        choices=[*PROTOCOLS, "given"],
    )
    out: str = option("", "directory to write; default data/NAME", metavar="DIR")
    name: str = option(
        "", "name of the dataset; default the last part of --out, or else the source's name"
    )
    seed: int = option(
        2026,
        "seed of negatives and random splits; the same seed gives the same bytes; default 2026",
    )
    paper_split: bool = option(
        False,
        "no valid split, as in the papers; off by default, because choices are made on valid",
    )
    min_count: int = option(
        1,
        "items and attribute values that occur less often in train become unknown; default 1",
    )
    user_id: bool | None = option(
        None,
        "add the user's id as an attribute user_id, so models learn each user; off by default,"
        " since a user outside train is then an unknown value",
    )
    hash: list[str] = option(
        [],
        "ids or categories without end, which get one of so many embedding rows by their hash, such"
        " as item=2**20 brand=5000: values that train never saw have a row too (default: none)",
        metavar="FIELD=ROWS",
    )
    negatives: str = option(
        UNTOUCHED,
        "negatives of every_prefix: items that the user never touched, or matched: for a positive"
        " that is in its own history, another item of that history; default untouched",
        choices=(UNTOUCHED, MATCHED),
    )
    engine: str = option(
        "",
        "who holds the events: memory, or duckdb, which keeps them on disk; default by their size",
        choices=ENGINES,
    )
    memory: str = option(
        "", "what preparation may take, such as 4GB; default what is free", metavar="SIZE"
    )
    extend: str = option(
        "",
        "yesterday's prepared dataset, whose indices are kept, with what is new after them"
        " (docs/every_day.md); default none",
        metavar="DIR",
    )
    withhold: float = option(
        0.0,
        "share of the items, chosen by a hash of their ids, that train never sees, so that AUC on"
        " new items can be measured (docs/features.md); default 0",
        metavar="SHARE",
    )
    without: list[str] = option(
        [],
        "attributes of the source that the dataset does not get, such as brand (default: none)",
        metavar="FIELD",
    )
    overwrite: bool = option(False, "replace the prepared dataset in --out")


@dataclass
class Recipe:
    """A recipe: what to prepare and how.

    Attributes:
        common: the options that all sources share.
        options: those of the source, an ``Options`` of its module.
    """

    common: Options
    options: Any

    @property
    def protocol(self) -> str:
        """The protocol, by default the source's."""
        return self.common.protocol or ("given" if self.has_splits else "every_prefix")

    @property
    def has_splits(self) -> bool:
        """True if the source's files are already train, valid and test."""
        if self.common.source == "event_log":
            return bool(self.options.train or self.options.impressions)
        return self.common.source in OWN_SPLITS

    @property
    def name(self) -> str:
        """The dataset's name."""
        last = os.path.basename(os.path.abspath(self.common.out or self.common.source))
        return self.common.name or last

    @property
    def out(self) -> str:
        """The directory to write."""
        return self.common.out or os.path.join("data", self.name)

    def in_force(self) -> dict[str, Any]:
        """The options that shape the data, for schema.yaml: without paths, which differ between
        machines."""
        names = ["paper_split", "min_count", "user_id", "hash", "without"]
        found = {name: getattr(self.common, name) for name in names}
        if self.common.negatives != UNTOUCHED:
            found["negatives"] = self.common.negatives
        if self.common.withhold:
            found["withhold"] = self.common.withhold
        for each in declared(self.options):
            if not each.is_path:
                found[each.name] = getattr(self.options, each.name)
        return {name: value for name, value in found.items() if value not in (None, [], "")}


def make_recipe(values: Mapping[str, Any], where: str = "the recipe") -> Recipe:
    """Check the keys and values of a recipe.

    Args:
        values: option → value, as YAML gives them; missing ones and None take the default.
        where: names the file in an error.

    Raises:
        InputError: no source, an unknown key, or a value of a wrong type or outside the choices.
    """
    source = values.get("source")
    if "source" not in values and "model" in values:
        raise InputError(
            f"{where} holds the settings of a model, must be a recipe of a dataset, such as"
            " datasets/beauty.yaml"
        )
    if source is None:
        raise InputError(f"{where} has no source; add `source:` with one of {known_sources()}")
    if str(source) not in SOURCES:
        raise InputError(f"{where}: source is {source!r}, must be one of {known_sources()}")
    own = SOURCES[str(source)].Options
    common_names = [each.name for each in declared(Options)]
    own_names = [each.name for each in declared(own)]
    for key in values:
        if key not in common_names and key not in own_names:
            raise InputError(
                f"{where}: unknown key {key}{nearest(str(key), common_names + own_names)}"
            )
    common = {key: value for key, value in values.items() if key in common_names}
    rest = {key: value for key, value in values.items() if key in own_names}
    return Recipe(read(Options, common, where), read(own, rest, where))


def read_recipe(path: str, **above: Any) -> Recipe:
    """The recipe in a YAML file, with `above` in place of its values.

    Raises:
        InputError: the file is missing or not YAML, or as in `make_recipe`.
    """
    return make_recipe({**read_yaml(path, "numbers"), **above}, path)


def known_sources() -> str:
    """The names of all sources, for a message."""
    return ", ".join(sorted(SOURCES))


def prepare_file(path: str, out: str = "") -> tuple[Schema, str]:
    """Prepare the dataset of the recipe at `path`.

    Args:
        out: the directory to write, if not the recipe's.

    Returns:
        The schema and the directory.
    """
    return prepare(read_recipe(path, **({"out": out} if out else {})))


def prepare(recipe: Recipe) -> tuple[Schema, str]:
    """Read the source's log, split and index it, and write the prepared dataset.

    Returns:
        The schema and the directory.

    Raises:
        InputError: an option, a raw file or the log is wrong, or the directory exists. Then nothing
            is written.
    """
    check(recipe)
    common = recipe.common
    check_free(recipe.out, common.overwrite)  # before any work is done
    if common.extend:
        Schema.load(common.extend)
    say(f"reading {common.source}")
    with contextlib.ExitStack() as stack:
        engine = choose_engine(recipe)
        log = _loaded(recipe, engine, stack)
        log = without(log, common.without)
        log.hashed |= hashed(common.hash)
        summary.tell(log, recipe.protocol)
        leaks.check(log, recipe.protocol)
        _tell_unclicked(log, recipe.protocol)
        schema = build(
            log,
            recipe.out,
            protocol=recipe.protocol,
            name=recipe.name,
            source=common.source,
            seed=common.seed,
            paper_split=common.paper_split,
            min_count=common.min_count,
            user_id=bool(common.user_id),
            negatives=common.negatives,
            withhold=common.withhold,
            engine=engine,
            memory_limit=memory_limit(common),
            extend=common.extend,
            recipe=recipe.in_force(),
            overwrite=common.overwrite,
        )
    return schema, recipe.out


def choose_engine(recipe: Recipe) -> str:
    """The engine that `--engine` names; else the one that fits the size of the log."""
    common = recipe.common
    if common.engine or SOURCES[common.source] is not event_log or recipe.has_splits:
        return common.engine or "memory"
    need = memory_needed(recipe.options.events, recipe.options.format)
    room = memory_limit(common) or memory.available()
    if need <= room:
        return "memory"
    say(
        f"in memory the log would take about {need / GIB:,.1f} GiB, more than the"
        f" {room / GIB:,.1f} GiB that are free: its events stay on disk (--engine duckdb)"
    )
    return "duckdb"


def _loaded(recipe: Recipe, engine: str, stack: contextlib.ExitStack) -> Log:
    """Read the log; with engine duckdb the events of event_log stay on disk, in a folder that
    `stack` removes."""
    common = recipe.common
    source = SOURCES[common.source]
    if engine != "duckdb" or source is not event_log:
        return source.load(recipe.options, common.seed)
    work = stack.enter_context(temporary_directory(recipe.out))
    folder = os.path.join(work, "events")
    return event_log.load(recipe.options, common.seed, folder, memory_limit(common))


def _tell_unclicked(log: Log, protocol: str) -> None:
    """Say how many events a protocol leaves out since their label is 0."""
    if protocol not in PAIRED:
        return
    unclicked = 0
    if isinstance(log.events, pd.DataFrame):
        if "label" in log.events:
            unclicked = int((log.events["label"] == 0).sum())
    elif log.store is not None and log.store.labels:
        (unclicked,) = log.store.row("SELECT count(*) FROM events WHERE label = 0")
    if unclicked:
        say(
            f"{unclicked:,} events with label 0 are left out under {protocol};"
            " --protocol impressions learns from them"
        )


def without(log: Log, names: Sequence[str]) -> Log:
    """The log without some attributes of items and users.

    Raises:
        InputError: neither items nor users have such an attribute.
    """
    tables = {"items": log.items, "users": log.users}
    known = [str(name) for t in tables.values() if t is not None for name in t.columns[1:]]
    for name in names:
        if name not in known:
            raise InputError(
                f"--without names {name!r}, which is not an attribute of items or users"
                f"{nearest(name, known)}; they have: {', '.join(known) or 'none'}"
            )
    kept = {
        of: table if table is None else table.drop(columns=list(names), errors="ignore")
        for of, table in tables.items()
    }
    kinds = {
        kind: [name for name in getattr(log, kind) if name not in names]
        for kind in ("dense", "multiple", "vectors")
    }
    return dataclasses.replace(log, **kept, **kinds)  # type: ignore[arg-type]


def memory_limit(common: Options) -> int | None:
    """Bytes that preparation may take, of --memory; None if nothing was said.

    Raises:
        InputError: it is not a size, or too small.
    """
    if not common.memory:
        return None
    limit = bytes_of(common.memory, "--memory")
    if limit < LEAST_MEMORY:
        raise InputError(f"--memory is {common.memory}, must be at least 1GB")
    return limit


def hashed(asked: Sequence[str]) -> dict[str, int]:
    """{field: embedding rows} of what --hash says.

    Raises:
        InputError: it is not FIELD=ROWS, or a field is named twice.

    Example:
        >>> hashed(["item=2**20", "brand=5000"])
        {'item': 1048576, 'brand': 5000}
    """
    found: dict[str, int] = {}
    for each in asked:
        name, _, number = each.rpartition("=")
        written = re.fullmatch(r"(\d{1,10})|2\*\*(\d{1,2})", number.strip())
        rows = 0
        if written:
            rows = int(written[1]) if written[1] else 2 ** int(written[2])
        if not name or not 1 <= rows <= MOST_BUCKETS:
            raise InputError(
                f"--hash is {each!r}, must be FIELD=ROWS with 1 to {MOST_BUCKETS:,} rows, such as"
                " item=2**20"
            )
        if name in found:
            raise InputError(f"--hash names {name!r} twice; give it one number of rows")
        found[name] = rows
    return found


def check(recipe: Recipe) -> None:
    """Raise InputError if the options do not fit together."""
    common = recipe.common
    hashed(common.hash)
    check_folder_name(recipe.name, "name" if common.name else "the last part of out")
    protocol = recipe.protocol
    if (protocol == "given") != recipe.has_splits:
        raise InputError(
            f"protocol {protocol} does not fit source {common.source}: {', '.join(OWN_SPLITS)},"
            " and event_log with --train or --impressions, hold samples (protocol given); all"
            " others hold events"
        )
    for flag, value, least in (("--seed", common.seed, 0), ("--min-count", common.min_count, 1)):
        if value < least:
            raise InputError(f"{flag} is {value}, must be at least {least}")
    memory_limit(common)
    withhold.check(common.withhold, protocol, common.extend)
    if common.extend and os.path.realpath(common.extend) == os.path.realpath(recipe.out):
        raise InputError(
            f"--extend and --out are both {recipe.out}; choose another --out: a run that starts"
            " from yesterday's (runner.init_from) reads both"
        )
    if common.negatives == MATCHED and protocol != "every_prefix":
        raise InputError(
            f"--negatives matched is for every_prefix alone; protocol {protocol} has"
            f" {OTHER_NEGATIVES.get(protocol, 'labels of its own')}"
        )
    if common.engine == "duckdb" and protocol == "given":
        raise InputError("--engine duckdb: protocol given is prepared in memory; leave it out")
    if common.user_id and common.source == "paddlerec_text":
        raise InputError("--user-id: the lines of paddlerec_text have no user ids")
    if common.user_id and protocol in NEW_USERS:
        raise InputError(
            f"--user-id: under {protocol} the users of valid and test are not in train, so the id"
            " is useless there; leave it out, or choose a different protocol"
        )


def check_same(directory: str, path: str) -> None:
    """Raise InputError if the dataset in `directory` was prepared with options that differ from the
    recipe at `path`."""
    recipe = read_recipe(path)
    schema = Schema.load(directory)
    asked = {
        "source": recipe.common.source,
        "seed": recipe.common.seed,
        "protocol": recipe.protocol,
        **recipe.in_force(),
    }
    prepared = {
        "source": schema.source,
        "seed": schema.seed,
        "protocol": schema.protocol,
        **schema.recipe,
    }
    for key in {**asked, **prepared}:
        if asked.get(key) != prepared.get(key):
            raise InputError(
                f"{directory} was prepared with {key} {_shown(prepared.get(key))}, but {path} says"
                f" {_shown(asked.get(key))}; remove the directory, or give the recipe a"
                " different name"
            )


def _shown(value: Any) -> str:
    """An option as a recipe has it."""
    if value is None:
        return "absent"
    return str(value).lower() if isinstance(value, bool) else str(value)
