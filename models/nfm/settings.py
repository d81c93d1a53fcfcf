"""NFM's own settings."""

from paddleinterest.core import settings
from paddleinterest.core.settings import setting


class HyperParameters(settings.HyperParameters):
    """NFM's own hyper-parameters."""

    linear: bool = setting(True, "Linear terms beside the MLP; false = the MLP alone")
