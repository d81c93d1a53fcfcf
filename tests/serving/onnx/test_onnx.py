"""The programs as ONNX score as Paddle's do, whatever the net; one that does not is refused."""

import contextlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import paddle
import pytest
from helpers import ROOT, TINY, random_batch, run_tool, trained, tree
from rich_log import rich_log

from paddleinterest.core.checksum import checksum
from paddleinterest.core.errors import InputError
from paddleinterest.data.builder import build
from paddleinterest.data.schema import Schema, of_one_user
from paddleinterest.serving.bundle import Bundle
from paddleinterest.serving.export import Contents, export

pytestmark = pytest.mark.slow
if paddle.__version__.startswith("2."):  # paddle2onnx does not even import there
    pytest.skip("paddle2onnx needs Paddle 3", allow_module_level=True)
pytest.importorskip("paddle2onnx")
pytest.importorskip("onnxruntime")

FORMS = {
    "afm": [[]],
    "base": [[], ["hyper_parameters.history=none"]],
    "bst": [
        [],
        ["hyper_parameters.position=time", "hyper_parameters.blocks=2"],
        ["hyper_parameters.position=sinusoidal", "hyper_parameters.output=concat"],
    ],
    "cnn": [[]],
    "deepfm": [[]],
    "dien": [
        [],
        ["hyper_parameters.evolution=agru", "hyper_parameters.attention=mlp"],
        ["hyper_parameters.evolution=augru_code", "hyper_parameters.history_sum=true"],
        ["hyper_parameters.evolution=aigru"],
        ["hyper_parameters.evolution=gru_attention"],
    ],
    "din": [[], ["hyper_parameters.attention_softmax=true", "hyper_parameters.activation=prelu"]],
    "fm": [[]],
    "fnn": [[]],
    "mf": [[]],
    "nfm": [[]],
    "pnn": [["hyper_parameters.product=both"]],
    "rnn": [
        [],
        ["hyper_parameters.cell=lstm", "hyper_parameters.read_out=product"],
        ["hyper_parameters.cell=rnn", "hyper_parameters.read_out=target_step"],
    ],
    "transformer": [[]],
    "wide_deep": [["hyper_parameters.cross=1000"]],
}
FOLDERS = sorted(os.listdir(os.path.join(ROOT, "models")))
MODELS = [m for m in FOLDERS if os.path.isfile(os.path.join(ROOT, "models", m, "net.py"))]
REFUSED = {"dsin": "ignores the lengths of a LSTM of several layers or directions"}
CASES = [
    (model, form) for model in MODELS if model not in REFUSED for form in FORMS.get(model, [[]])
]


def test_every_form_is_of_a_model():
    assert set(FORMS) <= set(MODELS)


def exported(folder, data, model, *overrides, scale=0.2, calibration="none"):
    """The bundle's directory, the net, the result of the export."""
    tiny = [setting for setting in TINY if "hyper" not in setting]
    config, _, net = trained(
        model, data, folder, *tiny, "hyper_parameters.embedding_size=4", *overrides, scale=scale
    )
    out = str(folder / "bundle")
    return out, net, export(config, data, out, Contents(onnx=True, calibration=calibration))


@pytest.mark.parametrize(
    "model, form", CASES, ids=lambda x: x if isinstance(x, str) else ",".join(x)
)
def test_onnx_scores_as_the_net(tmp_path, data, model, form):
    """Batches of other sizes and lengths than those which the export compares."""
    out, net, result = exported(tmp_path, data, model, *form)
    assert 0 <= result["onnx_difference"] <= 1e-6
    bundle = Bundle(out, engine="onnx")
    schema = Schema.load(data)
    spread = 0.0
    for rows, lengths in ((1, 1), (7, [0, 1, 2, 5, 9, 12, 12]), (50, 12), (5, 0), (300, 3)):
        batch = random_batch(schema, rows, lengths, seed=rows)
        expected = probabilities(net, batch)
        got = bundle.score(batch)
        np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6)
        one_user = {k: v[:1] if of_one_user(k) else v for k, v in batch.items()}
        repeated = {k: v if len(v) == rows else np.repeat(v, rows, 0) for k, v in one_user.items()}
        score, attention = bundle.programs["rank"](one_user)
        np.testing.assert_allclose(score, probabilities(net, repeated), rtol=0, atol=2e-6)
        assert attention.shape == (rows, batch["history_item"].shape[1])
        spread = max(spread, float(np.std(expected)))
    assert spread > 0.005, "the net scores all rows alike, so nothing is tested"


@pytest.mark.parametrize("model", REFUSED)
def test_a_model_that_would_score_otherwise_is_refused(tmp_path, data, model):
    with pytest.raises(InputError, match=REFUSED[model]):
        exported(tmp_path, data, model)
    assert not os.path.exists(tmp_path / "bundle")


def probabilities(net, batch):
    with paddle.no_grad():
        logit = net({k: paddle.to_tensor(v) for k, v in batch.items()})
        return paddle.nn.functional.sigmoid(logit).numpy()


@pytest.mark.parametrize("model", ["base", "din", "dien", "bst", "rnn", "fm"])
def test_a_dataset_with_lists_vectors_and_event_fields(tmp_path, model):
    """Nets read the lists, no net reads the others yet; the engines agree to what the export
    promises."""
    data = str(tmp_path / "data")
    build(rich_log(3), data, protocol="impressions", name="rich", seed=3)
    out, _, result = exported(tmp_path, data, model, "runner.history_cap=6")
    assert 0 <= result["onnx_difference"] <= 1e-6
    paddles = Bundle(out)
    onnxs = Bundle(out, engine="onnx")
    inputs = paddles.signature["programs"]["rank"]["inputs"]
    assert "target_tags" in inputs, sorted(inputs)
    request = paddles.some_request(9)
    request["candidates"] = [
        {"item": item, "tags": tags, "text": [0.5, -1, 2]}
        for item, tags in zip(request["candidates"], itertools.cycle(TAGS), strict=False)
    ]
    request["history"] = [{**e, "action": "buy", "dwell": 3.5} for e in request["history"]]
    spread = 0.0
    for length in (0, 1, 6):
        asked = {**request, "history": request["history"][:length]}
        _, expected, attention = paddles.scored(asked)
        _, got, weight = onnxs.scored(asked)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
        np.testing.assert_allclose(weight, attention, rtol=0, atol=1e-6)
        spread = max(spread, float(np.std(expected)))
    assert spread > 0.001, "all candidates score alike, so nothing is tested"


def test_both_engines_are_calibrated(tmp_path, data):
    out, _, result = exported(tmp_path, data, "base", calibration="isotonic")
    paddles = Bundle(out)
    onnxs = Bundle(out, engine="onnx")
    request = paddles.some_request(30)
    expected = paddles.rank(request)
    answer = onnxs.rank(request)
    assert answer["calibration"] == result["calibration"]["kind"] == "isotonic"
    scores = {c["item"]: c["score"] for c in expected["candidates"]}
    for candidate in answer["candidates"]:
        assert candidate["score"] == pytest.approx(scores[candidate["item"]], abs=1e-5)
    before = onnxs.scored(request)[1]
    got = sorted(c["score"] for c in answer["candidates"])
    assert np.abs(np.sort(before) - got).max() > 1e-3


TAGS = [[], ["war"], ["noir", "drama", "new"]]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, data):
    """DIN, with ONNX."""
    return exported(tmp_path_factory.mktemp("onnx"), data, "din")[0]


def test_a_table_stands_once(bundle):
    """Both programs share the weights, which are not in their files."""
    with open(os.path.join(bundle, "onnx", "tensors.json")) as f:
        tensors = json.load(f)
    offsets = {name: {t["offset"] for t in found} for name, found in tensors.items()}
    assert len(offsets["model"] & offsets["rank"]) >= 3
    weights = os.path.getsize(os.path.join(bundle, "onnx", "weights.bin"))
    paddles = os.path.getsize(os.path.join(bundle, "model.pdiparams"))
    assert weights < paddles + 4096 * len(offsets["model"] | offsets["rank"])


def test_a_bundle_without_onnx(tmp_path, data):
    config, _, _ = trained("base", data, tmp_path, *TINY)
    out = str(tmp_path / "bundle")
    export(config, data, out)
    assert not os.path.exists(os.path.join(out, "onnx"))
    with pytest.raises(InputError, match="has no ONNX programs; export it with .* --onnx"):
        Bundle(out, engine="onnx")
    opened = Bundle(out, engine="auto")
    assert opened.engine == "paddle" and opened.measured == {}


@pytest.mark.parametrize("apart", [False, True])
def test_auto_takes_the_faster_engine(bundle, apart):
    opened = Bundle(bundle, engine="auto", apart=apart)
    assert set(opened.measured) == {"paddle", "onnx"}
    assert opened.measured[opened.engine] == min(opened.measured.values()) > 0
    request = opened.some_request(5)
    expected = Bundle(bundle).rank(request)
    got = opened.rank(request)
    for a, b in zip(got["candidates"], expected["candidates"], strict=True):
        assert a["item"] == b["item"] and a["score"] == pytest.approx(b["score"], abs=2e-6)


def test_clones_share_the_weights(bundle):
    opened = Bundle(bundle, engine="onnx")
    request = opened.some_request(5)
    first = opened.rank(request)
    clone = opened.clone()
    assert clone.rank(request) == first
    assert clone.programs["rank"]._tensors is opened.programs["rank"]._tensors


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"engine": "tensorrt"}, "--engine is 'tensorrt', must be one of paddle, onnx, auto"),
        ({"engine": "onnx", "onednn": True}, "--onednn is for Paddle Inference"),
        ({"engine": "onnx", "use_gpu": True}, "--use-gpu is for Paddle Inference"),
    ],
)
def test_what_an_engine_cannot_do(bundle, arguments, words):
    with pytest.raises(InputError, match=words):
        Bundle(bundle, **arguments)


@pytest.mark.parametrize("name", ["onnx/rank.onnx", "onnx/weights.bin", "onnx/tensors.json"])
@pytest.mark.parametrize("engine", ["paddle", "onnx"])
def test_a_damaged_file_is_refused(bundle, tmp_path, name, engine):
    copy = shutil.copytree(bundle, tmp_path / "copy")
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(InputError, match=f"{name} differs from the file"):
        Bundle(str(copy), engine=engine)


def test_no_tensor_lies_outside_of_the_file(bundle, tmp_path):
    """A stranger's bundle may name any offset."""
    copy = shutil.copytree(bundle, tmp_path / "copy")
    path = copy / "onnx" / "tensors.json"
    for offset in (-8, 10**12):
        tensors = json.loads(path.read_text())
        tensors["rank"][0]["offset"] = offset
        with signed_anew(copy):
            path.write_text(json.dumps(tensors))
        with pytest.raises(InputError, match="names a tensor outside of weights.bin"):
            Bundle(str(copy), engine="onnx")


def test_a_graph_that_is_none(bundle, tmp_path):
    copy = shutil.copytree(bundle, tmp_path / "copy")
    with signed_anew(copy):
        (copy / "onnx" / "rank.onnx").write_bytes(b"no graph")
    opened = Bundle(str(copy), engine="onnx")
    with pytest.raises(InputError, match="cannot be loaded by ONNX Runtime"):
        opened.rank(opened.some_request(3))


@contextlib.contextmanager
def signed_anew(directory):
    """After a change of its files, the bundle's schema has their checksums."""
    schema = Schema.load(str(directory))
    yield
    for name, facts in schema.files.items():
        path = os.path.join(str(directory), name)
        facts.update(bytes=os.path.getsize(path), sha256=checksum(path))
    schema.save(str(directory))


def test_onnx_needs_no_paddle(bundle):
    """The engine onnx alone imports neither Paddle nor its converter."""
    program = (
        "import sys; from paddleinterest.serving.bundle import Bundle\n"
        "bundle = Bundle(sys.argv[1], engine='onnx'); bundle.rank(bundle.some_request(3))\n"
        "print([m for m in ('paddle', 'paddle2onnx', 'onnx') if m in sys.modules])\n"
    )
    env = {**os.environ, "PYTHONPATH": ROOT}
    done = subprocess.run(
        [sys.executable, "-c", program, bundle], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


# nets of one's own


def own_model(folder, body):
    """A copy of the base model whose logit is `body`; the path of its config.yaml."""
    shutil.copytree(os.path.join(ROOT, "models", "base"), folder / "mine")
    path = folder / "mine" / "net.py"
    text = path.read_text()
    old = 'logit = self.tower([interest, target, side], batch["target_item"])  # [B]'
    assert text.count(old) == 1
    path.write_text(text.replace(old, f"{old}\n        {body}", 1))
    ranked = 'logit = self.tower([interest, target, side], batch["target_item"])  # [N]'
    text = path.read_text()
    assert text.count(ranked) == 1
    path.write_text(text.replace(ranked, f"{ranked}\n        {body}", 1))
    return str(folder / "mine" / "config.yaml")


def export_own(tmp_path, data, body):
    """What to_static --onnx does with such a model, trained for one epoch."""
    config = own_model(tmp_path, body)
    settings = [f"runner.data_dir={data}", "runner.epochs=1", *TINY]
    flags = ["-m", config, "-o", *settings]
    done = run_tool("trainer", *flags, cwd=tmp_path)
    assert done.status == 0, done.err
    return run_tool("to_static", *flags, "--onnx", "--out", tmp_path / "bundle", cwd=tmp_path)


@pytest.mark.parametrize(
    "body, words",
    [
        (
            "logit = logit + 0.0 * paddle.bincount(batch['target_item']).sum().astype('float32')",
            "paddle2onnx cannot convert this net: it lacks an operator",
        ),
        (
            "logit = logit + ((batch['target_item'] + 2**40) // 3 % 7).astype('float32')",
            r"the ONNX program (rank|model) differs from Paddle's by .* nothing is written",
        ),
    ],
)
def test_what_cannot_be_converted_is_refused(tmp_path, data, body, words):
    done = export_own(tmp_path, data, body)
    assert done.status == 1 and not done.out
    assert re.search(words, done.lines[-1]), done.lines
    assert not os.path.exists(tmp_path / "bundle")


def test_a_padding_row_that_training_moved_reads_as_zeros(tmp_path, data):
    """Paddle reads zeros there whatever the table holds; ONNX has no such rule."""
    config, _, net = trained("base", data, tmp_path, *TINY, scale=0.2)
    from paddleinterest.training import checkpoint, run

    with paddle.no_grad():
        for table in net.embeddings.tables.values():
            table.weight[0] = 3.0
    state = {"model": "base", "epoch": 1, "valid": None, "settings": settings_of_run(config, data)}
    checkpoint.save(run.checkpoint_path(config), net, state)
    out = str(tmp_path / "bundle")
    assert export(config, data, out, Contents(onnx=True))["onnx_difference"] <= 1e-6


def settings_of_run(config, data):
    from paddleinterest.training import resume

    return resume.settings_that_count(config, Schema.load(data))


def test_nothing_is_left_of_the_conversion(bundle):
    assert sorted(name for name in tree(bundle) if name.startswith("onnx")) == [
        "onnx/model.onnx",
        "onnx/rank.onnx",
        "onnx/tensors.json",
        "onnx/weights.bin",
    ]
