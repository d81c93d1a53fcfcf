"""Columns whose cells hold several values: lists of categories, and vectors.

Parquet and JSON lines hold lists as such. In text a cell is `War|Comedy`, or a list as JSON, Python
or NumPy writes it: `["War", "Comedy"]`, `['War', 'Comedy']`, `[0.1 0.2]`.
"""

import ast
import json
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.data.sources import columns
from paddleinterest.data.sources.columns import SPACES, Reading, plain, shown

SEPARATORS = ("|", "^", ";", ",")  # between values; a blank may be within one, such as Film Noir
NUMBER_SEPARATORS = ("|", ";", ",", " ")
JOINT = "\x1f"  # between the values of a list that is kept as one text
KINDS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
TEXTS = pa.large_list(pa.large_string())
PLAIN = (str, int, float, type(None))  # values in a list
BESIDE = re.compile(r"""['"]\s+['"]""")  # two texts without a comma


def is_list(kind: pa.DataType) -> bool:
    """True if an Arrow type is a list type."""
    return any(fits(kind) for fits in KINDS)


def found_separators(texts: pa.Array | pa.ChunkedArray, candidates: Sequence[str]) -> list[str]:
    """Those of the candidates that occur in a column of texts."""
    return [each for each in candidates if pc.any(pc.match_substring(texts, each)).as_py()]


def list_values(
    column: pa.ChunkedArray, name: str, path: str, reading: Reading, separator: str = ""
) -> pa.ChunkedArray:
    """A column of several categories a cell, as lists of int64 or large_string; null where a cell
    is missing.

    Args:
        column: as read.
        name, path: of the column and the file, for messages.
        reading: how values are read.
        separator: between the values of a text; empty = detected.

    Raises:
        InputError: what separates the values is not clear, or they are of no fit type.
    """
    column = plain(column)
    if is_list(column.type):
        lists = _large(column, name, path)
    elif pa.types.is_large_string(column.type):
        lists = _split(column, name, path, separator)
    else:  # numbers: one value per cell
        lists = _singles(column)
    lists = lists.combine_chunks()
    if isinstance(lists, pa.ChunkedArray):  # of no chunks
        lists = pa.array([], lists.type)
    values = plain(pa.chunked_array([pc.list_flatten(lists)]))
    if pa.types.is_large_string(values.type):
        values = pc.utf8_trim(values, characters=SPACES)
    label = f"{name} (values in lists)"
    values = columns.category_values(values, label, path, reading).combine_chunks()
    known = values.is_valid().to_numpy(zero_copy_only=False)
    owner = np.repeat(np.arange(len(lists)), _lengths(lists))[known]
    lengths = np.bincount(owner, minlength=len(lists))
    return _lists(lengths, values.filter(pa.array(known)), pc.is_null(lists))


def _lists(lengths: np.ndarray, values: pa.Array, missing: pa.Array) -> pa.ChunkedArray:
    """Lists of the given lengths, joined."""
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int64())
    return pa.chunked_array([pa.LargeListArray.from_arrays(offsets, values, mask=missing)])


def _lengths(lists: pa.Array) -> np.ndarray:
    return pc.fill_null(pc.list_value_length(lists), 0).to_numpy().astype(np.int64)


def _large(column: pa.ChunkedArray, name: str, path: str) -> pa.ChunkedArray:
    """Lists of plain values as large lists."""
    kind = column.type.value_type
    if pa.types.is_nested(kind):
        raise InputError(
            f"{path}: {name} holds {column.type}; a list of values must hold texts or numbers"
        )
    return column.cast(pa.large_list(kind))


def _singles(column: pa.ChunkedArray) -> pa.ChunkedArray:
    values = column.combine_chunks()
    missing = pc.is_null(values, nan_is_null=True)
    return _lists(np.ones(len(values), np.int64), values, missing)


def _split(column: pa.ChunkedArray, name: str, path: str, separator: str) -> pa.ChunkedArray:
    """Texts as lists of texts; an empty one is missing."""
    texts = columns.Texts(pc.utf8_trim(column, characters=SPACES))
    values = texts.values
    if not separator and _in_brackets(values):
        lists = _parsed(values, texts, name, path)
    else:
        separator = separator or _separator_of(values, name, path)
        lists = pc.split_pattern(values, separator or JOINT).cast(TEXTS)
    lists = pc.if_else(pc.equal(values, ""), pa.scalar(None, TEXTS), lists)
    return texts.column(lists)


def _in_brackets(values: pa.Array) -> bool:
    """True if all texts except empty ones are written as lists."""
    full = values.filter(pc.not_equal(values, ""))
    inside = pc.and_(pc.starts_with(full, "["), pc.ends_with(full, "]"))
    return len(full) > 0 and pc.all(inside).as_py()


def _parsed(values: pa.Array, texts: columns.Texts, name: str, path: str) -> pa.Array:
    """Lists that JSON or Python wrote."""
    made = []
    for code, text in enumerate(values.to_pylist()):
        found = _literal(text) if text else []
        if found is None:
            raise InputError(
                f"{path}: {name} is {shown(text[:60])} in row {texts.row(code):,}, which is not a"
                ' list such as ["War", "Comedy"]; --value-separator says what separates the values'
            )
        made.append(found)
    return pa.array(made, TEXTS)


def _literal(text: str) -> list[str | None] | None:
    """A list of texts or numbers, as texts; None if it is something else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        if BESIDE.search(text):  # how NumPy writes texts; Python would join them
            return None
        try:
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    if not isinstance(found, list) or not all(isinstance(v, PLAIN) for v in found):
        return None
    return [None if v is None else str(int(v) if isinstance(v, bool) else v) for v in found]


def _separator_of(values: pa.Array, name: str, path: str) -> str:
    """The separator of the values in the cells; empty if no cell has more than one."""
    found = found_separators(values, SEPARATORS)
    ask = f"--value-separator '{name}=CHAR' says it"
    if len(found) > 1:
        raise InputError(
            f"{path}: the cells of {name} hold {found[0]!r} and {found[1]!r}, either of which may"
            f" separate its values; {ask}, such as '{name}={found[0]}'"
        )
    if found:
        say(f"{path}: the cells of {name} are lists, separated by {found[0]!r} (--value-separator)")
        return found[0]
    if pc.any(pc.match_substring(values, " ")).as_py():
        some = values.filter(pc.match_substring(values, " "))[0].as_py()
        raise InputError(
            f"{path}: is {shown(some[:60])} in {name} one value or several? If several, {ask}, here"
            f" '{name}= '; if one, do not name {name} with --multiple"
        )
    say(f"{path}: no cell of {name} holds more than one value (--multiple)")
    return ""


def joined(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Lists as texts, which can be compared; `parted` undoes it."""
    texts = column.combine_chunks().cast(pa.list_(pa.string()))  # binary_join knows no large ones
    return pa.chunked_array([pc.binary_join(texts, JOINT).cast(pa.large_string())])


def parted(values: pd.Series) -> pd.Series:
    """The lists that `joined` made texts of; missing ones stay missing."""
    column = pa.chunked_array([pa.array(values, pa.large_string(), from_pandas=True)])
    lists = pc.split_pattern(column, JOINT).cast(TEXTS)
    lists = pc.if_else(pc.equal(column, ""), pa.scalar([], TEXTS), lists)
    return columns.to_pandas(lists)


def vector_values(
    column: pa.ChunkedArray, name: str, path: str, separator: str = ""
) -> pa.ChunkedArray:
    """A column of vectors, as lists of float32; null where a cell is missing.

    Args:
        column: as read.
        name, path: of the column and the file, for messages.
        separator: between the numbers of a text; empty = detected.

    Raises:
        InputError: a cell does not hold numbers, or what separates them is not clear.
    """
    column = plain(column)
    if pa.types.is_large_string(column.type):
        return _numbers(column, name, path, separator)
    numeric = is_list(column.type) and _is_number(column.type.value_type)
    if not numeric:
        raise InputError(
            f"{path}: {name} holds {column.type}; --vectors wants lists of numbers, such as"
            " [0.1, 0.2]"
        )
    return column.cast(pa.large_list(pa.float32()))


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def _numbers(column: pa.ChunkedArray, name: str, path: str, separator: str) -> pa.ChunkedArray:
    """Texts such as `0.1 0.2` or `[0.1, 0.2]` as lists of float32."""
    trimmed = pc.utf8_trim(column, characters=SPACES + "[]()")
    nothing = pa.scalar(None, trimmed.type)
    trimmed = pc.if_else(pc.equal(trimmed, ""), nothing, trimmed)
    texts = pc.replace_substring_regex(trimmed, r"\s*([|;,])\s*", r"\1")
    texts = pc.replace_substring_regex(texts, r"\s+", " ")
    if not separator:
        found = found_separators(texts, NUMBER_SEPARATORS)
        if len(found) > 1:
            raise InputError(
                f"{path}: the cells of {name} hold {found[0]!r} and {found[1]!r}, either of which"
                f" may separate its numbers; --value-separator '{name}=CHAR' says which"
            )
        separator = found[0] if found else " "
    pieces = pc.split_pattern(texts, separator).combine_chunks()
    flat = pc.list_flatten(pieces)
    try:
        numbers = flat.cast(pa.float32())
    except pa.ArrowInvalid:
        at = columns.first_failure(pa.chunked_array([flat]), pa.float32())
        row = pc.list_parent_indices(pieces)[at].as_py()
        raise InputError(
            f"{path}: {name} holds {shown(flat[at].as_py()[:60])} in row {row + 1:,}, which is not"
            " a number; a vector is written as 0.1 0.2 or [0.1, 0.2]"
        ) from None
    return _lists(_lengths(pieces), numbers, pieces.is_null())


def separators(asked: Sequence[str]) -> dict[str, str]:
    """{column: separator} of what --value-separator says; "" means all other columns.

    Raises:
        InputError: a separator is empty or of several characters.

    Example:
        >>> separators([";", "genres=|"])
        {'': ';', 'genres': '|'}
    """
    found = {}
    for each in asked:
        name, equals, separator = each.rpartition("=")
        if not equals or not separator and not name:  # one character, which may be an equals sign
            name, separator = "", each
        separator = separator.replace("\\t", "\t")
        if len(separator) != 1:
            raise InputError(
                f"--value-separator is {each!r}, must be one character, or COL=CHAR, such as"
                " genres='|'"
            )
        found[name] = separator
    return found
