"""The item table's start values from the items' vectors."""

import numpy as np
import paddle

from paddleinterest.core import distributed
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.data.schema import FIRST_ID, Field, Schema
from paddleinterest.data.tables import ItemTable
from paddleinterest.nets.sharded import ShardedEmbedding

CHUNK = 1 << 16  # vectors in memory at a time


def start_items(net: paddle.nn.Layer, items: ItemTable, schema: Schema, std: float) -> None:
    """Start the item table as the vectors' principal components, as large as it was drawn.

    Items without a vector, padding and the unknown item keep their start values. The vectors stay
    on disk; of them a chunk is in memory at a time.

    Args:
        net: whose `embeddings.tables["item"]` is filled.
        items: of the dataset.
        schema: of the dataset.
        std: of the values, over all items.

    Raises:
        InputError: the dataset has not one vector, or the vectors cannot fill the table.
    """
    field, own = _fields(schema)
    weight = net.embeddings.tables["item"].weight
    width = weight.shape[1]
    if width > field.width:
        raise InputError(
            f"hyper_parameters.vectors is start, but embedding_size is {width} and {field.name} has"
            f" only {field.width} numbers; embedding_size must be at most that"
        )
    vectors = items.vectors[field.name][: own.size]
    parts = [vectors[k : k + CHUNK] for k in range(0, own.size, CHUNK)]
    directions = principal_directions(parts)[:, :width]  # [W, E]
    rows = np.concatenate([part @ directions for part in parts])  # [items, E]
    given: np.ndarray = (rows != 0).any(axis=1)
    given[:FIRST_ID] = False
    if not given.any():
        raise InputError(f"hyper_parameters.vectors is start, but no item has {field.name}")
    rows *= std / np.sqrt(np.mean(np.square(rows[given])))
    if isinstance(net.embeddings.tables["item"], ShardedEmbedding):
        rows = distributed.rows_of_this_process(rows)
        given = distributed.rows_of_this_process(given)
    weight.set_value(np.where(given[:, None], rows, weight.numpy()).astype(np.float32))
    say(f"the item table starts from {field.name}: {int(given.sum()):,} of {len(given):,} rows")


def _fields(schema: Schema) -> tuple[Field, Field]:
    """The vector, and the item's own field."""
    own = schema.item_fields[0]
    names = ", ".join(f.name for f in schema.vector_fields) or "none"
    if len(schema.vector_fields) != 1:
        raise InputError(
            f"hyper_parameters.vectors is start, for which {schema.name} must have one vector"
            f" field; it has: {names}"
        )
    if own.hashed:
        raise InputError(
            f"hyper_parameters.vectors is start, but the items of {schema.name} are hashed: several"
            " share a row of the table; use projected"
        )
    return schema.vector_fields[0], own


def principal_directions(parts: list[np.ndarray]) -> np.ndarray:
    """Directions of the vectors' largest to smallest second moment, float32 [W, W].

    Args:
        parts: chunks of the vectors, float32 [R, W].

    Example:
        >>> import numpy as np
        >>> abs(principal_directions([np.array([[3.0, 0], [0, 5.0], [0, 4.0]])])).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    moment = sum(part.astype(np.float64).T @ part.astype(np.float64) for part in parts)
    _, directions = np.linalg.eigh(moment)  # ascending
    return directions[:, ::-1].astype(np.float32)
