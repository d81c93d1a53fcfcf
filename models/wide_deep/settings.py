"""Wide & Deep's own settings."""

from paddleinterest.core import settings
from paddleinterest.core.settings import setting


class HyperParameters(settings.HyperParameters):
    """What Wide & Deep has beside the common hyper-parameters."""

    cross: int = setting(
        100_000,
        "Buckets per field of the wide part's hashed products history × target",
        least=0,
        zero="off",
    )
