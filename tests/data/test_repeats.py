"""Labels, repeats, and what preparation says of a log."""

import os

import pandas as pd
import pytest
from test_sources import load, refuses, rows, write

from paddleinterest.commands.prepare import Parser
from paddleinterest.core.errors import InputError
from paddleinterest.data import summary
from paddleinterest.data.log import Log
from paddleinterest.data.prepare import prepare

CASES = os.path.join(os.path.dirname(__file__), "cases")


def test_the_case_of_impressions_with_both_labels(capsys, tmp_path):
    path = os.path.join(CASES, "h7_both_labels.csv")
    log = load("event_log", "--events", path)
    raw = pd.read_csv(path)
    wanted = raw.groupby(["user", "item", "time"])["label"].max()
    found = log.events.set_index(["user", "item", "time"])["label"]
    assert len(found) == 200 and (found.sort_index() == wanted.sort_index()).all()
    assert "62 of 262 rows are impressions that also occur with label 1" in capsys.readouterr().err
    argv = ["--source", "event_log", "--events", path, "--protocol", "impressions"]
    schema, _ = prepare(Parser().parse_args([*argv, "--out", str(tmp_path / "out")]))
    assert sum(schema.rows.values()) == 200


REPEATED = "user,item,time,label,place\nu,1,5,1,a\nu,1,5,1,a\nu,1,5,1,b\nu,1,6,0,a\nv,1,5,0,a\n"


def test_repeats_are_reported_and_dropped_if_asked(tmp_path, capsys):
    path = write(tmp_path / "e.csv", REPEATED)
    assert len(load("event_log", "--events", path, "--context", "place").events) == 5
    assert "2 of 5 events repeat another" in (said := capsys.readouterr().err)
    assert "1 agree in every column read" in said
    log = load("event_log", "--events", path, "--context", "place", "--drop-repeats")
    assert rows(log.events) == [["u", 1, 5, 1, "a"], ["u", 1, 6, 0, "a"], ["v", 1, 5, 0, "a"]]


def test_ratings(tmp_path):
    path = write(tmp_path / "e.csv", "user,item,time,stars\nu,1,1,3.5\nu,2,2,4\nu,3,3,5\n")
    flags = ["event_log", "--events", path, "--label-column", "stars"]
    assert list(load(*flags, "--positive-from", "4").events["label"]) == [0, 1, 1]
    refuses(["stars is 3.5 in row 1", "--positive-from"], *flags)


def test_event_types(tmp_path):
    path = write(tmp_path / "e.csv", "user,item,time,what\nu,1,1,pv\nu,2,2,buy\nu,3,3,cart\n")
    flags = ["event_log", "--events", path, "--label-column", "what"]
    assert list(load(*flags, "--positive", "buy", "cart").events["label"]) == [0, 1, 1]
    refuses(["what is 'pv' in row 1", "--positive"], *flags)
    refuses(["what is never 'bye'", "buy"], *flags, "--positive", "bye")


def test_the_case_of_one_moment(tmp_path):
    path = os.path.join(CASES, "h6_ties.csv")
    argv = ["--source", "event_log", "--events", path, "--protocol", "impressions"]
    with pytest.raises(InputError, match="every time is the same, 2023-11-14 22:13:20"):
        prepare(Parser().parse_args([*argv, "--out", str(tmp_path / "out")]))
    assert os.listdir(tmp_path) == []


def log_of(**columns):
    events = pd.DataFrame(columns)
    return Log(events, pd.DataFrame({"item": events["item"].unique()}))


def test_what_was_understood(capsys):
    summary.tell(log_of(user=[1, 1, 2], item=[1, 2, 2], time=[0, 86400, 86400], label=[1, 0, 0]))
    said = capsys.readouterr().err
    assert "3 events of 2 users and 2 items, 33.3% with label 1" in said
    assert "1970-01-01 00:00:00 to 1970-01-02 00:00:00 (UTC)" in said and "looks wrong" in said


def test_one_user_with_most_of_the_events(capsys):
    users = ["anonymous"] * 30 + [f"u{k}" for k in range(30)]
    times = [1_700_000_000 + k for k in range(60)]
    summary.tell(log_of(user=users, item=[1] * 60, time=times))
    assert "user 'anonymous' has 50.0% of all events" in capsys.readouterr().err


def test_equal_times(capsys):
    times = [1_700_000_000, 1_700_000_000, 1_700_000_001, 1_700_000_002]
    summary.tell(log_of(user=[1, 1, 1, 2], item=[1, 2, 3, 4], time=times))
    assert "50.0% of the events have the time of another" in capsys.readouterr().err


def test_items_shown_together_have_one_time(capsys):
    times = [1_700_000_000, 1_700_000_000, 1_700_000_001, 1_700_000_002]
    log = log_of(user=[1, 1, 1, 2], item=[1, 2, 3, 4], time=times, label=[0, 1, 0, 1])
    summary.tell(log, "impressions")
    said = capsys.readouterr().err
    assert "50.0% of the events have the time of another" in said
    assert "shown together" in said and "order is unknown" not in said


def test_impressions_of_whole_days_have_no_order(capsys):
    log = log_of(user=[1, 1, 1], item=[1, 2, 3], time=[86400, 86400, 172800], label=[0, 1, 0])
    summary.tell(log, "impressions")
    said = capsys.readouterr().err
    assert "(times are whole days), so their order is unknown" in said


@pytest.mark.parametrize("separator", ["|", ",", ";", "^"])
def test_several_values_in_a_cell_are_reported(capsys, separator):
    log = log_of(user=[1], item=[1], time=[1_700_000_000])
    genres = ["War", "War|Comedy", "Comedy", "Drama|War", "Drama|War|Comedy", "Drama|Comedy"]
    cells = [genre.replace("|", separator) for genre in genres]
    log.items = pd.DataFrame({"item": range(1, 7), "genres": cells})
    summary.tell(log)
    assert "'genres' of items holds several values in a cell" in capsys.readouterr().err


def test_titles_with_commas_are_one_value(capsys):
    log = log_of(user=[1], item=[1], time=[1_700_000_000])
    titles = ["Good, the Bad", "Cook, the Thief", "Me, Myself", "Jaws", "Alien"]
    log.items = pd.DataFrame({"item": range(1, 6), "title": titles})
    summary.tell(log)
    assert "several values" not in capsys.readouterr().err


def test_one_cell_of_values_that_stand_alone_elsewhere_is_reported(capsys):
    log = log_of(user=[1], item=[1], time=[1_700_000_000])
    genres = ["War", "Comedy", "Drama", "War|Comedy", "War"]
    log.items = pd.DataFrame({"item": range(1, 6), "genres": genres})
    summary.tell(log)
    assert "such as 'War|Comedy'" in capsys.readouterr().err
