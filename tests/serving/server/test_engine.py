"""The server with either engine: equal answers, a bundle that cannot be run is refused."""

import contextlib
import os
import shutil

import paddle
import pytest
from helpers import ROOT, TINY_DIN, run_tool, trained
from server_process import Server, example

from paddleinterest.serving.bundle import Bundle
from paddleinterest.serving.export import Contents, export

pytestmark = pytest.mark.slow
if paddle.__version__.startswith("2."):  # paddle2onnx does not even import there
    pytest.skip("paddle2onnx needs Paddle 3", allow_module_level=True)
pytest.importorskip("paddle2onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def both(tmp_path_factory, data):
    """A bundle with the programs of both engines."""
    folder = tmp_path_factory.mktemp("both")
    config, _, _ = trained("din", data, folder, *TINY_DIN, scale=0.3)
    export(config, data, str(folder / "bundle"), Contents(onnx=True))
    return str(folder / "bundle")


@pytest.mark.parametrize("engine", ["onnx", "auto"])
@pytest.mark.parametrize("threads", ["1", "2"])
def test_answers_are_those_of_paddle(both, engine, threads):
    """Two workers: forks of a process that opened the bundle, each with its own session."""
    expected = Bundle(both).rank(example(both))
    flags = ["--engine", engine, "--workers", "2", "--threads", threads]
    with Server(both, *flags) as server:
        told = server.ask("GET", "/")[1]["engine"]
        assert told == "onnx" if engine == "onnx" else told in ("onnx", "paddle")
        for _ in range(6):
            status, answer = server.ask("POST", "/rank", example(both))
            assert status == 200
            for got, wanted in zip(answer["candidates"], expected["candidates"], strict=True):
                assert got["item"] == wanted["item"]
                assert got["score"] == pytest.approx(wanted["score"], abs=2e-6)
        said = "".join(server.said)
        assert ("engine " in said) == (engine == "auto")
        assert server.end()[0] == 0


def test_a_scorer_that_starts_later_has_the_same_bundle(both, tmp_path):
    """The folder is removed; a scorer that dies is replaced by a fork that has all it needs."""
    place = shutil.copytree(both, tmp_path / "bundle")
    with Server(place, "--engine", "onnx") as server:
        before = server.ask("POST", "/rank", example(both))[1]
        shutil.rmtree(place)
        (scorer,) = server.scorers()
        os.kill(scorer, 9)
        for _ in range(100):
            with contextlib.suppress(OSError):
                status, after = server.ask("POST", "/rank", example(both))
                if status == 200:
                    break
        assert after == before and server.scorers() != [scorer]


def test_a_bundle_that_cannot_be_run_is_refused_at_the_start(both, tmp_path):
    from paddleinterest.core.checksum import checksum
    from paddleinterest.data.schema import Schema

    place = shutil.copytree(both, tmp_path / "bundle")
    schema = Schema.load(str(place))
    path = place / "onnx" / "rank.onnx"
    path.write_bytes(b"no graph")
    schema.files["onnx/rank.onnx"].update(bytes=8, sha256=checksum(str(path)))
    schema.save(str(place))
    flags = ["--bundle", place, "--port", "0", "--threads", "1"]
    done = run_tool("serve", *flags, "--engine", "onnx", cwd=ROOT)
    assert done.status == 1 and "cannot be loaded by ONNX Runtime" in done.lines[-1]


def test_flags_that_do_not_fit(both):
    done = run_tool(
        "serve", "--bundle", both, "--port", "0", "--engine", "onnx", "--onednn", cwd=ROOT
    )
    assert done.status == 1 and "--onednn is for Paddle Inference" in done.lines[-1]
