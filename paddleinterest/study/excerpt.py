"""A part of a table of results for a page: some rows and one figure, or the table in Chinese.

Both work on the Markdown of `table_text.as_markdown`, with any columns. The Chinese texts are in
words/tables_cn.yaml.
"""

import functools
import itertools
import os
import re
from typing import NamedTuple

import yaml

from paddleinterest.core.errors import InputError
from paddleinterest.study import markdown

CHINESE = ("_cn.md", ".zh.md")  # endings of the names of Chinese pages
MISSING = "not run"


class Part(NamedTuple):
    """One dataset's part of a table: its line, column names, and cells."""

    heading: str
    columns: list[str]
    rows: list[list[str]]


def one_figure(text: str, figure: str, labels: list[str]) -> str:
    """Some rows of a table, with one figure and one column per dataset.

    Args:
        text: the whole table in Markdown.
        figure: a column of it, such as AUC.
        labels: the rows, in this order.

    Raises:
        InputError: the table has no such column or row.
    """
    parts = _parts(text)
    if not parts or figure not in parts[0].columns:
        known = ", ".join(filter(None, parts[0].columns)) if parts else "none"
        raise InputError(f"the table has no column {figure}; it has {known}")
    for label in labels:
        if label not in [row[0] for row in parts[0].rows]:
            known = ", ".join(row[0] for row in parts[0].rows)
            raise InputError(f"the table has no row {label}; it has {known}")
    names = [re.match(r"\*\*(.+?)\*\*", part.heading)[1] for part in parts]  # type: ignore[index]
    seeds = re.search(r"(\d+) seeds", parts[0].heading)
    over = f", {seeds[1]} seeds" if seeds else ""
    rows = [[label, *(_figure(part, label, figure) for part in parts)] for label in labels]
    return markdown.table([f"test {figure}{over}", *names], rows)


def _figure(part: Part, label: str, figure: str) -> str:
    row = next((row for row in part.rows if row[0] == label), [])
    if len(row) > 1 and row[1] == MISSING:
        return MISSING
    place = part.columns.index(figure)
    return row[place] if place < len(row) else ""


def _parts(text: str) -> list[Part]:
    """The parts of the datasets, without the table of the pairs, which has no heading."""
    blocks = text.strip().split("\n\n")
    parts = []
    for heading, block in itertools.pairwise(blocks):
        if heading.startswith("**") and block.startswith("|"):
            lines = block.splitlines()
            cells = [_cells(line) for line in lines if not re.fullmatch(r"[|\-: ]+", line)]
            parts.append(Part(heading, cells[0], cells[1:]))
    return parts


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|").removesuffix("|")
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", inner)]


@functools.cache
def _words() -> dict:
    path = os.path.join(os.path.dirname(__file__), "words", "tables_cn.yaml")
    with open(path, encoding="utf-8") as f:
        return yaml.safe_load(f)


def in_chinese(text: str) -> str:
    """The table with its words in Chinese; names of models and commands stay."""
    return "\n".join(_line_in_chinese(line) for line in text.splitlines())


def _line_in_chinese(line: str) -> str:
    if line.startswith("|"):
        return re.sub(r"(?<=\| )[^|]*[^|\s](?= \|)", lambda found: cell(found[0]), line)
    for english, chinese in _words()["titles"].items():
        line = line.replace(f"{english}. ", f"{chinese}。")
    for pattern, chinese in _words()["sentences"].items():
        line = re.sub(pattern, chinese, line)
    return line


def cell(text: str) -> str:
    """A cell in Chinese; the two sides of a difference are translated separately."""
    texts = _words()["cells"]
    if text in texts:
        return texts[text]
    if " − " in text:
        return " − ".join(cell(side) for side in text.split(" − "))
    for pattern, chinese in _words()["heads"].items():
        text = re.sub(pattern, chinese, text)
    return text
