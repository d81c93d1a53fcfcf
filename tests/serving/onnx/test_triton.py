"""The model repository for Triton: its config is of Triton's schema and fits the ONNX files."""

import importlib.util
import os
import shutil

import numpy as np
import paddle
import pytest
from helpers import TINY_DIN, run_tool, small_dataset, trained, tree

from paddleinterest.core.errors import InputError
from paddleinterest.serving import signature
from paddleinterest.serving.onnx import triton

pytestmark = pytest.mark.slow
if paddle.__version__.startswith("2."):  # paddle2onnx does not even import there
    pytest.skip("paddle2onnx needs Paddle 3", allow_module_level=True)
ort = pytest.importorskip("onnxruntime")
pytest.importorskip("paddle2onnx")


def schema_of_triton():
    """Triton's ModelConfig, as its client library brings it; the client itself needs gRPC."""
    pytest.importorskip("tritonclient")
    folder = os.path.dirname(importlib.util.find_spec("tritonclient").origin)
    path = os.path.join(folder, "grpc", "model_config_pb2.py")
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """What to_static --triton writes for DIN, and its bundle."""
    folder = tmp_path_factory.mktemp("triton")
    data = small_dataset(folder)
    config, _, _ = trained("din", data, folder / "output", *TINY_DIN, scale=0.2)
    settings = [f"runner.data_dir={data}", f"runner.model_save_path={folder / 'output'}", *TINY_DIN]
    flags = ["-m", "models/din/config.yaml", "-o", *settings]
    out = folder / "repository"
    done = run_tool(
        "to_static", *flags, "--out", folder / "bundle", "--triton", out, cwd=os.getcwd()
    )
    assert done.status == 0, done.err
    assert done.json["triton_models"] == ["din_model", "din_rank"]
    return out, str(folder / "bundle")


def test_the_files(repository):
    out, _ = repository
    assert sorted(tree(out)) == sorted(
        f"din_{program}/{name}"
        for program in ("model", "rank")
        for name in ("config.pbtxt", "1/model.onnx", "1/weights.bin")
    )


@pytest.mark.parametrize("program", ["model", "rank"])
def test_the_config_is_of_the_schema_and_fits_the_program(repository, program):
    from google.protobuf import text_format

    out, bundle = repository
    known = schema_of_triton()
    with open(out / f"din_{program}" / "config.pbtxt", encoding="utf-8") as f:
        config = text_format.Parse(f.read(), known.ModelConfig())
    assert config.name == f"din_{program}" and config.backend == "onnxruntime"
    assert config.instance_group[0].kind == known.ModelInstanceGroup.KIND_CPU
    session = ort.InferenceSession(str(out / f"din_{program}" / "1" / "model.onnx"))
    types = {known.TYPE_INT64: "tensor(int64)", known.TYPE_FP32: "tensor(float)"}
    for ours, theirs in (
        (config.input, session.get_inputs()),
        (config.output, session.get_outputs()),
    ):
        assert {x.name: types[x.data_type] for x in ours} == {x.name: x.type for x in theirs}
    facts = signature.read(bundle)["programs"][program]["inputs"]
    arrays = {  # 3 wherever any size is allowed
        x.name: np.ones([3 if size < 0 else size for size in x.dims], facts[x.name]["dtype"])
        for x in config.input
    }
    outputs = session.run(None, arrays)
    for x, value in zip(config.output, outputs, strict=True):
        assert len(x.dims) == value.ndim
        assert all(size in (-1, found) for size, found in zip(x.dims, value.shape, strict=True))


def test_a_repository_is_replaced_and_nothing_else(repository, tmp_path):
    out, bundle = repository
    copy = shutil.copytree(out, tmp_path / "copy")
    triton.write(bundle, str(copy))
    assert tree(copy) == tree(out)
    (copy / "din_rank" / "notes.txt").write_text("precious")
    before = tree(copy)
    with pytest.raises(InputError, match="is not a repository of to_static.py"):
        triton.write(bundle, str(copy))
    assert tree(copy) == before
    (tmp_path / "file").write_text("precious")
    for path in (tmp_path / "file", tmp_path):
        with pytest.raises(InputError, match="so it is not replaced"):
            triton.write(bundle, str(path))


def test_sizes_of_an_input():
    """-1 for any size, the number for a fixed one."""
    inputs = {"dense": {"shape": [None, 2], "dtype": "float32"}}
    outputs = {"probability": {"shape": [None], "dtype": "float32"}}
    text = triton.config("x", {"inputs": inputs, "outputs": outputs})
    assert 'input [ { name: "dense" data_type: TYPE_FP32 dims: [ -1, 2 ] } ]' in text
    assert 'output [ { name: "probability" data_type: TYPE_FP32 dims: [ -1 ] } ]' in text
