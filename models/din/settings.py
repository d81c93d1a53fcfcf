"""DIN's own settings."""

from typing import Literal

from paddleinterest.core import settings
from paddleinterest.core.settings import setting


class HyperParameters(settings.HyperParameters):
    """DIN's own hyper-parameters."""

    attention_units: list[int] = setting(
        [80, 40], "Hidden widths of the local activation unit", least=1
    )
    attention_softmax: bool = setting(
        True,
        "true = softmax(s/√D) over real positions; false = the paper, whose weights sum to"
        " anything",
    )
    score: Literal[
        "din",
        "none",
        "dot",
        "scaled_dot",
        "bilinear",
        "cosine",
        "own",
        "product",
        "plus",
        "minus",
        "concat",
        "outer",
    ] = setting(
        "din",
        "What weighs an event: DIN's unit, nothing (mean or sum), a dot product, a bilinear form, a"
        " cosine, or an MLP of e (own), e∘v, e+v, e−v, [e; v], or these and their outer product",
    )
    history_sum: bool = setting(
        False,
        "The tower also reads the sum of the history's embeddings and its product with the"
        " target's, as DIN does in the DIEN authors' own comparison",
    )
