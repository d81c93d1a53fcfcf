"""Connections that send slowly, too much, or nothing."""

import socket
import time

import pytest
from server_process import Server, post, read_all

pytestmark = pytest.mark.slow

SMALL = b'{"candidates": ["i1"]}'


@pytest.fixture(scope="module")
def strict(bundle):
    """A server with little patience and few connections."""
    flags = ["--patience", "1", "--keep-alive", "1.5", "--max-connections", "30"]
    with Server(bundle, *flags) as server:
        yield server


def closes_within(connection, seconds):
    """What came before the server closed the connection."""
    connection.settimeout(seconds)
    with connection:
        return read_all(connection)


@pytest.mark.parametrize(
    "start, status",
    [
        (b"", b""),
        (b"POST /rank HTT", b"408"),
        (b"POST /rank HTTP/1.1\r\nHost: localhost\r\nX: ", b"408"),
        (b"\r\n", b""),
        (b"POST /rank HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{", b"408"),
        (
            b"POST /rank HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r",
            b"408",
        ),
        (post(SMALL) + b"\r\n", b"200"),
        (post(SMALL) + b"POST", b"200"),
    ],
)
def test_what_is_begun_must_be_finished_in_time(strict, start, status):
    got = closes_within(strict.raw(start, wait=False), 4)
    assert got.startswith(b"HTTP/1.1 " + status if status else b"")
    assert strict.answer("POST", "/rank", SMALL)[0] == 200


def test_bytes_that_come_one_by_one_do_not_help(strict):
    connection = strict.raw(b"POST /rank HTTP/1.1\r\n", wait=False)
    started = time.monotonic()
    with pytest.raises(OSError):
        while time.monotonic() < started + 10:
            connection.sendall(b"X")
            time.sleep(0.1)
    assert time.monotonic() - started < 4
    connection.close()


def test_a_connection_may_idle_between_requests(strict):
    connection = strict.raw(post(SMALL), wait=False)
    time.sleep(1.2)
    connection.sendall(post(SMALL))
    assert closes_within(connection, 5).count(b"HTTP/1.1 200") == 2


@pytest.mark.parametrize(
    "sent, status",
    [
        (b"POST /rank HTTP/1.1\r\nX: " + b"x" * 40_000, b"431"),
        (b"POST /" + b"x" * 40_000, b"431"),
        (b"".join(b"X%d: y\r\n" % k for k in range(9000)), b"400"),
        (b"POST /rank HTTP/1.1\r\n" + b"".join(b"X%d: y\r\n" % k for k in range(9000)), b"431"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400"),
        (b"GET / HTTP/9.9\r\n\r\n", b"400"),
        (b"POST /rank HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST /rank HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", b"400"),
    ],
)
def test_what_is_not_http_or_too_long(strict, sent, status):
    try:
        got = closes_within(strict.raw(sent, wait=False), 5)
    except ConnectionResetError:  # it closed while the rest was still under way
        got = b"HTTP/1.1 " + status
    assert got.startswith(b"HTTP/1.1 " + status) and (b'{"error": ' in got or b"{" not in got)


def test_a_thousand_half_headers_keep_nobody_out(strict):
    """Many more connections than it takes: the newest always gets in."""
    attackers = []
    for k in range(200):
        attackers.append(strict.raw(b"POST /rank HTTP/1.1\r\nHost: x\r\n", wait=False))
        if k % 20 == 0:
            started = time.monotonic()
            assert strict.answer("POST", "/rank", SMALL)[0] == 200
            assert time.monotonic() - started < 1
    assert strict.metric("paddleinterest_connections") <= 31
    for attacker in attackers:
        attacker.close()


def test_connections_in_use_are_not_closed_for_others(bundle):
    """If every connection has a request, a new one is told to come again."""
    with Server(bundle, "--max-connections", "3", "--patience", "5") as server:
        half = b"POST /rank HTTP/1.1\r\nHost: localhost\r\nContent-Length: 22\r\n\r\n"
        busy = [server.raw(half, wait=False) for _ in range(3)]
        time.sleep(0.3)
        got = closes_within(socket.create_connection(("127.0.0.1", server.port)), 3)
        assert got.startswith(b"HTTP/1.1 503") and b"retry-after" in got
        for connection in busy:
            connection.sendall(SMALL)
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
            connection.close()
