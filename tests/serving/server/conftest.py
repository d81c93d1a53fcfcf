"""Bundles that the server's tests share."""

import os
import sys

import pytest
from helpers import TINY_DIN, trained

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))


def exported(folder, data, seed=0):
    from paddleinterest.serving.export import export

    config, _, _ = trained("din", data, folder, *TINY_DIN, scale=0.3, seed=seed)
    export(config, data, str(folder / "bundle"))
    return str(folder / "bundle")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory, data):
    """A bundle's directory."""
    return exported(tmp_path_factory.mktemp("serve"), data)


@pytest.fixture(scope="session")
def other_bundle(tmp_path_factory, data):
    """The same recipe with other weights."""
    return exported(tmp_path_factory.mktemp("other"), data, seed=5)


@pytest.fixture(scope="module")
def opened(bundle):
    """The bundle, opened in this process."""
    from paddleinterest.serving.bundle import Bundle

    return Bundle(bundle)


@pytest.fixture(scope="module")
def server(bundle):
    """A server that many tests share."""
    from server_process import Server

    with Server(bundle, "--max-bytes", "20000") as server:
        yield server
