"""Histories and shown items in cells."""

import os

import pandas as pd
import pytest
from test_sources import load, refuses, rows, write

from paddleinterest.commands.prepare import Parser
from paddleinterest.data.prepare import prepare
from paddleinterest.data.reader import Reader


@pytest.mark.parametrize("separator", ["|", "^", " ", ";"])
def test_a_history_in_a_cell(tmp_path, separator):
    text = "uid\tpast\titem\tlabel\nu1\t1|2|3\t4\t1\nu1\t1|2|3\t5\t0\nu2\t\t4\t1\nu3\t2\t1\t0\n"
    train = write(tmp_path / "train.tsv", text.replace("|", separator))
    test = write(tmp_path / "test.tsv", "uid\tpast\titem\tlabel\nu2\t\t9\t1\n")
    log = load(
        *("event_log", "--train", train, "--test", test),
        *("--user-column", "uid", "--history-column", "past"),
    )
    assert rows(log.events) == [["u1", 1, 0], ["u1", 2, 1], ["u1", 3, 2], ["u3", 2, 0]]
    assert rows(log.samples[["user", "item", "label", "split"]]) == [
        ["u1", 4, 1, "train"],
        ["u1", 5, 0, "train"],
        ["u2", 4, 1, "train"],
        ["u3", 1, 0, "train"],
        ["u2", 9, 1, "test"],
    ]


MIND = ["--columns", "id", "user", "time", "past", "shown", "--history-column", "past"]


def test_several_shown_items_in_a_cell(tmp_path):
    """MIND's behaviors.tsv, through to the batches."""
    train = write(
        tmp_path / "train.tsv",
        "1\tU1\t11/13/2019 8:36:57 AM\tN1 N2\tN3-0 N4-1\n2\tU2\tx\tN5\tN3-1\n"
        "3\tU1\ty\tN1 N2 N4\tN6-0 N1-1\n",
    )
    test = write(tmp_path / "test.tsv", "9\tU2\tx\tN5\tN4-1 N1-0\n")
    news = write(tmp_path / "users.csv", "user,age\nU1,3\nU2,4\n")
    argv = ["--source", "event_log", "--train", train, "--test", test, "--users", news, *MIND]
    argv += ["--shown-column", "shown", "--out", tmp_path / "out"]
    schema, out = prepare(Parser().parse_args([str(flag) for flag in argv]))
    assert schema.protocol == "given" and schema.rows == {"train": 5, "test": 2}
    assert "history" in schema.note
    items = pd.read_parquet(os.path.join(out, "items.parquet"))["item"]
    batch = next(Reader(out, "train", 10, 10).epoch())
    found = []
    for k in range(5):
        history = [items[i] for i in batch["history_item"][k] if i > 1]
        found.append((history, items[batch["target_item"][k]], int(batch["label"].ravel()[k])))
    assert sorted(found) == [
        (["N1", "N2"], "N3", 0),
        (["N1", "N2"], "N4", 1),
        (["N1", "N2", "N4"], "N1", 1),
        (["N1", "N2", "N4"], "N6", 0),
        (["N5"], "N3", 1),
    ]


def test_a_separator_that_cannot_be_told(tmp_path):
    train = write(tmp_path / "t.csv", "user,past,item,label\nu,item 1|item 2,item 3,1\n")
    flags = ["event_log", "--train", train, "--test", train, "--history-column", "past"]
    refuses(["past: its cells hold '|' and ' '", "--cell-separator"], *flags)
    log = load(*flags, "--cell-separator", "|")
    assert list(log.events["item"]) == ["item 1", "item 2"]


def test_wrong_cells(tmp_path):
    train = write(tmp_path / "t.tsv", "1\tU1\tx\tN1\tN3-0 N4\n")
    flags = ["event_log", "--train", train, "--test", train, *MIND]
    refuses(["shown holds 'N4' in row 1", "ITEM-0"], *flags, "--shown-column", "shown")
    refuses(["needs --history-column"], *flags[:5], "--shown-column", "shown")
    refuses(["describe samples"], "event_log", "--events", train, "--history-column", "past")
    train = write(tmp_path / "t.tsv", "1\tU1\tx\tN1  N2\tN3-0\n")
    refuses(["holds an empty item"], *flags, "--shown-column", "shown")
