"""`pip install .` elsewhere: a bundle scores without the checkout, and importing the package does
not import Paddle."""

import json
import os
import subprocess
import sys

import pytest
from helpers import ROOT, TINY_DIN, trained

from paddleinterest.serving.bundle import Bundle
from paddleinterest.serving.export import export

pytestmark = pytest.mark.slow

SCORE = """
import json, os, sys
import paddleinterest.serving
assert "paddle" not in sys.modules, "importing the package imported Paddle"
assert os.path.realpath(paddleinterest.__file__).startswith(os.path.realpath(sys.argv[1]))
from paddleinterest.serving import Bundle
bundle = Bundle("copied/bundle")
with open("copied/bundle/request.example.json", encoding="utf-8") as f:
    request = json.load(f)
print(json.dumps(bundle.rank(request)))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the package installed from a wheel, as pip does it."""
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--no-index", "--target", str(folder), source(tmp_path_factory)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return str(folder)


def source(tmp_path_factory):
    """A copy of what pip reads, so that building leaves nothing in the checkout."""
    folder = tmp_path_factory.mktemp("source")
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    names = tracked.stdout.splitlines() if not tracked.returncode else []
    if not names:
        pytest.skip("not a git checkout, so that it is unknown which files belong to it")
    for name in names:
        if name.startswith("paddleinterest/") or "/" not in name:
            if os.path.isfile(os.path.join(ROOT, name)):
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with open(os.path.join(ROOT, name), "rb") as f:
                    target.write_bytes(f.read())
    return str(folder)


def test_a_request_is_scored_without_the_checkout(installed, data, tmp_path):
    config, _, _ = trained("din", data, tmp_path / "run", *TINY_DIN, scale=0.3)
    bundle = tmp_path / "copied" / "bundle"
    export(config, data, str(bundle))
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-c", SCORE, installed],
        cwd=tmp_path,
        env={**env, "PYTHONPATH": installed},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with open(bundle / "request.example.json", encoding="utf-8") as f:
        expected = Bundle(str(bundle)).rank(json.load(f))
    answer = json.loads(done.stdout)
    found = [c.pop("score") for c in answer["candidates"]]
    assert found == pytest.approx([c.pop("score") for c in expected["candidates"]], abs=1e-6)
    assert answer == expected


def test_what_is_installed_is_whole(installed):
    """Every module and every file that a module reads is in the wheel."""
    for folder, _, names in os.walk(os.path.join(ROOT, "paddleinterest")):
        for name in names:
            if name.endswith((".pyc", ".so")) or "__pycache__" in folder:
                continue
            inner = os.path.relpath(os.path.join(folder, name), ROOT)
            assert os.path.isfile(os.path.join(installed, inner)), inner
