"""Settings of the models that may also learn to name the next item of a history."""

from typing import Literal

from paddleinterest.core.settings.common import HyperParameters
from paddleinterest.core.settings.declare import setting


class NextItemHyperParameters(HyperParameters):
    """Hyper-parameters of models with a loss on the next item, besides the common ones."""

    next_item: Literal["none", "full", "batch", "binary"] = setting(
        "none",
        "Loss on the next item of the history beside the click's: a softmax over all items (full),"
        " over the next item and the batch's targets (batch), or against one drawn item (binary)",
    )
    next_item_weight: float = setting(
        1.0, "Weight λ of that loss", least=0, zero="off", of_training=True
    )
    next_item_negatives: Literal["uniform", "popularity"] = setting(
        "uniform",
        "How the negatives of next_item: binary are drawn, from items that the user never touched",
        of_training=True,
    )
