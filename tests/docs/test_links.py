"""Every relative link of a page leads somewhere, and every anchor to a heading."""

import os
import posixpath

import pages
import pytest
from helpers import ROOT


@pytest.mark.parametrize("path", pages.all_pages())
def test_links_lead_somewhere(path):
    text = pages.text_of(path)
    for target in pages.links(text):
        if target.startswith(("http://", "https://", "mailto:", "../../actions/")):
            continue
        name, _, anchor = target.partition("#")
        there = posixpath.normpath(posixpath.join(posixpath.dirname(path), name)) if name else path
        assert os.path.exists(os.path.join(ROOT, there)), f"{path} links to {target}"
        if anchor and there.endswith(".md"):
            known = pages.anchors(pages.text_of(there))
            assert anchor in known, f"{path} links to {target}; {there} has {sorted(known)}"


def test_there_are_pages_and_links():
    assert {"README.md", "README_cn.md", "docs/architecture.md", "models/din/README.md"} <= set(
        pages.all_pages()
    )
    assert len(pages.links(pages.text_of("README.md"))) > 20
