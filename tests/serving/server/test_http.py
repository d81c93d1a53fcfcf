"""Answers over HTTP are those of the bundle, and wrong requests are refused and change nothing."""

import concurrent.futures
import http.client
import json
import socket
import time

import pytest
from helpers import run_tool
from server_process import Server, example

pytestmark = pytest.mark.slow


def check(answered, *requests, bundle, many=False):
    """Status 200 and what the bundle answers; scores within float error, as MKL may compute
    otherwise in another process."""
    status, answers = answered
    assert status == 200
    for answer, request in zip(answers["answers"] if many else [answers], requests, strict=True):
        expected = bundle.rank(request)
        scores = [[c.pop("score") for c in found["candidates"]] for found in (answer, expected)]
        assert answer == expected
        assert scores[0] == pytest.approx(scores[1], abs=1e-6)


def test_answers_are_the_bundles(server, bundle, opened):
    request = example(bundle)
    shorter = {**request, "history": []}
    one, other = (opened.rank(r)["candidates"] for r in (request, shorter))
    assert len(one) == 5 and abs(one[0]["score"] - other[0]["score"]) > 1e-3
    check(server.ask("POST", "/rank", request), request, bundle=opened)
    both = [request, shorter]
    check(server.ask("POST", "/rank", both), *both, bundle=opened, many=True)


def test_what_a_client_is_told(server, bundle, opened):
    status, about = server.ask("GET", "/")
    assert status == 200
    assert about == {
        "version": opened.version,
        "model": "din",
        "dataset": "small",
        "item_attributes": {
            "category": "category",
            "brand": "category",
            "maker": "category",
            "price": "dense",
        },
        "user_attributes": {"age": "category"},
        "context": {"hour": "category"},
        "event_fields": {},
        "history_cap": 12,
        "needs_times": False,
        "time": "seconds",
        "items": len(opened.encoder.item_row),
        "users": len(opened.encoder.user_row),
        "history": "bundle",
        "engine": "paddle",
    }
    status, api = server.ask("GET", "/openapi.json")
    shown = api["paths"]["/rank"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert status == 200 and shown == example(bundle)


def test_an_id_that_has_no_utf8_comes_back(server):
    status, answer = server.ask("POST", "/rank", {"candidates": ["\ud800", "é", "i1"]})
    assert status == 200 and {c["item"] for c in answer["candidates"]} == {"\ud800", "é", "i1"}


def test_an_id_of_more_than_64_bits_comes_back(server):
    status, answer = server.ask("POST", "/rank", {"user": -(10**30), "candidates": [10**30, "i1"]})
    assert status == 200 and {c["item"] for c in answer["candidates"]} == {10**30, "i1"}
    assert answer["user"] == -(10**30)


def test_chinese_stays_chinese(server):
    _, _, content = server.answer("POST", "/rank", {"candidates": ["类目", "i1"]})
    assert "类目".encode() in content
    status, _, content = server.answer("POST", "/rank", {"candidates": ["i1"], "类目": 1})
    assert status == 400 and "类目".encode() in content


@pytest.mark.parametrize(
    "body, status, words",
    [
        (b"", 400, "the request is not JSON"),
        (b"{", 400, "the request is not JSON"),
        (b'\xff"', 400, "the request is not JSON"),
        (b"[" * 9000, 400, "it is nested too deeply"),
        (b'{"candidates": ["i1"], "candidates": ["i2"]}', 400, "'candidates' occurs twice"),
        (b"7", 400, "request: 7 must be an object"),
        (b"{}", 400, "candidates is missing, must be a list"),
        (
            b'[{"candidates": ["i1"]}, {"candidates": []}]',
            400,
            "must be a list of at least one item",
        ),
        (b'{"candidates": ["i1"], "items": 3}', 400, "unknown key 'items'"),
        (b" " * 20001, 413, "longer than 20,000 bytes"),
        (json.dumps([{"candidates": ["i1"]}] * 101).encode(), 400, "a list of 101 requests"),
        (json.dumps({"candidates": [1] * 5001}).encode(), 400, "5,001 candidates; at most 5,000"),
        (
            json.dumps([{"candidates": [1] * 1001}] * 5).encode(),
            400,
            "5,005 candidates; at most 5,000 are taken in one body",
        ),
    ],
)
def test_a_wrong_request_is_refused_and_changes_nothing(
    server, bundle, opened, body, status, words
):
    got, answer = server.ask("POST", "/rank", body)
    assert got == status and answer.keys() == {"error"}
    assert words in answer["error"] and "\n" not in answer["error"]
    check(server.ask("POST", "/rank", example(bundle)), example(bundle), bundle=opened)


def test_other_paths(server):
    for method, path, status in (("GET", "/rank", 405), ("POST", "/elsewhere", 404)):
        got, answer = server.ask(method, path)
        assert got == status and "GET /docs lists the paths" in answer["error"]


def test_a_client_that_goes_in_the_middle_is_nothing_to_the_next(server, bundle):
    with socket.create_connection(("127.0.0.1", server.port)) as s:
        s.sendall(b"POST /rank HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
    assert server.ask("POST", "/rank", example(bundle))[0] == 200


def test_many_clients_at_once_each_get_their_own_answer(bundle, opened):
    request = example(bundle)
    asked = [
        {**request, "history": request["history"][: k % 7], "candidates": [f"i{k}", f"i{k + 1}"]}
        for k in range(80)
    ]
    with Server(bundle, "--workers", "3") as server:
        with concurrent.futures.ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(lambda r: server.ask("POST", "/rank", r), asked))
        assert len(server.scorers()) == 3
    for answered, r in zip(answers, asked, strict=True):
        check(answered, r, bundle=opened)


def test_answers_do_not_wait_for_acknowledgements(server, bundle):
    """Nagle's algorithm would hold the second part of each answer, or of what is asked, for 40
    ms."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    body = json.dumps(example(bundle))
    times = []
    for _ in range(30):
        started = time.perf_counter()
        connection.request("POST", "/rank", body)
        connection.getresponse().read()
        times.append(time.perf_counter() - started)
    connection.close()
    assert min(times) < 0.02


def test_why_a_candidate_scored_as_it_did(server, bundle, opened):
    request = example(bundle)
    status, answer = server.ask("POST", "/rank?explain=1", request)
    _, weight = opened.attention(request)
    assert status == 200 and len(answer["history"]) == 10
    assert [e["item"] for e in answer["history"]] == [e["item"] for e in request["history"]]
    items = [c["item"] if isinstance(c, dict) else c for c in request["candidates"]]
    for candidate in answer["candidates"]:
        own = weight[items.index(candidate["item"])]
        assert candidate["attention"] == pytest.approx(own.tolist(), abs=1e-5)
    assert answer["history"][0]["attributes"].keys() <= {"category", "brand", "maker"}
    assert server.ask("POST", "/rank?explain=1", [request])[0] == 400


def test_look_ups(server, opened):
    status, found = server.ask("GET", "/items?q=i1&limit=3")
    assert status == 200 and len(found["items"]) == 3
    assert all(item["item"].startswith("i1") for item in found["items"])
    status, found = server.ask("GET", "/users?limit=2")
    assert status == 200 and len(found["users"]) == 2
    user = found["users"][0]
    status, found = server.ask("GET", f"/history?user={user}")
    own = opened.histories.own.latest(user, 12)
    assert [e["item"] for e in found["events"]] == [e.item for e in own] != []
    assert found["from"] == "bundle"
    assert server.ask("GET", "/history")[0] == 400
    for limit in ("x", "-1", "99999", "%C2%B2"):
        assert server.ask("GET", f"/items?limit={limit}")[0] == 400


def test_flags_that_cannot_be(bundle, tmp_path):
    taken = socket.create_server(("127.0.0.1", 0))
    (tmp_path / "empty").write_text("")
    for flags, words in (
        (["--bundle", "nowhere"], "nowhere is not an export bundle"),
        (["--port", "70000"], "--port is 70000, must be from 0"),
        (["--port", taken.getsockname()[1]], "choose another --host or --port"),
        (["--max-bytes", "0"], "--max-bytes is 0, must be from 1"),
        (["--deadline", "nan"], "--deadline is nan, must be from"),
        (["--workers", "0"], "--workers is 0, must be from 1"),
        (["--history", "mysql"], "--history is 'mysql', must be bundle"),
        (["--history", "sqlite:/nowhere/x.db"], "cannot be opened"),
        (["--token", "a b"], "the token must be printable ASCII"),
        (["--token-file", "empty"], "empty is empty, must hold the token"),
        (["--use-gpu", "--workers", "2"], "--use-gpu works with one worker"),
    ):
        bundle_flag = [] if "--bundle" in flags else ["--bundle", bundle]
        port = [] if "--port" in flags else ["--port", "0"]
        done = run_tool("serve", *bundle_flag, *port, *flags, cwd=tmp_path)
        assert done.status == 1 and not done.out, done.err
        assert words in done.lines[-1], done.lines
    taken.close()
