"""Wide & Deep's own settings."""

from paddleinterest.core import settings
from paddleinterest.core.settings import setting


class HyperParameters(settings.HyperParameters):
    """Wide & Deep's own hyper-parameters."""

    cross: int = setting(
        100_000,
        "Buckets per field of the wide part's hashed products history × target",
        least=0,
        zero="off",
    )
    cross_pairs: int = setting(
        0,
        "Buckets, of all pairs together, of hashed products of all pairs of fields",
        least=0,
        zero="off",
    )
