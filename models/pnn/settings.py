"""PNN's own settings."""

from typing import Literal

from paddleinterest.core import settings
from paddleinterest.core.settings import setting


class HyperParameters(settings.HyperParameters):
    """What PNN has beside the common hyper-parameters."""

    product: Literal["inner", "outer", "both"] = setting(
        "inner", "Products of the fields that the tower reads: IPNN, OPNN or PNN*"
    )
