"""Train and evaluate every cell of a named table, and write the table: Markdown, CSV, and into the
READMEs.

The flags and the work are in paddleinterest/commands/reproduce.py; `python tools/reproduce.py
--help` explains them.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from paddleinterest.__main__ import run_verb  # noqa: E402

if __name__ == "__main__":
    run_verb("reproduce")
