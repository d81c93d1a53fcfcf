"""An event that was accepted is kept, however the server ends."""

import os
import shutil
import signal

import pytest
from redis_server import RedisServer
from server_process import Server, example

pytestmark = pytest.mark.slow


@pytest.fixture(params=["sqlite", "redis"])
def store(request, tmp_path):
    """The value of --history, and a function that kills the store's own process, if there is one,
    and starts it again."""
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path / 'events.db'}", lambda: None
        return
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server (Debian: apt-get install redis-server)")
    redis = RedisServer(tmp_path)

    def restart():
        redis.kill()
        redis.start()

    yield redis.url, restart
    redis.kill()


def test_an_accepted_event_outlives_kill_9(bundle, store):
    """Every process of the server is killed as soon as it has accepted an event, three times."""
    history, restart_store = store
    user = example(bundle)["user"]
    for k in range(3):
        with Server(bundle, "--history", history, "--workers", "2") as server:
            if k:
                _, found = server.ask("GET", f"/history?user={user}")
                items = [event["item"] for event in found["events"]]
                assert items[-k:] == [f"i{n}" for n in range(k)]
                _, answer = server.ask("POST", "/rank", {"user": user, "candidates": ["i1"]})
                assert answer["history_from"].startswith(history.split(":")[0])
            pids = [server.process.pid, *server.descendants()]
            event = {"user": user, "item": f"i{k}", "time": 2_000_000_000 + k}
            assert server.ask("POST", "/events", event) == (200, {"events": 1})
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            restart_store()
