"""Settings: what wins over what, what is refused and with which words, and that the YAML files say
what is enforced."""

import os
import re
import subprocess
import sys

import pytest
import yaml
from helpers import ROOT

from paddleinterest.core import settings
from paddleinterest.core.errors import InputError
from paddleinterest.core.settings import loading, model_folders, rendering

TOY = "model: toy\nhyper_parameters:\n  embedding_size: 16\n  heads: 2\n  optimizer: {class: sgd}\n"
OWN = """
from typing import Literal
from paddleinterest.core import settings
from paddleinterest.core.settings import setting

class HyperParameters(settings.HyperParameters):
    heads: int = setting(4, "Heads", least=1)
    attention: Literal["dot", "cosine"] = setting("dot", "Another model's setting of this name")
"""


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A small repository of its own: models/toy, with a setting of its own, and models/other."""
    for name, text in (
        ("models/__init__.py", ""),
        ("models/toy/config.yaml", TOY),
        ("models/toy/settings.py", OWN),
        ("models/toy/dygraph_model.py", ""),
        ("models/other/config.yaml", "model: other\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(model_folders, "ROOT", str(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [name for name in sys.modules if name.split(".")[0] == "models"]:
        monkeypatch.delitem(sys.modules, name)
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "models"]:
        del sys.modules[name]  # of this tree; monkeypatch puts the others back


def toy(tree, *overrides, text=None):
    """The settings of models/toy, or of a file of one's own with this text."""
    path = tree / "models/toy/config.yaml"
    if text is not None:
        path = tree / "mine.yaml"
        path.write_text(text)
    return settings.load(str(path), overrides)


def refused(words, *args, **kwargs):
    with pytest.raises(InputError) as e:
        toy(*args, **kwargs)
    message = str(e.value)
    assert "\n" not in message
    for word in [words] if isinstance(words, str) else words:
        assert word in message, message


# precedence ---------------------------------------------------------------------------------------


def test_default_then_model_then_file_then_override(tree):
    flat = settings.flatten(toy(tree))
    want = {
        **settings.flatten(settings.Settings()),
        "model": "toy",
        "hyper_parameters.attention": "dot",
        "hyper_parameters.embedding_size": 16,
        "hyper_parameters.heads": 2,
        "hyper_parameters.optimizer.class": "sgd",
    }
    assert flat == want
    mine = (
        "model: toy\nrunner: {epochs: 3, seed: 7}\nhyper_parameters: {heads: 4, embedding_size:"
        " 32}\n"
    )
    want.update(
        {
            "runner.epochs": 3,
            "runner.seed": 7,
            "hyper_parameters.heads": 4,
            "hyper_parameters.embedding_size": 32,
        }
    )
    assert settings.flatten(toy(tree, text=mine)) == want
    want.update({"runner.epochs": 5, "hyper_parameters.heads": 6, "hyper_parameters.tower": [9]})
    assert (
        settings.flatten(
            toy(
                tree,
                "runner.epochs=4",
                "hyper_parameters.heads=6",
                "runner.epochs=5",
                "hyper_parameters.tower=[9]",
                text=mine,
            )
        )
        == want
    )


def test_a_model_without_settings_has_the_defaults_and_not_anothers_keys(tree):
    flat = settings.flatten(settings.load(str(tree / "models/other/config.yaml")))
    assert flat == {**settings.flatten(settings.Settings()), "model": "other"}


def test_saved_settings_load_as_they_were(tree):
    config = toy(
        tree, "runner.name=007", "hyper_parameters.dropout=1e-3", "hyper_parameters.tower=[1, 2, 3]"
    )
    settings.save(config, str(tree / "saved.yaml"))
    assert settings.load(str(tree / "saved.yaml")) == config


def test_the_model_is_chosen_by_the_file_alone(tree):
    assert toy(tree, "model=toy").model == "toy"
    refused(["model=other", "-m"], tree, "model=other")
    for text in ("model: none\n", "model: 3\n", "model: ../models/toy/..\n", "model: ''\n"):
        refused(["model is", "must be a folder under models/, one of other, toy"], tree, text=text)
    refused(
        ["needs a line `model: NAME`, with a folder under models/, one of other, toy"],
        tree,
        text="runner: {epochs: 1}\n",
    )


# unknown keys -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given, near",
    [
        ("runner.epoch=3", "runner.epochs"),
        ("runner.sed=3", "runner.seed"),
        ("hyper_parameters.embeding_size=3", "hyper_parameters.embedding_size"),
        ("hyper_parameters.optimizer.lerning_rate=0.1", "hyper_parameters.optimizer.learning_rate"),
        # the right key in the wrong section, or in none
        ("runner.embedding_size=3", "hyper_parameters.embedding_size"),
        ("hyper_parameters.epochs=3", "runner.epochs"),
        ("hyper_parameters.learning_rate=0.1", "hyper_parameters.optimizer.learning_rate"),
        ("runner.optimizer.class=sgd", "hyper_parameters.optimizer.class"),
        ("epochs=3", "runner.epochs"),
        ("epoch=3", "runner.epochs"),
        ("hyper_parameter.dropout=0.5", "hyper_parameters.dropout"),
        ("Runner.epochs=3", "runner.epochs"),
    ],
)
def test_an_unknown_key_names_the_nearest(tree, given, near):
    key, value = given.split("=")
    refused([f"-o {given}: unknown key", f"nearest is {near}"], tree, given)
    nested = yaml.safe_load(value)
    for part in reversed(key.split(".")):
        nested = {part: nested}
    refused(
        ["mine.yaml: unknown key", f"nearest is {near}"],
        tree,
        text=yaml.safe_dump({"model": "toy", **nested}),
    )


def test_a_key_that_is_like_none_names_what_there_is(tree):
    refused(
        ["unknown key runner.zzzzqqqq", "dataset, data_dir, name, model_save_path"],
        tree,
        "runner.zzzzqqqq=1",
    )
    refused("model, runner, hyper_parameters", tree, "=1")
    refused("unknown key", tree, text="model: toy\n1: 2\n")


def test_sections_and_values_are_not_mistaken_for_each_other(tree):
    refused(["runner is a section", "epochs"], tree, "runner=3")
    refused(
        ["hyper_parameters.optimizer is a section", "class, learning_rate, clip_norm"],
        tree,
        "hyper_parameters.optimizer=adam",
    )
    refused("runner.epochs is a value, not a section", tree, "runner.epochs.x=3")
    refused("runner.epochs is a value, not a section", tree, "runner.epochs={}")
    refused(
        "runner.epochs is a value, not a section",
        tree,
        text="model: toy\nrunner: {epochs: {1: 2}}\n",
    )


# types --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given, value",
    [
        ("hyper_parameters.dropout=1e-3", 0.001),
        ("hyper_parameters.dropout=0", 0.0),
        ("hyper_parameters.dropout=.5", 0.5),
        ("hyper_parameters.optimizer.learning_rate=1e-3", 0.001),
        ("runner.resume=true", True),
        ("runner.resume=false", False),
        ("runner.epochs=12", 12),
        ("hyper_parameters.tower=[8]", [8]),
        ("hyper_parameters.tower=[]", []),
        ("runner.monitor=gauc", "gauc"),
        ("runner.name=mine", "mine"),
        ("runner.name=", ""),
        ("runner.name='a: b'", "a: b"),
        # where text is asked for, what was typed
        ("runner.name=7", "7"),
        ("runner.name=007", "007"),
        ("runner.name=1e3", "1e3"),
        ("runner.name=2024-01-05", "2024-01-05"),
        ("runner.name=2024-13-45", "2024-13-45"),
        ("runner.name=a=b", "a=b"),
        (" runner.name =x", "x"),
    ],
)
def test_values_that_are_taken(tree, given, value):
    flat = settings.flatten(toy(tree, given))
    got = flat[given.split("=")[0].strip()]
    assert got == value and type(got) is type(value)


@pytest.mark.parametrize(
    "given, words",
    [
        ("runner.epochs=2.5", "must be an integer (default 25)"),
        ("runner.epochs=3.0", "an integer"),
        ("runner.epochs=true", "an integer"),
        ("runner.epochs=three", "runner.epochs is 'three'"),
        ("runner.epochs=", "an integer"),
        ("runner.epochs=null", "an integer"),
        ("runner.epochs=[1]", "an integer"),
        ("runner.epochs=1e3", "an integer"),
        ("hyper_parameters.dropout=high", "must be a number"),
        ("hyper_parameters.dropout=true", "a number"),
        ("hyper_parameters.dropout=[0.1]", "a number"),
        ("hyper_parameters.dropout=", "a number"),
        ("hyper_parameters.dropout=.nan", "must be a finite number"),
        ("hyper_parameters.dropout=.inf", "a finite number"),
        ("hyper_parameters.dropout=nan", "a finite number"),
        ("hyper_parameters.dropout=1" + "0" * 400, "must be a number"),
        ("runner.resume=1", "must be true or false"),
        ("runner.resume=maybe", "true or false"),
        ("runner.resume=0.0", "true or false"),
        ("runner.name=[a]", "must be text"),
        ("runner.name=null", "must be text"),
        ("hyper_parameters.tower=8", "must be a list"),
        ("hyper_parameters.tower=8,4", "must be a list"),
        ("hyper_parameters.tower=[8, x]", "hyper_parameters.tower[1] is 'x', must be an integer"),
        ("hyper_parameters.tower=[8, 1.5]", "tower[1]"),
        ("hyper_parameters.tower=[[8]]", "tower[0]"),
        ("hyper_parameters.tower=[8", "is not a YAML value"),
        ("runner.epochs=2024-13-45", "runner.epochs is '2024-13-45', must be an integer"),
        ("runner.epochs", "write key=value"),
    ],
)
def test_a_value_of_another_type_is_refused(tree, given, words):
    refused([f"-o {given}", words], tree, given)


def test_types_in_a_file_are_checked_too(tree):
    refused(
        ["mine.yaml: runner.epochs is '3'", "an integer"],
        tree,
        text="model: toy\nrunner: {epochs: '3'}\n",
    )
    refused(
        ["mine.yaml: hyper_parameters.tower is 3"],
        tree,
        text="model: toy\nhyper_parameters: {tower: 3}\n",
    )
    refused("runner is a section", tree, text="model: toy\nrunner:\n")
    config = toy(tree, text="model: toy\nhyper_parameters: {dropout: 1e-3}\nrunner: {name: 7}\n")
    assert config.hyper_parameters.dropout == 0.001 and config.runner.name == "7"


# ranges -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given, words",
    [
        ("runner.epochs=0", "runner.epochs is 0, must be at least 1"),
        ("hyper_parameters.dropout=-0.1", "at least 0"),
        ("hyper_parameters.dropout=1", "at most 0.99"),
        ("hyper_parameters.tower=[8, 0]", "hyper_parameters.tower is [8, 0], must be at least 1"),
        ("hyper_parameters.optimizer.learning_rate=0", "must be above 0"),
        ("hyper_parameters.plateau.factor=0", "above 0"),
        ("hyper_parameters.plateau.factor=1.5", "at most 1"),
        ("runner.monitor=AUC", "must be one of auc, gauc, logloss"),
        ("runner.monitor=gac", "nearest is gauc"),
        ("hyper_parameters.optimizer.class=adm", "nearest is adam"),
    ],
)
def test_values_out_of_range_are_refused(tree, given, words):
    refused(words, tree, given)


def test_ranges_hold_in_files_too(tree):
    refused("runner.epochs is -1", tree, text="model: toy\nrunner: {epochs: -1}\n")


# files that are none ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, words",
    [
        ("model: [toy\n", "is not YAML"),
        ("model: toy\nmodel: @\n", "is not YAML"),
        ("- toy\n", "must hold keys and values"),
        ("", "must hold keys and values"),
        ("toy\n", "must hold keys and values"),
        ("model: toy\nrunner: {name: !!timestamp 2024-13-45}\n", "is not YAML"),
        ("a: 1\n---\nb: 2\n", "is not YAML"),
        ("model: \tx: y: z\n", "is not YAML"),
    ],
)
def test_what_is_not_yaml_is_refused(tree, text, words):
    refused(["mine.yaml", words], tree, text=text)


def test_a_file_that_is_missing_or_binary_is_refused(tree):
    (tree / "binary.yaml").write_bytes(b"\xff\xfe\x00model")
    for name, words in (
        ("none.yaml", "does not exist"),
        ("models", "is a folder"),
        ("binary.yaml", "is not YAML"),
    ):
        with pytest.raises(InputError, match=words):
            settings.load(str(tree / name))


@pytest.mark.parametrize(
    "given", ["din", "models/DIN/config.yaml", "models/dn/config.yaml", "models/din/confg.yaml"]
)
def test_a_model_that_is_nearly_named(given, monkeypatch):
    monkeypatch.chdir(settings.ROOT)
    with pytest.raises(
        InputError, match="^" + given + " does not exist; the nearest is models/din/config.yaml$"
    ):
        settings.load(given)


# the files of the repository ----------------------------------------------------------------------

MODELS = settings.models()
PATHS = {name: os.path.join(settings.ROOT, "models", name, "config.yaml") for name in MODELS}


@pytest.mark.parametrize("path", sorted(rendering.files()))
def test_the_files_are_what_the_declarations_give(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        assert f.read() == rendering.files()[path], (
            "write them anew: python -m paddleinterest.core.settings --write"
        )


def test_writing_changes_what_is_out_of_date_alone(tmp_path):
    for path, text in rendering.files().items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text if "din" not in path else "", encoding="utf-8")
    assert rendering.write(str(tmp_path)) == ["models/din/config.yaml"]
    assert rendering.write(str(tmp_path)) == []


DECLARED = [
    (name, declared)
    for name in MODELS
    for declared in settings.load(PATHS[name]).all_declared()
    if name == MODELS[0] or declared.key not in settings.flatten(settings.Settings())
]
IDS = [f"{name}:{declared.key}" for name, declared in DECLARED]


def test_default_yaml_says_what_is_declared():
    assert settings.flatten(
        settings.read_yaml(os.path.join(ROOT, "configs", "default.yaml"))
    ) == settings.flatten(settings.Settings())


@pytest.mark.parametrize("name", MODELS)
def test_every_models_own_file_loads(name):
    config = settings.load(PATHS[name])
    assert config.model == name
    common, own = settings.flatten(settings.Settings()), settings.flatten(config)
    assert common.keys() <= own.keys()
    assert all(key.startswith("hyper_parameters.") for key in own.keys() - common.keys())
    written = settings.flatten(settings.read_yaml(PATHS[name]))
    assert own.keys() - common.keys() == written.keys() - common.keys()


@pytest.mark.parametrize("name, declared", DECLARED, ids=IDS)
def test_every_setting_has_a_meaning_and_its_bounds_hold(name, declared):
    """What is declared is what is enforced, on the default and on both sides of every bound."""
    key = declared.key
    assert len(declared.meaning) >= 10

    def refuses(value):
        with pytest.raises(InputError, match=re.escape(key)):
            settings.load(PATHS[name], [f"{key}={value}"])

    def takes(value):
        assert settings.flatten(settings.load(PATHS[name], [f"{key}={value}"]))[key] == value

    if key == "model":
        return
    if declared.choices:
        assert declared.default in declared.choices
        for choice in declared.choices:
            takes(choice)
        refuses("nonsense")
    if declared.kind in (int, float):
        assert declared.least is not None or declared.above is not None, "has no bound"
    if declared.kind is list:
        takes([declared.least])
        refuses(f"[{declared.least - 1}]")
        return
    if declared.least is not None:
        takes(declared.kind(declared.least))
        refuses(declared.least - 1)
    if declared.above is not None:
        refuses(declared.above)
        takes(declared.above + 0.001)
    if declared.most is not None:
        takes(declared.kind(declared.most))
        refuses(declared.most + 1)


@pytest.mark.slow
def test_help_lists_every_setting():
    for command in (["tools/trainer.py", "--help"], ["-m", "paddleinterest.core.settings"]):
        done = subprocess.run(
            [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        for key in settings.flatten(settings.Settings()):
            assert key == "model" or f"{key}=" in done.stdout, key


# models of one's own ------------------------------------------------------------------------------


def test_a_models_own_choices_are_its_own(tree):
    """`attention` is one of DIEN's settings, too, with other choices."""
    assert toy(tree, "hyper_parameters.attention=cosine").hyper_parameters.attention == "cosine"
    refused(
        ["hyper_parameters.attention is 'bilinear'", "dot, cosine"],
        tree,
        "hyper_parameters.attention=bilinear",
    )


def test_an_undeclared_key_of_a_model_names_settings_py(tree):
    (tree / "models/other/config.yaml").write_text("model: other\nhyper_parameters: {depth: 3}\n")
    with pytest.raises(InputError, match="unknown key hyper_parameters.depth.*settings.py"):
        settings.load(str(tree / "models/other/config.yaml"))


@pytest.mark.parametrize(
    "text, words",
    [
        ("import sys\nsys.modules['paddle'] = None\n" + OWN, "imports Paddle"),
        ("x = 3\n", "must hold `class HyperParameters"),
        ("class HyperParameters:\n    pass\n", "must hold `class HyperParameters"),
    ],
)
def test_settings_py_is_checked(tree, text, words, monkeypatch):
    monkeypatch.delitem(sys.modules, "paddle", raising=False)
    (tree / "models/toy/settings.py").write_text(text)
    refused(["models/toy/settings.py", words], tree)


def elsewhere(folder, name="mine"):
    """A model folder outside of the repository; the path of its config.yaml."""
    folder.mkdir()
    (folder / "config.yaml").write_text(
        f"model: {name}\nhyper_parameters: {{heads: 3, embedding_size: 16}}\n"
    )
    (folder / "settings.py").write_text(OWN)
    (folder / "dygraph_model.py").write_text("")
    return str(folder / "config.yaml")


def test_a_model_may_be_anywhere(tmp_path):
    path = elsewhere(tmp_path / "one")
    config = settings.load(path, ["hyper_parameters.attention=cosine"])
    assert (config.model, config.folder) == ("mine", str(tmp_path / "one"))
    assert config.hyper_parameters.heads == 3 and config.hyper_parameters.embedding_size == 16
    beside = tmp_path / "one" / "fast.yaml"
    beside.write_text("model: mine\nrunner: {epochs: 1}\n")
    assert settings.load(str(beside)).hyper_parameters.heads == 3  # config.yaml lies beneath
    other = elsewhere(tmp_path / "two")
    with open(tmp_path / "two" / "settings.py", "a") as f:
        f.write("    depth: int = setting(1, 'Another model of the same name', least=0)\n")
    assert settings.load(other).hyper_parameters.depth == 1
    assert not hasattr(settings.load(path).hyper_parameters, "depth")


def test_a_model_elsewhere_that_has_a_name_of_the_repository(tmp_path):
    config = settings.load(elsewhere(tmp_path / "copy", "din"))
    assert config.folder == str(tmp_path / "copy") and config.hyper_parameters.heads == 3
    beside = tmp_path / "copy" / "dien.yaml"
    beside.write_text("model: dien\n")
    assert settings.load(str(beside)).folder == os.path.join(ROOT, "models", "dien")


@pytest.mark.parametrize("name", ["../evil", "/tmp", "..", "a b", "", "3d", "[x]"])
def test_a_model_elsewhere_has_a_plain_name(tmp_path, name):
    with pytest.raises(InputError, match="must be a name of letters, digits and underscores"):
        settings.load(elsewhere(tmp_path / "one", name))


# YAML ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, line",
    [
        ("model: toy\nmodel: other\n", 2),
        ("model: toy\nrunner: {epochs: 1, epochs: 7}\n", 2),
        ("model: toy\nrunner:\n  epochs: 1\n  'epochs': 7\n", 4),
        ("model: toy\nrunner: {epochs: 1}\nrunner: {seed: 3}\n", 3),
    ],
)
def test_a_key_that_stands_twice_is_refused(tree, text, line):
    refused(["mine.yaml is not YAML", f"occurs twice, again in line {line}"], tree, text=text)


def test_a_merged_key_may_be_set_again(tree):
    text = "model: toy\nrunner: &a {epochs: 1, seed: 2}\nhyper_parameters: {heads: 5}\n"
    assert toy(tree, text=text).hyper_parameters.heads == 5
    from paddleinterest.core import yaml_text

    text = "a: &a {x: 1, y: 2}\nb: &b {<<: *a, x: 3}\nc: {<<: *b, x: 4}\n"
    assert yaml_text.parse(text)["c"] == {"x": 4, "y": 2}


@pytest.mark.parametrize(
    "written, value",
    [
        ("010", 10),
        ("0x10", 16),
        ("0o10", 8),
        ("1e-3", 0.001),
        ("-.5", -0.5),
        ("1:30", "1:30"),
        ("yes", "yes"),
        ("off", "off"),
        ("1_000", "1_000"),
        ("2024-01-05", "2024-01-05"),
        ("true", True),
        ("~", None),
    ],
)
def test_plain_words_are_what_they_look_like(written, value):
    from paddleinterest.core import yaml_text

    found = yaml_text.parse(written)
    assert found == value and type(found) is type(value)
    again = yaml_text.parse(yaml_text.dump({"a": written}))["a"]
    assert again == written and type(again) is str  # a text is written so that it stays one


@pytest.mark.parametrize(
    "line, words",
    [
        ("runner: {epochs: 1:30}", "runner.epochs is '1:30', must be an integer"),
        ("runner: {resume: yes}", "runner.resume is 'yes', must be true or false"),
        ("runner: {resume: off}", "runner.resume is 'off', must be true or false"),
        ("runner: {epochs: 1_000}", "runner.epochs is '1_000', must be an integer"),
        ("runner: {epochs: 2024-01-05}", "must be an integer"),
    ],
)
def test_words_of_yaml_1_1_are_refused_where_they_are_no_texts(tree, line, words):
    refused(words, tree, text=f"model: toy\n{line}\n")


def test_texts_in_a_file_stay_as_they_are_written(tree):
    for written in ("007", "1e3", "0x10", "1:30", "2024-01-05", "1.10", "no"):
        config = toy(tree, text=f"model: toy\nrunner: {{name: {written}}}\n")
        assert config.runner.name == written
    assert toy(tree, text="model: toy\nrunner: {epochs: 010}\n").runner.epochs == 10


def test_the_old_path_of_a_recipe_answers_with_the_new_one(capsys):
    loading._say_once.cache_clear()
    for _ in range(2):
        config = settings.load(PATHS["din"], ["runner.dataset=configs/datasets/toys.yaml"])
        assert config.runner.dataset == "datasets/toys.yaml"
    assert capsys.readouterr().err == "configs/datasets/toys.yaml is now datasets/toys.yaml\n"
    for other in ("configs/datasets/none.yaml", "configs/mine.yaml"):
        assert settings.load(PATHS["din"], [f"runner.dataset={other}"]).runner.dataset == other
