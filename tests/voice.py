"""Words that read like an old translation, and what to write in their place.

Pages (tests/docs/test_voice.py), and messages, docstrings and comments of the code
(tests/house/test_words.py) are searched for them.
"""

import re
from collections.abc import Iterator

NOUNS = (
    "batch|row|epoch|step|item|event|user|sample|positive|table|process|file|candidate|line|cell"
    "|impression|household|request|call|dataset|field"
)
UNITS = (
    "one|two|row|column|entry|ms|seconds|bytes|rows|lines?|files?|negatives?|value|messages|trials"
)
BANNED = {  # {pattern: what to write}
    r"\b(?:lies|lay|stands|stood)\b": "is in, are in, is",
    r"\b(?:told|tells?\b(?!.{0,60}\bfrom))\b": "says, reports, shows",
    r"\b(?:goes|go|going|gone|went) on\b": "continues, resumes",
    r"(?<!there )\b(?:is|are|was|were|be) no (?!longer|more|better|worse|different)": "is not a",
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


def found(text: str) -> list[str]:
    """Where a text has such words, each with its neighbours and what to write."""
    text = re.sub(r"\s+", " ", text)
    return [
        f"…{text[max(0, hit.start() - 40) : hit.end() + 30]}… → {better}"
        for pattern, better in BANNED.items()
        for hit in re.finditer(pattern, text, re.I)
    ]


def openings(docstring: str) -> Iterator[str]:
    """A docstring that begins as a fragment: it should begin with a noun or a verb."""
    first = docstring.strip().split(" ", 1)[0]
    if first in ("Whether", "What", "Of"):
        yield docstring.strip()[:60]
