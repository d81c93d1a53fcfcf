"""requirements.txt, requirements-gpu.txt and pyproject.toml name the same packages; one version."""

import os
import re
import sys

import pytest
from helpers import ROOT

tomllib = pytest.importorskip("tomllib")  # Python 3.11 and later

DEVELOPERS_ONLY = ("dev", "docs")  # extras that no command of the READMEs needs


def project():
    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as f:
        return tomllib.load(f)


def requirements(file):
    """{package: version range} of a requirements file."""
    with open(os.path.join(ROOT, file), encoding="utf-8") as f:
        lines = [line.partition("#")[0].strip() for line in f]
    return dict(split(line) for line in lines if line)


def split(requirement):
    name, versions = re.fullmatch(r"([\w.-]+(?:\[[\w,]+\])?)\s*(.*)", requirement).groups()
    return name.lower().replace("_", "-"), versions.replace(" ", "")


def declared():
    """{package: version range} of pyproject.toml: what the library needs, and the users' extras."""
    table = project()["project"]
    lists = [table["dependencies"]]
    for extra, packages in table["optional-dependencies"].items():
        if extra not in DEVELOPERS_ONLY:
            lists.append(packages)
    return dict(split(package) for packages in lists for package in packages)


def test_requirements_are_those_of_pyproject():
    assert requirements("requirements.txt") == declared()


def test_every_requirement_is_locked_with_hashes():
    with open(os.path.join(ROOT, "requirements.lock"), encoding="utf-8") as f:
        blocks = re.split(r"^(?=[\w.-]+==)", f.read(), flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in block for block in blocks)
    locked = {block.partition("==")[0] for block in blocks}
    assert set(requirements("requirements.txt")) <= locked


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-gpu.txt"])
def test_a_package_stands_once(file):
    with open(os.path.join(ROOT, file), encoding="utf-8") as f:
        lines = [line.partition("#")[0].strip() for line in f]
    names = [split(line)[0] for line in lines if line]
    assert sorted(names) == sorted(set(names))


def test_a_package_stands_once_in_pyproject():
    table = project()["project"]
    lists = {"dependencies": table["dependencies"], **table["optional-dependencies"]}
    for where, packages in lists.items():
        names = [split(package)[0] for package in packages]
        assert sorted(names) == sorted(set(names)), where


def test_a_gpu_needs_the_same_packages():
    gpu = {
        name.replace("paddlepaddle-gpu", "paddlepaddle")
        for name in requirements("requirements-gpu.txt")
    }
    assert gpu == set(requirements("requirements.txt"))


def test_the_version_stands_in_one_place():
    import paddleinterest

    assert "version" not in project()["project"]
    assert project()["tool"]["setuptools"]["dynamic"]["version"] == {
        "attr": "paddleinterest.__version__"
    }
    assert re.fullmatch(r"\d+\.\d+\.\d+", paddleinterest.__version__)


def test_an_unknown_verb_is_named(monkeypatch, capsys):
    from paddleinterest.__main__ import main

    monkeypatch.setattr(sys, "argv", ["paddleinterest", "trian"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: unknown verb 'trian'\n")


def test_every_tool_is_a_verb_and_a_short_door():
    from paddleinterest.__main__ import VERBS

    tools = sorted(f for f in os.listdir(os.path.join(ROOT, "tools")) if f.endswith(".py"))
    assert tools == sorted(f"{verb}.py" for verb in VERBS)
    for tool in tools:
        with open(os.path.join(ROOT, "tools", tool), encoding="utf-8") as f:
            assert len(f.readlines()) < 60
