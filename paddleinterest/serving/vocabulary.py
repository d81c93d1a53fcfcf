"""The vocabularies of a bundle: raw values of attributes to indices of embedding tables."""

import os

from paddleinterest.core.errors import InputError
from paddleinterest.data.columns import read_parquet
from paddleinterest.data.schema import UNKNOWN, Field, Schema


def read_vocabularies(bundle: str, schema: Schema) -> dict[str, dict[str, int]]:
    """{field: {raw value as text: index}} of every category field but the item itself and hashed
    ones, which have none."""
    return {
        f.name: _read(os.path.join(bundle, "vocab", f"{f.name}.parquet"), f)
        for f in schema.fields
        if has_vocabulary(f)
    }


def has_vocabulary(field: Field) -> bool:
    """True if vocab/ has a file for the field."""
    return field.kind == "category" and field.name != "item" and not field.hashed


def _read(path: str, field: Field) -> dict[str, int]:
    table = read_parquet(path)
    if not {"value", "index"} <= set(table.column_names):
        raise InputError(
            f"{path} has the columns {', '.join(table.column_names)}, must have value and index;"
            " create its folder again"
        )
    values = table["value"].to_pylist()
    indices = table["index"].to_pylist()
    if not all(isinstance(v, str) for v in values) or len(set(values)) < len(values):
        raise InputError(f"{path}: its values must be texts, each once; create its folder again")
    if not all(type(k) is int and UNKNOWN <= k < field.size for k in indices):
        raise InputError(
            f"{path}: its indices must be in {UNKNOWN}…{field.size - 1}; create its folder again"
        )
    return dict(zip(values, indices, strict=True))
