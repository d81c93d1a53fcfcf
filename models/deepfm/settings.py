"""DeepFM's own settings."""

from typing import Literal

from paddleinterest.core import settings
from paddleinterest.core.settings import setting


class HyperParameters(settings.HyperParameters):
    """DeepFM's own hyper-parameters."""

    fm: Literal["sum", "vector"] = setting(
        "sum",
        "FM's second order as a number (the paper), or as a vector whose columns have learned"
        " weights",
    )
