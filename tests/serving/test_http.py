"""tools/serve.py as a process: answers over HTTP are those of the bundle, wrong requests are
refused and change nothing, signals end it."""

import asyncio
import concurrent.futures
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
from helpers import ROOT, TINY_DIN, run_tool, trained

from paddleinterest.commands import serve
from paddleinterest.serving.bundle import Bundle
from paddleinterest.serving.export import export

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("serve")
    config, _, _ = trained("din", data, folder, *TINY_DIN, scale=0.3)
    export(config, data, str(folder / "bundle"))
    return Bundle(str(folder / "bundle"))


class Server:
    """tools/serve.py on a free port."""

    def __init__(self, bundle, *flags):
        self.process = subprocess.Popen(
            [
                sys.executable,
                os.path.join(ROOT, "tools", "serve.py"),
                "--bundle",
                bundle.directory,
                "--port",
                "0",
                "--threads",
                "1",
                *flags,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = []
        for line in self.process.stderr:
            self.said.append(line)
            if found := re.search(r"serving .* at http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                return
        raise AssertionError("".join(self.said))

    def ask(self, method, path, body=None):
        """Status and the answer's JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(
            method,
            path,
            body if body is None or isinstance(body, bytes) else json.dumps(body).encode(),
        )
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, json.loads(content)

    def end(self, number):
        """Exit status, standard output and what was said after the start."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@pytest.fixture(scope="module")
def server(bundle):
    server = Server(bundle, "--max-bytes", "20000")
    yield server
    server.process.kill()
    server.process.communicate()


def example(bundle):
    with open(os.path.join(bundle.directory, "request.example.json"), encoding="utf-8") as f:
        return json.load(f)


def check(answered, *requests, bundle, many=False):
    """Status 200 and what the bundle answers; scores within float error, as MKL may compute
    otherwise in another process."""
    status, answers = answered
    assert status == 200
    for answer, request in zip(answers["answers"] if many else [answers], requests, strict=True):
        expected = bundle.rank(request)
        scores = [[c.pop("score") for c in found["candidates"]] for found in (answer, expected)]
        assert answer == expected and scores[0] == pytest.approx(scores[1], abs=1e-6)


def test_answers_are_the_bundles(server, bundle):
    request = example(bundle)
    shorter = {**request, "history": []}
    one, other = (bundle.rank(r)["candidates"] for r in (request, shorter))
    assert len(one) == 5 and abs(one[0]["score"] - other[0]["score"]) > 1e-3
    check(server.ask("POST", "/rank", request), request, bundle=bundle)
    check(
        server.ask("POST", "/rank", [request, shorter]), request, shorter, bundle=bundle, many=True
    )


def test_what_a_client_is_told(server, bundle):
    assert server.ask("GET", "/") == (
        200,
        {
            "model": "din",
            "dataset": "small",
            "item_attributes": ["category", "brand", "maker", "price"],
            "user_attributes": ["age"],
            "context": ["hour"],
            "history_cap": 12,
            "needs_times": False,
        },
    )
    status, api = server.ask("GET", "/openapi.json")
    shown = api["paths"]["/rank"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert status == 200 and all(
        shown[key] == example(bundle)[key] for key in ("history", "candidates")
    )


def test_an_id_that_has_no_utf8_comes_back(server):
    status, answer = server.ask("POST", "/rank", {"candidates": ["\ud800", "é", "i1"]})
    assert status == 200 and {c["item"] for c in answer["candidates"]} == {"\ud800", "é", "i1"}


@pytest.mark.parametrize(
    "body, status, words",
    [
        (b"", 400, "the request is not JSON"),
        (b"{", 400, "the request is not JSON"),
        (b'\xff"', 400, "the request is not JSON"),
        (b"[" * 9000, 400, "it is nested too deeply"),
        (b'{"candidates": ["i1"], "candidates": ["i2"]}', 400, "'candidates' occurs twice"),
        (b"7", 400, "a request must be an object"),
        (b"{}", 400, "candidates must be a list"),
        (
            b'[{"candidates": ["i1"]}, {"candidates": []}]',
            400,
            "number 2 of 2: request: candidates must be a list",
        ),
        (b'{"candidates": ["i1"], "items": 3}', 400, "unknown key 'items'"),
        (b" " * 20001, 413, "longer than 20,000 bytes"),
    ],
)
def test_a_wrong_request_is_refused_and_changes_nothing(server, bundle, body, status, words):
    got, answer = server.ask("POST", "/rank", body)
    assert (
        got == status
        and answer.keys() == {"error"}
        and words in answer["error"]
        and "\n" not in answer["error"]
    )
    check(server.ask("POST", "/rank", example(bundle)), example(bundle), bundle=bundle)


def test_other_paths(server):
    for method, path, status in (("GET", "/rank", 405), ("POST", "/elsewhere", 404)):
        got, answer = server.ask(method, path)
        assert got == status and "there are POST /rank" in answer["error"]


def test_a_request_that_comes_too_slowly(bundle, monkeypatch):
    """The application by itself: the first byte comes, the second never does."""
    monkeypatch.setattr(serve, "PATIENCE", 0.2)
    app, counts = serve.application(bundle, 100)
    pieces, sent = [{"type": "http.request", "body": b"{", "more_body": True}], []

    async def receive():
        return pieces.pop() if pieces else await asyncio.sleep(60)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/rank",
        "headers": [],
        "query_string": b"",
        "http_version": "1.1",
    }
    asyncio.run(app(scope, receive, send))
    assert (
        sent[0]["status"] == 408
        and b"not whole" in sent[1]["body"]
        and counts == {"requests": 1, "refused": 1}
    )


def test_a_client_that_goes_in_the_middle_is_nothing_to_the_next(server, bundle):
    with socket.create_connection(("127.0.0.1", server.port)) as s:
        s.sendall(b"POST /rank HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    assert server.ask("POST", "/rank", example(bundle))[0] == 200


def test_many_clients_at_once_each_get_their_own_answer(server, bundle):
    request = example(bundle)
    asked = [
        {**request, "history": request["history"][: k % 7], "candidates": [f"i{k}", f"i{k + 1}"]}
        for k in range(60)
    ]
    with concurrent.futures.ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda r: server.ask("POST", "/rank", r), asked))
    for answered, r in zip(answers, asked):
        check(answered, r, bundle=bundle)


def test_answers_do_not_wait_for_acknowledgements(server, bundle):
    """Nagle's algorithm would hold the second part of each answer, or of what is asked, for 40
    ms."""
    connection, body = (
        http.client.HTTPConnection("127.0.0.1", server.port, timeout=60),
        json.dumps(example(bundle)),
    )
    times = []
    for _ in range(30):
        started = time.perf_counter()
        connection.request("POST", "/rank", body)
        connection.getresponse().read()
        times.append(time.perf_counter() - started)
    connection.close()
    assert min(times) < 0.02


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_good_order(bundle, number):
    server = Server(bundle)
    server.ask("POST", "/rank", example(bundle))
    server.ask("POST", "/rank", b"{")
    status, out, err = server.end(number)
    assert status == 0 and not err, err
    result = json.loads(out)
    assert (
        out.count("\n") == 1
        and (result["requests"], result["refused"]) == (2, 1)
        and result["url"].endswith(str(server.port))
    )


@pytest.mark.parametrize("times", [1, 2])
def test_a_request_that_is_half_sent_holds_up_the_end_for_seconds_at_most(bundle, times):
    server = Server(bundle)
    with socket.create_connection(("127.0.0.1", server.port)) as s:
        s.sendall(b"POST /rank HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        server.ask("GET", "/")
        for _ in range(times - 1):
            server.process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        status, out, err = server.end(signal.SIGINT)
    assert status == 0 and json.loads(out)["refused"] == 1 and "Traceback" not in err


def test_a_port_that_is_taken(server, bundle, tmp_path):
    done = run_tool("serve", "--bundle", bundle.directory, "--port", server.port, cwd=tmp_path)
    assert (
        done.status == 1
        and not done.out
        and f"port {server.port}" in done.lines[-1]
        and "choose another" in done.lines[-1]
    )
    for flags, words in (
        (["--bundle", "nowhere"], "nowhere is not an export bundle"),
        (["--bundle", bundle.directory, "--port", "70000"], "--port is 70000, must be from 0"),
        (
            ["--bundle", bundle.directory, "--max-bytes", "0"],
            "--max-bytes is 0, must be at least 1",
        ),
    ):
        done = run_tool("serve", *flags, cwd=tmp_path)
        assert done.status == 1 and not done.out and words in done.lines[-1]
