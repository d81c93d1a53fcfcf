"""Search for better settings of a model: trainings one after another, chosen by Optuna (TPE),
judged on valid alone.

The flags and the work are in paddleinterest/commands/tune.py; `python tools/tune.py --help`
explains them.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from paddleinterest.__main__ import run_verb  # noqa: E402

if __name__ == "__main__":
    run_verb("tune")
