"""NFM's own settings."""

from paddleinterest.core import settings
from paddleinterest.core.settings import setting


class HyperParameters(settings.HyperParameters):
    """What NFM has beside the common hyper-parameters."""

    linear: bool = setting(True, "Linear terms beside the MLP; false = the MLP alone")
