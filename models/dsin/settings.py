"""DSIN's own settings."""

from typing import Literal

from paddleinterest.core import settings
from paddleinterest.core.settings import setting


class HyperParameters(settings.HyperParameters):
    """DSIN's own hyper-parameters."""

    session_gap: int = setting(30, "Minutes without an event that end a session", least=1)
    sessions: int = setting(5, "Most recent sessions that are read", least=1, most=50)
    session_places: int = setting(10, "Places within a session that differ", least=1)
    heads: int = setting(
        4, "Attention heads; must divide the width, item fields · embedding_size", least=1
    )
    feed_forward: int = setting(
        0, "Hidden width of the block's feed-forward part", least=0, zero="as wide as an item"
    )
    block_dropout: float = setting(
        0.0, "Dropout of the residual branches of the block", least=0, most=0.99, of_training=True
    )
    score: Literal["bilinear", "din"] = setting(
        "bilinear", "What weighs a session: a bilinear form (the paper), or DIN's activation unit"
    )
    attention_units: list[int] = setting([80, 40], "Hidden widths of score: din", least=1)
