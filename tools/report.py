"""Draw trained runs: learning curves, AUC by history length, calibration, cost against AUC, on a
page with their numbers.

The flags and the work are in paddleinterest/commands/report.py; `python tools/report.py --help`
explains them.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from paddleinterest.commands.report import main  # noqa: E402

if __name__ == "__main__":
    main()
