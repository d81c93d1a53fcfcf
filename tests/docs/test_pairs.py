"""A Chinese page says what the English one says: the same headings, code, links and numbers."""

import os
import re
from collections import Counter

import pages
import pytest
from helpers import ROOT

NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?")
COMMENT = re.compile(r"[ \t]+#.*$", re.M)


def pairs():
    found = []
    for path in pages.all_pages():
        for ending, chinese in (("README.md", "README_cn.md"), (".md", ".zh.md")):
            other = path.removesuffix(ending) + chinese
            if path.endswith(ending) and os.path.exists(os.path.join(ROOT, other)):
                found.append((path, other))
    return found


def code(text):
    """The blocks; comments may be in the page's language."""
    return [(language, COMMENT.sub("", block)) for language, block in pages.blocks(text)]


def targets(text):
    """Where the links go, whatever the language of the page there."""
    found = Counter()
    for target in pages.links(text):
        name = target.partition("#")[0].replace(".zh.", ".").replace("_cn.md", ".md")
        found[name] += 1
    return found


def numbers(text):
    """The numbers of the prose and the tables; Chinese has no decimal comma, so 1,000 is one."""
    plain = re.sub(r"\]\([^)]*\)|<!--.*?-->", "]", pages.prose(text))
    return Counter(number.rstrip(",") for number in NUMBER.findall(plain))


def test_there_are_pairs():
    names = {english for english, _ in pairs()}
    assert {"README.md", "docs/tutorial.md", "models/dien/README.md"} <= names
    assert len(names) > 15


def test_every_model_has_both_pages():
    models = [path for path in pages.all_pages() if re.fullmatch(r"models/\w+/README.md", path)]
    assert len(models) > 15
    assert set(models) <= {english for english, _ in pairs()}


@pytest.mark.parametrize("english, chinese", pairs(), ids=lambda path: path)
def test_the_two_link_to_each_other(english, chinese):
    assert os.path.basename(chinese) in pages.links(pages.text_of(english))
    assert os.path.basename(english) in pages.links(pages.text_of(chinese))


def test_a_chinese_page_links_to_chinese_ones():
    for _, chinese in pairs():
        for target in pages.links(pages.text_of(chinese)):
            if re.fullmatch(r".*models/\w+/README\.md", target):
                pytest.fail(f"{chinese} links to {target}")


@pytest.mark.parametrize("english, chinese", pairs(), ids=lambda path: path)
def test_pairs(english, chinese):
    one, other = pages.text_of(english), pages.text_of(chinese)
    levels = [[level for level, _ in pages.headings(text)] for text in (one, other)]
    assert levels[0] == levels[1]
    assert code(one) == code(other)
    assert targets(one) - targets(other) == targets(other) - targets(one) == Counter()
    assert numbers(one) - numbers(other) == numbers(other) - numbers(one) == Counter()


@pytest.mark.parametrize("path", [chinese for _, chinese in pairs()])
def test_a_chinese_page_is_in_chinese(path):
    """A paragraph of ten English words and no Chinese one was forgotten."""
    for paragraph in pages.prose(pages.text_of(path)).split("\n\n"):
        plain = re.sub(r"`[^`]*`|\]\([^)]*\)|<[^>]*>|\*[^*]*\*|^\|.*$", "", paragraph, flags=re.M)
        if not re.search(r"[一-鿿]", plain):
            assert len(re.findall(r"[A-Za-z]{3,}", plain)) < 10, paragraph
