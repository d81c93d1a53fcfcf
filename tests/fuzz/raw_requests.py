"""Raw requests that are spoilt at random, sent to a server:

    python tests/fuzz/raw_requests.py --bundle output/din/debug/export --number 100000

Random bytes, cut heads and bodies, lengths and chunks that are wrong, deep JSON, huge numbers.
Every answer must be HTTP, with a status below 500 or 503; a good request between two batches must
get 200 in time, and no process may die. The same seed sends the same requests. Exit status 1 if
something failed.
"""

import argparse
import asyncio
import collections
import json
import os
import random
import re
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [
    os.path.dirname(os.path.dirname(HERE)),
    os.path.dirname(HERE),
    os.path.join(os.path.dirname(HERE), "serving", "server"),
]

from fuzz.nasty import NUMBERS, TEXTS, VALUES, spoil_bytes, spoil_value  # noqa: E402

AT_ONCE = 16  # connections
LINE = 10_000  # raw requests that get a line of output and a seed of their own
BATCH = 500  # raw requests between two good ones
PATIENCE = 0.05  # seconds without a byte after which an answer is not waited for any more
IN_TIME = 10.0  # seconds that a good request may take
GOOD = b'{"candidates": ["i1"]}'
PATHS = ["/rank", "/rank?explain=1", "/events", "/users?q=u", "/items?limit=3", "/history?user=u1"]
PATHS += ["/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/ui", "/docs", "/-/reload"]
PATHS += [
    "/pages/ui.css",
    "/pages/%2e%2e%2f",
    "/nowhere",
    "*",
    "",
    "http://x/rank",
    "/%00",
    "/\xff",
]
METHODS = ["GET", "POST", "HEAD", "PUT", "OPTIONS", "CONNECT", "PRI", "get", "P\0ST", "X" * 300]
VERSIONS = ["HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/9.9", "HTTP/1.1 ", "http/1.1", ""]
LENGTHS = ["0", "1", "-1", "+5", "5, 5", "1e3", "0x10", "99999999999999999999", "2097153", " ", "x"]
CHUNKS = [b"0\r\n\r\n", b"5\r\nab\r\n0\r\n\r\n", b"ffffffffffffffff\r\n", b"-1\r\n", b"zz\r\n\r\n"]
CHUNKS += [b"1;" + b"x" * 5000 + b"\r\n{\r\n", b"1\r\n{\r\n0\r\nA: b\r\n\r\n", b"\r\n\r\n", b"1"]
HEADERS = ["Expect: 100-continue", "Upgrade: websocket\r\nConnection: Upgrade", "Host:", "Host: é"]
HEADERS += ["Content-Encoding: gzip", "X: " + "y" * 9000, "Transfer-Encoding: gzip, chunked"]
HEADERS += ["Authorization: Bearer \0", "Origin: null", "Connection: close", " folded: x", ": x"]
HEADERS += ["X-Request-Id: a\tb", "Content-Length: 3\r\nContent-Length: 4", "X-Forwarded-For: x,,"]


def raw(rng, request):
    """The bytes of one connection.

    Args:
        rng: a `random.Random`.
        request: a good request of the bundle, as JSON.
    """
    way = rng.randint(0, 9)
    if way == 0:
        return rng.randbytes(rng.randint(0, 300))
    whole = _request(rng, request)
    if way == 1:
        return whole[: rng.randint(0, len(whole))]
    if way == 2:
        return whole + _request(rng, request)  # two, one after the other
    if way <= 4:
        return spoil_bytes(rng, whole, [_request(rng, request)])
    return whole


def _request(rng, request):
    """A head and a body, each of which may be odd."""
    odd = rng.randint(0, 5)
    method = rng.choice(METHODS) if odd == 0 else rng.choice(["GET", "POST", "POST"])
    path = rng.choice(PATHS) if odd <= 2 else rng.choice(["/rank", "/rank", "/events"])
    version = rng.choice(VERSIONS) if odd == 1 else "HTTP/1.1"
    body = _body(rng, request)
    lines = [f"{method} {path} {version}", "Host: localhost"]
    lines += rng.sample(HEADERS, rng.randint(0, 3)) if odd == 2 else []
    if rng.randint(0, 5) == 0:
        lines.append("Transfer-Encoding: chunked")
        body = rng.choice([*CHUNKS, b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)])
    else:
        wrong = rng.choice([*LENGTHS, str(len(body) + 9), str(max(0, len(body) - 9))])
        lines.append(f"Content-Length: {wrong if odd == 3 else len(body)}")
    head = "\r\n".join(lines) + rng.choice(["\r\n\r\n"] * 9 + ["\n\n"])
    return head.encode("latin-1", "replace") + body


def _body(rng, request):
    """JSON that is spoilt, deep, large, or none."""
    way = rng.randint(0, 7)
    if way == 0:
        return rng.choice([b"[", b'{"candidates":[', b'{"a":']) * rng.choice([1, 50, 5000, 60_000])
    if way == 1:
        digits = rng.choice(["9" * 5000, "1e999", "-1e-999", "1" + "0" * 400, "NaN", "-Infinity"])
        return f'{{"candidates": ["i1"], "time": {digits}}}'.encode()
    if way == 2:
        value = rng.choice([[request] * 150, {"candidates": ["i1"] * 6000}, rng.choice(VALUES)])
    elif way == 3:
        value = {"user": rng.choice(TEXTS), "item": rng.choice(TEXTS), "time": rng.choice(NUMBERS)}
    else:
        value = spoil_value(rng, request)
    try:
        text = json.dumps(value, ensure_ascii=rng.random() < 0.5)
    except (TypeError, ValueError):
        text = "{}"
    return text.encode("utf-8", "surrogatepass")


async def send(port, data):
    """What the server answers to some bytes, until it says no more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = b""
    try:
        writer.write(data)
        while piece := await asyncio.wait_for(reader.read(1 << 16), PATIENCE if got else 0.3):
            got += piece
    except (asyncio.TimeoutError, ConnectionError):
        pass
    finally:
        writer.transport.abort()
    return got


async def good(port):
    """A good request gets 200 in time."""
    started = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /rank HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(GOOD)}\r\n\r\n"
    writer.write(head.encode() + GOOD)
    got = await asyncio.wait_for(reader.read(12), IN_TIME)
    writer.transport.abort()
    assert got == b"HTTP/1.1 200", f"a good request got {got!r}"
    return time.monotonic() - started


def statuses(got):
    """The statuses in what came back; raises AssertionError if it is not HTTP."""
    assert not got or got.startswith(b"HTTP/1.1 "), f"this is not HTTP: {got[:80]!r}"
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) [A-Z]", got)]


async def attack(port, number, seed, request):
    """Send raw requests.

    Returns:
        {status: answers}, the longest time of a good request in seconds, and a line for each
        failure.
    """
    counts = collections.Counter()
    failures = []
    slowest = 0.0
    free = asyncio.Semaphore(AT_ONCE)

    async def one(k):
        async with free:
            data = raw(random.Random(f"{seed}-{k}"), request)
            try:
                found = statuses(await send(port, data))
                counts.update(found or ["none"])
                worst = [status for status in found if status >= 500 and status != 503]
                assert not worst, f"status {worst[0]}"
            except (AssertionError, OSError) as e:
                failures.append(f"--seed {seed}, number {k}: {e}: {data[:200]!r}")

    for first in range(0, number, BATCH):
        await asyncio.gather(*(one(k) for k in range(first, min(number, first + BATCH))))
        slowest = max(slowest, await good(port))
    return counts, slowest, failures


def fuzz(server, number, seed, request):
    """Attack a server; returns counts, and raises AssertionError if something failed.

    Args:
        server: a `server_process.Server`.
        number: of raw requests.
        seed: of them.
        request: a good request of its bundle.
    """
    processes = server.descendants()
    counts, slowest, failures = asyncio.run(attack(server.port, number, seed, request))
    assert not failures, "\n".join(failures[:20])
    assert server.descendants() == processes, "a process has died"
    assert server.metric('paddleinterest_refusals_total{reason="bug"}') == 0
    assert server.metric("paddleinterest_scorer_restarts") == 0
    return {"statuses": {str(k): v for k, v in counts.items()}, "slowest_good_s": slowest}


def main():
    from server_process import Server, example

    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--bundle", required=True)
    p.add_argument("--number", type=int, default=1000, help="of raw requests; default 1000")
    p.add_argument("--seed", type=int, default=1, help="default 1")
    args = p.parse_args()
    with Server(args.bundle) as server:
        for first in range(0, args.number, LINE):
            number = min(LINE, args.number - first)
            seed = args.seed + first // LINE
            found = fuzz(server, number, seed, example(args.bundle))
            print(json.dumps({"seed": seed, "requests": number, **found}), flush=True)


if __name__ == "__main__":
    main()
