"""Say whether one trained model is better than another, or may be so by chance.

The flags and the work are in paddleinterest/commands/compare.py; `python tools/compare.py --help`
explains them.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from paddleinterest.__main__ import run_verb  # noqa: E402

if __name__ == "__main__":
    run_verb("compare")
