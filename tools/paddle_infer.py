"""Score a split of a prepared dataset, or a JSON request of raw ids, through Paddle Inference.

The flags and the work are in paddleinterest/commands/paddle_infer.py; `python tools/paddle_infer.py
--help` explains them.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from paddleinterest.__main__ import run_verb  # noqa: E402

if __name__ == "__main__":
    run_verb("paddle_infer")
