"""configs/paper has a preset for every model of a paper."""

import os

import pytest

from paddleinterest.core import settings

FOLDER = os.path.join(settings.ROOT, "configs", "paper")
PRESETS = sorted(os.listdir(FOLDER))
MODELS = sorted(
    name
    for name in os.listdir(os.path.join(settings.ROOT, "models"))
    if os.path.isfile(os.path.join(settings.ROOT, "models", name, "config.yaml"))
)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_whole(name):
    """The model that its name begins with, without what the defaults add to the papers."""
    config = settings.load(os.path.join(FOLDER, name))
    stem = os.path.splitext(name)[0]
    assert stem.startswith(config.model) and config.model in MODELS
    assert config.runner.negatives == "once" and config.hyper_parameters.regularization == 0
    with open(os.path.join(FOLDER, name), encoding="utf-8") as f:
        assert f"python tools/trainer.py -m configs/paper/{name}\n" in f.read()


def test_every_model_has_one():
    assert {f"{name}.yaml" for name in MODELS} <= set(PRESETS)
