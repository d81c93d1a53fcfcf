"""Every tool says its version, which is in one place."""

import signal
import sys

import pytest

import paddleinterest
from paddleinterest.__main__ import VERBS, main


@pytest.fixture
def signals():
    """Put back what a tool does on a signal: here it runs in the process of the tests."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_every_tool_says_its_version(verb, monkeypatch, capsys, signals):
    monkeypatch.setattr(sys, "argv", ["paddleinterest", *verb.split(), "--version"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    out, err = capsys.readouterr()
    assert (out, err) == (f"paddleinterest {paddleinterest.__version__}\n", "")
