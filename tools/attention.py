"""Draw which past items weigh how much for which candidate: one row per candidate, one column per
past event.

The flags and the work are in paddleinterest/commands/attention.py; `python tools/attention.py
--help` explains them.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from paddleinterest.__main__ import run_verb  # noqa: E402

if __name__ == "__main__":
    run_verb("attention")
