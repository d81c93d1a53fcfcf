"""Ids: one spelling for each value, or a refusal that names the row."""

import os

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_sources import load, refuses, rows, write

CASES = os.path.join(os.path.dirname(__file__), "cases")
ROW = "u1,i1,1\nu2,i2,2\n"


def log_of(tmp_path, users, *flags, items=None):
    """The log of one event for each of those users."""
    items = items or [f"i{k}" for k in range(len(users))]
    lines = "".join(f"{u},{i},{k}\n" for k, (u, i) in enumerate(zip(users, items, strict=True)))
    path = write(tmp_path / "e.csv", "user,item,time\n" + lines)
    return path, (lambda: load("event_log", "--events", path, *flags))


def users_of(tmp_path, users, *flags):
    return list(log_of(tmp_path, users, *flags)[1]().events["user"])


def test_7_and_7_0_are_one_number(tmp_path):
    assert users_of(tmp_path, ["7", "7.0", "8", "7.00"]) == [7, 7, 8, 7]


@pytest.mark.parametrize("one, other", [("7", "7.0"), ("7.0", "+7"), ("-3.00", "-3")])
def test_two_spellings_among_texts_are_refused(tmp_path, one, other):
    path, _ = log_of(tmp_path, ["a", one, "b", other])
    refuses(
        ["e.csv: user is", "in row 4", "in row 2", "one id in two spellings"],
        "event_log",
        "--events",
        path,
    )


def test_leading_zeros_are_part_of_a_text(tmp_path):
    assert users_of(tmp_path, ["7", "007", "7"]) == ["7", "007", "7"]


def test_two_spellings_in_two_files_are_refused(tmp_path):
    path, _ = log_of(tmp_path, ["a", "a", "b"], items=["1", "2", "3"])
    items = write(tmp_path / "i.csv", "item,kind\n1.0,k\nx,l\n2,m\n")
    refuses(["in two spellings", "'1'", "'1.0'"], "event_log", "--events", path, "--items", items)
    items = write(tmp_path / "i.csv", "item,kind\n1.0,k\n2.0,m\n")
    log = load("event_log", "--events", path, "--items", items)
    assert list(log.items["item"]) == [1, 2]


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u3000", "\t", "\ufeff", "\u200b"])
def test_blanks_at_the_ends_make_no_new_id(tmp_path, capsys, blank):
    assert users_of(tmp_path, ["ann", f"ann{blank}", f"{blank}ann", "bob"]) == ["ann"] * 3 + ["bob"]
    assert "in row 2: blanks at the ends of 2 values are removed" in capsys.readouterr().err
    assert users_of(tmp_path, ["7", f"7{blank}", "8"]) == [7, 7, 8]


def test_an_id_of_blanks_alone_is_missing(tmp_path):
    path, _ = log_of(tmp_path, ["ann", " ", "bob"])
    refuses(["user is missing in row 2"], "event_log", "--events", path)


def test_attributes_are_trimmed_too(tmp_path):
    path, _ = log_of(tmp_path, ["ann", "bob"], items=["1", "2"])
    items = write(tmp_path / "i.csv", "item,kind\n1,shoe \n2,shoe\n")
    log = load("event_log", "--events", path, "--items", items)
    assert rows(log.items) == [[1, "shoe"], [2, "shoe"]]


@pytest.mark.parametrize("id", ["1.0E+18", "1e+18", "1.23457E18", "1.5e+17"])
def test_a_rounded_number_is_no_id(tmp_path, id):
    path, _ = log_of(tmp_path, ["ann", id, "bob"])
    refuses([f"user is '{id}' in row 2", "integers or texts"], "event_log", "--events", path)


def test_hashes_that_look_like_numbers_are_ids(tmp_path):
    hashes = ["3e12", "00e1", "12E4", "ab12"]
    assert users_of(tmp_path, hashes) == hashes


def test_floats_beyond_2_to_the_53_are_refused(tmp_path):
    big = 2**53
    table = pa.table({"user": [1.0, float(big)], "item": [1, 2], "time": [1, 2]})
    pq.write_table(table, tmp_path / "e.parquet")
    refuses(
        [f"user is {big} in row 2", "floating-point"],
        "event_log",
        "--events",
        tmp_path / "e.parquet",
    )
    table = pa.table({"user": [1.0, float(big - 1)], "item": [1, 2], "time": [1, 2]})
    pq.write_table(table, tmp_path / "e.parquet")
    log = load("event_log", "--events", tmp_path / "e.parquet")
    assert list(log.events["user"]) == [1, big - 1]


@pytest.mark.parametrize("header", ["user,item,time\n", "\ufeffuser,item,time\n"])
def test_a_header_line_in_the_middle_is_left_out(tmp_path, capsys, header):
    text = "user,item,time\n" + ROW + header + "u3,i3,3\n" + header + "u1,i4,4\n"
    log = load("event_log", "--events", write(tmp_path / "e.csv", text))
    assert list(log.events["user"]) == ["u1", "u2", "u3", "u1"]
    assert "2 rows repeat the header line, the first of them row 3" in capsys.readouterr().err


def test_a_byte_order_mark_in_the_middle_is_no_part_of_an_id(tmp_path):
    text = "\ufeffuser,item,time\n" + ROW + "\ufeffu1,i3,3\n"
    log = load("event_log", "--events", write(tmp_path / "e.csv", text))
    assert list(log.events["user"]) == ["u1", "u2", "u1"]


def test_the_case_of_hives_null_for_a_user():
    path = os.path.join(CASES, "h4_null_ids.csv")
    refuses(
        ["user is '\\N' in row 2 (72 of 80 rows)", "--null '\\N'", "--drop-missing"],
        "event_log",
        "--events",
        path,
    )
    missing = ["user is missing in row 2", "72"]
    refuses(missing, "event_log", "--events", path, "--null", "\\N")
    log = load("event_log", "--events", path, "--null", "\\N", "--drop-missing")
    assert len(log.events) == 8 and "\\N" not in set(log.events["user"])
    log = load("event_log", "--events", path, "--null", "")
    assert (log.events["user"] == "\\N").sum() == 72


@pytest.mark.parametrize("text", ["NA", "nan", "NaN", "NULL", "null", "\\N", "None", "N/A"])
def test_an_id_that_looks_missing_is_refused(tmp_path, text):
    path, _ = log_of(tmp_path, ["ann", "bob", text])
    refuses([f"user is '{text}' in row 3 (1 of 3 rows)"], "event_log", "--events", path)
    assert users_of(tmp_path, ["ann", text], "--null", "") == ["ann", text]
    assert users_of(tmp_path, ["ann", text, "b"], "--null", text, "--drop-missing") == ["ann", "b"]


def test_null_texts_of_attributes_and_numbers(tmp_path, capsys):
    path, _ = log_of(tmp_path, ["ann", "bob", "cid"], items=["1", "2", "3"])
    items = write(tmp_path / "i.csv", "item,kind,price\n1,NA,2\n2,shoe,NA\n3,NA,4\n")
    flags = ["event_log", "--events", path, "--items", items, "--dense", "price"]
    refuses(["price is 'NA' in row 2", "--null 'NA'"], *flags)
    log = load(*flags, "--null", "NA")
    assert rows(log.items) == [[1, None, 2.0], [2, "shoe", None], [3, None, 4.0]]
    write(items, "item,kind,price\n1,NA,2\n2,shoe,3\n3,NA,4\n")
    assert list(load(*flags).items["kind"]) == ["NA", "shoe", "NA"]
    assert "kind is 'NA' in 2 of 3 rows and is kept as a value" in capsys.readouterr().err


def test_typed_files_keep_their_texts(tmp_path):
    """Parquet says what is a text: a request will say it too."""
    frame = pd.DataFrame({"user": ["5", "6 "], "item": [1, 2], "time": [1, 2]})
    frame.to_parquet(tmp_path / "e.parquet")
    assert list(load("event_log", "--events", tmp_path / "e.parquet").events["user"]) == ["5", "6"]


def test_typed_texts_that_are_whole_numbers_have_one_spelling(tmp_path):
    frame = pd.DataFrame({"user": ["5", "5.0", "6.0"], "item": [1, 2, 3], "time": [1, 2, 3]})
    frame.to_parquet(tmp_path / "e.parquet")
    log = load("event_log", "--events", tmp_path / "e.parquet")
    assert list(log.events["user"]) == ["5", "5", "6"]


def test_one_id_in_thousands(tmp_path):
    """Every row counts, not a sample of them."""
    users = [f"u{k}" for k in range(5000)]
    path, _ = log_of(tmp_path, [*users, "null"])
    refuses(["user is 'null' in row 5,001 (1 of 5,001 rows)"], "event_log", "--events", path)
