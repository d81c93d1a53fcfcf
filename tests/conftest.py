"""Tests import the packages from the repository root, wherever pytest is started; and the fixtures
that many share."""

import os
import sys

import numpy as np
import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """`helpers.small_dataset`, to read only."""
    from helpers import small_dataset

    return small_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The same with 480 rows of train, to read only."""
    from helpers import small_dataset

    return small_dataset(tmp_path_factory.mktemp("data"), "tiny", users=30, impressions=20)


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture
def double():
    """Layers made meanwhile compute in float64."""
    import paddle

    paddle.set_default_dtype("float64")
    yield
    paddle.set_default_dtype("float32")
