"""CNN's own settings."""

from typing import Literal

from paddleinterest.core import settings
from paddleinterest.core.settings import setting


class HyperParameters(settings.HyperParameters):
    """CNN's own hyper-parameters."""

    axis: Literal["positions", "columns"] = setting(
        "positions",
        "What a window slides over: the events of the history, or the columns of all fields'"
        " vectors",
    )
    filters: int = setting(32, "Filters of axis: positions", least=1)
    window: int = setting(3, "Events that a window of axis: positions covers", least=1, most=50)
