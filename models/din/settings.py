"""DIN's own settings."""

from paddleinterest.core import settings
from paddleinterest.core.settings import setting


class HyperParameters(settings.HyperParameters):
    """What DIN has beside the common hyper-parameters."""

    attention_units: list[int] = setting(
        [80, 40], "Hidden widths of the local activation unit", least=1
    )
    attention_softmax: bool = setting(
        True,
        "true = softmax(s/√D) over real positions; false = the paper, whose weights sum to"
        " anything",
    )
    history_sum: bool = setting(
        False,
        "The tower also reads the sum of the history's embeddings and its product with the"
        " target's, as DIN does in the DIEN authors' own comparison",
    )
