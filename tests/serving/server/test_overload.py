"""The attacks that stopped the server before: long lists, clients that leave, slow JSON, more
requests than it can answer."""

import concurrent.futures
import json
import os
import signal
import threading
import time

import pytest
from server_process import Server, example, post

pytestmark = pytest.mark.slow

SMALL = {"candidates": ["i1"]}


def timed(server, body, headers=None):
    started = time.monotonic()
    status, answer = server.ask("POST", "/rank", body, headers)
    return status, answer, time.monotonic() - started


@pytest.fixture
def stopped(bundle):
    """A server whose only scorer stands still, until SIGCONT."""
    with Server(bundle, "--max-queue", "2", "--deadline", "1.5") as server:
        (server.scorer,) = server.scorers()
        os.kill(server.scorer, signal.SIGSTOP)
        yield server


def background(server, number, body=SMALL):
    """Clients that ask at once; each one's future has status, answer, seconds."""
    pool = concurrent.futures.ThreadPoolExecutor(number)
    return [pool.submit(timed, server, body) for _ in range(number)]


@pytest.mark.parametrize("count", [10_000, 100_000])
def test_a_list_of_many_requests_is_refused_at_once(bundle, count):
    with Server(bundle) as server:
        attack = background(server, 1, [SMALL] * count)
        status, _, seconds = timed(server, SMALL)
        assert status == 200 and seconds < 3
        status, answer, _ = attack[0].result()
        assert status in (400, 413) and ("requests; at most" in answer["error"] or status == 413)


def test_clients_that_send_and_leave_cost_nothing(bundle):
    """Three clients, twenty requests each, as much work as is allowed, gone at once."""
    body = json.dumps({"candidates": [f"i{k}" for k in range(5000)]}).encode()
    with Server(bundle) as server:
        for _ in range(20):
            connections = [server.raw(post(body), wait=False) for _ in range(3)]
            for connection in connections:
                connection.close()
        status, _, seconds = timed(server, SMALL)
        assert status == 200 and seconds < 3
        gone = server.metric('paddleinterest_refusals_total{reason="client gone"}')
        assert gone >= 40  # all but those that a scorer had begun


def test_a_key_that_stands_twice_in_a_huge_object(bundle):
    keys = ", ".join(f'"k{k}": 1' for k in range(60_000))
    body = f'{{{keys}, "k59999": 2}}'.encode()
    with Server(bundle) as server:
        attack = background(server, 1, body)
        status, _, seconds = timed(server, SMALL)
        assert status == 200 and seconds < 3
        status, answer, seconds = attack[0].result()
        assert status == 400 and "occurs twice" in answer["error"] and seconds < 3


def test_a_million_candidates(bundle):
    with Server(bundle, "--max-bytes", "8000000") as server:
        status, answer, seconds = timed(server, {"candidates": [1] * 1_000_000})
        assert status == 400 and "1,000,000 candidates" in answer["error"] and seconds < 5


def test_a_full_queue_says_when_to_come_again(stopped):
    waiting = background(stopped, 3)  # one is being scored, two wait
    until = time.monotonic() + 5
    while stopped.metric("paddleinterest_queue") < 2 and time.monotonic() < until:
        time.sleep(0.02)
    status, headers, content = stopped.answer("POST", "/rank", SMALL)
    assert status == 503 and int(headers["Retry-After"]) >= 1
    assert "2 requests wait already" in json.loads(content)["error"]
    assert stopped.metric('paddleinterest_refusals_total{reason="queue full"}') == 1
    os.kill(stopped.scorer, signal.SIGCONT)
    assert [future.result()[0] for future in waiting] == [200] * 3
    assert stopped.ask("POST", "/rank", SMALL)[0] == 200


def test_no_answer_comes_after_the_deadline(stopped):
    status, answer, seconds = timed(stopped, SMALL)
    assert status == 503 and 1.4 < seconds < 3
    assert "no answer within 1.5 seconds" in answer["error"]


def test_health_and_readiness_when_scoring_is_stuck(bundle):
    with Server(bundle, "--deadline", "0.3") as server:
        assert server.ask("GET", "/readyz") == (200, {"ready": True, "version": version(server)})
        (old,) = server.scorers()
        os.kill(old, signal.SIGSTOP)
        assert timed(server, SMALL)[0] == 503
        time.sleep(0.3)
        status, answer = server.ask("GET", "/readyz")
        assert status == 503 and "beyond the deadline" in answer["error"]
        assert server.ask("GET", "/healthz") == (200, {"alive": True})
        assert server.metric("paddleinterest_ready") == 0
        until = time.monotonic() + 20  # the scorer is killed, and another one starts
        while server.ask("GET", "/readyz")[0] != 200 and time.monotonic() < until:
            time.sleep(0.1)
        assert timed(server, SMALL)[0] == 200
        assert server.scorers() != [old]
        assert server.metric("paddleinterest_scorer_restarts") == 1


def version(server):
    return server.ask("GET", "/")[1]["version"]


def test_a_scorer_that_dies_is_replaced(bundle):
    with Server(bundle, "--workers", "2") as server:
        for _ in range(3):
            os.kill(server.scorers()[0], signal.SIGKILL)
            assert server.ask("POST", "/rank", SMALL)[0] == 200
            until = time.monotonic() + 10
            while len(server.scorers()) < 2 and time.monotonic() < until:
                time.sleep(0.05)
        assert len(server.scorers()) == 2


def test_a_request_whose_scorer_dies_is_given_to_another_one_once(stopped):
    waiting = background(stopped, 2)
    until = time.monotonic() + 5
    while stopped.metric("paddleinterest_queue") < 1 and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(stopped.scorer, signal.SIGKILL)
    assert [future.result()[0] for future in waiting] == [200, 200]
    (scorer,) = stopped.scorers()
    os.kill(scorer, signal.SIGSTOP)
    (waiting,) = background(stopped, 1)
    time.sleep(0.2)
    os.kill(scorer, signal.SIGKILL)
    until = time.monotonic() + 5
    while stopped.scorers() in ([], [scorer]) and time.monotonic() < until:
        time.sleep(0.001)
    assert waiting.result()[0] == 200


def test_more_than_it_can_answer(bundle):
    """At many times the rate that it can score: the answered ones come in time, the rest are
    503."""
    request = {**example(bundle), "candidates": [f"i{k}" for k in range(3000)]}
    body = json.dumps(request).encode()
    found = []

    def client(server):
        until = time.monotonic() + 4
        while time.monotonic() < until:
            started = time.monotonic()
            status, headers, _ = server.answer("POST", "/rank", body)
            found.append((status, time.monotonic() - started, headers["Retry-After"]))

    with Server(bundle, "--max-queue", "4", "--deadline", "1") as server:
        threads = [threading.Thread(target=client, args=(server,)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    answered = [seconds for status, seconds, _ in found if status == 200]
    refused = [again for status, _, again in found if status == 503]
    assert len(answered) + len(refused) == len(found)
    assert len(answered) > 5 and len(refused) > 5 and all(refused)
    assert max(answered) < 2.5  # the deadline, and a busy machine
