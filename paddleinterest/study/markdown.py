"""Markdown tables, and text that is not read as markup.

Example:
    >>> print(table(["model", "AUC"], [["DIN", 0.5], ["a|b", ""]]))
    | model | AUC |
    |---|---|
    | DIN | 0.5 |
    | a\\|b |  |
    >>> plain("</title><script> *x*")
    '&lt;/title&gt;&lt;script&gt; \\\\*x\\\\*'
"""

import html
import re
from collections.abc import Iterable, Sequence


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table; bars and line breaks inside a cell are escaped.

    Args:
        head: the columns' names.
        rows: the cells of each line, as many as `head` has.

    Returns:
        The table's lines, without a line break at the end.
    """
    lines = [_line(head), "|" + "---|" * len(head)]
    lines += [_line(row) for row in rows]
    return "\n".join(lines)


def _line(cells: Sequence[object]) -> str:
    texts = [_one_line(str(cell)).replace("|", "\\|") for cell in cells]
    return "| " + " | ".join(texts) + " |"


def plain(text: object) -> str:
    """A name with everything escaped that Markdown or HTML would read as markup.

    Args:
        text: a name of a dataset, a run or a path, which may come from a stranger.
    """
    escaped = re.sub(r"[\\`*\[\]~#$]|(?<!\w)_|_(?!\w)", r"\\\g<0>", _one_line(str(text)))
    return html.escape(escaped, quote=False)


def code(text: object) -> str:
    """A text in a code span, whatever backquotes it holds."""
    inner = _one_line(str(text))
    fence = "`" * (_longest_run(inner) + 1)
    space = " " if inner.startswith("`") or inner.endswith("`") else ""
    return f"{fence}{space}{inner}{space}{fence}"


def block(text: str) -> str:
    """A code block, whatever backquotes its text holds."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}\n{text}\n{fence}"


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())
