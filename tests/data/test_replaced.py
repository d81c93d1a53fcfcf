"""A dataset that is prepared again while it is read: one of the two is read, or it is refused."""

import os
import shutil
import sys

import numpy as np
import pytest
from random_log import random_log

from paddleinterest.core import atomic
from paddleinterest.core.errors import InputError
from paddleinterest.data.builder import build
from paddleinterest.data.reader import Reader

LIBRARY = os.path.join("paddleinterest", "")
POINTS = 60  # moments of replacing that are tried


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two datasets of one name and of the same sizes: other items under the same numbers, other
    negatives."""
    folder = tmp_path_factory.mktemp("two")
    made = []
    for seed in (1, 2):
        log = random_log(3, users=60, items=90, most=25, popular=0.03)
        if seed == 2:
            names = sorted(set(log.items.item) | set(log.events.item))
            other = dict(zip(names, reversed(names), strict=True))
            log.items["item"] = log.items.item.map(other)
            log.events["item"] = log.events.item.map(other)
        made.append(str(folder / str(seed) / "mine"))
        build(log, made[-1], protocol="every_prefix", name="mine", seed=seed)
    return made


def read(path):
    """What a training reads: train, and valid with the tables of train."""
    train = Reader(path, "train", 64, shuffle=True, seed=5)
    valid = Reader(path, "valid", 64, tables_of=train)
    return [*train.epoch(0), *valid.epoch(0)]


def same(found, wanted):
    return len(found) == len(wanted) and all(
        a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)
        for a, b in zip(found, wanted, strict=True)
    )


def replace(path, other):
    with atomic.whole_directory(path, overwrite=True) as made:
        shutil.copytree(other, made, dirs_exist_ok=True)


class Moments:
    """Calls of the library's functions, and what happens at one of them."""

    def __init__(self, at=-1, action=None):
        self.at, self.action, self.calls = at, action, 0

    def __call__(self, frame, event, _):
        if event not in ("call", "return") or LIBRARY not in frame.f_code.co_filename:
            return
        self.calls += 1
        if self.calls == self.at:
            sys.setprofile(None)
            self.action()

    def __enter__(self):
        sys.setprofile(self)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)


@pytest.mark.slow
def test_a_dataset_replaced_at_any_moment_is_one_of_the_two(two, tmp_path):
    right = [read(path) for path in two]
    assert not same(*right)
    with Moments() as moments:
        read(two[0])
    outcomes = []
    for at in np.linspace(1, moments.calls, POINTS).astype(int):
        path = str(tmp_path / str(at) / "mine")
        shutil.copytree(two[0], path)
        try:
            with Moments(at, lambda path=path: replace(path, two[1])):
                found = read(path)
        except InputError as e:
            assert "\n" not in str(e)
            outcomes.append("refused")
            continue
        outcomes.append(next((k for k, wanted in enumerate(right) if same(found, wanted)), "mixed"))
        shutil.rmtree(tmp_path / str(at))
    assert "mixed" not in outcomes
    assert {0, 1, "refused"} >= set(outcomes) and "refused" in outcomes


def test_parts_that_are_replaced_between_two_epochs_are_refused(two, tmp_path):
    """Sequences that were let go are opened again by name."""
    path = str(tmp_path / "mine")
    shutil.copytree(two[0], path)
    reader = Reader(path, "train", 64, shuffle=True, seed=5)
    reader.sequences._open.clear()
    replace(path, two[1])
    with pytest.raises(InputError, match="was replaced while it was read"):
        list(reader.epoch(1))
