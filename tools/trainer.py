"""Train a model, keep its best epoch on valid, and report valid and test.

The flags and the work are in paddleinterest/commands/trainer.py; `python tools/trainer.py --help`
explains them.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from paddleinterest.__main__ import run_verb  # noqa: E402

if __name__ == "__main__":
    run_verb("trainer")
