"""Requests at a steady rate while bundles are reloaded and servers are replaced, for some seconds;
benchmarks/load/lost.py goes on for longer."""

import argparse

import pytest

from benchmarks.load import lost
from benchmarks.load.lost import Change

CHANGES = [
    Change(0, 0, "a", restart=False),
    Change(10, 12, "b", restart=False),
    Change(20, 22, "a", restart=True),
]


@pytest.mark.slow
def test_no_request_is_lost(bundle, other_bundle):
    flags = {"requests": 300, "rate": 40.0, "reloads": 2, "restarts": 1}
    made = lost.work(argparse.Namespace(bundles=[bundle, other_bundle], **flags))
    assert made["requests"] > 200 and made["wrong"] == 0
    assert made["statuses"].keys() <= {"200", "503"}
    assert made["statuses"]["200"] > 0.9 * made["requests"]


@pytest.mark.parametrize(
    "sent, received, status, words, fine",
    [
        (5, 6, "200", "a", True),
        (5, 6, "200", "b", False),  # of a bundle that came later
        (9, 11, "200", "a", True),
        (9, 11, "200", "b", True),
        (13, 14, "200", "b", True),
        (13, 14, "200", "a", False),  # of the old bundle, after the reload
        (9, 21, "200", "a", True),
        (11, 11.5, "503", lost.ENDING, False),  # no server ends
        (21, 21.5, "503", lost.ENDING, True),
        (23, 24, "503", lost.ENDING, False),
        (23, 24, "503", "64 requests wait already; try again", True),
        (21, 21.5, "503", "no answer within 5 seconds", True),
        (21, 21.5, "503", "the history store does not answer", False),
        (21, 21.5, "cut", "", False),
        (21, 21.5, "400", "", False),
    ],
)
def test_a_broken_promise_is_seen(sent, received, status, words, fine):
    assert (lost.wrong_answers([(sent, received, status, words)], CHANGES) == []) is fine


def test_restarts_are_spread_among_the_reloads():
    order = lost._spread(20, 5)
    assert order.count(True) == 5 and order.count(False) == 20
    assert [k for k, restart in enumerate(order) if restart] == [4, 9, 14, 19, 24]
    assert lost._spread(0, 2) == [True, True]
