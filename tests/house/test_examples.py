"""The examples in docstrings run, and print what they say."""

import doctest
import importlib
import pkgutil

import pytest

import models
import paddleinterest
from paddleinterest.core.settings import ROOT


def modules():
    """Names of all modules of the library and the recipes."""
    for package in (paddleinterest, models):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                yield found.name


def examples(name):
    """The doctests of a module, found in its text first: most have none, and need no import."""
    with open(importlib.util.find_spec(name).origin, encoding="utf-8") as f:
        if ">>>" not in f.read():
            return []
    return doctest.DocTestFinder().find(importlib.import_module(name))


WITH_EXAMPLES = [test for name in modules() for test in examples(name) if test.examples]


def test_there_are_examples():
    assert len(WITH_EXAMPLES) > 10


@pytest.mark.parametrize("test", WITH_EXAMPLES, ids=lambda test: test.name)
def test_example(test, monkeypatch):
    monkeypatch.chdir(ROOT)
    said = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    result = runner.run(test, out=said.append)
    assert result.failed == 0, "".join(said)
