"""Pages are in plain English: what reads like an old translation is named here and kept out."""

import re

import pages
import pytest

NOUNS = "batch|row|epoch|step|item|event|user|sample|positive|table|process|file|candidate"
UNITS = (
    "one|two|row|column|entry|ms|seconds|bytes|rows|lines?|files?|negatives?|value|messages|trials"
)
BANNED = {  # {pattern: what to write}
    r"\b(?:lies|lay|stands|stood)\b": "is in, are in, is",
    r"\b(?:told|tells?\b(?!.{0,60}\bfrom))\b": "says, reports, shows",
    r"\b(?:goes|go|going|gone|went) on\b": "continues, resumes",
    r"\b(?:is|are|was|were|be) no (?!longer|more|better|worse|different)": "is not a",
    r"\bnor (?:to|with|that|where)\b": "or; a sentence of its own",
    r"\bwants? (?:so|an?|the)\b": "needs",
    r"\bwithout a word\b": "silently",
    r"\b(?:hang|hangs) on\b": "depend on",
    r"\banother one\b": "a different one",
    r"\bso (?:many|few|much) as\b": "the number",
    r"\b(?:beside it|beside them|there is none)\b": "with it; missing",
    rf"\b(?:{UNITS}) an? (?:{NOUNS})\b": "per",
    r"\bis had\b": "has",
    r"\bin the mean\b": "on average",
}
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
    text = plain(path)
    found = [
        f"…{text[max(0, hit.start() - 40) : hit.end() + 30]}… → {better}"
        for pattern, better in BANNED.items()
        for hit in re.finditer(pattern, text, re.I)
    ]
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
    assert any(re.search(pattern, sentence, re.I) for pattern in BANNED)


@pytest.mark.parametrize("sentence", ["It is no longer there.", "one row per user", "no better"])
def test_plain_sentences_pass(sentence):
    assert not any(re.search(pattern, sentence, re.I) for pattern in BANNED)
