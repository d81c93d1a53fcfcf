"""docs/own_model.md as its reader follows it: the files as they stand there, in a copy of the repository, and its commands."""
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from helpers import ROOT, check_invariants, scramble
from toy import FIELDS, SCHEMA

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.S | re.M)
FEW = ["runner.dataset=configs/datasets/debug.yaml", "runner.epochs=1", "runner.visualdl=false"]


def page(name):
    with open(os.path.join(ROOT, "docs", name), encoding="utf-8") as f:
        return BLOCK.findall(f.read())


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A copy of the repository with the page's files in it."""
    root = tmp_path_factory.mktemp("own") / "repository"
    for folder in ("configs", "datasets", "models", "tools"):
        shutil.copytree(os.path.join(ROOT, folder), root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    config, net, binding, _, table = (text for _, text in page("own_model.md"))
    (root / "models" / "dot").mkdir()
    for path, text in (("models/dot/config.yaml", config), ("models/dot/net.py", net), ("models/dot/dygraph_model.py", binding),
                       ("configs/tables/mine.yaml", table)):
        (root / path).write_text(text, encoding="utf-8")
    return root


def run(repository, *words):
    done = subprocess.run([sys.executable, *words], cwd=repository, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


def test_the_commands(repository):
    commands = [shlex.split(line) for line in page("own_model.md")[3][1].splitlines()]
    assert [c[1] for c in commands] == [f"tools/{t}.py" for t in ("trainer", "infer", "to_static", "paddle_infer")]
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
    for value, words in (("hot", "temperature is 'hot', must be a number"), ("0", "temperature is 0.0, must be above 0")):
        status, out, err = run(repository, "tools/trainer.py", "-m", "models/dot/config.yaml", "-o", *FEW, "runner.name=refused",
                               f"hyper_parameters.temperature={value}")
        assert status == 1 and not out and words in err.splitlines()[-1]


def test_its_table(repository):
    status, out, err = run(repository, "tools/reproduce.py", "--table", "mine", "--dry-run")
    assert status == 0 and json.loads(out)["cells"] == 9, err
    assert "models/dot/config.yaml -o runner.dataset=configs/datasets/beauty.yaml runner.seed=2027" in err


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_its_net_keeps_what_the_page_asks(repository, temperature):
    spec = importlib.util.spec_from_file_location("dot_net", repository / "models" / "dot" / "net.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    check_invariants(scramble(module.Dot(FIELDS, 1, embedding_size=3, tower=(8, 4), temperature=temperature)), SCHEMA)


def test_both_languages_have_the_same_files():
    assert page("own_model_cn.md") == page("own_model.md")
