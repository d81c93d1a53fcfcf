"""The transformer's own settings."""

from typing import Literal

from paddleinterest.core import settings
from paddleinterest.core.settings import setting


class HyperParameters(settings.NextItemHyperParameters):
    """The transformer's own hyper-parameters."""

    form: Literal["causal", "bidirectional", "decoder"] = setting(
        "causal",
        "What an event reads: those before it; all events; or an encoder reads the first half of"
        " the history both ways, and a causal decoder the rest, with keys and values of the"
        " encoder",
    )
    position: Literal["index", "sinusoidal", "none"] = setting(
        "index",
        "Position of an event, counted from the end and added to its embedding: learned, fixed"
        " waves as high as embedding_std, or none",
    )
    position_buckets: int = setting(64, "Positions from the end that differ", least=1)
    blocks: int = setting(1, "Blocks, of encoder and decoder each", least=1, most=1000)
    heads: int = setting(
        4, "Attention heads; must divide the width, item fields · embedding_size", least=1
    )
    feed_forward: int = setting(
        0, "Hidden width of a block's feed-forward part", least=0, zero="as wide as an item"
    )
    block_dropout: float = setting(
        0.0, "Dropout of the residual branches of a block", least=0, most=0.99, of_training=True
    )
    output: Literal["last", "mean"] = setting("last", "The user's state: the last one, or the mean")
