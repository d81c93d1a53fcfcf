"""From a raw log to a prepared dataset on disk, whole or not at all. docs/dataset.md lists the
files.

The users are cut into parts by a hash of their ids. An engine brings the events of one part after
the other, twice: first what train knows is counted (`survey`), then everything is written. So no
more than one part is worked on at a time, and every part gives the same bytes whichever engine,
file order or number of threads it came from.

Example:
    >>> from paddleinterest.data.builder import build                       # doctest: +SKIP
    >>> build(log, "data/mine", protocol="every_prefix", name="mine")       # doctest: +SKIP
"""

import contextlib
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import yaml
from tqdm import tqdm

from paddleinterest.core import yaml_text
from paddleinterest.core.atomic import foreign_file, remove_stale, whole_directory
from paddleinterest.core.checksum import hashes
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.core.metrics import auc, group_auc
from paddleinterest.data import draws, entities, hashing, protocols, summary, withhold, writing
from paddleinterest.data.contract import check_tables, check_unique
from paddleinterest.data.engines import Engine
from paddleinterest.data.engines.memory import MemoryEngine
from paddleinterest.data.events import Events, arranged
from paddleinterest.data.extend import Yesterday
from paddleinterest.data.fields import (
    Category,
    category,
    count_far,
    tell_far,
    vocabularies,
)
from paddleinterest.data.log import Log
from paddleinterest.data.protocols import (
    LABELLED,
    MATCHED,
    PAIRED,
    UNTOUCHED,
    Chosen,
    Facts,
    Samples,
)
from paddleinterest.data.schema import FIRST_ID, SPLITS, Field, Schema
from paddleinterest.data.survey import Survey, empty

PART_EVENTS = 1 << 22  # events in one part, on average


@dataclass
class Options:
    """How a log is prepared.

    Attributes:
        protocol: every_prefix, last_event, impressions, by_user, by_day, by_time, or given (the
            source yields samples).
        name: of the dataset.
        source: where the log came from, for schema.yaml.
        seed: of the negatives and of any random split; the same seed writes the same bytes.
        paper_split: no valid split, as the papers print (paddleinterest/data/protocols.py).
        min_count: items, and attribute values, with fewer events in train share index 1 (out of
            vocabulary).
        user_id: users' ids are an attribute of theirs, `user_id`, so that models learn each user.
        negatives: `untouched`, or `matched`: as often in the history as positives are
            (every_prefix).
        engine: memory or duckdb.
        memory_limit: bytes that duckdb may take; None for a share of what is free.
        extend: a prepared dataset whose indices are kept; "" = none.
        withhold: share of the items that train never sees (paddleinterest/data/withhold.py).
        recipe: what to record in schema.yaml as the options in force.
    """

    protocol: str
    name: str
    source: str = ""
    seed: int = 2026
    paper_split: bool = False
    min_count: int = 1
    user_id: bool = False
    negatives: str = UNTOUCHED
    engine: str = "memory"
    memory_limit: int | None = None
    extend: str = ""
    withhold: float = 0.0
    recipe: dict[str, Any] = field(default_factory=dict)


@dataclass
class Users:
    """The order of the users, and what part each is in.

    Attributes:
        order: codes of the users in the order of their rows.
        bounds: first row of each part, and the number of users, int64 [parts + 1].
    """

    order: np.ndarray
    bounds: list[int]

    @property
    def parts(self) -> list[tuple[int, int]]:
        """First and last row of each part."""
        return list(zip(self.bounds[:-1], self.bounds[1:], strict=True))


def build(log: Log, out: str, *, overwrite: bool = False, **options: Any) -> Schema:
    """Split, index and write `log` to directory `out`.

    Args:
        log: what a source yields.
        out: the directory.
        overwrite: replace `out` if it exists and is a prepared dataset.
        options: those of `Options`.

    Returns:
        The schema written.

    Raises:
        InputError: a log that breaks the contract, an empty split, `out` exists.
    """
    check_free(out, overwrite)
    chosen = Options(**options)
    withhold.check(chosen.withhold, chosen.protocol, chosen.extend)
    check_tables(log, ["user_id"] if chosen.user_id else [])
    yesterday = Yesterday(chosen.extend) if chosen.extend else None
    with whole_directory(out, overwrite) as made:
        return _Build(log, chosen, made, yesterday).run()


def check_free(out: str, overwrite: bool) -> None:
    """Raise InputError if `out` exists and may not be replaced."""
    remove_stale(os.path.realpath(out))
    if os.path.lexists(out) and not overwrite:
        raise InputError(
            f"{out} exists already; remove it, choose a different --out, or add --overwrite"
        )
    if os.path.lexists(out):
        _check_replaceable(out)


def _check_replaceable(out: str) -> None:
    """Raise InputError unless `out` is a prepared dataset, maybe damaged, and nothing else."""
    try:
        schema = yaml_text.read(os.path.join(out, "schema.yaml"))
        files = set(schema["files"])
        ours = {"version", "protocol", "fields", "rows"} <= set(schema)
    except (InputError, OSError, yaml.YAMLError, KeyError, TypeError, ValueError):
        ours = False
    if not ours or "signature.yaml" in files:
        raise InputError(
            f"{out} is not a prepared dataset, so --overwrite does not replace it; choose a"
            " different --out"
        )
    foreign = foreign_file(out, files | {"schema.yaml"})
    if foreign is not None:
        raise InputError(
            f"{out} is not replaced: {foreign} in it is not part of a prepared dataset;"
            " move it away, or choose a different --out"
        )


def open_engine(log: Log, options: Options, made: str) -> Engine:
    """The engine of that name, with the log in it."""
    if options.engine == "duckdb":
        from paddleinterest.data.engines.duck import DuckEngine
        from paddleinterest.data.engines.fill import stored

        return DuckEngine(log, stored(log, os.path.join(made, "work"), options.memory_limit))
    return MemoryEngine(log)


class _Build:
    """One preparation: what its steps share."""

    def __init__(self, log: Log, options: Options, made: str, yesterday: Yesterday | None) -> None:
        self.listed = len(log.items)  # those of the source; yesterday's come after them
        self.log = log if yesterday is None else yesterday.with_items(log)
        self.options = options
        self.made = made
        self.yesterday = yesterday

    def run(self) -> Schema:
        """Count, then write; the schema written."""
        self.engine = open_engine(self.log, self.options, self.made)
        with contextlib.closing(self.engine):
            self._pass_twice()
        return self._finish()

    def _pass_twice(self) -> None:
        protocols.check_fits(self.options.protocol, self.engine.labels, self.log.time == "seconds")
        assert self.engine.items is not None
        check_unique("item", self.engine.items, self.engine.item_ids)
        if self.engine.users is not None:
            check_unique("user", self.engine.users, self.engine.user_ids)
        self.item_hash = hashing.of_ids(self.engine.item_ids)
        self.withheld = withhold.withheld(self.engine.item_ids, self.options.withhold)
        self.users = self._number_users()
        self.facts = self._facts()
        with _progress(2 * self.engine.rows) as self.bar:
            self.survey = self._count()
            self._check_survey()
            self._make_vocabularies()
            self._write_parts()

    # what holds of the whole log ------------------------------------------------------------------

    def _number_users(self) -> Users:
        """Order the users by their hash, and cut that into parts: each is a fair sample of them."""
        key = hashing.of_ids(self.engine.user_ids)
        order = np.lexsort((np.arange(len(key)), key))
        row = np.empty(len(order), np.int64)
        row[order] = np.arange(len(order))
        key = key[order]
        self.engine.number_users(row, key)
        self.user_key = key
        parts = max(1, -(-self.engine.rows // PART_EVENTS))
        inner = [np.uint64(k * 2**64 // parts) for k in range(1, parts)]
        bounds = [0, *np.searchsorted(key, inner).tolist(), len(key)]
        return Users(order, bounds)

    def _facts(self) -> Facts:
        """The facts that the protocol needs of all events."""
        o = self.options
        facts = Facts(o.seed, o.paper_split, matched=o.negatives == MATCHED)
        self.events_of_user, self.history_of_user = self.engine.events_of_users()
        if o.protocol in ("last_event", "by_user"):
            n = self.history_of_user if o.protocol == "last_event" else self.events_of_user
            facts.user_cuts = protocols.user_cuts(
                o.protocol, self.user_key, n, o.seed, o.paper_split
            )
        last = self.engine.rows - 1
        if o.protocol == "impressions":
            ends = [int(share * last) for share in protocols.shares(o.protocol, o.paper_split)]
            first_end, second_end = self.engine.time_of_rank(ends)
            facts.time_cuts = (first_end, second_end)
        if o.protocol == "by_time":
            shares = (0.1, *protocols.shares(o.protocol, o.paper_split))
            ends = [int(share * last) for share in shares]
            facts.begin, *cuts = self.engine.time_of_rank(ends)
            facts.time_cuts = (cuts[0], cuts[1])
        if o.protocol == "by_day":
            first, newest = self.engine.time_of_rank([0, last])
            self.days = (first, newest)
            facts.time_cuts = protocols.day_cuts(first, newest, o.paper_split)
        return facts

    # one part -------------------------------------------------------------------------------------

    def _chosen(self, first: int, last: int) -> Chosen:
        """The samples of the users' rows [first, last)."""
        events = arranged(self.engine.part(first, last), self.item_hash)
        if self.options.protocol != "given":
            chosen = protocols.PROTOCOLS[self.options.protocol](events, self.facts)
            return withhold.leave_out(chosen, self.withheld) if self.options.withhold else chosen
        samples = arranged(self.engine.given(first, last), self.item_hash)
        timed = self.log.samples is not None and "time" in self.log.samples
        return protocols.given(events, samples, timed, self.facts)

    # first pass -----------------------------------------------------------------------------------

    def _count(self) -> Survey:
        engine, log = self.engine, self.log
        survey = empty(engine, [*log.context, *log.event])
        self.bar.set_postfix_str("counting")
        for first, last in self.users.parts:
            chosen = self._chosen(first, last)
            survey.add(chosen, self.options.protocol, log)
            self.bar.update(int(self.events_of_user[first:last].sum()))
        return survey

    def _check_survey(self) -> None:
        """Refuse an empty split; say what the samples give away."""
        o, survey = self.options, self.survey
        if o.withhold:
            n = int(self.withheld.sum())
            say(f"withheld from train: {n:,} of {len(self.withheld):,} items")
        if o.protocol == "given" and not survey.rows["valid"]:
            del survey.rows["valid"]  # the source has none, or the paper's split
        for split, n in survey.rows.items():
            if not n:
                raise InputError(self._why_empty(split))
        if survey.repeats and self.log.time == "seconds":
            say(
                f"{survey.repeats:,} of {survey.history:,} events repeat another (same user, item"
                f" and time): under {o.protocol} the one is in the history of the other, which"
                " tells the answer; drop them from the log if they are there by accident"
            )
        for split, n in survey.repeated.items():
            share = n / (survey.rows[split] / 2)
            if split == "test" and share > 0 and o.negatives == UNTOUCHED:
                say(
                    f"{share:.1%} of the test positives stand in their own history, and no negative"
                    f" does: this alone scores an AUC of {0.5 + share / 2:.3f}; --negatives matched"
                    " draws negatives that stand in the history as often"
                )

    def _why_empty(self, split: str) -> str:
        o, events, users = self.options, self.engine.rows, len(self.engine.user_ids)
        if o.protocol == "by_day":
            return protocols.no_such_days(split, *self.days)
        fewest = ""
        if o.protocol == "every_prefix":
            n = protocols.fewest_events(o.paper_split)
            fewest = f"; it takes users with at least {n} events"
        clicks = ""
        if self.engine.labels:
            clicks = f" ({int(self.history_of_user.sum()):,} of them with label 1)"
        return (
            f"the {split} split is empty: protocol {o.protocol} found no samples for it among"
            f" {events:,} events{clicks} of {users:,} users{fewest}{self._same_times()}"
        )

    def _same_times(self) -> str:
        """Why a split by time is empty, if too many times are the same."""
        if self.options.protocol not in ("impressions", "by_time"):
            return ""
        last = self.engine.rows - 1
        times = self.engine.time_of_rank([round(place * last) for place in summary.PLACES])
        return summary.same_times(times, self.log.time == "seconds", self.engine.rows)

    # vocabularies ---------------------------------------------------------------------------------

    def _make_vocabularies(self) -> None:
        """Tables and fields: what train knows of items, users and columns of the events."""
        engine, log, o, survey = self.engine, self.log, self.options, self.survey
        order = entities.falling(survey.items)
        kept = 0
        if self.yesterday is not None:
            order, kept = self.yesterday.item_order(engine.item_ids, order)
        self.item_row = np.empty(len(order), np.int64)  # place of each code, from 0
        self.item_row[order] = np.arange(len(order))
        self.facts.events_in_train = survey.items[order]
        self.facts.first_seen = survey.first_seen[order]
        rows = entities.rows_of("item", engine.item_ids, survey.items, order, engine.items)
        rows.kept = kept
        rows.yesterday = self.yesterday
        self.items = entities.make(rows, log.items, log, o.min_count, False)
        by_code = np.empty_like(survey.users)
        by_code[self.users.order] = survey.users
        rows = entities.rows_of("user", engine.user_ids, by_code, self.users.order, engine.users)
        rows.yesterday = self.yesterday
        self.people = entities.make(rows, log.users, log, o.min_count, o.user_id)
        self.columns: dict[str, Category | Field] = {}
        for of, names in (("context", log.context), ("event", log.event)):
            for name in names:
                self.columns[name] = self._column(name, of)
        if self.yesterday is not None:
            self.yesterday.check_same_fields(self._fields())
            self.facts.candidates = self._candidates()

    def _candidates(self) -> np.ndarray:
        """Rows of the items that today's log or table of items names, from 0: those that only
        yesterday knew are not drawn as negatives of valid and test, which would be too easy."""
        named = self.survey.mentioned.copy()
        assert self.engine.items is not None
        named[self.engine.items[: self.listed]] = True
        return np.sort(self.item_row[np.flatnonzero(named)])

    def _fields(self) -> list[Field]:
        made = [c if isinstance(c, Field) else c.field for c in self.columns.values()]
        return [*self.items.fields, *self.people.fields, *made]

    def _column(self, name: str, of: str) -> Category | Field:
        """A column of the events: a category, or a dense field."""
        if name in self.survey.moments:
            made = Field(name, of, "dense")
            self.survey.moments[name].set(made)
            if self.yesterday is not None:
                self.yesterday.keep_scale(made)
            return made
        kept = None
        if self.yesterday is not None and name in self.yesterday.fields:
            kept = self.yesterday.known(name)
        return category(
            Field(name, of),
            self.engine.texts[name],
            self.survey.values[name],
            self.options.min_count,
            self.log.hashed.get(name, 0),
            kept,
        )

    # second pass ----------------------------------------------------------------------------------

    def _write_parts(self) -> None:
        self.best: dict[str, list[tuple[np.ndarray, ...]]] = {}
        self.far = dict.fromkeys(self.survey.moments, 0)
        self.new: dict[str, int] = {}
        for split in self.survey.rows:
            os.makedirs(os.path.join(self.made, split))
        os.makedirs(os.path.join(self.made, "sequences"))
        self.bar.set_postfix_str("writing")
        for part, (first, last) in enumerate(self.users.parts):
            self._write_part(part, first, last)
            self.bar.update(int(self.events_of_user[first:last].sum()))

    def _write_part(self, part: int, first: int, last: int) -> None:
        chosen = self._chosen(first, last)
        for events in [chosen.history, *(s.events for s in chosen.samples.values())]:
            events.item = self.item_row[events.item]
        path = os.path.join(self.made, "sequences", f"part-{part:05d}.arrow")
        writing.write_sequences(
            path, chosen.history, first, last, self._indexed(chosen.history, "event")
        )
        samples = chosen.samples
        if self.options.protocol == "by_time":
            self._count_new(samples)
        if self.options.protocol in PAIRED:
            samples = draws.with_negatives(self.options.protocol, chosen, self.facts)
        for split in self.survey.rows:
            s = samples[split]
            if len(s):
                path = os.path.join(self.made, split, f"part-{part:05d}.parquet")
                writing.write_samples(
                    path, s, self._indexed(s.events, "context"), self._truth(split, s)
                )

    def _count_new(self, samples: dict[str, Samples]) -> None:
        """Count the positives whose item or user train does not know."""
        assert self.facts.events_in_train is not None
        for split, s in samples.items():
            if split == "train":
                continue
            known = {
                "items": self.facts.events_in_train[s.events.item] > 0,
                "users": self.survey.users[s.events.user] > 0,
            }
            for what, seen in known.items():
                key = f"{split}_positives_of_new_{what}"
                self.new[key] = self.new.get(key, 0) + int((~seen).sum())

    def _indexed(self, events: Events, of: str) -> dict[str, np.ndarray]:
        """The columns of context or event as written: indices and numbers."""
        out = {}
        for name in self.log.context if of == "context" else self.log.event:
            column = self.columns[name]
            if isinstance(column, Field):
                out[name] = events.values[name]
                self.far[name] += count_far(out[name], column)
            else:
                out[name] = column.index[events.values[name]]
        return out

    def _truth(self, split: str, s: Samples) -> np.ndarray | None:
        """The true probabilities; of a drawn negative nobody knows it."""
        if not self.log.truth or self.options.protocol not in LABELLED:
            return None
        truth = s.events.values[self.log.truth]
        self.best.setdefault(split, []).append((s.events.user, s.label, truth))
        return truth

    # the end --------------------------------------------------------------------------------------

    def _finish(self) -> Schema:
        o, log = self.options, self.log
        for name, far in self.far.items():
            column = self.columns[name]
            assert isinstance(column, Field)
            tell_far(column, far)
        writing.write_vocabularies(self.made, self.items, self.people, self.columns)
        for table in (self.items, self.people):
            entities.write(self.made, table)
        schema = Schema(
            o.name,
            o.source,
            o.protocol,
            o.seed,
            log.time,
            self._fields(),
            rows={split: self.survey.rows[split] for split in SPLITS if split in self.survey.rows},
            counts=self._counts(),
            recipe={**o.recipe, **({"withhold": o.withhold} if o.withhold else {})},
            note=log.note,
        )
        for split, pieces in self.best.items():
            user, label, truth = (np.concatenate(column) for column in zip(*pieces, strict=True))
            schema.best[split] = {"auc": auc(label, truth), "gauc": group_auc(user, label, truth)}
        schema.files = dict(hashes(self.made))
        schema.save(self.made)
        return schema

    def _counts(self) -> dict[str, Any]:
        lengths = self.history_of_user
        return {
            **self._extended(),
            "events": self.engine.rows,
            "users": len(self.engine.user_ids),
            "items": len(self.engine.item_ids),
            "items_in_train": int((self.survey.items > 0).sum()),
            **({"items_withheld": int(self.withheld.sum())} if self.options.withhold else {}),
            "history_mean": round(float(lengths.mean()), 3),
            "history_median": int(np.median(lengths)),
            "history_max": int(lengths.max()),
            **self.new,
        }

    def _extended(self) -> dict[str, Any]:
        """The rows that --extend kept and added."""
        if self.yesterday is None:
            return {}
        count = {"item": self.items.table["count"].to_numpy()[FIRST_ID:]}
        columns = [c for c in self.columns.values() if isinstance(c, Category)]
        tables = {**self.items.vocabularies, **self.people.vocabularies, **vocabularies(columns)}
        count.update({name: table["count"].to_numpy() for name, table in tables.items()})
        if self.items.fields[0].hashed:
            del count["item"]
        return {"extends": self.yesterday.report(self._fields(), count)}


def _progress(rows: int) -> tqdm:
    """A bar over the events, which are gone through twice."""
    return tqdm(
        total=rows, desc="preparing", unit=" events", unit_scale=True, leave=False, disable=None
    )
