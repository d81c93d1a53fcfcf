"""`paddleinterest VERB` and `python -m paddleinterest VERB`: what tools/VERB.py does."""

import importlib
import os
import signal
import sys

from paddleinterest import __version__
from paddleinterest.core import streams

VERBS = (
    "prepare",
    "trainer",
    "infer",
    "to_static",
    "paddle_infer",
    "serve",
    "load_history",
    "attention",
    "report",
    "compare",
    "popularity",
    "tune",
    "reproduce",
)


def main() -> None:
    """Run the command that the first argument names with the arguments after it."""
    if sys.argv[1:] == ["--version"]:
        print(f"paddleinterest {__version__}")
        sys.exit(0)
    if len(sys.argv) < 2 or sys.argv[1] not in VERBS:
        asked = len(sys.argv) > 1 and sys.argv[1] in ("-h", "--help")
        if len(sys.argv) > 1 and not asked:
            print(f"error: unknown verb {sys.argv[1]!r}", file=sys.stderr)
        print(
            f"usage: paddleinterest VERB ...\nVERB: {', '.join(VERBS)}; `paddleinterest VERB"
            " --help` explains one, --version prints the version",
            file=sys.stdout if asked else sys.stderr,
        )
        sys.exit(0 if asked else 2)
    verb = sys.argv[1]
    sys.argv = [f"{os.path.basename(sys.argv[0])} {verb}", *sys.argv[2:]]
    run_verb(verb)


def run_verb(verb: str) -> None:
    """Run a command with the arguments of this process; the modules that it needs are loaded only
    now, so that Ctrl-C meanwhile ends in one line, too."""
    streams.open_missing()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop_at_once)
    importlib.import_module(f"paddleinterest.commands.{verb}").main()


def _stop_at_once(number: int, _: object) -> None:
    """End while modules load. An exception would come out of an import as anything."""
    what = "interrupted" if number == signal.SIGINT else "terminated"
    os.write(2, f"{what} before anything was done\n".encode())
    os._exit(128 + number)


if __name__ == "__main__":
    main()
