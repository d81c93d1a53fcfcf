"""AFM's own settings."""

from paddleinterest.core import settings
from paddleinterest.core.settings import setting


class HyperParameters(settings.HyperParameters):
    """AFM's own hyper-parameters."""

    attention_size: int = setting(16, "Hidden width of the attention over pairs of fields", least=1)
