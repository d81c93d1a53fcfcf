"""Who may ask, and what every answer carries."""

import asyncio
import io
import json
import os
import re
import shutil
from types import SimpleNamespace

import pytest
from helpers import ROOT
from server_process import Server, example

from paddleinterest.data.schema import Schema
from paddleinterest.serving.server.guard import Access, Guard

pytestmark = pytest.mark.slow

SMALL = {"candidates": ["i1"]}
TOKEN = {"Authorization": "Bearer s3cret"}


@pytest.fixture(scope="module")
def place(bundle, tmp_path_factory):
    """A bundle whose dataset has a name that a page must not run."""
    folder = tmp_path_factory.mktemp("evil") / "bundle"
    shutil.copytree(bundle, folder)
    schema = Schema.load(str(folder))
    schema.name = "</title><script>alert(1)</script>"
    schema.save(str(folder))
    return folder


@pytest.fixture(scope="module")
def guarded(place, tmp_path_factory):
    """A server with a token, an access log, and a store."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "token").write_text("s3cret\n")
    flags = ["--token-file", folder / "token", "--access-log", folder / "log"]
    flags += ["--history", f"sqlite:{folder / 'events.db'}", "--allow-host", "shop.example"]
    with Server(place, *flags) as server:
        server.folder = folder
        yield server


@pytest.mark.parametrize(
    "method, path",
    [
        ("POST", "/rank"),
        ("POST", "/events"),
        ("POST", "/-/reload"),
        ("GET", "/"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/users"),
        ("GET", "/items"),
        ("GET", "/history?user=u1"),
    ],
)
def test_data_needs_the_token(guarded, method, path):
    for headers in ({}, {"Authorization": "Bearer s3cre"}, {"Authorization": "Basic s3cret"}):
        status, found, content = guarded.answer(method, path, b"{}", headers)
        assert status == 401 and found["WWW-Authenticate"] == "Bearer"
        assert "Authorization must be" in json.loads(content)["error"]


def test_with_the_token(guarded):
    assert guarded.ask("POST", "/rank", SMALL, TOKEN)[0] == 200
    for path in ("/healthz", "/readyz", "/ui", "/docs", "/pages/docs.js"):
        assert guarded.answer("GET", path)[0] == 200


@pytest.mark.parametrize(
    "host, status",
    [
        ("localhost", 200),
        ("127.0.0.1:99", 200),
        ("[::1]:8000", 200),
        ("SHOP.example", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("[", 421),
    ],
)
def test_other_names_are_not_served(guarded, host, status):
    got, _, content = guarded.answer("POST", "/rank", SMALL, {**TOKEN, "Host": host})
    assert got == status and (status == 200 or b"--allow-host" in content)


def test_pages_of_other_sites_may_not_ask(guarded):
    own = f"http://127.0.0.1:{guarded.port}"
    for origin, status in (
        (own, 200),
        ("http://evil.example", 403),
        ("null", 403),
        (own + "9", 403),
    ):
        headers = {**TOKEN, "Origin": origin}
        assert guarded.answer("POST", "/rank", SMALL, headers)[0] == status


def test_every_answer_has_the_headers(guarded):
    for method, path in (("GET", "/healthz"), ("POST", "/rank"), ("GET", "/ui"), ("GET", "/no")):
        _, headers, _ = guarded.answer(method, path, b"{", TOKEN)
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Content-Security-Policy"].startswith("default-src 'self'")
        assert headers["Server"] is None
        assert re.fullmatch("[0-9a-f]{16}", headers["X-Request-ID"])


@pytest.mark.parametrize("given, kept", [("abc-1.2:3_", True), ("x" * 65, False), ("a b", False)])
def test_a_request_keeps_the_id_that_it_brings(guarded, given, kept):
    _, headers, _ = guarded.answer("GET", "/healthz", headers={"X-Request-ID": given})
    assert (headers["X-Request-ID"] == given) == kept


@pytest.mark.parametrize("parts", [1, 3])
def test_an_answer_is_counted_before_the_client_has_it(parts):
    """So that who has the answer finds it in the log and in the metrics, and finds it once."""
    log = io.StringIO()
    counted = []
    seen = []
    telemetry = SimpleNamespace(answer=lambda path, status, _: counted.append((path, status)))
    pool = SimpleNamespace(draining=False)

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        for left in reversed(range(parts)):
            await send({"type": "http.response.body", "body": b"x", "more_body": left > 0})

    async def send(message):
        done = message["type"] == "http.response.body" and not message["more_body"]
        seen.append((done, len(counted), log.getvalue().count("\n")))

    guard = Guard(app, Access(log=log), pool, telemetry, {"/rank"})
    scope = {"type": "http", "method": "POST", "path": "/rank", "headers": []}
    asyncio.run(guard(scope, None, send))
    assert seen == [(False, 0, 0)] * parts + [(True, 1, 1)]
    assert counted == [("/rank", 200)] and json.loads(log.getvalue())["bytes"] == parts


def test_the_access_log(guarded):
    headers = {**TOKEN, "X-Request-ID": "find-me"}
    guarded.answer("POST", "/rank", SMALL, headers)
    lines = [json.loads(line) for line in (guarded.folder / "log").read_text().splitlines()]
    (line,) = (line for line in lines if line["id"] == "find-me")
    assert (line["method"], line["path"], line["status"]) == ("POST", "/rank", 200)
    assert line["candidates"] == 1 and line["client"] == "127.0.0.1" and 0 < line["ms"] < 60_000
    assert line["version"] == guarded.ask("GET", "/", headers=TOKEN)[1]["version"]
    assert "s3cret" not in (guarded.folder / "log").read_text()


def test_metrics(guarded):
    def value(name):
        text = guarded.answer("GET", "/metrics", headers=TOKEN)[2].decode()
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    names = ["candidates", "unknown_items", "unknown_users", "requests", "empty_histories"]
    before = [value(f"paddleinterest_{name}_total") for name in names]
    scored = value("paddleinterest_scoring_seconds_count")
    request = {"user": "nobody", "candidates": ["i1", "new"]}
    guarded.ask("POST", "/rank", [request, SMALL], TOKEN)
    after = [value(f"paddleinterest_{name}_total") for name in names]
    assert [b - a for a, b in zip(before, after, strict=True)] == [3, 1, 1, 2, 2]
    assert value("paddleinterest_scoring_seconds_count") == scored + 1
    malformed = value('paddleinterest_refusals_total{reason="malformed"}')
    guarded.ask("POST", "/rank", b"{", TOKEN)
    assert value('paddleinterest_refusals_total{reason="malformed"}') == malformed + 1
    for k in range(5):  # clients cannot make labels
        guarded.answer("GET", f"/no{k}", headers=TOKEN)
    text = guarded.answer("GET", "/metrics", headers=TOKEN)[2].decode()
    assert "/no" not in text and 'path="other",status="404"' in text
    assert 'model="din"' in text and "paddleinterest_bundle_info" in text


def test_nothing_comes_from_elsewhere_and_no_name_runs(guarded):
    """Pages name no other site and hold no name of the dataset; the document is JSON."""
    for path in ("/ui", "/docs", *(f"/pages/{name}" for name in os.listdir(PAGES))):
        status, _, content = guarded.answer("GET", path)
        if path.endswith(".py") or "__" in path:
            assert status in (401, 404)
            continue
        assert status == 200
        text = content.decode()
        addresses = set(re.findall(r"https?://[^\s\"'<>)]+", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, addresses
        assert "alert(1)" not in text and "innerHTML" not in text
    _, headers, content = guarded.answer("GET", "/openapi.json", headers=TOKEN)
    assert headers["Content-Type"] == "application/json"
    assert json.loads(content)["info"]["title"] == "din on </title><script>alert(1)</script>"


PAGES = os.path.join(ROOT, "paddleinterest", "serving", "server", "pages")


@pytest.mark.parametrize(
    "path", ["/pages/../http.py", "/pages/%2e%2e/http.py", "/pages/x", "/.git"]
)
def test_no_other_file_is_served(guarded, path):
    assert guarded.answer("GET", path, headers=TOKEN)[0] == 404


def test_events_arrive(guarded, bundle):
    user = example(bundle)["user"]
    base = guarded.ask("POST", "/rank", {"user": user, **SMALL}, TOKEN)[1]
    assert base["history_from"] == "bundle"
    event = {"user": user, "item": "i7"}
    assert guarded.ask("POST", "/events", event, TOKEN) == (200, {"events": 1})
    answer = guarded.ask("POST", "/rank", {"user": user, **SMALL}, TOKEN)[1]
    assert answer["history_from"] == "sqlite+bundle"
    _, found = guarded.ask("GET", f"/history?user={user}", headers=TOKEN)
    assert found["events"][-1]["item"] == "i7" and found["from"] == "sqlite+bundle"
    status, answer = guarded.ask("POST", "/events", [event, {"user": user}], TOKEN)
    assert status == 400 and "events[1].item is None" in answer["error"]
    assert guarded.ask("GET", f"/history?user={user}", headers=TOKEN)[1] == found


def test_events_need_a_store(server):
    status, answer = server.ask("POST", "/events", {"user": "u1", "item": "i1"})
    assert status == 400 and "--history sqlite:FILE" in answer["error"]
