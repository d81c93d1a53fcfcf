"""Quotes in text tables, judged row by row (RFC 4180)."""

import csv
import io
import os

import pytest
from test_sources import load, refuses, rows, write

from paddleinterest.data.sources import files

CASES = os.path.join(os.path.dirname(__file__), "cases")
HEAD = "user,item,time,query\n"


@pytest.fixture(params=[1 << 25, 50], ids=["whole", "pieces"], autouse=True)
def piece(request, monkeypatch):
    """Reading in pieces of two or three lines must change nothing."""
    monkeypatch.setattr(files, "PIECE", request.param)


def lines(**cells):
    """Ten events; `q3="x"` is the cell of event 3."""
    return HEAD + "".join(f"u{k},i{k},{k},{cells.get(f'q{k}', 'shoes')}\n" for k in range(10))


def queries(path, *flags):
    log = load("event_log", "--events", path, "--context", "query", *flags)
    return list(log.events["query"])


def test_the_case_of_two_cells_that_open_and_never_close():
    """Their quotes are even in number; 25 of 40 events went without a word."""
    path = os.path.join(CASES, "h2_quotes.csv")
    refuses(
        ["h2_quotes.csv, line 7: a cell opens with a double quote"], "event_log", "--events", path
    )
    log = load("event_log", "--events", path, "--quote", "none", "--context", "query")
    assert len(log.events) == 40 and (log.events["query"] == '"red dress').sum() == 1


@pytest.mark.parametrize(
    "cells, line",
    [
        ({"q2": '"red dress'}, 4),  # never closed
        ({"q2": '"red dress', "q5": '"blue'}, 4),  # closed by the next bad cell
        ({"q2": '"red dress', "q5": 'pan 6"'}, 4),  # right by the letter, but swallows rows
        ({"q4": '"red" dress'}, 6),
        ({"q4": '"red""'}, 6),
        ({"q3": '6" pan', "q4": '"red" dress'}, 6),  # after a quote that is fine
        ({"q9": '"'}, 11),
        ({"q0": '""red""'}, 2),
    ],
)
def test_a_wrong_row_is_refused_by_its_line(tmp_path, cells, line):
    path = write(tmp_path / "e.csv", lines(**cells))
    refuses([f"e.csv, line {line}: ", "--quote none"], "event_log", "--events", path)


@pytest.mark.parametrize(
    "cells, wanted",
    [
        ({"q3": '6" pan'}, {3: '6" pan'}),
        ({"q3": '6" pan', "q5": 'a "b" c"'}, {3: '6" pan', 5: 'a "b" c"'}),
        ({"q3": '"a ""b"" c"'}, {3: 'a "b" c'}),
        ({"q3": '6" pan', "q4": '"a, ""b"""'}, {3: '6" pan', 4: 'a, "b"'}),
        ({"q3": '"two\nlines"', "q6": '6"'}, {3: "two\nlines", 6: '6"'}),
        ({"q3": '"a\n\nb"', "q9": '"x\ny\nz"'}, {3: "a\n\nb", 9: "x\ny\nz"}),
        ({f"q{k}": f'"shoes, {k}"' for k in range(10)}, {k: f"shoes, {k}" for k in range(10)}),
    ],
)
@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_a_good_file_is_read(tmp_path, cells, wanted, end):
    path = write(tmp_path / "e.csv", lines(**cells) + end)
    assert queries(path) == [wanted.get(k, "shoes") for k in range(10)]


def test_windows_line_ends(tmp_path):
    text = lines(q2='"a, ""b"""', q5='6" pan').replace("\n", "\r\n")
    assert queries(write(tmp_path / "e.csv", text))[2::3] == ['a, "b"', '6" pan', "shoes"]
    text = lines(q2='"red dress', q5='"blue').replace("\n", "\r\n")
    refuses(["line 4: "], "event_log", "--events", write(tmp_path / "e.csv", text))


def test_without_quotes_every_character_is_itself(tmp_path):
    cells = {"q2": '"red dress', "q3": '"', "q5": 'a""b', "q6": '"shut"'}
    found = queries(write(tmp_path / "e.csv", lines(**cells)), "--quote", "none")
    assert found == [cells.get(f"q{k}", "shoes") for k in range(10)]


@pytest.mark.slow
def test_random_tables_are_read_as_python_reads_them_or_refused(tmp_path, rng):
    """Cells of quotes, separators and line breaks: never another table than the strict parser's."""
    read = refused = 0
    for _ in range(120):
        alphabet = list('a",\n"') if rng.random() < 0.3 else list('aab" ')
        cells = ["".join(rng.choice(alphabet, rng.integers(1, 6))) for _ in range(6)]
        if rng.random() < 0.4:
            made = io.StringIO(newline="")
            writer = csv.writer(made, lineterminator="\n")
            writer.writerows([f"u{k}", f"i{k}", k, cell] for k, cell in enumerate(cells))
            body = made.getvalue()
        else:
            body = "".join(f"u{k},i{k},{k},{cell}\n" for k, cell in enumerate(cells))
        path = write(tmp_path / "e.csv", HEAD + body)
        try:
            strict = [row for row in csv.reader(io.StringIO(body, newline=""), strict=True) if row]
            fits = all(len(row) == 4 for row in strict)
        except csv.Error:
            fits = False
        try:
            log = load("event_log", "--events", path, "--context", "query", "--null", "")
        except Exception as e:
            assert type(e).__name__ == "InputError", body
            refused += 1
            continue
        read += 1
        assert fits, body
        trimmed = [row[3].strip() or None for row in strict]
        assert [row[3] for row in rows(log.events)] == trimmed, body
    assert read > 20 and refused > 20
