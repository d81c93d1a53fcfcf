"""Every queue, body and wait of the server has a limit, and each limit is a flag."""

import argparse
import dataclasses
from dataclasses import dataclass

from paddleinterest.core.errors import InputError


@dataclass(frozen=True)
class Limits:
    """Limits for one client, and for all clients together.

    Attributes:
        max_bytes: longest body of a request.
        max_candidates: most candidates of one body, over all its requests.
        max_requests: most requests in one list.
        max_events: most events in one list.
        max_queue: most requests that wait for a scorer.
        max_connections: most open connections; the longest idle one makes room for a new one.
        deadline: seconds from a request's last byte to its answer.
        patience: seconds that a client may take to send its headers, and again for its body.
        keep_alive: seconds that a connection may idle between two requests.
        drain: seconds that requests in progress have after SIGTERM.
    """

    max_bytes: int = 2 << 20
    max_candidates: int = 5000
    max_requests: int = 100
    max_events: int = 1000
    max_queue: int = 64
    max_connections: int = 1000
    deadline: float = 5.0
    patience: float = 10.0
    keep_alive: float = 75.0
    drain: float = 10.0

    def check(self) -> None:
        """Check that every limit can be kept.

        Raises:
            InputError: one is too small or too large.
        """
        for name, value in dataclasses.asdict(self).items():
            least = LEAST.get(name, 1)
            flag = f"--{name.replace('_', '-')}"
            if not least <= value <= MOST:
                raise InputError(f"{flag} is {value}, must be from {least} to {MOST}")


LEAST = {"max_queue": 0, "deadline": 0.01, "patience": 0.01, "keep_alive": 0.01, "drain": 0}
MOST = 10**9
HELP = {
    "max_bytes": "longest body of a request, in bytes",
    "max_candidates": "most candidates of one body, over all its requests",
    "max_requests": "most requests in one list",
    "max_events": "most events in one list",
    "max_queue": "most requests that wait; more get status 503",
    "max_connections": "most open connections; the longest idle one makes room",
    "deadline": "seconds from a request to its answer; later it is 503",
    "patience": "seconds that a client may take to send its headers, and again its body",
    "keep_alive": "seconds that a connection may idle; more than the proxy's in front",
    "drain": "seconds that requests in progress have after SIGTERM",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every limit."""
    group = parser.add_argument_group("limits")
    for f in dataclasses.fields(Limits):
        kind = type(f.default)
        shown = f"{f.default:g}" if kind is float else f"{f.default}"
        group.add_argument(
            f"--{f.name.replace('_', '-')}",
            type=kind,
            default=f.default,
            metavar="N" if kind is int else "SECONDS",
            help=f"{HELP[f.name]}; default {shown}",
        )


def of_arguments(args: argparse.Namespace) -> Limits:
    """The limits that the flags give, checked."""
    limits = Limits(**{f.name: getattr(args, f.name) for f in dataclasses.fields(Limits)})
    limits.check()
    return limits
