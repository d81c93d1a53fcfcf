"""Signals end the server in good order, at any moment, and leave no process behind."""

import concurrent.futures
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from helpers import ROOT
from server_process import Server, example, lives, post, read_all

from paddleinterest.serving.server.limits import Limits
from paddleinterest.serving.server.loader import Options

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_good_order(bundle, number):
    with Server(bundle) as server:
        server.ask("POST", "/rank", example(bundle))
        server.ask("POST", "/rank", b"{")
        status, out, err, seconds = server.end(number)
    assert status == 0 and not err and seconds < 5
    result = json.loads(out)
    assert out.count("\n") == 1 and result["url"].endswith(str(server.port))
    assert (result["requests"], result["refused"]) == (1, 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_right_after_serving_is_not_lost(bundle, number):
    for pause in (0, 0, 0.002, 0.01):
        with Server(bundle) as server:
            time.sleep(pause)
            status, out, _, seconds = server.end(number)
            assert status == 0 and json.loads(out) and seconds < 5


def test_a_signal_while_the_bundle_is_opened(bundle):
    for pause in (0.05, 0.5, 1.0, 1.5):
        with Server(bundle, wait=False) as server:
            time.sleep(pause)
            pids = server.descendants()
            status, _, err, seconds = server.end(signal.SIGTERM)
            assert status in (0, 143, -signal.SIGTERM) and "Traceback" not in err and seconds < 6
        assert not any(map(lives, pids))


@pytest.mark.parametrize("exists", [True, False])
def test_a_loader_whose_server_has_gone_ends_without_a_traceback(bundle, tmp_path, exists):
    """The server goes while the bundle is opened, or is found to be none."""
    folder = bundle if exists else str(tmp_path)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    given = Options(folder, cpu_tuning=False).pack(Limits())
    module = "paddleinterest.serving.server.loader"
    with theirs:
        loader = subprocess.Popen(
            [sys.executable, "-m", module, given, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
    ours.close()
    _, said = loader.communicate(timeout=60)
    assert loader.returncode == 0 and not said


@pytest.mark.parametrize("signals", [1, 2])
def test_a_half_sent_request_holds_the_end_up_for_seconds_at_most(bundle, signals):
    with Server(bundle, "--drain", "1") as server:
        half = server.raw(post(b"{" * 1000)[:-10], wait=False)
        server.ask("GET", "/")
        for _ in range(signals - 1):
            server.kill(signal.SIGINT)
            time.sleep(0.3)
        status, _, err, seconds = server.end(signal.SIGINT)
        half.close()
    assert status == 0 and "Traceback" not in err and seconds < 5


def test_requests_in_progress_are_answered_and_new_ones_told_to_go(bundle):
    """A scorer stands still while the signal comes."""
    with Server(bundle, "--deadline", "8") as server:
        (scorer,) = server.scorers()
        kept = server.connect()
        kept.request("GET", "/")
        kept.getresponse().read()
        os.kill(scorer, signal.SIGSTOP)
        with concurrent.futures.ThreadPoolExecutor(3) as clients:
            asked = [clients.submit(server.ask, "POST", "/rank", example(bundle)) for _ in range(3)]
            time.sleep(0.5)
            server.kill(signal.SIGTERM)
            time.sleep(0.3)
            kept.request("POST", "/rank", json.dumps(example(bundle)))
            refused = kept.getresponse()
            assert refused.status == 503 and refused.headers["Connection"] == "close"
            assert refused.headers["Retry-After"] and b"about to end" in refused.read()
            status, answer = server.ask("GET", "/readyz")
            assert status == 503 and answer["error"] == "draining"
            assert server.ask("GET", "/healthz")[0] == 200
            os.kill(scorer, signal.SIGCONT)
            assert [future.result()[0] for future in asked] == [200] * 3
        out, err = server.process.communicate(timeout=10)
        assert server.process.returncode == 0 and not err and json.loads(out)["requests"] == 3


def test_a_kept_connection_ends_with_an_answer(bundle):
    """A client with a pause between its requests, of which none is in progress at the signal."""
    with Server(bundle) as server:
        kept = server.connect()
        kept.request("GET", "/healthz")
        kept.getresponse().read()
        server.kill(signal.SIGTERM)
        time.sleep(0.2)
        kept.request("POST", "/rank", json.dumps(example(bundle)))
        refused = kept.getresponse()
        assert refused.status == 503 and refused.headers["Connection"] == "close"
        out, err = server.process.communicate(timeout=10)
        assert server.process.returncode == 0 and not err


def test_the_end_comes_in_the_promised_time_whatever_happens(bundle):
    """Nothing is ever answered, and a queue waits."""
    with Server(bundle, "--drain", "1", "--deadline", "60") as server:
        pids = server.descendants()
        os.kill(server.scorers()[0], signal.SIGSTOP)
        with concurrent.futures.ThreadPoolExecutor(6) as clients:
            asked = [clients.submit(server.ask, "POST", "/rank", example(bundle)) for _ in range(6)]
            time.sleep(0.5)
            status, out, err, seconds = server.end()
            answers = [future.result() for future in asked]
    assert status == 0 and seconds < 7 and "Traceback" not in err
    assert {status for status, _ in answers} == {503}
    assert all("about to end" in answer["error"] for _, answer in answers)
    assert not any(map(lives, pids))


def test_a_killed_server_leaves_no_process(bundle):
    with Server(bundle, "--workers", "2") as server:
        pids = server.descendants()
        assert len(pids) == 3
        server.process.kill()
        until = time.monotonic() + 10
        while any(map(lives, pids)) and time.monotonic() < until:
            time.sleep(0.05)
        assert not any(map(lives, pids))


def test_under_load_every_request_gets_200_or_503(bundle):
    body = json.dumps({**example(bundle), "candidates": [f"i{k}" for k in range(2000)]}).encode()
    with (
        Server(bundle, "--max-queue", "100") as server,
        concurrent.futures.ThreadPoolExecutor(32) as clients,
    ):
        asked = [clients.submit(one, server.port, post(body)) for _ in range(32)]
        time.sleep(0.15)
        status, _, err, seconds = server.end()
        found = [future.result() for future in asked]
    assert status == 0 and "Traceback" not in err and seconds < 14
    assert set(found) <= {b"200", b"503", b"refused"}
    assert b"200" in found


def one(port, data):
    """The status that a request got; refused if nobody listened any more."""
    try:
        with socket.create_connection(("127.0.0.1", port), 30) as connection:
            connection.sendall(data)
            return read_all(connection)[9:12]
    except (ConnectionRefusedError, ConnectionResetError):
        return b"refused"
