"""PaddleInterest: click-through-rate models that read a user's behaviour sequence, on
PaddlePaddle."""
