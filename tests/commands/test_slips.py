"""Common slips of a new user: the message names what was given, and what to give instead."""

import os

import pytest

from paddleinterest.commands import serve
from paddleinterest.commands.prepare import Parser
from paddleinterest.core import settings
from paddleinterest.core.errors import InputError
from paddleinterest.serving.bundle import Bundle
from paddleinterest.study import results, tables
from paddleinterest.training import run


def prepare(*words):
    Parser().parse_args(list(words))


def make(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    "call, words",
    [
        ((settings.load, "models/din"), ["models/din is a folder", "models/din/config.yaml"]),
        ((settings.load, "datasets"), ["datasets is a folder", "YAML file"]),
        ((settings.load, "models/dinn/config.yaml"), ["nearest is models/din/config.yaml"]),
        ((settings.load, "datasets/debug.yaml"), ["recipe", "runner.dataset=datasets/debug.yaml"]),
        ((prepare, "datasets/debug.yaml"), ["--config datasets/debug.yaml"]),
        ((prepare, "--overwrite"), ["--config", "--source", "event_log"]),
        (
            (prepare, "--config", "models/din/config.yaml"),
            ["din/config.yaml holds the settings", "recipe"],
        ),
        ((prepare, "--config", "datasets/debugg.yaml"), ["nearest is datasets/debug.yaml"]),
        ((tables.read, "mian"), ["mian", "configs/tables/main.yaml", "ladder"]),
        ((results.open_run, "output/nothing"), ["output/nothing does not exist", "run"]),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else "",
)
def test_a_wrong_path_or_flag(call, words):
    act, *arguments = call
    with pytest.raises(InputError) as e:
        act(*arguments)
    for word in words:
        assert word in str(e.value)


@pytest.mark.parametrize(
    "text, words",
    [
        ("runner:\n  epochs: 3\n epoch: [\n", ["line 3, column 2", "block end"]),
        ("runner:\n\tepochs: 3\n", ["line 2, column 1", "\\t"]),
        ("model: [din\n", ["line 2, column 1", "']'"]),
    ],
)
def test_a_fault_in_a_yaml_file_has_its_line(tmp_path, text, words):
    path = make(tmp_path / "mine.yaml", text)
    with pytest.raises(InputError) as e:
        settings.load(path)
    for word in [f"{path} is not YAML", *words]:
        assert word in str(e.value)
    assert "<unicode string>" not in str(e.value)


def test_a_recipe_without_a_source(tmp_path):
    path = make(tmp_path / "mine.yaml", "events: events.csv\n")
    with pytest.raises(InputError) as e:
        prepare("--config", path)
    assert f"{path} has no source" in str(e.value) and "event_log" in str(e.value)


def test_a_package_of_the_server_is_missing(monkeypatch):
    monkeypatch.setattr(serve, "PACKAGES", ("starlette", "no_such_package"))
    with pytest.raises(InputError, match="needs the package no_such_package.*pip install"):
        serve.check_packages()
    monkeypatch.undo()
    serve.check_packages()


def test_the_folder_of_a_run_in_place_of_a_file_in_it(tmp_path):
    best = make(tmp_path / "checkpoints" / "best.npz")
    with pytest.raises(InputError) as e:
        run.check_checkpoint(str(tmp_path))
    assert f"{tmp_path} is the folder of a run" in str(e.value) and best in str(e.value)

    make(tmp_path / "export" / "schema.yaml")
    with pytest.raises(InputError) as e:
        Bundle(str(tmp_path))
    assert str(e.value).endswith(f"name {os.path.join(tmp_path, 'export')}")
