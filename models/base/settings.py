"""The base model's own settings."""

from typing import Literal

from paddleinterest.core import settings
from paddleinterest.core.settings import setting


class HyperParameters(settings.HyperParameters):
    """The base model's own hyper-parameters."""

    history: Literal["sum", "none"] = setting(
        "sum", "Sum pooling of the history, or none of it: what the history is worth"
    )
