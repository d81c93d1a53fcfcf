"""DIEN's own settings."""

from typing import Literal

from paddleinterest.core import settings
from paddleinterest.core.settings import setting


class HyperParameters(settings.HyperParameters):
    """DIEN's own hyper-parameters."""

    hidden_size: int = setting(
        0,
        "Width of both recurrences' states",
        least=0,
        zero="the width of an item's embedding",
    )
    evolution: Literal["augru", "augru_code", "agru", "aigru", "gru_attention"] = setting(
        "augru",
        "Second recurrence (the paper's ablation); augru_code = the gate of the authors' code;"
        " gru_attention = two GRUs, then attention",
    )
    attention: Literal["bilinear", "mlp", "mlp_code"] = setting(
        "bilinear",
        "a_t from h_t·W·v (the paper) or from DIN's activation unit; mlp_code = with the target"
        " through a layer with PReLU and sigmoids in the unit, as the authors' code",
    )
    attention_units: list[int] = setting(
        [80, 40], "Hidden widths of attention: mlp and mlp_code", least=1
    )
    auxiliary: Literal["none", "inner", "mlp"] = setting(
        "none",
        "Auxiliary loss: none, by inner product (the paper), or by an MLP (the authors' code)",
    )
    auxiliary_mean: Literal["valid", "all"] = setting(
        "valid",
        "What it is averaged over: the positions with a next event, or all, padding too (the"
        " authors' code), so that it depends on the batch mates",
        of_training=True,
    )
    auxiliary_weight: float = setting(
        1.0, "Weight α of the auxiliary loss", least=0, of_training=True
    )
    auxiliary_negatives: Literal["uniform", "popularity"] = setting(
        "uniform",
        "How its negatives are drawn, from items that the user never touched",
        of_training=True,
    )
    history_sum: bool = setting(
        True,
        "The tower also reads the sum of the history's embeddings and its product with the"
        " target's, as in the authors' code; false = the paper",
    )
