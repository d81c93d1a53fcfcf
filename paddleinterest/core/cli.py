"""The frame of every tool: one JSON line on standard output, everything else on standard error."""

import argparse
import contextlib
import io
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NoReturn, Protocol, TextIO

from paddleinterest import __version__
from paddleinterest.core import distributed, json_text, streams
from paddleinterest.core.errors import InputError, one_line
from paddleinterest.core.log import say

SIGNALS = {signal.SIGINT: ("interrupted", 130), signal.SIGTERM: ("terminated", 143)}


class Parser(Protocol):
    """argparse's parser, or one with the same method."""

    def parse_args(self) -> Any: ...


def add_version(parser: argparse.ArgumentParser) -> None:
    """Let a parser answer --version with the version of the package."""
    parser.add_argument(
        "--version",
        action="version",
        version=f"paddleinterest {__version__}",
        help="print the version and stop",
    )


def run(parser: Parser | argparse.ArgumentParser, work: Callable[[Any], dict[str, Any]]) -> None:
    """Parse the command line, call `work` and print its result as the last line of standard output.

    Exit status: 0 done; 1 wrong input, a full disk or an unreadable file (one line says which); 2 a
    wrong flag; 130 Ctrl-C; 143 SIGTERM. A bug keeps its traceback.

    Args:
        parser: of the command line.
        work: from the parsed arguments to the result, JSON-able.
    """
    if isinstance(parser, argparse.ArgumentParser):
        add_version(parser)
    started = time.time()
    stopped: list[int] = []
    help_text = io.StringIO()

    def stop(number: int, _: FrameType | None) -> None:
        stopped.append(number)
        sys.unraisablehook = lambda *_: None  # half-made objects would complain when they are freed
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(143)

    streams.open_missing()
    streams.keep_talking()
    for number in SIGNALS:
        signal.signal(number, stop)
    try:
        _check_encoding(sys.argv[1:])
        with contextlib.redirect_stdout(help_text):
            args = parser.parse_args()  # prepare's parser also reads a file
        stdout = _reserve_stdout()
        result = plain({**work(args), "seconds": round(time.time() - started, 2)})
        if not distributed.process_index():
            streams.write_out(stdout, json_text.dumps(result) + "\n")
    except (Exception, KeyboardInterrupt, SystemExit) as e:
        if stopped:  # an import or a library may have wrapped it
            what, status = SIGNALS[signal.Signals(stopped[0])]
            _stop(f"{what}; unfinished files have been removed, finished checkpoints stay", status)
        if isinstance(e, InputError):
            _stop(f"error: {e}", 1)
        if isinstance(e, OSError):  # no such file, no permission, no space left on the device
            _stop(f"error: {one_line(e)}", 1)
        if isinstance(e, MemoryError):
            _stop(
                "error: out of memory; try a smaller batch, a shorter history_cap or fewer rows", 1
            )
        if isinstance(e, SystemExit) and help_text.getvalue():
            _print_help(help_text.getvalue())
        raise


def plain(value: Any) -> Any:
    """The result with None in place of numbers that are not finite, which JSON does not have."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _check_encoding(argv: Sequence[str]) -> None:
    """An argument that is not UTF-8 could not be written into our files."""
    for argument in argv:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise InputError(f"the argument {argument!r} is not UTF-8") from None


def _reserve_stdout() -> TextIO:
    """Keep standard output for the result: what libraries print, C++ ones too, goes to standard
    error."""
    stdout = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sys.stdout.flush()
    os.dup2(2, 1)
    return stdout


def _print_help(text: str) -> None:
    try:
        streams.write_out(sys.stdout, text)
    except InputError as e:
        _stop(f"error: {e}", 1)


def _stop(message: str, status: int) -> NoReturn:
    index = distributed.process_index()
    if index:  # the first process prints to the terminal, this one to its own log
        print(f"process {index}: {message}", file=sys.stderr)
    say(message)
    sys.exit(status)
