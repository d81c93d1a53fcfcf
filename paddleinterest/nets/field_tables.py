"""Which embedding tables of a net have a row for each value of a field."""

from __future__ import annotations

import paddle.nn as nn

from paddleinterest.nets.embeddings import FieldEmbeddings
from paddleinterest.nets.pooled import LinearTerms


def field_tables(net: nn.Layer) -> dict[str, str]:
    """{name of a table's weight: name of its field}; other tables are not in it.

    Example:
        >>> from types import SimpleNamespace as Field
        >>> field_tables(FieldEmbeddings([Field(name="item", of="item", size=10)], width=4))
        {'tables.item.weight': 'item'}
    """
    found = {}
    for name, layer in net.named_sublayers(include_self=True):
        at = f"{name}." if name else ""
        if isinstance(layer, FieldEmbeddings):
            found.update({f"{at}tables.{field}.weight": field for field in layer.tables.keys()})
        elif isinstance(layer, LinearTerms):  # keys such as target_item
            for key in layer.tables.keys():
                found[f"{at}tables.{key}.weight"] = key.partition("_")[2]
        if isinstance(getattr(layer, "item_bias", None), nn.Embedding):
            found[f"{at}item_bias.weight"] = "item"
    return found


def other_tables(net: nn.Layer) -> set[str]:
    """Names of the weights of the other embedding tables, such as of crossed fields."""
    known = field_tables(net)
    names = {f"{name}.weight" for name, x in net.named_sublayers() if isinstance(x, nn.Embedding)}
    return names - known.keys()
