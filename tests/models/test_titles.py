"""What the pictures and tables read of each model stands beside it."""

import importlib
import re

import pytest

from paddleinterest.core import settings

MODELS = settings.models()


def binding(model):
    return importlib.import_module(f"models.{model}.dygraph_model").DygraphModel


@pytest.mark.parametrize("model", MODELS)
def test_title_colour_and_marker(model):
    cls = binding(model)
    assert cls.title
    assert re.fullmatch("#[0-9a-f]{6}", cls.colour)
    assert cls.marker


def test_no_two_models_look_alike():
    titles = [binding(m).title for m in MODELS]
    assert len(set(titles)) == len(titles)
    looks = [(binding(m).colour, binding(m).marker) for m in MODELS]
    assert len(set(looks)) == len(looks)
