"""PaddleInterest: click-through-rate models that read a user's behaviour sequence, on
PaddlePaddle."""

__version__ = "0.2.0"
