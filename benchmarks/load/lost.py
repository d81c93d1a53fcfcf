"""Count the requests that are lost while bundles and servers are replaced.

    python benchmarks/load/lost.py --bundles output/din/a/export output/din/b/export

Clients send requests at a steady rate to a server with two workers. Meanwhile the two bundles take
turns in the folder that it serves, by reload (SIGHUP) and by a new server that starts beside the
old one (--reuse-port) before the old one gets SIGTERM. Every answer must be 200 with the version of
its moment, or 503 of a server that ends or has too much to do. Exit status 1 if one is not.
"""

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from benchmarks import arguments
from benchmarks.load.client import Plan
from benchmarks.load.server import Server, counted, start_clients
from paddleinterest.core import cli
from paddleinterest.core.atomic import whole_directory
from paddleinterest.core.checksum import checksum
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say

FLAGS = ["--threads", "1", "--workers", "2", "--reuse-port"]
ENDING = "the server is about to end"  # errors of promised 503
BUSY = ("requests wait already", "no answer within")
BEFORE = 0.5  # seconds of load before the first change, and between two


@dataclass
class Change:
    """A reload or a restart.

    Attributes:
        begun, done: moments of `time.monotonic`.
        version: of the bundle that answers from `done` on.
        restart: a server ended.
    """

    begun: float
    done: float
    version: str
    restart: bool


class Service:
    """A folder with a bundle, and the server that serves it.

    Args:
        bundles: two, which take turns in the folder.
        folder: the place of the copy.
    """

    def __init__(self, bundles: list[str], folder: str) -> None:
        self.bundles = bundles
        self.place = os.path.join(folder, "bundle")
        self.changes: list[Change] = []
        shutil.copytree(bundles[0], self.place)
        self.server = Server(self.place, *FLAGS)
        self.changes.append(Change(0.0, 0.0, self._version(), False))

    def _version(self) -> str:
        return checksum(os.path.join(self.place, "schema.yaml"))[:12]

    def change(self, restart: bool) -> None:
        """Put the other bundle in the place, and let it answer."""
        by = self.bundles[len(self.changes) % 2]
        with whole_directory(self.place, overwrite=True) as made:
            shutil.copytree(by, made, dirs_exist_ok=True)
        begun = time.monotonic()
        if restart:
            old = self.server
            self.server = Server(self.place, *FLAGS, port=old.port)
            status = old.end()
            if status:
                raise InputError(f"a server ended with exit status {status}")
        else:
            self.server.reload()
        self.changes.append(Change(begun, time.monotonic(), self._version(), restart))
        say(f"{len(self.changes) - 1}: {'restart' if restart else 'reload'}")


def work(args: argparse.Namespace) -> dict[str, Any]:
    """Run the load and the changes; returns the counts."""
    with open(os.path.join(args.bundles[0], "request.example.json"), encoding="utf-8") as f:
        body = json.dumps(json.load(f))
    restarts = _spread(args.reloads, args.restarts)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as last:
        service = Service(args.bundles, folder)
        last.callback(lambda: service.server.end())
        plan = Plan(service.server.port, [body], clients=0, rate=args.rate, detailed=True)
        until = time.monotonic() + args.requests / args.rate
        clients = start_clients(plan)
        for restart in restarts:
            time.sleep(BEFORE)
            service.change(restart)
        time.sleep(max(BEFORE, until - time.monotonic()))
        clients.terminate()
        found = counted(clients)
    wrong = wrong_answers(found["answers"], service.changes)
    for line in wrong[:10]:
        say(f"error: {line}")
    made = {
        "requests": found["requests"],
        "reloads": args.reloads,
        "restarts": args.restarts,
        "statuses": found["statuses"],
        "refused": {
            said: sum(said in words for _, _, status, words in found["answers"] if status == "503")
            for said in (ENDING, *BUSY)
        },
        "wrong": len(wrong),
    }
    if wrong:
        raise InputError(f"requests were lost: {json.dumps(made)}")
    return made


def _spread(reloads: int, restarts: int) -> list[bool]:
    """The changes in order, True = restart; restarts are spread among the reloads."""
    every = max(1, reloads // max(1, restarts))
    order = []
    for k in range(reloads):
        order.append(False)
        if (k + 1) % every == 0 and order.count(True) < restarts:
            order.append(True)
    return order + [True] * (restarts - order.count(True))


def wrong_answers(answers: list[tuple[float, float, str, str]], changes: list[Change]) -> list[str]:
    """A line for each answer that breaks a promise.

    Args:
        answers: (sent, received, status, version or error), moments of `time.monotonic`.
        changes: in order; the first is the start.
    """
    wrong = []
    for sent, received, status, words in answers:
        inside = [c for c in changes if c.begun < received and c.done > sent]
        before = [c for c in changes if c.done <= sent]
        if status == "200":
            fine = words in {c.version for c in [*before[-1:], *inside]}
        elif status == "503" and ENDING in words:
            fine = any(c.restart for c in inside)
        else:
            fine = status == "503" and any(said in words for said in BUSY)
        if not fine:
            last = changes.index(inside[-1] if inside else before[-1])
            wrong.append(f"status {status}, {words or 'no answer'}, near change {last}")
    return wrong


if __name__ == "__main__":
    p = arguments.parser(__doc__)
    p.add_argument("--bundles", nargs=2, required=True, help="two bundles of one dataset")
    p.add_argument("--requests", type=int, default=10_000, help="at least; default 10000")
    p.add_argument("--rate", type=float, default=100, help="requests a second; default 100")
    p.add_argument("--reloads", type=int, default=20, help="default 20")
    p.add_argument("--restarts", type=int, default=5, help="default 5")
    cli.run(p, work)
