"""study/markdown.py: what a CommonMark reader makes of tables, names and code."""

import html
import re

import pytest

from paddleinterest.study import markdown

NASTY = [
    "</title><script>alert(1)</script>",
    "*bold* _it_ ~~no~~ `code`",
    "[click](https://example.org) ![x](y)",
    "a|b\\|c",
    "two\nlines\r\nand three",
    "$x$ & <b>",
    "beauty_times",
    "``",
    "# no heading",
]


def cells(line):
    """The cells of a table's line as GitHub cuts them: at bars without a backslash before them."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


@pytest.mark.parametrize("text", NASTY)
def test_a_cell_stays_one_cell(text):
    made = markdown.table(["a", "b"], [[text, 1], [markdown.plain(text), 2]])
    lines = made.split("\n")
    assert len(lines) == 4 and lines[1] == "|---|---|"
    assert len(cells(lines[3])) == 2


@pytest.mark.parametrize("text", NASTY)
def test_a_name_is_no_markup(text):
    escaped = markdown.plain(text)
    assert "<" not in escaped and ">" not in escaped and "\n" not in escaped
    for mark in "*[]`~#$":
        assert not re.search(rf"(?<!\\)(\\\\)*(?<!\\){re.escape(mark)}", escaped), escaped
    # a reader takes the backslashes and entities away again
    read = html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", escaped))
    assert read == " ".join(text.splitlines())


def test_an_underscore_within_a_word_stays_readable():
    assert markdown.plain("beauty_times") == "beauty_times"
    assert markdown.plain("_a_") == "\\_a\\_"


@pytest.mark.parametrize("text", ["a", "``", "a `b` ```c", "`x"])
def test_code_ends_where_it_should(text):
    fence = re.match("`+", markdown.code(text).replace(" ", "\0")).group()
    inner = markdown.code(text).removeprefix(fence).removesuffix(fence)
    assert inner.strip() == text and fence not in re.findall("`+", inner)
    assert markdown.block(text).split("\n")[0] not in text.split("\n")
