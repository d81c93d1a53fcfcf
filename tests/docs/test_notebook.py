"""docs/tutorial.ipynb as a student runs it: every cell, in order, in a folder of its own."""

import os
import sys

import pytest
import voice
from helpers import ROOT

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

NOTEBOOK = os.path.join(ROOT, "docs", "tutorial.ipynb")
FOLDERS = ("configs", "datasets", "models", "paddleinterest", "tools")


def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def text_of(cell, kind):
    """What a cell printed or showed of one kind, such as text/plain."""
    return "".join(out.get("data", {}).get(kind, out.get("text", "")) for out in cell.outputs)


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The notebook after a run, and the folder that it ran in."""
    folder = tmp_path_factory.mktemp("notebook")
    for name in FOLDERS:
        os.symlink(os.path.join(ROOT, name), folder / name)
    book = notebook()
    book.metadata.kernelspec = {"name": "python3", "display_name": sys.executable}
    place = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(book, timeout=300, kernel_name="python3", resources=place).execute()
    return book, folder


@pytest.mark.slow
def test_every_cell_runs(executed):
    book, folder = executed
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code) and len(code) >= 10
    assert os.path.getsize(folder / "output" / "din" / "notebook" / "attention.png") > 10_000
    assert not os.path.exists(os.path.join(ROOT, "output", "din", "notebook"))


@pytest.mark.slow
def test_it_learns_and_ranks(executed):
    book, _ = executed
    figures = next(cell for cell in book.cells if cell.source.startswith("pd.DataFrame({model"))
    table = {
        words[0]: words[1:]
        for words in map(str.split, text_of(figures, "text/plain").splitlines())
        if words
    }
    assert table["auc"] == ["gauc", "logloss", "pcoc"]
    assert float(table["din"][0]) > 0.7 and float(table["base"][0]) > 0.7, table
    ranking = next(cell for cell in book.cells if "bundle.rank" in cell.source)
    rows = [line.split() for line in text_of(ranking, "text/plain").splitlines()[1:]]
    assert [row[1] for row in rows] == ["1", "2", "3", "4"]
    assert [row[4] for row in rows if row[2] == "new-1"] == ["False"]
    scores = [float(row[3]) for row in rows]
    assert scores == sorted(scores, reverse=True) and scores[0] > scores[-1]


def test_it_is_short_and_in_plain_english():
    book = notebook()
    prose = [cell.source for cell in book.cells if cell.cell_type == "markdown"]
    assert [words for text in prose for words in voice.found(text)] == []
    assert len(book.cells) <= 30 and os.path.getsize(NOTEBOOK) < 300_000


def test_its_outputs_name_no_folder_of_a_machine():
    with open(NOTEBOOK, encoding="utf-8") as f:
        text = f.read()
    assert "/tmp/" not in text and "/home/" not in text and "/root/" not in text
    assert '"stderr"' not in text  # progress bars
