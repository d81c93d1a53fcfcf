"""The pages of the repository, read as its readers read them."""

import os
import re
from glob import glob

from helpers import ROOT

IGNORED = ("output/", "data/", "site/", ".venv/", "venv/")  # folders that git ignores
FENCE = re.compile(r"^( *)(```+|~~~+)([^\n]*)\n(.*?)^\1\2 *$", re.S | re.M)
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
HEADING = re.compile(r"^(#+) +(.+?) *#*$", re.M)


def all_pages() -> list[str]:
    """Their paths, relative to the root."""
    found = glob("**/*.md", root_dir=ROOT, recursive=True)
    found += glob(".github/**/*.md", root_dir=ROOT, recursive=True)
    return sorted(path for path in found if not path.startswith(IGNORED))


def text_of(path: str) -> str:
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, code) of each fenced block."""
    return [(found[2].strip(), found[3]) for found in FENCE.findall(text)]


def prose(text: str) -> str:
    """The text without its blocks of code."""
    return FENCE.sub("", text)


def headings(text: str) -> list[tuple[int, str]]:
    """(level, title) of each heading."""
    return [(len(marks), title) for marks, title in HEADING.findall(prose(text))]


def anchors(text: str) -> set[str]:
    """What a link may name after #, by the rule of GitHub and of the site: the heading in small
    letters, without punctuation, spaces as hyphens."""
    names = set()
    for _, title in headings(text):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()
        names.add(re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-"))
    return names


def links(text: str) -> list[str]:
    """The targets of the links outside blocks and pieces of code."""
    return LINK.findall(re.sub(r"`[^`\n]*`", "", prose(text)).replace("![", "["))
