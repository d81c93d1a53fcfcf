"""RNN's own settings."""

from typing import Literal

from paddleinterest.core import settings
from paddleinterest.core.settings import setting


class HyperParameters(settings.NextItemHyperParameters):
    """RNN's own hyper-parameters."""

    cell: Literal["rnn", "gru", "lstm"] = setting("gru", "The recurrence's cell")
    read_out: Literal["tower", "target_step", "product"] = setting(
        "tower",
        "How the target meets the state: both into the tower; the target as one more step; or their"
        " inner product, without tower and side features",
    )
