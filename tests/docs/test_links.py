"""Every relative link of a page leads somewhere, and every anchor to a heading."""

import os
import posixpath
import re
import subprocess
import sys

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


TOOL = re.compile(r"\b(?:tools|benchmarks)/[a-z_/]+\.py\b")
COMMAND = re.compile(r"^(?:VENV/bin/)?python ((?:tools|benchmarks)/[a-z_/]+\.py)(.*)$", re.M)


def test_every_tool_in_a_page_is_a_tool():
    for path in pages.all_pages():
        for name in TOOL.findall(pages.text_of(path)):
            assert os.path.exists(os.path.join(ROOT, name)), f"{path} names {name}"


def commands():
    """{tool, or tool and source: flags} of every command in a page's blocks."""
    found = {}
    for path in pages.all_pages():
        for _, code in pages.blocks(pages.text_of(path)):
            for tool, words in COMMAND.findall(code.replace("\\\n", " ")):
                source = re.search(r"--source \w+", words)
                key = (tool, *(source[0].split() if source else ()))
                flags = re.findall(r"(?<= )--[a-z][\w-]*", words.partition(" #")[0])
                found.setdefault(key, set()).update(flags)
    return sorted((key, sorted(flags)) for key, flags in found.items())


@pytest.mark.parametrize("tool, flags", commands(), ids=lambda value: " ".join(value))
def test_every_flag_of_a_command_is_one(tool, flags):
    done = subprocess.run(
        [sys.executable, *tool, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    known = set(re.findall(r"--[a-z][\w-]*", done.stdout))
    assert set(flags) <= known


PLACED = re.compile(
    r"`(\w+)[\w.]*` in \[[^\]]+\]\(([^)#]+\.py)\)|\[[^\]]+\]\(([^)#]+\.py)\) 的 `(\w+)"
)


def placed():
    """(page, name, file) of every name of code that a page says is in a file."""
    for path in pages.all_pages():
        for name, file, chinese_file, chinese_name in PLACED.findall(pages.text_of(path)):
            there = posixpath.normpath(
                posixpath.join(posixpath.dirname(path), file or chinese_file)
            )
            yield path, name or chinese_name, there


def test_names_of_code_are_where_a_page_says():
    found = list(placed())
    assert len(found) > 30
    for path, name, file in found:
        with open(os.path.join(ROOT, file), encoding="utf-8") as f:
            assert re.search(rf"^(?:class|def) {name}\b", f.read(), re.M), (
                f"{path}: {name} is not in {file}"
            )
