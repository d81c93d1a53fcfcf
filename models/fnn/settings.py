"""FNN's own settings."""

from paddleinterest.core import settings
from paddleinterest.core.settings import setting


class HyperParameters(settings.HyperParameters):
    """FNN's own hyper-parameters."""

    freeze: bool = setting(
        False,
        "Keep the weights of the FM that runner.warm_start names as they are, and train the tower"
        " alone; false = fine-tune all, as the authors do",
        of_training=True,
    )
