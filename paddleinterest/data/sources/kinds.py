"""The kinds of columns, and their values read accordingly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from paddleinterest.core.errors import InputError
from paddleinterest.data.sources import columns, lists
from paddleinterest.data.sources.table_file import Table

CATEGORY, DENSE, MULTIPLE, VECTOR = "category", "dense", "multiple", "vector"


@dataclass(frozen=True)
class Kind:
    """The kind of one column.

    Attributes:
        of: category, dense, multiple or vector.
        separator: between the values in a cell of text; empty = detected.
    """

    of: str = CATEGORY
    separator: str = ""

    def values(
        self, column: pa.ChunkedArray, name: str, path: str, table: Table
    ) -> pa.ChunkedArray:
        """The values of a column: numbers, categories, or lists of either.

        Args:
            column: as read.
            name, path: of the column and its file, for messages.
            table: of the file, which says how values are read.
        """
        if self.of == DENSE:
            return columns.number_values(column, name, path)
        if self.of == CATEGORY:
            return columns.category_values(column, name, path, table.reading)
        separator = self.separator or (" " if table.file.form == "atomic" else "")
        if self.of == VECTOR:
            return lists.vector_values(column, name, path, separator)
        return lists.list_values(column, name, path, table.reading, separator)


@dataclass(frozen=True)
class Kinds:
    """The kinds of columns by the names under which they are kept. All others hold a category.

    Attributes:
        dense: those of numbers.
        multiple: those of several categories a cell.
        vectors: those of equally many numbers a cell.
        separators: {name: what separates the values in a cell of text}; "" is for all others.
    """

    dense: Sequence[str] = ()
    multiple: Sequence[str] = ()
    vectors: Sequence[str] = ()
    separators: Mapping[str, str] = field(default_factory=dict)

    def of(self, name: str, declared: str = "") -> Kind:
        """The kind of a column: from a flag, or from what the file itself declares."""
        said = [
            kind
            for kind, names in (
                (DENSE, self.dense),
                (MULTIPLE, self.multiple),
                (VECTOR, self.vectors),
            )
            if name in names
        ]
        kind = said[0] if said else declared or CATEGORY
        return Kind(kind, self.separators.get(name) or self.separators.get("", ""))


def check_one_kind(kinds: Kinds) -> None:
    """Raise InputError if a column is named by two of --dense, --multiple and --vectors."""
    flags = {"--dense": kinds.dense, "--multiple": kinds.multiple, "--vectors": kinds.vectors}
    owner: dict[str, str] = {}
    for flag, names in flags.items():
        for name in names:
            if name in owner and owner[name] != flag:
                raise InputError(f"{name!r} is named by both {owner[name]} and {flag}; choose one")
            owner[name] = flag
