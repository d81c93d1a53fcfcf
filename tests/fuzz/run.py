"""Fuzz one part for as long as you like:

    python tests/fuzz/run.py --target request --seconds 60
    python tests/fuzz/run.py --target request --example 17   # one again, with its traceback

Without more it spoils valid inputs at random, each example from a seed of its own, and tells every
kind of failure once. With --engine atheris (pip install atheris) what to spoil is chosen by what
reaches new lines of our code; it stops at the first failure and leaves the input in a file, to be
named with --input. Exit status 1 where something failed.
"""

import argparse
import collections
import faulthandler
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import types
import warnings

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(os.path.dirname(HERE)), os.path.dirname(HERE)]
os.environ.setdefault("GLOG_minloglevel", "2")
HANG = 60  # seconds that one example may take


class Bytes(random.Random):
    """Random choices read from a string of bytes, zeros when it is used up; so a fuzzer of bytes
    can steer them."""

    def __new__(cls, data):
        return super().__new__(cls)

    def __init__(self, data):
        super().__init__()
        self.data, self.at = data, 0

    def getrandbits(self, k):
        n = -(-k // 8)
        piece = self.data[self.at : self.at + n]
        self.at += n
        return int.from_bytes(piece.ljust(n, b"\0"), "little") & ((1 << k) - 1)

    def random(self):
        return self.getrandbits(16) / 65536

    def _randbelow(self, n):
        return self.getrandbits(n.bit_length() + 8) % n


class Hang(BaseException):
    """Not caught by any `except Exception` on the way."""


def one(target, place, rng):
    """Run one example within HANG seconds; an exception is a failure."""

    def ring(*_):
        raise Hang(f"no end after {HANG} seconds")

    signal.signal(signal.SIGALRM, ring)
    signal.alarm(HANG)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return target(place, rng)
    finally:
        signal.alarm(0)


def at_random(target, place, args):
    """Examples for so many seconds. Returns how many had which outcome, and the failures by the
    line they came from."""
    counts, failures, started, n = collections.Counter(), {}, time.time(), args.first
    while time.time() - started < args.seconds:
        try:
            counts[one(target, place, random.Random(f"{args.seed}-{n}"))] += 1
        except (Exception, Hang) as e:
            where = traceback.extract_tb(e.__traceback__)[-1]
            key = f"{type(e).__name__} at {os.path.relpath(where.filename)}:{where.lineno}"
            counts["failed"] += 1
            if key not in failures:
                failures[key] = n
                print(
                    f"\n{key}, --seed {args.seed} --example {n}: {str(e)[:600]}",
                    file=sys.stderr,
                    flush=True,
                )
        n += 1
    return counts, failures


def guided(target, place, args):
    """Hand over to atheris, which does not come back."""
    import atheris

    for module in [
        m for name, m in list(sys.modules.items()) if name.split(".")[0] == "paddleinterest" and m
    ]:
        for name, thing in list(vars(module).items()):
            if isinstance(thing, types.FunctionType) and thing.__module__ == module.__name__:
                setattr(module, name, atheris.instrument_func(thing))
    atheris.Setup(
        [
            sys.argv[0],
            f"-max_total_time={args.seconds}",
            f"-timeout={HANG}",
            "-max_len=2048",
            "-len_control=0",
            "-rss_limit_mb=8192",
            f"-artifact_prefix={args.target}-",
        ],
        lambda data: one(target, place, Bytes(data)),
    )
    atheris.Fuzz()


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    from fuzz.targets import TARGETS, Place

    p.add_argument("--target", required=True, choices=[*TARGETS, "all"])
    p.add_argument("--seconds", type=int, default=60, help="for each target; default 60")
    p.add_argument("--seed", type=int, default=1, help="of the examples; default 1")
    p.add_argument("--first", type=int, default=0, help="number of the first example; default 0")
    p.add_argument("--example", type=int, help="run this one alone")
    p.add_argument("--engine", choices=("random", "atheris"), default="random")
    p.add_argument("--input", help="run the file that atheris left")
    args = p.parse_args()
    faulthandler.enable()
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Place(folder)
        if args.example is not None or args.input:
            rng = (
                random.Random(f"{args.seed}-{args.example}")
                if not args.input
                else Bytes(open(args.input, "rb").read())
            )
            print(one(TARGETS[args.target], place, rng))
            return
        if args.engine == "atheris":
            guided(TARGETS[args.target], place, args)
        for name in TARGETS if args.target == "all" else [args.target]:
            counts, failures = at_random(TARGETS[name], place, args)
            result[name] = {**counts, "failures": failures}
            print(json.dumps({name: result[name]}), flush=True)
        place.close()
    sys.exit(any(r["failures"] for r in result.values()))


if __name__ == "__main__":
    main()
