"""Which rows of two prepared datasets' embedding tables stand for the same raw value."""

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from paddleinterest.data.extend import raw_values
from paddleinterest.data.schema import FIRST_ID, PADDING, UNKNOWN, Field, Schema

NEW = -1  # a row without a counterpart


@dataclass
class Dataset:
    """A prepared dataset on disk.

    Attributes:
        directory: where it is.
        schema: its schema.
    """

    directory: str
    schema: Schema

    def category(self, name: str) -> Field | None:
        """The category of that name; None if it is missing."""
        return next((f for f in self.schema.fields if (f.name, f.kind) == (name, "category")), None)


def matched_rows(before: Dataset, now: Dataset, name: str) -> np.ndarray | None:
    """For every row of a field's table the row of the same raw value before.

    Args:
        before, now: the datasets.
        name: of a category of `now`.

    Returns:
        int64 [size], NEW for values that were not known; padding and unknown keep their rows. None
        if the field was not there, or is hashed in another way.
    """
    old, new = before.category(name), now.category(name)
    assert new is not None
    if old is None or old.hashed != new.hashed:
        return None
    if new.hashed:
        return np.arange(new.size) if new.size == old.size else None
    rows = np.full(new.size, NEW, np.int64)
    rows[PADDING] = PADDING
    rows[UNKNOWN] = UNKNOWN
    place = pc.index_in(raw_values(now.directory, new), raw_values(before.directory, old))
    rows[FIRST_ID:] = pc.fill_null(pc.add(place, FIRST_ID), NEW).to_numpy()
    return rows


def keeps_indices(rows: np.ndarray, size: int) -> bool:
    """True if each of the `size` rows of before is in the same place."""
    return len(rows) >= size and np.array_equal(rows[:size], np.arange(size))
