"""The bindings of models with a loss on the next item."""

from __future__ import annotations

from typing import cast

import paddle
import paddle.nn as nn

from paddleinterest.core.settings import NextItemHyperParameters, Settings
from paddleinterest.nets.batch import Batch
from paddleinterest.nets.click_model import ClickModel
from paddleinterest.nets.loss import LossTerm


class NextItemModel(ClickModel):
    """A model whose net may have a `next_item`, a `NextItemLoss`.

    The net's `forward_train(batch)` then gives logits [B] and a `LossTerm`. A subclass sets
    `next_item_weight` in `create_model`; 0 leaves the term out.
    """

    next_item_weight: float = 0.0

    def needs_negatives(self, config: Settings) -> str:
        """Kind of the negatives that training reads, "" for none."""
        h = cast(NextItemHyperParameters, config.hyper_parameters)
        draws = h.next_item == "binary" and h.next_item_weight > 0
        return h.next_item_negatives if draws else ""

    def forward_with_terms(
        self, net: nn.Layer, feeds: Batch
    ) -> tuple[paddle.Tensor, dict[str, LossTerm]]:
        """Logits [B], and the loss on the next item if the net has one."""
        if not self.next_item_weight or net.next_item is None:
            return net(feeds), {}
        logit, term = net.forward_train(feeds)
        term.weight = self.next_item_weight
        return logit, {"next_item": term}
