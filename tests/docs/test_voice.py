"""Pages are in plain English: what reads like an old translation is named here and kept out."""

import re

import pages
import pytest
import voice

ALLOWED = {  # other engineers' pages, and those that tools write
    "docs/results/README.md",
}


def plain(path):
    """The prose of a page without code, links' targets, and tables that are pasted."""
    text = re.sub(r"<!-- table .*?<!-- /table -->", "", pages.text_of(path), flags=re.S)
    text = re.sub(r"`[^`\n]*`|\]\([^)]*\)", "", pages.prose(text))
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize(
    "path", [p for p in pages.all_pages() if "_cn." not in p and ".zh." not in p]
)
def test_plain_english(path):
    if path in ALLOWED:
        pytest.skip("written by a tool")
    found = voice.found(plain(path))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "sentence",
    [
        "A run lies there.",
        "It is told what to do.",
        "The same command goes on.",
        "This is no setting of the model.",
        "neither to be kept nor to be replaced",
        "one row a user",
        "a small log wants a batch",
    ],
)
def test_the_old_voice_is_found(sentence):
    assert voice.found(sentence)


@pytest.mark.parametrize("sentence", ["It is no longer there.", "one row per user", "no better"])
def test_plain_sentences_pass(sentence):
    assert not voice.found(sentence)
