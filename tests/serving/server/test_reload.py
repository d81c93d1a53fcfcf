"""A new bundle takes over while requests come, and none is lost or answered by a mixture."""

import json
import os
import shutil
import signal
import threading
import time

import pytest
from server_process import Server, example

from paddleinterest.core.atomic import whole_directory
from paddleinterest.serving.bundle import Bundle

pytestmark = pytest.mark.slow

TOKEN = {"Authorization": "Bearer secret"}


def replace(path, by):
    with whole_directory(path, overwrite=True) as made:
        shutil.copytree(by, made, dirs_exist_ok=True)


@pytest.fixture
def place(bundle, tmp_path):
    """A copy that a test replaces."""
    return shutil.copytree(bundle, tmp_path / "bundle")


class Load(threading.Thread):
    """A client that asks one request after the other on a kept connection."""

    def __init__(self, server, request):
        super().__init__()
        self.server = server
        self.body = json.dumps(request)
        self.found = []
        self.done = threading.Event()
        self.start()

    def run(self):
        connection = self.server.connect()
        while not self.done.is_set():
            connection.request("POST", "/rank", self.body, TOKEN)
            response = connection.getresponse()
            self.found.append((response.status, json.loads(response.read())))
        connection.close()


def test_requests_go_on_through_reloads(place, bundle, other_bundle):
    request = example(bundle)
    expected = {}
    for directory in (bundle, other_bundle):
        opened = Bundle(directory)
        answer = opened.rank(request)
        expected[opened.version] = [c["score"] for c in answer["candidates"]]
    assert len(expected) == 2
    with Server(place, "--workers", "2", "--token", "secret") as server:
        clients = [Load(server, request) for _ in range(3)]
        told = []
        for k in range(6):
            replace(place, (other_bundle, bundle)[k % 2])
            status, answer = server.ask("POST", "/-/reload", b"", TOKEN)
            assert status == 200
            told.append(answer["version"])
            status, now = server.ask("POST", "/rank", request, TOKEN)
            assert now["version"] == answer["version"]  # from then on nothing else answers
        for client in clients:
            client.done.set()
            client.join()
        found = [pair for client in clients for pair in client.found]
        assert {status for status, _ in found} == {200}
        assert {answer["version"] for _, answer in found} == set(expected) == set(told)
        for _, answer in found:
            scores = [c["score"] for c in answer["candidates"]]
            assert scores == pytest.approx(expected[answer["version"]], abs=1e-6)
        until = time.monotonic() + 10
        while len(server.descendants()) > 3 and time.monotonic() < until:
            time.sleep(0.1)
        assert len(server.descendants()) == 3  # one loader, two scorers: the old ones have ended


def test_a_signal_reloads_too_and_a_broken_bundle_is_refused(place, other_bundle):
    with Server(place, "--token", "secret") as server:
        version = server.ask("GET", "/", headers=TOKEN)[1]["version"]
        weights = place / "model.pdiparams"
        kept = weights.read_bytes()
        weights.write_bytes(kept[:-7])
        server.kill(signal.SIGHUP)
        server.until("cut short.*the old bundle stays in service")
        status, answer = server.ask("POST", "/-/reload", b"", TOKEN)
        assert status == 409 and "the old bundle stays in service" in answer["error"]
        status, answer = server.ask("POST", "/rank", {"candidates": ["i1"]}, TOKEN)
        assert status == 200 and answer["version"] == version
        replace(place, other_bundle)
        server.kill(signal.SIGHUP)
        server.until("reloaded .* version")
        assert server.ask("GET", "/", headers=TOKEN)[1]["version"] != version


def test_reload_over_http_needs_a_token(server):
    status, answer = server.ask("POST", "/-/reload", b"")
    assert status == 403 and "--token" in answer["error"]


def test_a_bundle_whose_processes_are_killed_is_opened_again(bundle):
    with Server(bundle) as server:
        (scorer,) = server.scorers()
        loader = next(pid for pid in server.descendants() if pid != scorer)
        os.kill(loader, signal.SIGKILL)
        server.until("it is opened again")
        until = time.monotonic() + 20
        while server.ask("GET", "/readyz")[0] != 200 and time.monotonic() < until:
            time.sleep(0.1)
        assert server.ask("POST", "/rank", {"candidates": ["i1"]})[0] == 200
