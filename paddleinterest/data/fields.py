"""Columns of a prepared dataset: their field, how train's values index or standardise them, and how
they are written."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from paddleinterest.core.log import say
from paddleinterest.data import hashing
from paddleinterest.data.schema import FIRST_ID, UNKNOWN, Field
from paddleinterest.data.tables import FARTHEST

DENSE_SMALLEST = 1e-9  # a standard deviation below this share of the mean is rounding


@dataclass
class Category:
    """A category's field, with the embedding row of each code.

    Attributes:
        field: the field in schema.yaml.
        index: int32 [codes + 1]; the last entry serves code −1, a missing value.
        vocabulary: index, value and count; None for hashed ones.
    """

    field: Field
    index: np.ndarray
    vocabulary: pa.Table | None


def category(
    field: Field,
    texts: pa.Array,
    count: np.ndarray,
    min_count: int,
    buckets: int = 0,
    kept: pa.Array | None = None,
) -> Category:
    """Index each value by descending count in train (ties by text); unseen and missing values get
    index 1.

    Args:
        field: its name and place; size is set here.
        texts: the values in ascending order.
        count: occurrences of each in train.
        min_count: values with fewer share index 1.
        buckets: if not 0, values get an index by their hash instead.
        kept: values that come first, in this order, whether they occur or not.
    """
    index = np.full(len(texts) + 1, UNKNOWN, np.int32)
    if buckets:
        index[:-1] = hashing.bucket(texts, buckets)
        field.size = FIRST_ID + buckets
        field.hashed = True
        return Category(field, index, None)
    order = np.lexsort((np.arange(len(texts)), -count))
    order = order[count[order] >= max(min_count, 1)]
    past = pa.array([], texts.type) if kept is None else kept.cast(texts.type)
    place = pc.index_in(past, texts)  # null: does not occur
    at = pc.fill_null(place, len(texts)).to_numpy().astype(np.int64)
    order = order[~np.isin(order, at)]
    numbers = FIRST_ID + np.arange(len(past) + len(order))
    index[order] = numbers[len(past) :]
    occurs = at < len(texts)
    index[at[occurs]] = numbers[: len(past)][occurs]
    field.size = FIRST_ID + len(numbers)
    vocabulary = pa.table(
        {
            "index": pa.array(numbers, pa.int32()),
            "value": pa.concat_arrays([past, texts.take(pa.array(order))]).cast(pa.string()),
            "count": pa.array(np.append(np.append(count, 0)[at], count[order]), pa.int64()),
        }
    )
    return Category(field, index, vocabulary)


@dataclass
class Moments:
    """Weight, mean and sum of squared distances of numbers, in float64. Sums of parts in the same
    order have the same bits."""

    weight: float = 0.0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, values: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Add float32 numbers; NaN are left out. The mean uses the numbers as stored, so that
        rounding does not count as variation."""
        weight = np.ones(len(values)) if weight is None else weight.astype(np.float64)
        real = ~np.isnan(values) & (weight > 0)
        if not real.any():
            return
        some = values[real].astype(np.float64)
        mean = float(np.average(some, weights=weight[real]))
        total = float(weight[real].sum())
        squares = float(np.average((some - mean) ** 2, weights=weight[real])) * total
        self.merge(Moments(total, mean, squares))

    def merge(self, other: "Moments") -> None:
        """Add the numbers of another sum."""
        if not other.weight:
            return
        if not self.weight:
            self.weight, self.mean, self.squares = other.weight, other.mean, other.squares
            return
        total = self.weight + other.weight
        apart = other.mean - self.mean
        self.squares += other.squares + apart * apart * self.weight * other.weight / total
        self.mean += apart * other.weight / total
        self.weight = total

    def set(self, field: Field) -> None:
        """Mean and standard deviation for a field; 0 and 1 if there are no numbers, spread 1 if all
        are the same."""
        std = (self.squares / self.weight) ** 0.5 if self.weight else 1.0
        field.mean = self.mean
        field.std = std if std > DENSE_SMALLEST * abs(self.mean) else 1.0


def count_far(values: np.ndarray, field: Field) -> int:
    """Count the numbers that are so many standard deviations off that they will be cut."""
    return int((np.abs(values.astype(np.float64) - field.mean) > FARTHEST * field.std).sum())


def tell_far(field: Field, far: int) -> None:
    """Print how many numbers will be cut. None of them is in train, or the deviation would be
    larger."""
    if far:
        say(
            f"dense column {field.name}: {far:,} values outside train are more than"
            f" {FARTHEST:,.0f} standard deviations off; they are cut there"
        )


def vocabularies(columns: Iterable[Category]) -> dict[str, pa.Table]:
    """{field: its vocabulary} of the fields that have one."""
    return {c.field.name: c.vocabulary for c in columns if c.vocabulary is not None}
