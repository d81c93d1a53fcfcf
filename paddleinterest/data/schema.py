"""The fields and files of a prepared dataset, which preparation, reader, nets and serving share.

A prepared dataset is a directory (docs/dataset.md), version 2:

    schema.yaml            this module's `Schema`
    items.parquet          row i = item i: raw id, count in train, then for every attribute its
    users.parquet          index, list of indices or number; `index` of items with hashed ids
    vectors/<field>.npy    float32 [rows of the table, width]
    vocab/<field>.parquet  index, raw value, count in train of every category that is not hashed
    sequences/             part-*.arrow: one row per user: item (list<int32>, oldest first), time
                           (list<int64>), one list column per event field (int32 or float32)
    train/ valid/ test/    part-*.parquet: sequence, end, user, item, label, time, context columns

Part k of the sequences and of every split are of the same users. Sequences are numbered through all
parts; sequence s is the user's in row s + 2. Version 1 has one file sequences.arrow, and neither
event fields nor lists nor vectors.
"""

import dataclasses
import glob
import hashlib
import json
import math
import os
from dataclasses import dataclass, field
from typing import Any

import yaml

from paddleinterest.core import yaml_text
from paddleinterest.core.atomic import foreign_file
from paddleinterest.core.checksum import check_sha256, check_size
from paddleinterest.core.errors import InputError, nearest_path

PADDING, UNKNOWN, FIRST_ID = 0, 1, 2  # index 0 pads, 1 is out of vocabulary, real ids start at 2
SPLITS = ("train", "valid", "test")
VERSION = 2
VERSIONS = (1, 2)  # versions that are read
REQUEST_EXAMPLE = "request.example.json"  # of a bundle; not listed, as a user may change it
RESERVED = (
    "user",
    "item",
    "time",
    "label",
    "count",
    "sequence",
    "end",
    "history",
    "target",
    "dense",
    "index",
    "value",
    "probability",
    "training",
)  # names that attributes cannot have
LATEST_SECOND = 10**11  # the year 5138: larger times are milliseconds
LATEST = 2**62  # limit of times, so that the difference of two fits int64


OF_ONE_USER = ("history_", "user_", "context_", "event_")


def of_one_user(name: str) -> bool:
    """True if a column of a batch, such as history_item, belongs to the user or the moment, so it
    is the same for all candidates of a request."""
    return name.startswith(OF_ONE_USER) or name == "target_time"


@dataclass
class Field:
    """One input column of the models.

    Attributes:
        name: the column's name; ``item`` is the item id itself.
        of: ``item``, ``user``, ``context`` (the moment of a sample) or ``event`` (each event of a
            history).
        kind: ``category`` (an index into an embedding table), ``dense`` (a standardised number) or
            ``vector`` (given numbers, such as a text's embedding).
        size: rows of the embedding table, padding and out-of-vocabulary included; 0 except for
            categories.
        mean, std: of a dense column before standardising, in its raw unit; 0 and 1 for others.
        multiple: a category with any number of values.
        hashed: a category whose index is a hash of the raw value, without a vocabulary.
        width: numbers of a vector; 0 for others.
    """

    name: str
    of: str
    kind: str = "category"
    size: int = 0
    mean: float = 0.0
    std: float = 1.0
    multiple: bool = False
    hashed: bool = False
    width: int = 0

    def facts(self) -> dict[str, Any]:
        """Its entry in schema.yaml; keys that version 1 does not have only if they are set."""
        facts = dataclasses.asdict(self)
        for name in ("multiple", "hashed", "width"):
            if not facts[name]:
                del facts[name]
        return facts

    def check(self) -> None:
        """Raise ValueError if preparation could not have written a value."""
        _expect(
            isinstance(self.name, str)
            and self.name.isprintable()
            and self.name
            and "/" not in self.name
            and not self.name.startswith("."),
            f"a field is called {self.name!r}",
        )
        name = self.name
        _expect(self.of in ("item", "user", "context", "event"), f"field {name} is of {self.of!r}")
        _expect(
            self.kind in ("category", "dense", "vector"), f"field {name} is of kind {self.kind!r}"
        )
        category = self.kind == "category"
        _expect(
            type(self.size) is int
            and (FIRST_ID <= self.size < 2**31 if category else self.size == 0),
            f"field {name} has size {self.size!r}",
        )
        _expect(
            _is_number(self.mean) and _is_number(self.std) and self.std > 0,
            f"field {name} has mean {self.mean!r} and std {self.std!r}",
        )
        _expect(
            type(self.multiple) is bool
            and (not self.multiple or category and self.of in ("item", "user") and name != "item"),
            f"field {name} is multiple: {self.multiple!r}",
        )
        _expect(
            type(self.hashed) is bool and (category or not self.hashed),
            f"field {name} is hashed: {self.hashed!r}",
        )
        vector = self.kind == "vector" and self.of == "item"
        _expect(
            type(self.width) is int and (0 < self.width < 2**20 if vector else self.width == 0),
            f"field {name} has width {self.width!r}",
        )
        _expect(self.kind != "vector" or vector, f"field {name} is a vector of {self.of!r}")


@dataclass
class Schema:
    """The contents of ``schema.yaml``.

    Attributes:
        name, source, protocol, seed: origin of the dataset.
        time: ``seconds`` or ``order``, as in `Log`.
        fields: every `Field`, item fields first with ``item`` at their head.
        rows: samples in each split.
        counts: events, users, items and vocabulary facts worth printing.
        recipe: the options of source and protocol, to distinguish preparations.
        best: AUC and gAUC of the true probabilities per split, if they are known.
        note: one sentence to print with every figure.
        files: relative path → {bytes, sha256}; empty if another program wrote the dataset without
            them.

    Example:
        >>> schema = Schema.load("data/complete_journey")      # doctest: +SKIP
        >>> [f.name for f in schema.item_fields]                     # doctest: +SKIP
        ['item', 'product_category', 'department', 'brand']
    """

    name: str
    source: str
    protocol: str
    seed: int
    time: str
    fields: list[Field]
    rows: dict[str, int]
    counts: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    best: dict[str, dict[str, float]] = field(default_factory=dict)
    note: str = ""
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    version: int = VERSION
    sealed = False  # not a field of the file: the file ended in its own checksum

    def categories(self, of: str) -> list[Field]:
        """Categories of one value of items, users, context or events, in file order."""
        return [f for f in self._of(of, "category") if not f.multiple]

    def multiple(self, of: str) -> list[Field]:
        """Categories of several values of items or users, in file order."""
        return [f for f in self._of(of, "category") if f.multiple]

    @property
    def item_fields(self) -> list[Field]:
        """The item itself and its other categories of one value."""
        return self.categories("item")

    @property
    def vector_fields(self) -> list[Field]:
        """Vectors of items."""
        return self._of("item", "vector")

    @property
    def event_fields(self) -> list[Field]:
        """Categories of events."""
        return self.categories("event")

    @property
    def event_dense(self) -> list[Field]:
        """Dense fields of events, in the order of the columns of the batch's ``event_dense``."""
        return self._of("event", "dense")

    @property
    def dense_fields(self) -> list[Field]:
        """Dense fields of items, users and context in the order of the columns of the batch's
        ``dense`` matrix."""
        return [f for f in self.fields if f.kind == "dense" and f.of != "event"]

    def _of(self, of: str, kind: str) -> list[Field]:
        return [f for f in self.fields if f.of == of and f.kind == kind]

    def sequence_files(self, directory: str) -> list[str]:
        """Paths of the files of sequences, in order."""
        if self.version == 1:
            return [os.path.join(directory, "sequences.arrow")]
        found = glob.glob(os.path.join(glob.escape(directory), "sequences", "part-*.arrow"))
        if not found:
            raise InputError(f"{directory} has no sequences; {self.command(directory)}")
        return sorted(found)

    def fingerprint(self) -> str:
        """A short hash of the content: rows, fields with sizes, hashes of all files."""
        facts = [self.rows, [f.facts() for f in self.fields], self.files]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def ids_fingerprint(self) -> str:
        """A short hash of the meaning of indices: the fields, and the files of items, users and
        values, without the samples. A net can score datasets that share it."""
        samples = ("train/", "valid/", "test/", "sequences")
        files = {name: facts for name, facts in self.files.items() if not name.startswith(samples)}
        facts = [[f.facts() for f in self.fields], files]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def check_same(self, other: "Schema", directory: str) -> None:
        """Raise InputError if the dataset in `directory` is no longer the one read as `other`."""
        if self.fingerprint() != other.fingerprint():
            raise InputError(f"{directory} was replaced while it was read; start again")

    def command(self, directory: str) -> str:
        """The command that prepares the dataset again, as far as the schema has it."""
        return (
            f"tools/prepare.py --source {self.source} --protocol {self.protocol} --out {directory}"
            " --overwrite"
        )

    def save(self, directory: str) -> None:
        """Write ``directory/schema.yaml``; its last line is the checksum of those above."""
        facts = {**dataclasses.asdict(self), "fields": [f.facts() for f in self.fields]}
        text = yaml_text.dump(facts).encode()
        with open(os.path.join(directory, "schema.yaml"), "wb") as f:
            f.write(text + b"sha256: " + hashlib.sha256(text).hexdigest().encode() + b"\n")

    @classmethod
    def load(cls, directory: str) -> "Schema":
        """Read and check ``directory/schema.yaml`` and the sizes of the files it lists; `verify`
        checks their contents.

        Raises:
            InputError: no dataset there, an unreadable schema, or a file that is missing or cut
                short.
        """
        path = os.path.join(directory, "schema.yaml")
        if not os.path.isfile(path):
            raise InputError(
                f"no prepared dataset at {directory}: {path} does not exist{nearest_path(path)};"
                f" write one with tools/prepare.py … --out {directory}"
            )
        try:
            raw = yaml_text.read(path)
            digest = raw.pop("sha256", None)
            raw["fields"] = [Field(**x) for x in raw["fields"]]
            schema = cls(**raw)
            schema._check()
        except (yaml.YAMLError, TypeError, KeyError, AttributeError, ValueError) as e:
            raise InputError(
                f"{path} is not a schema that this version reads: {' '.join(str(e).split())}"
            ) from None
        if schema.version not in VERSIONS:
            raise InputError(
                f"{path} has version {schema.version}, this program reads"
                f" {' and '.join(map(str, VERSIONS))}; prepare the data again:"
                f" {schema.command(directory)}"
            )
        if digest is not None and digest != _digest_above(path):
            raise InputError(
                f"{path} was changed after it was written: its last line is not the checksum of"
                " the lines above; prepare the dataset again"
            )
        schema.sealed = digest is not None
        for name, facts in schema.files.items():
            check_size(os.path.join(directory, name), facts["bytes"])
        return schema

    def verify(self, directory: str, *starts: str) -> None:
        """Raise InputError if a listed file (one that starts with a prefix) was changed."""
        for name, facts in self.files.items():
            if not starts or name.startswith(starts):
                check_sha256(os.path.join(directory, name), facts["sha256"])

    def foreign_file(self, bundle: str) -> str | None:
        """The first file in a bundle of this schema that is not of the bundle; None if all are."""
        known = {os.path.normpath(name) for name in self.files}
        return foreign_file(bundle, known | {"schema.yaml", REQUEST_EXAMPLE})

    def _check(self) -> None:
        """Raise ValueError if `save` could not have written a value."""
        _expect(
            all(isinstance(t, str) for t in (self.name, self.source, self.protocol, self.note)),
            "name, source, protocol and note must be texts",
        )
        _expect(self.time in ("seconds", "order"), f"time is {self.time!r}")
        _expect(
            type(self.version) is int and type(self.seed) is int,
            "version and seed must be integers",
        )
        for f in self.fields:
            f.check()
        names = [f.name for f in self.fields]
        _expect(len(set(names)) == len(names), "two fields have the same name")
        _expect(
            names[:1] == ["item"]
            and self.fields[0].of == "item"
            and self.fields[0].kind == "category",
            "its first field is not the item",
        )
        _expect(
            isinstance(self.rows, dict) and set(self.rows) <= set(SPLITS),
            f"rows must be of {', '.join(SPLITS)}",
        )
        _expect(all(type(n) is int and n >= 0 for n in self.rows.values()), "rows must be counts")
        _expect(
            all(isinstance(d, dict) for d in (self.counts, self.recipe, self.best, self.files)),
            "counts, recipe, best and files must be mappings",
        )
        for split, figures in self.best.items():
            _expect(
                split in SPLITS
                and {"auc", "gauc"} <= figures.keys()
                and all(_is_number(v) for v in figures.values()),
                f"best is {self.best!r}",
            )
        for name, facts in self.files.items():
            _expect(
                isinstance(name, str) and not os.path.isabs(name) and ".." not in name.split("/"),
                f"files lists {name!r}",
            )
            _expect(
                type(facts["bytes"]) is int and isinstance(facts["sha256"], str),
                f"files says {facts!r} of {name}",
            )


def _expect(fine: Any, message: str) -> None:
    if not fine:
        raise ValueError(message)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _digest_above(path: str) -> str:
    """The sha256 of a file without its last line, in hex."""
    with open(path, "rb") as f:
        text = f.read()
    return hashlib.sha256(text[: text.rstrip(b"\n").rfind(b"\n") + 1]).hexdigest()
