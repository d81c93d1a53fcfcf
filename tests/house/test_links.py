"""Links between files of the repository lead somewhere."""

import glob
import os
import re

import pytest
from helpers import ROOT

LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
CODE = re.compile(r"^```.*?^```$", re.S | re.M)


def pages():
    found = glob.glob("**/*.md", root_dir=ROOT, recursive=True)
    return sorted(path for path in found if not path.startswith(("output", "data")))


@pytest.mark.parametrize("page", pages())
def test_links(page):
    with open(os.path.join(ROOT, page), encoding="utf-8") as f:
        text = CODE.sub("", f.read())
    folder = os.path.join(ROOT, os.path.dirname(page))
    own = [link for link in LINK.findall(text) if ":" not in link]
    dead = [link for link in own if not os.path.exists(os.path.join(folder, link))]
    assert not dead
