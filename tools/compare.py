"""Say whether one trained model is better than another, or may be so by chance.

The flags and the work are in paddleinterest/commands/compare.py; `python tools/compare.py --help`
explains them.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from paddleinterest.commands.compare import main  # noqa: E402

if __name__ == "__main__":
    main()
