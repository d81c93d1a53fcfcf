"""A few examples of same_log.py, which says how to run ten thousand."""

import collections

import pytest
import same_log


@pytest.mark.slow
def test_the_same_dataset_from_every_form_or_a_refusal():
    counts = collections.Counter(same_log.example(number) for number in range(40))
    refused = sum(n for outcome, n in counts.items() if outcome.startswith("refused"))
    assert counts["same"] >= 15 and refused >= 3, counts
