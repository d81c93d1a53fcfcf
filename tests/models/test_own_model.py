"""docs/own_model.md as its reader follows it: the files as they stand there, in a copy of the
repository, and its commands."""

import importlib
import importlib.util
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT, TINY, check_invariants, random_batch, scramble, small_dataset
from toy import FIELDS, SCHEMA

from paddleinterest.core import distributed, settings
from paddleinterest.core.errors import InputError
from paddleinterest.core.metrics import click_metrics
from paddleinterest.data.reader import Reader
from paddleinterest.nets import fast
from paddleinterest.serving.bundle import Bundle
from paddleinterest.serving.export import export
from paddleinterest.training import loading
from paddleinterest.training.trainer import Learner, train

pytestmark = pytest.mark.slow

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.S | re.M)
NUMBER = itertools.count()  # Python keeps what it imported under a name
FEW = ["runner.dataset=datasets/debug.yaml", "runner.epochs=1", "runner.visualdl=false"]


def page(name):
    with open(os.path.join(ROOT, "docs", name), encoding="utf-8") as f:
        return BLOCK.findall(f.read())


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A copy of the repository with the page's files in it."""
    root = tmp_path_factory.mktemp("own") / "repository"
    for folder in ("configs", "datasets", "models", "paddleinterest", "tools"):
        shutil.copytree(
            os.path.join(ROOT, folder), root / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    config, declared, net, binding, _, table = (text for _, text in page("own_model.md"))
    (root / "models" / "dot").mkdir()
    for path, text in (
        ("models/dot/config.yaml", config),
        ("models/dot/settings.py", declared),
        ("models/dot/net.py", net),
        ("models/dot/dygraph_model.py", binding),
        ("configs/tables/mine.yaml", table),
    ):
        (root / path).write_text(text, encoding="utf-8")
    return root


def run(repository, *words):
    done = subprocess.run(
        [sys.executable, *words], cwd=repository, capture_output=True, text=True, timeout=300
    )
    return done.returncode, done.stdout, done.stderr


def test_the_commands(repository):
    commands = [shlex.split(line) for line in page("own_model.md")[4][1].splitlines()]
    assert [c[1] for c in commands] == [
        f"tools/{t}.py" for t in ("trainer", "infer", "to_static", "paddle_infer")
    ]
    results = {}
    for python, tool, *words in commands:
        words = [w.replace("complete_journey", "debug") for w in words]
        status, out, err = run(repository, tool, *words, *(["-o", *FEW] if "-m" in words else []))
        assert (python, status) == ("python", 0), err
        results[tool] = json.loads(out.splitlines()[-1])
    test = results["tools/trainer.py"]["test"]
    for key in ("auc", "logloss"):
        for tool in ("infer", "paddle_infer"):
            assert results[f"tools/{tool}.py"][key] == pytest.approx(test[key], abs=1e-6)


def test_its_setting_is_checked(repository):
    for value, words in (
        ("hot", "temperature is 'hot', must be a number"),
        ("0", "temperature is 0.0, must be above 0"),
    ):
        status, out, err = run(
            repository,
            "tools/trainer.py",
            "-m",
            "models/dot/config.yaml",
            "-o",
            *FEW,
            "runner.name=refused",
            f"hyper_parameters.temperature={value}",
        )
        assert status == 1 and not out and words in err.splitlines()[-1]


def test_its_table(repository):
    status, out, err = run(repository, "tools/reproduce.py", "--table", "mine", "--dry-run")
    assert status == 0 and json.loads(out)["cells"] == 9, err
    assert "models/dot/config.yaml -o runner.dataset=datasets/beauty.yaml runner.seed=2027" in err


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_its_net_keeps_what_the_page_asks(repository, temperature):
    spec = importlib.util.spec_from_file_location(
        "dot_net", repository / "models" / "dot" / "net.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    check_invariants(
        scramble(module.Dot(FIELDS, 1, embedding_size=3, tower=(8, 4), temperature=temperature)),
        SCHEMA,
    )


@pytest.fixture
def mine(tmp_path):
    """A function (text of net.py or None, text of dygraph_model.py or None) → settings of
    a model in a folder elsewhere."""

    def make(net, binding):
        config, declared = (text for _, text in page("own_model.md")[:2])
        folder = tmp_path / f"mine{next(NUMBER)}"
        folder.mkdir()
        files = {"config.yaml": config, "settings.py": declared, "net.py": net}
        for file, text in files.items():
            (folder / file).write_text(text, encoding="utf-8")
        (folder / "dygraph_model.py").write_text("", encoding="utf-8")
        found = settings.load(str(folder / "config.yaml"), TINY)
        (folder / "dygraph_model.py").unlink()
        if binding is not None:
            own = binding.replace("models.dot.net", ".net")
            (folder / "dygraph_model.py").write_text(own, encoding="utf-8")
        return found

    return make


def one_step(config, *, penalty=0.0):
    config.hyper_parameters.regularization = penalty
    model = loading.bind(config)
    net = loading.create_net(model, config, SCHEMA)
    regularization = model.create_regularization(
        config, lambda: {f.name: np.ones(f.size, np.int64) for f in FIELDS}
    )
    learner = Learner(model, net, model.create_optimizer(net, config), regularization, seed=1)
    return learner.step(random_batch(SCHEMA, 8, 3), 0, 0.01)


@pytest.mark.parametrize(
    "which, old, new, words",
    [
        (1, "", None, "dygraph_model.py does not exist; docs/own_model.md"),
        (1, "class DygraphModel", "class Model", "dygraph_model.py has no class DygraphModel"),
        (
            1,
            '"temperature"',
            '"temprature"',
            (
                "asks for the setting temprature, which is not declared in the settings.py of its"
                " folder;"
                " nearest is temperature"
            ),
        ),
        (0, "def rank(", "def order(", "needs a method rank(batch, return_attention=False)"),
        (
            0,
            "def rank(self, batch, return_attention=False)",
            "def rank(self, batch)",
            "needs a method rank(batch, return_attention=False)",
        ),
        (
            0,
            "def forward(self, batch, return_attention=False)",
            "def forward(self, batch, weights=False)",
            "needs a method forward(batch, return_attention=False)",
        ),
        (
            0,
            'batch["target_item"])\n',
            'batch["target_item"]).unsqueeze(-1)\n',
            "gives logits [8, 1] for 8 rows, must be [B]",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(mine, which, old, new, words):
    files = [text for _, text in page("own_model.md")[2:4]]
    one_step(mine(*files), penalty=0.1)
    assert old in files[which]
    files[which] = new if new is None else files[which].replace(old, new)
    with pytest.raises(InputError, match=re.escape(words)):
        one_step(mine(*files))


@pytest.mark.parametrize(
    "parts, penalty, words",
    [
        ("{}", 0.0, "the parts none, and must name loss"),
        ('{"focal": total}', 0.0, "the parts focal, and must name loss"),
        ('{"loss": total}', 0.1, "the parts loss, and must name regularization"),
    ],
)
def test_a_loss_of_ones_own_names_its_parts(mine, parts, penalty, words):
    net, binding = (text for _, text in page("own_model.md")[2:4])
    binding += f"""
    def train_forward(self, net, feeds, regularization=None):
        logit = net(feeds)
        total = self.click_loss(logit, feeds["label"]).mean()
        return total, logit, {parts}
"""
    with pytest.raises(InputError, match=words):
        one_step(mine(net, binding), penalty=penalty)


def test_a_folder_anywhere_without_a_checkout(tmp_path):
    """The package alone, as pip installs it, trains, evaluates, exports and searches a model in a
    folder of its user's."""
    shutil.copytree(
        os.path.join(ROOT, "paddleinterest"),
        tmp_path / "installed" / "paddleinterest",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    config, declared, net, binding = (text for _, text in page("own_model.md")[:4])
    place = tmp_path / "place"
    (place / "mymodel").mkdir(parents=True)
    for file, text in (
        ("config.yaml", config.replace("model: dot", "model: mymodel")),
        ("settings.py", declared),
        ("net.py", net),
        ("dygraph_model.py", binding.replace("models.dot.net", ".net")),
    ):
        (place / "mymodel" / file).write_text(text, encoding="utf-8")
    space = "hyper_parameters.temperature: [0.5, 1.0]\n"
    (place / "space.yaml").write_text(space, encoding="utf-8")
    data = small_dataset(tmp_path, "clicks", users=20, impressions=12)
    flags = ["-m", "mymodel/config.yaml", "-o", f"runner.data_dir={data}", "runner.epochs=1"]
    flags += ["runner.visualdl=false"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}

    def verb(*words):
        done = subprocess.run(
            [sys.executable, "-m", "paddleinterest", *words],
            cwd=place,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    trained = verb("trainer", *flags, "hyper_parameters.temperature=0.5")
    assert trained["model"] == "mymodel" and trained["run_dir"] == "output/mymodel/clicks"
    found = verb("infer", *flags)  # with the settings of the run
    assert found["auc"] == pytest.approx(trained["test"]["auc"], abs=1e-6)
    bundle = verb("to_static", *flags)["bundle"]
    scored = verb("paddle_infer", "--bundle", bundle, "--data", data, "--split", "test")
    assert scored["auc"] == pytest.approx(trained["test"]["auc"], abs=1e-6)
    searched = verb("tune", *flags, "--space", "space.yaml", "--trials", "2")
    assert searched["trials"] == 2 and not searched["failed"]


LOSS_OF_ITS_OWN = """
    def click_loss(self, logit, label):
        return (paddle.nn.functional.sigmoid(logit) - label) ** 2

    def forward_with_terms(self, net, feeds):
        logit = net(feeds)
        return logit, {"size": LossTerm(logit.abs().mean(), weight=0.1)}
"""


def test_a_loss_of_ones_own_is_right_under_several_processes(mine, monkeypatch):
    """The parts of two processes, of 5 and of 3 rows, add up to those of one, of all 8."""
    net, binding = (text for _, text in page("own_model.md")[2:4])
    imports = "import paddle\n\nfrom paddleinterest.nets.loss import LossTerm\n"
    config = mine(net, imports + binding + LOSS_OF_ITS_OWN)
    config.hyper_parameters.activation = "relu"
    model = loading.bind(config)
    made = loading.create_net(model, config, SCHEMA)
    batch = random_batch(SCHEMA, 8, 3)

    def parts(rows):
        feeds = model.create_feeds({k: v[rows] for k, v in batch.items()})
        total, _, found = model.train_forward(made, feeds)
        return {"total": float(total), **{k: float(v) for k, v in found.items()}}

    whole = parts(slice(None))
    assert whole["total"] == pytest.approx(whole["loss"] + 0.1 * whole["size"])
    exchange = importlib.import_module("paddleinterest.core.distributed.exchange")
    for place in (distributed, exchange):
        monkeypatch.setattr(place, "process_count", lambda: 2)
    monkeypatch.setattr(exchange, "sum_of_arrays", lambda count: np.array(8.0))
    first, second = parts(slice(5)), parts(slice(5, 8))
    for name, value in whole.items():
        assert first[name] + second[name] == pytest.approx(value, rel=1e-6)


def test_regularisation_without_tables_is_refused(mine):
    net, binding = (text for _, text in page("own_model.md")[2:4])
    other = net.replace("self.embeddings", "self.tables")
    one_step(mine(other, binding))
    with pytest.raises(InputError, match="Dot has no attribute embeddings"):
        one_step(mine(other, binding), penalty=0.1)


ONLY_THE_ITEM = """
import paddle
import paddle.nn as nn


class Few(nn.Layer):
    def __init__(self, fields, dense, **arguments):
        super().__init__()
        self.items = nn.Embedding(fields[0].size, 1)

    def forward(self, batch, return_attention=False):
        logit = self.items(batch["target_item"]).squeeze(-1)
        weight = paddle.zeros([paddle.shape(logit)[0], paddle.shape(batch["history_item"])[1]])
        return (logit, weight) if return_attention else logit

    rank = forward
"""


def copied(model, folder, *edits):
    """A copy of models/`model` elsewhere, with (file, old, new) replaced; its config.yaml."""
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("__pycache__"))
    old_name, name = os.path.basename(model), os.path.basename(folder)
    for file, old, new in (("config.yaml", f"model: {old_name}", f"model: {name}"), *edits):
        path = os.path.join(folder, file)
        with open(path, encoding="utf-8") as f:
            text = f.read()
        assert text.count(old) == 1, (file, old)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text.replace(old, new))
    return os.path.join(folder, "config.yaml")


def ran(config_yaml, data, where, *overrides):
    """Train, export, and score test by the bundle: test's log loss of the trainer, and of the
    bundle."""
    few = [*TINY, "hyper_parameters.activation=relu", "runner.epochs=1", f"runner.data_dir={data}"]
    config = settings.load(config_yaml, [*few, f"runner.model_save_path={where}", *overrides])
    result = train(config, data)
    out = os.path.join(where, "bundle")
    shutil.rmtree(out, ignore_errors=True)
    export(config, data, out)
    reader = Reader(data, "test", 4096, history_cap=config.runner.history_cap)
    batches = list(reader.epoch())
    score = np.concatenate([Bundle(out).score(batch) for batch in batches])
    label = np.concatenate([batch["label"] for batch in batches])
    return result["test"]["logloss"], click_metrics(reader.user, label, score)["logloss"]


def model_of(name):
    return os.path.join(ROOT, "models", name)


@pytest.fixture
def dot(tmp_path):
    """The page's model in a folder elsewhere."""
    folder = tmp_path / "dot"
    folder.mkdir()
    texts = (text for _, text in page("own_model.md"))
    files = ("config.yaml", "settings.py", "net.py", "dygraph_model.py")
    for file, text in zip(files, texts, strict=False):  # the page has examples after them
        (folder / file).write_text(text, encoding="utf-8")
    return str(folder)


def test_a_net_that_does_not_read_every_input_exports(tiny, tmp_path):
    binding = "from .net import Base"
    config = copied(
        model_of("base"),
        str(tmp_path / "few"),
        ("dygraph_model.py", binding, "from .net import Few"),
        ("dygraph_model.py", "Base(**self", "Few(**self"),
    )
    (tmp_path / "few" / "net.py").write_text(ONLY_THE_ITEM, encoding="utf-8")
    trained, exported = ran(config, tiny, str(tmp_path))
    assert exported == pytest.approx(trained, abs=1e-6)


SIGMOID = (
    "net.py",
    "masked_softmax(score * self.scale, mask) if self.softmax else score * mask",
    "paddle.nn.functional.sigmoid(score) * mask",
)
SQUARED = ("net.py", "return a * u\n", "return a * a * u\n")


@pytest.mark.parametrize(
    "model, edit, layer",
    [("din", SIGMOID, "InterestAttention"), ("dien", SQUARED, "InterestEvolution")],
)
def test_an_edited_copy_trains_and_exports_what_it_says(tiny, tmp_path, capsys, model, edit, layer):
    plain = copied(model_of(model), str(tmp_path / "plain"))
    edited = copied(model_of(model), str(tmp_path / "edited"), edit)
    before, exported = ran(plain, tiny, str(tmp_path))
    assert exported == pytest.approx(before, abs=1e-6)
    assert "forward is used" not in capsys.readouterr().err
    after, exported = ran(edited, tiny, str(tmp_path))
    assert exported == pytest.approx(after, abs=1e-6) and after != before
    said = capsys.readouterr().err
    assert f"{layer}.forward (" in said and "edited/net.py) is not what its fast form" in said
    with fast.forward_only():
        own, _ = ran(edited, tiny, str(tmp_path), "runner.name=own")
    assert own == pytest.approx(after, abs=1e-5)


UNLIKE = """
        if not paddle.in_dynamic_mode():
            a = a * 0.5
"""


def test_an_export_that_scores_otherwise_is_refused(tiny, tmp_path, dot):
    place = "  # [B, T], 0 on padding\n"
    config = copied(dot, str(tmp_path / "unlike"), ("net.py", place, place + UNLIKE))
    with pytest.raises(InputError, match="program model does not score rows of valid as the tra"):
        ran(config, tiny, str(tmp_path))
    assert not (tmp_path / "bundle").exists()


TWICE = """logit, a = self(repeat_user(batch), True)
        return (2 * logit, a) if return_attention else 2 * logit"""


def test_a_rank_that_differs_gives_way_to_forward(tiny, tmp_path, dot, capsys):
    old = "return self(repeat_user(batch), return_attention)"
    config = copied(dot, str(tmp_path / "otherwise"), ("net.py", old, TWICE))
    trained, exported = ran(config, tiny, str(tmp_path))
    assert exported == pytest.approx(trained, abs=1e-6)
    assert "Dot.rank is not forward with the user's row repeated" in capsys.readouterr().err


def test_both_languages_have_the_same_files():
    assert page("own_model.zh.md") == page("own_model.md")
