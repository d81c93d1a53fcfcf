"""Standard streams that are closed, full or have no reader, and signals while modules load: one
line each, and work that is done stays done."""

import json
import os
import signal
import subprocess
import sys

import pytest
from helpers import ROOT, TINY_DIN, small_dataset

pytestmark = pytest.mark.slow

TRAINER = os.path.join(ROOT, "tools", "trainer.py")
DIN = os.path.join(ROOT, "models", "din", "config.yaml")
FULL = "/dev/full"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("data"), "clicks", users=20, impressions=12)


def train(data, cwd, redirect):
    """The trainer in a shell with such streams."""
    flags = ["-m", DIN, "-o", *TINY_DIN, f"runner.data_dir={data}", "runner.epochs=1"]
    words = " ".join(f"'{word}'" for word in [sys.executable, TRAINER, *flags])
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        ["bash", "-c", f"{words} {redirect}"],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def result(cwd):
    """That of the run, which is whole."""
    run = cwd / "output" / "din" / "clicks"
    assert (run / "checkpoints" / "best.npz").is_file()
    with open(run / "config.yaml") as f:
        assert f.read().startswith("model: din\n")  # and nothing that was meant for a stream
    with open(run / "result.json") as f:
        return json.load(f)


@pytest.mark.skipif(not os.path.exists(FULL), reason="no /dev/full")
@pytest.mark.parametrize("redirect", [f"2>{FULL}", "2>&-", "2> >(exec true)", "2>&- 0<&-"])
def test_without_standard_error_the_work_is_done(data, tmp_path, redirect):
    done = train(data, tmp_path, redirect)
    assert done.returncode == 0 and done.stderr == ""
    assert json.loads(done.stdout)["test"] == result(tmp_path)["test"]


@pytest.mark.skipif(not os.path.exists(FULL), reason="no /dev/full")
@pytest.mark.parametrize(
    "redirect, words",
    [
        (f">{FULL}", "No space left on device"),
        ("> >(exec true)", "Broken pipe"),
    ],
)
def test_a_result_that_cannot_be_printed_ends_in_one_line(data, tmp_path, redirect, words):
    done = train(data, tmp_path, redirect)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: standard output cannot be written to: ")
    assert words in last
    assert result(tmp_path)["epochs"] == 1


def test_a_closed_standard_output_is_dev_null(data, tmp_path):
    done = train(data, tmp_path, ">&-")
    assert done.returncode == 0 and done.stdout == "" and "Traceback" not in done.stderr
    assert result(tmp_path)["epochs"] == 1


@pytest.mark.skipif(not os.path.exists(FULL), reason="no /dev/full")
def test_help_on_a_full_standard_output(tmp_path):
    for command in ([TRAINER, "--help"], [os.path.join(ROOT, "tools", "tune.py"), "-h"]):
        with open(FULL, "w") as full:
            done = subprocess.run(
                [sys.executable, *command], stdout=full, stderr=subprocess.PIPE, text=True
            )
        assert done.returncode == 1
        assert done.stderr.splitlines() == [
            "error: standard output cannot be written to: [Errno 28] No space left on device"
        ]


@pytest.mark.parametrize("number, words", [("SIGINT", "interrupted"), ("SIGTERM", "terminated")])
@pytest.mark.parametrize("verb", ["trainer", "prepare", "serve", "report"])
def test_a_signal_while_modules_load(tmp_path, verb, number, words):
    """Sent by a module that takes the place of one that every tool loads."""
    (tmp_path / "tqdm.py").write_text(
        f"import os, signal\nos.kill(os.getpid(), signal.{number})\nraise ImportError('half')\n"
    )
    for command in ([os.path.join(ROOT, "tools", f"{verb}.py")], ["-m", "paddleinterest", verb]):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 128 + getattr(signal, number)
        assert done.stderr == f"{words} before anything was done\n" and done.stdout == ""
