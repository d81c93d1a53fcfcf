"""MF's own settings."""

from typing import Literal

from paddleinterest.core import settings
from paddleinterest.core.settings import setting


class HyperParameters(settings.HyperParameters):
    """MF's own hyper-parameters."""

    form: Literal["dot", "towers", "mlp"] = setting(
        "dot",
        "How the user's vector meets the item's: their inner product; that of a tanh MLP of each;"
        " or a tanh MLP of both",
    )
    ids_only: bool = setting(
        False, "Read the user's id and the item's alone; false = all fields of user and item"
    )
