"""docs/tutorial.md as its reader follows it: every command, in order, beside a running service."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pages
import pytest
from helpers import ROOT

pytestmark = pytest.mark.slow

FOLDERS = ("configs", "datasets", "models", "paddleinterest", "tools")
PATIENCE = 120  # seconds until the service answers, on a busy machine


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the repository's folders in it."""
    folder = tmp_path_factory.mktemp("tutorial")
    for name in FOLDERS:
        os.symlink(os.path.join(ROOT, name), folder / name)
    return folder


def environment():
    """That of the tests, with their `python` first."""
    path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path}


def run(place, command):
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=place,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{command}\n{done.stderr[-2000:]}"
    return done.stdout


def wait_for(port, server):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert server.poll() is None, "the service has ended"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the service does not answer")


def test_every_command(place):
    if not shutil.which("curl"):
        pytest.skip("curl is missing")
    blocks = pages.blocks(pages.text_of("docs/tutorial.md"))
    commands = [code for language, code in blocks if language == "bash"]
    expected = next(code for language, code in blocks if code.startswith("==>"))
    server = None
    port = free_port()
    outputs = []
    try:
        for command in commands:
            if "tools/serve.py" in command:
                words = f"exec {command.strip()} --port {port}"
                server = subprocess.Popen(["bash", "-c", words], cwd=place, env=environment())
                wait_for(port, server)
            else:
                for line in [command] if "<<" in command else command.splitlines():
                    outputs.append(run(place, line.replace("localhost:8000", f"127.0.0.1:{port}")))
    finally:
        if server:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
    assert expected in outputs[0]
    base, din = (json.loads(text.splitlines()[-1])["test"]["auc"] for text in outputs[2:4])
    assert din > base > 0.6
    before, after = (json.loads(outputs[k]) for k in (-3, -1))
    assert (before["history_from"], after["history_from"]) == ("bundle", "sqlite+bundle")
    assert after["history_events"] == before["history_events"] + 2
    soap = [
        {c["item"]: c["score"] for c in answer["candidates"]}["soap-1"]
        for answer in (before, after)
    ]
    assert soap[1] > soap[0] + 0.05
    new = next(c for c in before["candidates"] if c["item"] == "new-1")
    assert new["known"] is False
    assert (place / "output" / "din" / "shop" / "attention.png").exists()
