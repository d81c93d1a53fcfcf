"""AFM's own settings."""

from paddleinterest.core import settings
from paddleinterest.core.settings import setting


class HyperParameters(settings.HyperParameters):
    """What AFM has beside the common hyper-parameters."""

    attention_size: int = setting(16, "Hidden width of the attention over pairs of fields", least=1)
