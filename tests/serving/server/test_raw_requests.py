"""A thousand raw requests, spoilt at random; tests/fuzz/raw_requests.py sends more by hand."""

import os
import sys

import pytest
from helpers import ROOT
from server_process import Server, example

sys.path.insert(0, os.path.join(ROOT, "tests"))
from fuzz import raw_requests  # noqa: E402

pytestmark = pytest.mark.slow


def test_no_raw_request_breaks_the_server(bundle, tmp_path):
    with Server(bundle, "--history", f"sqlite:{tmp_path / 'events.db'}") as server:
        found = raw_requests.fuzz(server, 1000, 1, example(bundle))
    assert {"200", "400", "404", "405", "none"} <= found["statuses"].keys()


@pytest.mark.parametrize("got", [b"HTTP/1.1 500 Internal Server Error\r\n\r\n", b"Traceback"])
def test_a_failure_is_seen(got, monkeypatch):
    async def send(port, data):
        return got

    async def good(port):
        return 0.0

    monkeypatch.setattr(raw_requests, "send", send)
    monkeypatch.setattr(raw_requests, "good", good)
    import asyncio

    _, _, failures = asyncio.run(raw_requests.attack(0, 3, 1, {"candidates": ["i1"]}))
    assert len(failures) == 3
