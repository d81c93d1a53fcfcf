"""Export a trained run as a bundle that serves on its own, through Paddle Inference.

The flags and the work are in paddleinterest/commands/to_static.py; `python tools/to_static.py
--help` explains them.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from paddleinterest.__main__ import run_verb  # noqa: E402

if __name__ == "__main__":
    run_verb("to_static")
