"""BST's own settings."""

from typing import Literal

from paddleinterest.core import settings
from paddleinterest.core.settings import setting


class HyperParameters(settings.HyperParameters):
    """BST's own hyper-parameters."""

    position: Literal["auto", "time", "index", "sinusoidal", "none"] = setting(
        "auto",
        "Position of an event: time = log-spaced bucket of its age (the paper); index = learned,"
        " counted from the end; sinusoidal = fixed waves of that index, as high as embedding_std;"
        " auto = time if the dataset has a clock, otherwise index",
    )
    position_merge: Literal["concat", "add"] = setting(
        "concat", "The position is joined to the item's embedding (the paper) or added to it"
    )
    position_size: int = setting(
        16, "Width of the position with concat; with add it is the item's", least=1
    )
    position_buckets: int = setting(
        64,
        "Time buckets from 1 second to 10 years, or positions from the end that differ",
        least=1,
    )
    blocks: int = setting(1, "Encoder blocks", least=1, most=1000)
    heads: int = setting(
        4,
        "Attention heads; must divide the width, which is item fields · embedding_size, plus"
        " position_size with concat",
        least=1,
    )
    feed_forward: int = setting(
        0, "Hidden width of a block's feed-forward part", least=0, zero="as wide as the sequence"
    )
    block_dropout: float = setting(
        0.0, "Dropout of both residual branches of a block", least=0, most=0.99, of_training=True
    )
    output: Literal["target", "concat", "mean"] = setting(
        "target",
        "What leaves the last block: the target's position, all of them side by side (the paper's"
        " figure), or their mean",
    )
    concat_length: int = setting(
        0, "Most recent events of output: concat", least=0, zero="runner.history_cap"
    )
    target_in_tower: bool = setting(
        False, "The target also enters the tower directly; false = through the blocks alone"
    )
