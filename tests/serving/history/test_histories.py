"""Stores of events give what was put in, and a request without a history gets its user's."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
from helpers import ROOT, TINY_DIN, run_tool, small_log, trained
from redis_server import RedisServer

from paddleinterest.core.errors import InputError
from paddleinterest.serving.bundle import Bundle
from paddleinterest.serving.export import Contents, export
from paddleinterest.serving.history.events import KEEP, Event, StoreError
from paddleinterest.serving.history.source import Histories, check_form, open_store
from paddleinterest.serving.history.sqlite_store import SqliteStore

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory):
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server (Debian: apt-get install redis-server)")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture(params=["sqlite", "redis"])
def form(request, tmp_path):
    """A value of --history for an empty store."""
    if request.param == "sqlite":
        return f"sqlite:{tmp_path / 'events.db'}"
    server = request.getfixturevalue("redis_server")
    import redis

    redis.Redis.from_url(server.url).flushdb()
    return server.url


@pytest.fixture
def store(form):
    store = open_store(form)
    yield store
    store.close()


def test_a_store_gives_the_latest_events_in_order(store):
    """Against a plain list, in random order, with equal times and negative ones."""
    rng = random.Random(4)
    told = []
    said = [{}, {"action": "buy"}, {"action": "看", "price": 0.5}]
    for _ in range(40):
        some = [
            (
                rng.choice("ab类"),
                Event(f"i{rng.randrange(9)}", rng.randrange(-5, 30), rng.choice(said)),
            )
            for _ in range(rng.randrange(1, 6))
        ]
        store.append(some)
        told += some
    for user in ("a", "b", "类", "nobody"):
        own = sorted((e for u, e in told if u == user), key=lambda e: e.time)
        for n in (1, 3, 1000):
            assert store.latest(user, n) == own[-n:]
            for until in (-9, 0, 14):
                before = [e for e in own if e.time <= until]
                assert store.latest(user, n, until) == before[-n:]


def test_a_store_keeps_the_latest_of_a_user_only(store):
    store.append([("u", Event(f"i{k}", k)) for k in range(KEEP + 50)])
    store.append([("u", Event("late", 7)), ("v", Event("other", 1))])
    kept = store.latest("u", 10 * KEEP)
    assert [e.time for e in kept] == list(range(50, KEEP + 50))
    assert store.latest("v", 5) == [Event("other", 1)]


def test_two_processes_share_a_store(form, store):
    program = (
        "import sys; from paddleinterest.serving.history.source import open_store\n"
        "from paddleinterest.serving.history.events import Event\n"
        "store = open_store(sys.argv[1])\n"
        "for k in range(100): store.append([('u', Event(f'{sys.argv[2]}{k}', k))])\n"
    )
    env = {**os.environ, "PYTHONPATH": ROOT}
    writers = [
        subprocess.Popen([sys.executable, "-c", program, form, name], env=env) for name in "ab"
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert sorted(e.item for e in store.latest("u", 1000)) == sorted(
        f"{name}{k}" for name in "ab" for k in range(100)
    )


def test_what_was_appended_survives_a_kill(form):
    program = (
        "import os, sys; from paddleinterest.serving.history.source import open_store\n"
        "from paddleinterest.serving.history.events import Event\n"
        "open_store(sys.argv[1]).append([('u', Event('i', 5))]); os.kill(os.getpid(), 9)\n"
    )
    env = {**os.environ, "PYTHONPATH": ROOT}
    done = subprocess.run([sys.executable, "-c", program, form], env=env)
    assert done.returncode == -signal.SIGKILL
    store = open_store(form)
    assert store.latest("u", 5) == [Event("i", 5)]
    store.close()


def test_a_killed_redis_has_what_it_acknowledged(redis_server):
    store = open_store(redis_server.url)
    store.append([("kept", Event("i", 5))])
    redis_server.kill()
    with pytest.raises(StoreError, match="the Redis server of histories"):
        store.latest("kept", 5)
    with pytest.raises(StoreError):
        store.append([("kept", Event("j", 6))])
    redis_server.start()
    assert store.latest("kept", 5) == [Event("i", 5)]
    store.close()


def test_a_transaction_is_all_or_nothing(tmp_path):
    store = SqliteStore(str(tmp_path / "e.db"))
    with pytest.raises(StoreError):
        store.append([("u", Event("i", 5)), ("u", Event(None, 6))])
    assert store.latest("u", 5) == []
    store.close()


@pytest.mark.parametrize(
    "text, words",
    [
        ("sqlite", "--history is 'sqlite', must be bundle, none, sqlite:FILE or"),
        ("sqlite:", "must be bundle"),
        ("mysql://x", "must be bundle"),
        ("sqlite:/nowhere/at/all.db", "cannot be opened"),
        ("redis://127.0.0.1:1/0", "cannot be reached"),
    ],
)
def test_stores_that_are_none(text, words):
    with pytest.raises(InputError, match=words):
        check_form(text)
        open_store(text)


def test_a_file_that_is_not_sqlite(tmp_path):
    (tmp_path / "x.db").write_bytes(b"precious" * 1000)
    with pytest.raises(InputError, match="cannot be opened"):
        open_store(f"sqlite:{tmp_path / 'x.db'}")
    assert (tmp_path / "x.db").read_bytes() == b"precious" * 1000


# events of a request


@pytest.mark.parametrize(
    "body, words",
    [
        (7, r"events\[0\] is 7, must be an object"),
        ([], "events: 0 of them, must be from 1 to 3"),
        ([{}] * 4, "events: 4 of them"),
        ({"item": "i"}, r"events\[0\].user is None, must be an id"),
        ({"user": True, "item": "i"}, "user is True"),
        ([{"user": "u", "item": "i", "time": 1}, {"user": "u", "item": 1.5}], r"\[1\].item is 1.5"),
        ({"user": "u", "item": "i", "time": "now"}, "time is 'now', must be an integer"),
        ({"user": "u", "item": "i", "time": 1_700_000_000_000}, "is it milliseconds"),
        ({"user": "u", "item": "i", "price": 1}, "unknown key 'price'; an event has user, item"),
        ({"user": "\ud800", "item": "i"}, "half of a surrogate pair"),
        ({"user": "u" * 2000, "item": "i"}, "2,000 characters"),
    ],
)
def test_malformed_events_are_refused_and_none_is_kept(tmp_path, body, words):
    store = SqliteStore(str(tmp_path / "e.db"))
    with pytest.raises(InputError, match=words):
        Histories(None, store, True).append(body, 3)
    assert store.latest("u", 9) == []
    store.close()


def test_an_event_without_a_time_is_of_now(tmp_path):
    store = SqliteStore(str(tmp_path / "e.db"))
    assert Histories(None, store, True).append({"user": 7, "item": 9}, 3) == 1
    (event,) = store.latest("7", 9)
    assert event.item == "9" and abs(event.time - time.time()) < 60
    with pytest.raises(InputError, match="time is None"):
        Histories(None, store, False).append({"user": 7, "item": 9}, 3)
    store.close()


def test_without_a_store_events_are_refused():
    with pytest.raises(InputError, match="start the server with --history"):
        Histories(None, None, True).append({"user": 7, "item": 9}, 3)


# requests


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("served")
    config, _, _ = trained("din", data, folder, *TINY_DIN, scale=0.3)
    export(config, data, str(folder / "bundle"))
    return Bundle(str(folder / "bundle"))


def clicks_of(user):
    """What the raw log says: the protocol's history is the clicks, oldest first."""
    log = small_log()
    own = log.events[(log.events.user == user) & (log.events.label == 1)]
    own = own.sort_values("time", kind="stable")
    return list(zip(own.item, own.time.tolist(), strict=True))


def test_the_bundle_has_the_latest_events_of_every_user(bundle, data):
    users = pq.read_table(os.path.join(data, "users.parquet"))["user"].to_pylist()[2:]
    seen = 0
    for user in users:
        expected = clicks_of(user)
        found = [(e.item, e.time) for e in bundle.histories.own.latest(user, 12)]
        assert found == expected[-12:]
        if expected:
            middle = expected[len(expected) // 2][1]
            before = [e for e in expected[-12:] if e[1] <= middle]
            found = [(e.item, e.time) for e in bundle.histories.own.latest(user, 5, middle)]
            assert found == before[-5:]
            seen += 1
    assert seen > 20 and bundle.histories.own.latest("nobody", 5) == []


CANDIDATES = ["i1", "i2", "i3"]


def test_a_user_id_alone_is_enough(bundle):
    user = next(u for u in bundle.encoder.user_row if len(clicks_of(u)) > 3)
    events = [{"item": i, "time": t} for i, t in clicks_of(user)[-12:]]
    answer = bundle.rank({"user": user, "candidates": CANDIDATES})
    assert answer["history_from"] == "bundle" and answer["history_events"] == len(events)
    given = bundle.rank({"user": user, "candidates": CANDIDATES, "history": events})
    assert given["history_from"] == "request"
    assert answer["candidates"] == given["candidates"]
    empty = bundle.rank({"user": user, "candidates": CANDIDATES, "history": []})
    assert empty["history_events"] == 0 and empty["candidates"] != given["candidates"]


def test_a_request_without_any_history_says_so(bundle):
    for request in ({}, {"user": "nobody"}, {"user": None}):
        answer = bundle.rank({**request, "candidates": CANDIDATES})
        assert (answer["history_from"], answer["history_events"]) == ("none", 0)


def test_events_that_arrive_are_seen_by_the_next_request(bundle, store):
    user = next(u for u in bundle.encoder.user_row if 2 < len(clicks_of(u)) < 10)
    log = clicks_of(user)
    both = Histories(bundle.histories.own, store, True)
    assert both.latest(user, 12)[1] == "bundle"
    both.append({"user": user, "item": "i5", "time": log[-1][1] + 10}, 5)
    events, source = both.latest(user, 12)
    assert source == f"{store.name}+bundle"
    assert [e.item for e in events] == [i for i, _ in log][-11:] + ["i5"]
    both.append([{"user": user, "item": i, "time": t} for i, t in log], 100)
    events, source = both.latest(user, 12)
    assert source == store.name  # the store has it all, and nothing twice
    assert [e.item for e in events] == [i for i, _ in log][-11:] + ["i5"]


def test_a_bundle_without_histories(data, tmp_path):
    config, _, _ = trained("din", data, tmp_path, *TINY_DIN, scale=0.3)
    export(config, data, str(tmp_path / "bundle"), Contents(histories=False))
    bundle = Bundle(str(tmp_path / "bundle"))
    assert bundle.histories.own is None
    user = bundle.encoder.user_row[0]
    assert bundle.rank({"user": user, "candidates": CANDIDATES})["history_from"] == "none"


def test_a_model_that_reads_times_gets_one_with_a_stored_history(data, tmp_path):
    overrides = ["hyper_parameters.embedding_size=4", "runner.history_cap=12"]
    config, _, _ = trained("bst", data, tmp_path, *overrides, scale=0.3)
    export(config, data, str(tmp_path / "bundle"))
    bundle = Bundle(str(tmp_path / "bundle"))
    assert bundle.encoder.needs_times
    user = next(u for u in bundle.encoder.user_row if len(clicks_of(u)) > 3)
    answer = bundle.rank({"user": user, "candidates": CANDIDATES})
    assert answer["history_from"] == "bundle"
    times = [t for _, t in clicks_of(user)[-12:]]
    answer = bundle.rank({"user": user, "candidates": CANDIDATES, "time": times[1]})
    assert answer["history_events"] == len([t for t in times if t <= times[1]]) < len(times)


# tools/load_history.py


def test_a_store_filled_from_a_bundle(bundle, form, store):
    store.append([("u3", Event("newer", 1_900_000_000))])
    done = run_tool("load_history", "--bundle", bundle.directory, "--history", form, cwd=ROOT)
    assert done.status == 0, done.err
    result = done.json
    own = bundle.histories.own
    users = [user for user in bundle.encoder.user_row if own.latest(user, 99) and user != "u3"]
    events = sum(len(own.latest(user, 99)) for user in users)
    assert (result["users"], result["events"], result["users_left_out"]) == (len(users), events, 1)
    for user in users:
        assert store.latest(user, 99) == own.latest(user, 99)
    assert [e.item for e in store.latest("u3", 99)] == ["newer"]
    again = run_tool("load_history", "--bundle", bundle.directory, "--history", form, cwd=ROOT)
    assert again.json["events"] == 0 and again.json["users_left_out"] == len(users) + 1


def test_what_load_history_refuses(bundle, data, tmp_path):
    for flags, words in (
        (["--bundle", bundle.directory, "--history", "bundle"], "takes no events"),
        (["--bundle", data, "--history", "sqlite:x.db"], "holds no histories.arrow"),
        (["--bundle", "nowhere", "--history", "sqlite:x.db"], "schema.yaml does not exist"),
    ):
        done = run_tool("load_history", *flags, cwd=tmp_path)
        assert done.status == 1 and not done.out
        assert words in done.lines[-1], done.lines
