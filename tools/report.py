"""Draw trained runs: learning curves, AUC by history length, calibration, cost against AUC, on a
page with their numbers.

The flags and the work are in paddleinterest/commands/report.py; `python tools/report.py --help`
explains them.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from paddleinterest.__main__ import run_verb  # noqa: E402

if __name__ == "__main__":
    run_verb("report")
