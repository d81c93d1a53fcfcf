"""Fill a store of histories from an export bundle.

The flags and the work are in paddleinterest/commands/load_history.py; `python tools/load_history.py
--help` explains them.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from paddleinterest.__main__ import run_verb  # noqa: E402

if __name__ == "__main__":
    run_verb("load_history")
