"""What the site does to the links of a page. .ci/run builds the site itself."""

import importlib.util
import os
from types import SimpleNamespace

import pytest
from helpers import ROOT

pytest.importorskip("mkdocs")  # the extra docs


@pytest.fixture(scope="module")
def site():
    place = os.path.join(ROOT, "docs", "hooks", "site.py")
    spec = importlib.util.spec_from_file_location("site_hook", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "uri, old, new",
    [
        ("index.md", "[a](docs/own_model.md#run-it)", "[a](own_model.md#run-it)"),
        ("index.md", "[DIN](models/din/README.md)", "[DIN](models/din.md)"),
        ("index.zh.md", "[DIN](models/din/README.md)", "[DIN](models/din.md)"),
        ("models/din.md", "![p](../../docs/attention.png)", "![p](../attention.png)"),
        ("models/din.md", "[b](../base/README.md#results)", "[b](base.md#results)"),
        ("models/din.md", "[net.py](net.py)", "net.py"),
        ("own_model.md", "[n](../models/din/net.py)", "n"),
        ("own_model.md", "[`x`](https://a.b)", "[`x`](https://a.b)"),
        ("results/README.md", "![c](beauty-cost.svg)", "![c](beauty-cost.svg)"),
    ],
)
def test_links(site, uri, old, new):
    assert site.links(old, uri, SimpleNamespace(repo_url=None)) == new


def test_a_file_is_a_link_into_the_repository_if_its_address_is_known(site):
    config = SimpleNamespace(repo_url="https://host/me/it/")
    link = site.links("[net.py](net.py)", "models/din.md", config)
    assert link == "[net.py](https://host/me/it/blob/main/models/din/net.py)"


def test_code_stays_as_it_is(site):
    page = "a\n```\na\n~~~\na\n```\na\n"
    assert site.outside_fences(page, str.upper) == "A\n```\na\n~~~\na\n```\nA\n"


def test_a_broken_link_is_a_warning(site, caplog):
    site.links("[x](nowhere.py)", "models/din.md", SimpleNamespace(repo_url=None))
    assert "models/din/README.md links to nowhere.py" in caplog.text


def test_foreign_scripts_are_found(site, caplog):
    page = SimpleNamespace(file=SimpleNamespace(src_uri="index.md"))
    site.on_post_page('<script src="assets/x.js"></script><a href="https://a.b">', page, None)
    assert not caplog.text
    site.on_post_page('<script src="https://cdn/x.js">', page, None)
    assert "loads from elsewhere" in caplog.text
