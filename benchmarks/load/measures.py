"""Cost and limits of a server. Each measure starts a server of its own."""

import argparse
import concurrent.futures
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.latency import percentiles
from benchmarks.load import stores
from benchmarks.load.client import Plan
from benchmarks.load.server import Server, ask
from benchmarks.random_request import random_request
from paddleinterest.core.log import say
from paddleinterest.serving.bundle import Bundle

DIFFERENT = 20  # requests that clients send in turn
PLENTY = 8  # clients that keep every worker busy
TENTHS = 10

Requests = list[dict[str, Any]]


def http(directory: str, args: argparse.Namespace) -> dict[str, Any]:
    """The time that HTTP adds for one client: HTTP, `Bundle.rank`, the program alone, in turn."""
    bundle = Bundle(directory, 1, engine=args.engine)
    requests = _requests(bundle, args)
    bodies = [json.dumps(request) for request in requests]
    found: dict[str, list[float]] = {"http": [], "rank": [], "program": []}
    with _server(directory, args) as server:
        for _ in range(args.rounds):
            plan = Plan(server.port, bodies, requests=args.calls, warm_up=DIFFERENT)
            found["http"].append(ask(plan)["times"]["200"]["p50_ms"])
            found["rank"].append(_p50(_in_turn(bundle.rank, requests), args))
            found["program"].append(_p50(_program(bundle, requests), args))
    p50 = {name: round(statistics.median(times), 3) for name, times in found.items()}
    adds = [a - b for a, b in zip(found["http"], found["rank"], strict=True)]
    return {
        **{f"{name}_p50_ms": value for name, value in p50.items()},
        "http_adds_ms": round(statistics.median(adds), 3),
        "http_adds_each_round_ms": [round(value, 3) for value in adds],
    }


def workers(directory: str, args: argparse.Namespace) -> dict[str, Any]:
    """Requests per second at saturation with one worker and with two, in turn, and those that one
    process and two answer without a server."""
    bodies = _bodies(directory, args)
    seconds = args.seconds / 2 / args.rounds
    a_second: dict[int, list[float]] = {1: [], 2: []}
    alone: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(args.rounds):
        for number in (1, 2):
            with _server(directory, args, "--workers", str(number)) as server:
                plan = Plan(server.port, bodies, clients=PLENTY, seconds=seconds, warm_up=DIFFERENT)
                counted = ask(plan)
            a_second[number].append(counted["answered_a_second"])
            alone[number].append(_without_server(directory, number, seconds, args))
    ratios = [two / one for one, two in zip(*a_second.values(), strict=True)]
    ceilings = [two / one for one, two in zip(*alone.values(), strict=True)]
    return {
        "a_second_with_1": statistics.median(a_second[1]),
        "a_second_with_2": statistics.median(a_second[2]),
        "times_as_many": round(statistics.median(ratios), 2),
        "times_as_many_without_server": round(statistics.median(ceilings), 2),
    }


def overload(directory: str, args: argparse.Namespace) -> dict[str, Any]:
    """An open loop at twice the requests a second of saturation."""
    bodies = _bodies(directory, args)
    with _server(directory, args) as server:
        plan = Plan(server.port, bodies, clients=PLENTY, seconds=5, warm_up=DIFFERENT)
        most = ask(plan)["answered_a_second"]
        counted = ask(Plan(server.port, bodies, clients=0, rate=2 * most, seconds=args.seconds))
    return {
        "saturated_a_second": most,
        "sent_a_second": counted["a_second"],
        "answered_a_second": counted["answered_a_second"],
        "statuses": counted["statuses"],
        "answered": counted["times"].get("200"),
        "refused": counted["times"].get("503"),
        "sent_late_ms": counted["sent_late_ms"],
    }


def memory(directory: str, args: argparse.Namespace) -> dict[str, Any]:
    """Memory of the server's processes after each tenth of many requests."""
    bodies = _bodies(directory, args)
    found = []
    statuses: dict[str, int] = {}
    with _server(directory, args, "--workers", "2") as server:
        for k in range(TENTHS):
            counted = ask(Plan(server.port, bodies, clients=4, requests=args.requests // TENTHS))
            for status, number in counted["statuses"].items():
                statuses[status] = statuses.get(status, 0) + number
            found.append(server.memory())
            say(f"{k + 1} of {TENTHS}: {counted['a_second']} a second, MB {found[-1]}")
    return {
        "processes": ["server", "loader", "worker", "worker"],
        "rss_mb": [memory["rss"] for memory in found],
        "own_mb": [memory["own"] for memory in found],
        "statuses": statuses,
    }


def histories(directory: str, args: argparse.Namespace) -> dict[str, Any]:
    """A user id alone, its history from each store."""
    bundle = Bundle(directory, 1, engine=args.engine)
    requests = _of_users(bundle, args)
    bodies = [json.dumps(request) for request in requests]
    whole = [bundle.with_history(request)[0] for request in requests]
    made: dict[str, Any] = {"history_events": len(whole[0]["history"])}
    with stores.filled(directory) as forms:
        for name, form in forms.items():
            with _server(directory, args, "--history", form) as server:
                plan = Plan(server.port, bodies, requests=args.calls, warm_up=DIFFERENT)
                counted = ask(plan)
            program = _p50(_program(bundle, whole), args)
            p50 = counted["times"]["200"]["p50_ms"]
            made[name] = {
                "http_p50_ms": p50,
                "program_p50_ms": program,
                "times_the_program": round(p50 / program, 2),
                "statuses": counted["statuses"],
            }
    return made


MEASURES = {
    "http": http,
    "workers": workers,
    "overload": overload,
    "memory": memory,
    "histories": histories,
}


def _server(directory: str, args: argparse.Namespace, *flags: str) -> Server:
    """A server whose workers have one thread each."""
    return Server(directory, "--threads", "1", "--engine", args.engine, *flags)


def _requests(bundle: Bundle, args: argparse.Namespace) -> Requests:
    rng = np.random.default_rng(args.seed)
    return [random_request(bundle, args.candidates, args.history, rng) for _ in range(DIFFERENT)]


def _bodies(directory: str, args: argparse.Namespace) -> list[str]:
    return [json.dumps(request) for request in _requests(Bundle(directory), args)]


def _of_users(bundle: Bundle, args: argparse.Namespace) -> Requests:
    """Requests of the users with the most events, of their id and candidates alone."""
    users = list(bundle.encoder.user_row)
    cap = bundle.encoder.cap
    users.sort(key=lambda user: -len(bundle.histories.latest(user, cap)[0]))
    random = _requests(bundle, args)
    return [
        {"user": user, "candidates": request["candidates"]}
        for user, request in zip(users, random, strict=False)
    ]


def _in_turn(call: Callable[[Any], Any], values: list[Any]) -> Callable[[], Any]:
    """A function that calls `call` with the next value."""
    position = 0

    def next_one() -> Any:
        nonlocal position
        position += 1
        return call(values[position % len(values)])

    return next_one


def _program(bundle: Bundle, requests: Requests) -> Callable[[], Any]:
    arrays = [bundle.encoder.encode(request).arrays for request in requests]
    return _in_turn(bundle.programs["rank"], arrays)


def _p50(call: Callable[[], Any], args: argparse.Namespace) -> float:
    return percentiles(call, args.calls, DIFFERENT)["p50_ms"]


def _without_server(
    directory: str, processes: int, seconds: float, args: argparse.Namespace
) -> float:
    """Requests a second that processes rank with `Bundle.rank`, together."""
    fresh = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(processes, fresh) as pool:
        asked = [pool.submit(_rank_for, directory, seconds, args) for _ in range(processes)]
        return round(sum(future.result() for future in asked), 1)


def _rank_for(directory: str, seconds: float, args: argparse.Namespace) -> float:
    """Requests a second of this process."""
    from paddleinterest.core import environment

    environment.set_up(1, not args.no_cpu_tuning)
    bundle = Bundle(directory, 1, engine=args.engine)
    call = _in_turn(bundle.rank, _requests(bundle, args))
    for _ in range(DIFFERENT):
        call()
    done = 0
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        call()
        done += 1
    return done / (time.perf_counter() - started)
