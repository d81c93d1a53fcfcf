"""Score every sample by the popularity of its item: the number of its events in train (under
labels: of its samples).

The flags and the work are in paddleinterest/commands/popularity.py; `python tools/popularity.py
--help` explains them.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from paddleinterest.__main__ import run_verb  # noqa: E402

if __name__ == "__main__":
    run_verb("popularity")
