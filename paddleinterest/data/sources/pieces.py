"""A table that is read a piece at a time."""

from collections.abc import Iterable, Iterator

import pyarrow as pa

from paddleinterest.data.sources.columns import Reading
from paddleinterest.data.sources.table_file import Table

PIECE = 1 << 20  # rows of a Parquet file


class PieceTable(Table):
    """A file of delimited text or Parquet, whose pieces are read one after the other.

    Its values count as typed: `facts.prepared` has made whole numbers of the texts that are ones.
    """

    @property
    def reading(self) -> Reading:
        """How its values are read."""
        return Reading(self.form.null, True)

    def type_of(self, name: str) -> pa.DataType | None:
        """The type of a column as Parquet has it; None in a text file."""
        if self.file.form != "parquet":
            return None
        kind = self.schema.field(name).type
        return kind.value_type if pa.types.is_dictionary(kind) else kind

    def pieces(self, columns: Iterable[str]) -> Iterator[pa.Table]:
        """Those columns, piece by piece, as `read` gives them; at least one row in all.

        Raises:
            InputError: the file cannot be read, lacks a column, or has no rows.
        """
        names = list(dict.fromkeys(columns))
        if self.file.form == "parquet":
            return self.parquet_pieces(names, PIECE)
        return self.text_pieces(names)
