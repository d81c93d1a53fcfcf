"""A batch as a net reads it, and what of a history is real.

Shapes: B rows, T history positions, N candidates of one user.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, Union

import paddle

from paddleinterest.data.schema import of_one_user

PADDING = 0

Batch: TypeAlias = Mapping[str, paddle.Tensor]
"""The reader's arrays as tensors; paddleinterest/data/reader.py lists names, types and shapes."""

Scores: TypeAlias = Union[paddle.Tensor, tuple[paddle.Tensor, paddle.Tensor]]  # noqa: UP007
"""Logits [B], or with return_attention a pair of logits [B] and weights [B, T]."""


def history_mask(batch: Batch) -> paddle.Tensor:
    """m_j: 1.0 if position j is real, 0.0 if it is padding, float32 [B, T]."""
    return (batch["history_item"] != PADDING).astype("float32")


def history_length(mask: paddle.Tensor) -> paddle.Tensor:
    """How many positions of each row are real, [B, T] → int64 [B]."""
    return mask.sum(-1).astype("int64")


def repeat_user(batch: Batch) -> dict[str, paddle.Tensor]:
    """A request's batch as one for `forward`: the user's row repeated for all N candidates.

    A net's `rank` must equal `forward` of this. It may be just that if nothing of the user can be
    computed once for all candidates.

    Args:
        batch (Batch): history_* [1, T], user_* and context_* [1], target_time [1], target_* [N].
    """
    n = paddle.shape(batch["target_item"])[0]
    return {
        name: x.expand([n] + [-1] * (x.ndim - 1)) if of_one_user(name) else x
        for name, x in batch.items()
    }
