"""configs/paper has a preset for every model; configs/code has those of authors' code."""

import os

import pytest

from paddleinterest.core import settings

CONFIGS = os.path.join(settings.ROOT, "configs")
PRESETS = sorted(
    f"{folder}/{name}"
    for folder in ("paper", "code")
    for name in os.listdir(os.path.join(CONFIGS, folder))
)
MODELS = sorted(
    name
    for name in os.listdir(os.path.join(settings.ROOT, "models"))
    if os.path.isfile(os.path.join(settings.ROOT, "models", name, "config.yaml"))
)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_whole(name):
    """The model that its name says, without what the defaults add to the papers."""
    config = settings.load(os.path.join(CONFIGS, name))
    assert os.path.basename(name) == f"{config.model}.yaml"
    assert config.runner.negatives == "once" and config.hyper_parameters.regularization == 0
    with open(os.path.join(CONFIGS, name), encoding="utf-8") as f:
        assert f"python tools/trainer.py -m configs/{name}\n" in f.read()


def test_every_model_has_one():
    assert {f"paper/{name}.yaml" for name in MODELS} <= set(PRESETS)
