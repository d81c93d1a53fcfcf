"""`paddleinterest VERB` and `python -m paddleinterest VERB`: what tools/VERB.py does."""

import importlib
import os
import sys

VERBS = (
    "prepare",
    "trainer",
    "infer",
    "to_static",
    "paddle_infer",
    "serve",
    "attention",
    "report",
    "compare",
    "popularity",
    "tune",
    "reproduce",
)


def main():
    """Run the command that the first argument names with the arguments after it."""
    if len(sys.argv) < 2 or sys.argv[1] not in VERBS:
        asked = len(sys.argv) > 1 and sys.argv[1] in ("-h", "--help")
        print(
            f"usage: paddleinterest VERB ...\nVERB: {', '.join(VERBS)}; `paddleinterest VERB"
            " --help` explains one",
            file=sys.stdout if asked else sys.stderr,
        )
        sys.exit(0 if asked else 2)
    verb = sys.argv[1]
    sys.argv = [f"{os.path.basename(sys.argv[0])} {verb}", *sys.argv[2:]]
    importlib.import_module(f"paddleinterest.commands.{verb}").main()


if __name__ == "__main__":
    main()
