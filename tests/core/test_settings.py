"""Settings: what wins over what, what is refused and with which words, and that the YAML files say
what is enforced."""

import os
import re

import pytest
import yaml

from paddleinterest.core import settings
from paddleinterest.core.errors import InputError

DEFAULT = """
model: ""
runner:
  name: ""
  epochs: 10
  seed: 1
  resume: false
  monitor: auc
hyper_parameters:
  embedding_size: 8
  dropout: 0.0
  tower: [4, 2]
  optimizer:
    class: adam
    learning_rate: 0.001
  plateau:
    factor: 1.0
"""
TOY = "model: toy\nhyper_parameters:\n  embedding_size: 16\n  heads: 2\n  optimizer: {class: sgd}\n"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A small repository of its own: configs/default.yaml, models/toy and models/other."""
    for name, text in (
        ("configs/default.yaml", DEFAULT),
        ("models/toy/config.yaml", TOY),
        ("models/other/config.yaml", "model: other\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(settings, "ROOT", str(tmp_path))
    monkeypatch.setattr(settings, "DEFAULT", str(tmp_path / "configs/default.yaml"))
    return tmp_path


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
        **settings.flatten(yaml.safe_load(DEFAULT)),
        "model": "toy",
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
    assert flat == {**settings.flatten(yaml.safe_load(DEFAULT)), "model": "other"}


def test_saved_settings_load_as_they_were(tree):
    config = toy(
        tree, "runner.name=007", "hyper_parameters.dropout=1e-3", "hyper_parameters.tower=[1, 2, 3]"
    )
    settings.save(config, str(tree / "saved.yaml"))
    assert settings.load(str(tree / "saved.yaml")) == config


def test_the_model_is_chosen_by_the_file_alone(tree):
    assert toy(tree, "model=toy")["model"] == "toy"
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
        ["unknown key runner.zzzzqqqq", "name, epochs, seed, resume, monitor"],
        tree,
        "runner.zzzzqqqq=1",
    )
    refused("model, runner, hyper_parameters", tree, "=1")
    refused("unknown key", tree, text="model: toy\n1: 2\n")


def test_sections_and_values_are_not_mistaken_for_each_other(tree):
    refused(["runner is a section", "epochs"], tree, "runner=3")
    refused(
        ["hyper_parameters.optimizer is a section", "class, learning_rate"],
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
        ("runner.epochs=2.5", "must be an integer (default 10)"),
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
        ("runner.epochs=2024-13-45", "is not a YAML value"),
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
    assert config["hyper_parameters"]["dropout"] == 0.001 and config["runner"]["name"] == "7"


# ranges -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given, words",
    [
        ("runner.epochs=0", "runner.epochs is 0, must be at least 1"),
        ("hyper_parameters.dropout=-0.1", "at least 0"),
        ("hyper_parameters.dropout=1", "at most 0.99"),
        ("hyper_parameters.tower=[8, 0]", "hyper_parameters.tower is [8, 0]"),
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
        ("model: toy\nrunner: {name: 2024-13-45}\n", "is not YAML"),
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


def commented_keys(path):
    """[(full key, value text, comment)] of every line of a YAML file of nested mappings."""
    out, stack = [], []
    for line in open(path, encoding="utf-8"):
        match = re.match(r"( *)([\w]+):(?: +(\"\"|\[[^\]]*\]|[^#\s]+))?(?: +# (.*))?\n$", line)
        if not match:
            assert line.startswith("#") or not line.strip(), f"{path}: {line!r}"
            continue
        depth, key, value, comment = len(match[1]) // 2, match[2], match[3], match[4]
        stack = [*stack[:depth], key]
        out.append((".".join(stack), value, comment))
    return out


def own_keys(path, default):
    return [
        (key, comment)
        for key, value, comment in commented_keys(path)
        if value is not None and key not in default
    ]


DEFAULTS = settings.flatten(settings.read_yaml(settings.DEFAULT))
DOCUMENTED = [(MODELS[0], key, comment) for key, comment in own_keys(settings.DEFAULT, ())] + [
    (name, key, comment)
    for name, path in PATHS.items()
    for key, comment in own_keys(path, DEFAULTS)
]


def test_the_lines_of_the_yaml_files_are_all_understood():
    assert {key for _, key, _ in DOCUMENTED} == {
        *DEFAULTS,
        *(k for p in PATHS.values() for k in settings.flatten(settings.read_yaml(p))),
    }


@pytest.mark.parametrize("name", MODELS)
def test_every_models_own_file_loads(name):
    config = settings.load(PATHS[name])
    assert config["model"] == name
    own = settings.flatten(settings.read_yaml(PATHS[name]))
    new = {k for k in own if k not in DEFAULTS}
    assert all(k.startswith("hyper_parameters.") for k in new), (
        "only hyper_parameters can be a model's own"
    )
    for key in own:
        if key in DEFAULTS:
            assert type(own[key]) is type(DEFAULTS[key]), key


def test_no_bound_is_of_a_key_that_does_not_exist():
    known = {key for _, key, _ in DOCUMENTED}
    for bounds in (settings.CHOICES, settings.LEAST, settings.ABOVE, settings.MOST):
        assert set(bounds) <= known


@pytest.mark.parametrize("name, key, comment", DOCUMENTED, ids=[key for _, key, _ in DOCUMENTED])
def test_every_setting_has_a_comment_with_its_type_and_meaning_and_its_bounds_hold(
    name, key, comment
):
    """`int ≥ 1. Meaning`, `float in (0, 1]. Meaning`, `a | b | c. Meaning`: what the comment
    says is what is enforced."""
    assert comment, "has no comment"
    config = settings.load(PATHS[name])
    default = settings.flatten(config)[key]
    bounds = settings.CHOICES, settings.LEAST, settings.ABOVE, settings.MOST
    bounded = key in DEFAULTS or any(key in b for b in bounds)
    kind = {int: "int", float: "float", bool: "bool", str: "str", list: "list of int"}[
        type(default)
    ]

    def refuses(value):
        with pytest.raises(InputError, match=re.escape(key)):
            settings.load(PATHS[name], [f"{key}={value}"])

    def takes(value):
        assert settings.flatten(settings.load(PATHS[name], [f"{key}={value}"]))[key] == value

    choices = re.match(r"\w+(?: \([^)]*\))?(?: \| \w+(?: \([^)]*\))?)+", comment)
    if choices:
        assert kind == "str"
        for choice in re.sub(r" \([^)]*\)", "", choices[0]).split(" | "):
            takes(choice)
        if bounded:
            refuses("nonsense")
        assert len(comment) > len(choices[0]) + 10 or "(" in comment or key.endswith("class"), (
            "has no meaning"
        )
        return
    assert re.match(rf"{kind}\b.*?(\. |, .*= )\S", comment), (
        f"should start with {kind}, then say what it means"
    )
    if key == "model":
        return
    bounds = comment.split(". ")[0]
    numeric = kind in ("int", "float")
    assert not numeric or re.search(r"[≥>] \d| in [\[(]| 0 = ", bounds), "names no bound"
    if not bounded:
        return  # a model's own, which its net checks
    if at_least := re.search(r"≥ (\d+)", bounds):
        takes(type(default)(at_least[1])) if kind != "list of int" else takes([int(at_least[1])])
        refuses(int(at_least[1]) - 1 if kind != "list of int" else f"[{int(at_least[1]) - 1}]")
    if above := re.search(r"> (\d+)", bounds):
        refuses(above[1])
        refuses(-1)
    if kind == "int" and not at_least and " 0 = " in bounds:
        takes(0)
        refuses(-1)
    if span := re.search(r"in ([\[(])([\d.]+), ([\d.]+)([\])])", bounds):
        low, high = float(span[2]), float(span[3])
        takes(low) if span[1] == "[" else refuses(low)
        takes(high) if span[4] == "]" else refuses(high)
        takes(high - 0.005)  # an open end is not merely a smaller closed one
        refuses(low - 0.01)
        refuses(high + 0.01)
