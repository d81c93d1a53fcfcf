"""What preparation, reader, nets and serving agree on: the log, the fields, the files of a prepared
dataset.

A prepared dataset is a directory (README.md, "The prepared dataset"):

    schema.yaml                      this module's Schema
    items.parquet  users.parquet     row i = index i: raw id, count in train, index (or value) of
    each attribute
    vocab/<field>.parquet            index, raw value, count in train, for every attribute and
    context column
    sequences.arrow                  one row a sequence: item (list<int32>, oldest first), time
    (list<int64>)
    train/ valid/ test/              part-*.parquet: sequence, end, user, item, label, time, context
    columns
"""

import dataclasses
import hashlib
import json
import math
import os
from dataclasses import dataclass, field

import yaml

from paddleinterest.core import yaml_text
from paddleinterest.core.checksum import check_sha256, check_size
from paddleinterest.core.errors import InputError, nearest_path

PADDING, UNKNOWN, FIRST_ID = 0, 1, 2  # index 0 pads, 1 is out of vocabulary, real ids start at 2
SPLITS = ("train", "valid", "test")
VERSION = 1
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
)  # no names for attributes: columns and the like with a meaning of their own
LATEST_SECOND = 10**11  # the year 5138: larger ones are milliseconds that were taken for seconds
LATEST = 2**62  # times, in either direction: the difference of two fits int64


def of_one_user(name):
    """Whether a column of a batch, such as history_item, is the user's or the moment's, the same
    for all candidates of a request."""
    return name.startswith(("history_", "user_", "context_")) or name == "target_time"


@dataclass
class Field:
    """One input column of the models.

    Attributes:
        name: the column's name; ``item`` is the item id itself.
        of: ``item``, ``user`` or ``context``.
        kind: ``category`` (an index into an embedding table) or ``dense`` (a standardised number).
        size: rows of the embedding table, padding and out-of-vocabulary included; 0 for dense.
        mean, std: what a dense column was standardised with, in its raw unit; 0 and 1 for
            categories.
    """

    name: str
    of: str
    kind: str = "category"
    size: int = 0
    mean: float = 0.0
    std: float = 1.0

    def check(self):
        """Raise ValueError where a value is none that preparation could have written."""
        _expect(
            isinstance(self.name, str)
            and self.name.isprintable()
            and self.name
            and "/" not in self.name
            and not self.name.startswith("."),
            f"a field is called {self.name!r}",
        )
        _expect(self.of in ("item", "user", "context"), f"field {self.name} is of {self.of!r}")
        _expect(self.kind in ("category", "dense"), f"field {self.name} is of kind {self.kind!r}")
        _expect(
            type(self.size) is int
            and (FIRST_ID <= self.size < 2**31 if self.kind == "category" else self.size == 0),
            f"field {self.name} has size {self.size!r}",
        )
        _expect(
            _is_number(self.mean) and _is_number(self.std) and self.std > 0,
            f"field {self.name} has mean {self.mean!r} and std {self.std!r}",
        )


@dataclass
class Schema:
    """The contents of ``schema.yaml``.

    Attributes:
        name, source, protocol, seed: how the dataset was made.
        time: ``seconds`` or ``order``, as in `Log`.
        fields: every `Field`, item fields first with ``item`` at their head.
        rows: samples in each split.
        counts: events, users, items and vocabulary facts worth printing.
        recipe: the options of source and protocol that were in force, to tell one preparation from
            another.
        best: AUC and gAUC of the true probabilities a split, where the truth is known.
        note: one sentence to print beside every figure.
        files: relative path → {bytes, sha256}; empty where another program wrote the dataset and
            lists none.

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
    fields: list
    rows: dict
    counts: dict = field(default_factory=dict)
    recipe: dict = field(default_factory=dict)
    best: dict = field(default_factory=dict)
    note: str = ""
    files: dict = field(default_factory=dict)
    version: int = VERSION
    sealed = False  # no field: whether the file read ended in its own checksum

    def categories(self, of):
        """Category fields of items, users or context, in file order."""
        return [f for f in self.fields if f.of == of and f.kind == "category"]

    @property
    def item_fields(self):
        return self.categories("item")

    @property
    def dense_fields(self):
        """Dense fields in the order of the columns of the batch's ``dense`` matrix."""
        return [f for f in self.fields if f.kind == "dense"]

    def fingerprint(self):
        """A short hash of the dataset's content: rows, fields with their sizes, every file's hash."""
        facts = [self.rows, [dataclasses.asdict(f) for f in self.fields], self.files]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def save(self, directory):
        """Write ``directory/schema.yaml``; its last line is the checksum of those above."""
        text = yaml_text.dump(dataclasses.asdict(self)).encode()
        with open(os.path.join(directory, "schema.yaml"), "wb") as f:
            f.write(text + b"sha256: " + hashlib.sha256(text).hexdigest().encode() + b"\n")

    @classmethod
    def load(cls, directory):
        """Read and check ``directory/schema.yaml`` and the sizes of the files it lists; `verify`
        checks their contents.

        Raises:
            InputError: no dataset there, an unreadable schema, or a file that is missing or cut
                short.
        """
        path = os.path.join(directory, "schema.yaml")
        if not os.path.isfile(path):
            raise InputError(
                f"no prepared dataset at {directory}: {path} does not exist{nearest_path(path)}; "
                "tools/prepare.py makes one"
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
        if schema.version != VERSION:
            raise InputError(
                f"{path} has version {schema.version}, this code reads {VERSION}; prepare the data"
                " again"
            )
        if digest is not None and digest != _digest_above(path):
            raise InputError(
                f"{path} was changed after it was written: its last line is not the checksum of the"
                " lines above; make it again"
            )
        schema.sealed = digest is not None
        for name, facts in schema.files.items():
            check_size(os.path.join(directory, name), facts["bytes"])
        return schema

    def verify(self, directory, *starts):
        """Raise InputError where a listed file (or only those whose names start so) is not the one
        that was written."""
        for name, facts in self.files.items():
            if not starts or name.startswith(starts):
                check_sha256(os.path.join(directory, name), facts["sha256"])

    def _check(self):
        """Raise ValueError where a value is none that `save` could have written."""
        _expect(
            all(isinstance(t, str) for t in (self.name, self.source, self.protocol, self.note)),
            "its texts are no texts",
        )
        _expect(self.time in ("seconds", "order"), f"time is {self.time!r}")
        _expect(
            type(self.version) is int and type(self.seed) is int, "version or seed is no integer"
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
        _expect(all(type(n) is int and n >= 0 for n in self.rows.values()), "rows are no counts")
        _expect(
            all(isinstance(d, dict) for d in (self.counts, self.recipe, self.best, self.files)),
            "counts, recipe, best or files is no mapping",
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


def _expect(fine, message):
    if not fine:
        raise ValueError(message)


def _is_number(value):
    return type(value) in (int, float) and math.isfinite(value)


def _digest_above(path):
    """The sha256 of all of a file but its last line, in hex."""
    with open(path, "rb") as f:
        text = f.read()
    return hashlib.sha256(text[: text.rstrip(b"\n").rfind(b"\n") + 1]).hexdigest()
