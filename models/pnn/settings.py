"""PNN's own settings."""

from typing import Literal

from paddleinterest.core import settings
from paddleinterest.core.settings import setting


class HyperParameters(settings.HyperParameters):
    """PNN's own hyper-parameters."""

    product: Literal["inner", "outer", "both"] = setting(
        "inner", "Products of the fields that the tower reads: IPNN, OPNN or PNN*"
    )
