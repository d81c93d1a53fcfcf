"""What preparation, reader, nets and serving agree on: the log, the fields, the files of a prepared dataset.

A prepared dataset is a directory (README.md, "The prepared dataset"):

    schema.yaml                      this module's Schema
    items.parquet  users.parquet     row i = index i: raw id, count in train, index (or value) of each attribute
    vocab/<field>.parquet            index, raw value, count in train, for every attribute and context column
    sequences.arrow                  one row a sequence: item (list<int32>, oldest first), time (list<int64>)
    train/ valid/ test/              part-*.parquet: sequence, end, user, item, label, time, context columns
"""
import dataclasses
import os
from dataclasses import dataclass, field

import yaml

PADDING, UNKNOWN, FIRST_ID = 0, 1, 2  # index 0 pads, 1 is out of vocabulary, real ids start at 2
SPLITS = ("train", "valid", "test")
VERSION = 1


class InputError(Exception):
    """The user's input is wrong. The tools print its one line and end with exit status 1."""


@dataclass
class Log:
    """What a source yields: a raw event log, before any splitting or indexing.

    Attributes:
        events: columns ``user``, ``item`` (strings or integers), ``time`` (int64), optionally ``label``
            (0/1), then the columns named in ``context``. Ties in time keep the row order.
        items: ``item`` (unique), then one column for each attribute. Items of the log that are not listed
            get missing attributes; listed items that the log never mentions can still be scored.
        users: ``user`` (unique), then attributes; None when nothing is known of users.
        context: columns of ``events`` (and ``samples``) that describe the moment of the impression.
        dense: those columns of items, users or events that are numbers to be standardised. All
            other columns are categories.
        time: ``seconds`` when ``events.time`` is a clock, ``order`` when it only orders.
        samples: only for sources whose lines are samples already (protocol ``given``): ``user``, ``item``,
            ``label``, ``split``; the history of a sample is all of its user's events.
        truth: name of an ``events`` column with the true click probability (synthetic data only).
        note: one sentence to print beside every figure made from this data; may be empty.
    """
    events: "pandas.DataFrame"
    items: "pandas.DataFrame"
    users: "pandas.DataFrame" = None
    context: list = field(default_factory=list)
    dense: list = field(default_factory=list)
    time: str = "seconds"
    samples: "pandas.DataFrame" = None
    truth: str = ""
    note: str = ""


@dataclass
class Field:
    """One input column of the models.

    Attributes:
        name: the column's name; ``item`` is the item id itself.
        of: ``item``, ``user`` or ``context``.
        kind: ``category`` (an index into an embedding table) or ``dense`` (a standardised number).
        size: rows of the embedding table, padding and out-of-vocabulary included; 0 for dense.
        mean, std: what a dense column was standardised with, in its raw unit; 0 and 1 for categories.
    """
    name: str
    of: str
    kind: str = "category"
    size: int = 0
    mean: float = 0.0
    std: float = 1.0


@dataclass
class Schema:
    """The contents of ``schema.yaml``.

    Attributes:
        name, source, protocol, seed: how the dataset was made.
        time: ``seconds`` or ``order``, as in `Log`.
        fields: every `Field`, item fields first with ``item`` at their head.
        rows: samples in each split.
        counts: events, users, items and vocabulary facts worth printing.
        recipe: the options of source and protocol that were in force, to tell one preparation from another.
        best: AUC and gAUC of the true probabilities a split, where the truth is known.
        note: one sentence to print beside every figure.
        files: relative path → {bytes, sha256}.

    Example:
        >>> schema = Schema.load("data/complete_journey_quick")      # doctest: +SKIP
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

    def save(self, directory):
        text = yaml.safe_dump(dataclasses.asdict(self), sort_keys=False, allow_unicode=True, width=120)
        with open(os.path.join(directory, "schema.yaml"), "w", encoding="utf-8") as f:
            f.write(text)

    @classmethod
    def load(cls, directory):
        """Read and check ``directory/schema.yaml`` and the sizes of the files it lists.

        Raises:
            InputError: no dataset there, an unreadable schema, or a file that is missing or cut short.
        """
        path = os.path.join(directory, "schema.yaml")
        if not os.path.isfile(path):
            raise InputError(f"no prepared dataset at {directory}: {path} does not exist; "
                             "make one with tools/prepare.py")
        try:
            with open(path, encoding="utf-8") as f:
                raw = yaml.safe_load(f)
            raw["fields"] = [Field(**x) for x in raw["fields"]]
            schema = cls(**raw)
            sizes = {name: facts["bytes"] for name, facts in schema.files.items()}
        except (yaml.YAMLError, TypeError, KeyError, AttributeError, ValueError) as e:  # ValueError: not UTF-8
            raise InputError(f"{path} is not a schema that this version reads: {' '.join(str(e).split())}") from None
        if schema.version != VERSION:
            raise InputError(f"{path} has version {schema.version}, this code reads {VERSION}; prepare the data again")
        for name, size in sizes.items():
            check_size(os.path.join(directory, name), size)
        return schema


def check_size(path, size):
    """Raise InputError unless the file at `path` has `size` bytes."""
    if not os.path.isfile(path):
        raise InputError(f"{path} is missing; prepare the dataset again")
    found = os.path.getsize(path)
    if found != size:
        raise InputError(f"{path} has {found:,} bytes where schema.yaml says {size:,}: it was cut short or "
                         "changed; prepare the dataset again")
