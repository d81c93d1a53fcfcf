"""What every tool does around its work: one JSON line on standard output, everything else on
standard error."""

import math
import os
import signal
import sys
import time

from paddleinterest.core import distributed, json_text
from paddleinterest.core.errors import InputError, one_line
from paddleinterest.core.log import say


def run(parser, work):
    """Parse the command line, call ``work(args) -> dict`` and print its result as the last line of
    standard output.

    Exit status: 0 done; 1 wrong input, a full disk or an unreadable file (one line says which); 2 a
    wrong flag; 130 Ctrl-C; 143 SIGTERM. An error of ours, a bug, keeps its traceback.
    """
    started, stopped = time.time(), []

    def stop(number, _):
        stopped.append(number)
        sys.unraisablehook = lambda *_: None  # objects caught half-made would complain as they go
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(143)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        _check_encoding(sys.argv[1:])
        args = parser.parse_args()  # that of prepare also reads a file
        stdout = _reserve_stdout()
        result = work(args)
    except (Exception, KeyboardInterrupt, SystemExit) as e:
        if stopped:  # whatever an import or a library made of it
            what, status = (
                ("interrupted", 130) if stopped[0] == signal.SIGINT else ("terminated", 143)
            )
            _stop(
                f"{what}; what was not finished has been removed, finished checkpoints stay", status
            )
        if isinstance(e, InputError):
            _stop(f"error: {e}", 1)
        if isinstance(
            e, OSError
        ):  # no such file, permission, no space left on device: say it in one line
            _stop(f"error: {one_line(e)}", 1)
        if isinstance(e, MemoryError):
            _stop(
                "error: out of memory; try a smaller batch, a shorter history_cap or fewer rows", 1
            )
        raise
    result = plain({**result, "seconds": round(time.time() - started, 2)})
    if not distributed.process_index():
        print(json_text.dumps(result), file=stdout, flush=True)


def plain(value):
    """The result with None for numbers that are none: JSON knows neither NaN nor infinity."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _check_encoding(argv):
    """An argument that is no UTF-8 could be read, but not be written into any file of ours."""
    for argument in argv:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise InputError(f"the argument {argument!r} is not UTF-8") from None


def _reserve_stdout():
    """Keep standard output for the result: libraries that print there, C++ ones too, now reach
    standard error."""
    stdout = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sys.stdout.flush()
    os.dup2(2, 1)
    return stdout


def _stop(message, status):
    if (
        distributed.process_index()
    ):  # what rank 0 says is on the terminal, this is in the process's own log
        print(f"rank {distributed.process_index()}: {message}", file=sys.stderr)
    say(message)
    sys.exit(status)
