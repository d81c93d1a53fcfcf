"""The work of tools/report.py: open the runs, compute their numbers, draw them, write the page."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass

from paddleinterest.core import environment
from paddleinterest.core.atomic import whole_file
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.study import results, tables
from paddleinterest.study.results import Run


@dataclass
class Choice:
    """The runs to report on.

    Attributes:
        runs: run directories; or
        table: the name or path of a table, and which of its rows, datasets and seeds; None is all.
        skip_missing: leave out, and name, runs that are missing.
    """

    runs: list[str]
    table: str | None = None
    rows: list[str] | None = None
    datasets: list[str] | None = None
    seeds: list[int] | None = None
    skip_missing: bool = False


def report(choice: Choice, out: str, bins: int, command: str) -> dict:
    """Draw the runs and write the page.

    Args:
        choice: the runs.
        out: the folder of the page and its pictures.
        bins: ranges of history length, at most.
        command: the command that the page names.

    Returns:
        What the tool prints.

    Raises:
        InputError: a run is missing or cannot be read, or `out` holds something else.
    """
    check_out(out)
    runs, left_out = open_runs(choice)
    first = runs[0].config.runner
    environment.set_up(first.threads, first.cpu_tuning)  # before Paddle is imported
    from paddleinterest.study import curves, names, page, plots, scores

    names.name_runs(runs)
    if not choice.table:
        runs = results.by_model(runs)
    scores.score_runs(runs)
    style = plots.styles({run.label: run.model for run in runs})
    # all numbers before the first file
    parts = [curves.numbers_of(series, bins) for series in results.series_of(runs).values()]
    for part in parts:
        for directory in part.untimed:
            say(
                f"{directory} has no result.json (an older run, or one that has not ended): no"
                " point in the picture of cost"
            )
        _draw(part, style, out)
    for language, name in reversed(page.PAGES.items()):  # last, so a page always finds its pictures
        text = page.page(language, command, parts, left_out)
        with whole_file(os.path.join(out, name)) as made, open(made, "w", encoding="utf-8") as f:
            f.write(text)
    return {
        "out": out,
        "runs": len(runs),
        "left_out": left_out,
        "pages": list(page.PAGES.values()),
        "pictures": [picture for part in parts for picture in part.pictures.values()],
    }


def open_runs(choice: Choice) -> tuple[list[Run], list[str]]:
    """The runs that were asked for, and a line for each that is missing and skipped."""
    if choice.table:
        table = tables.read(choice.table)
        cells = tables.cells(table, choice.rows, choice.datasets, choice.seeds)
        directories = results.of_table(cells)
    else:  # the same directory twice is one run
        directories = {os.path.normpath(directory): "" for directory in choice.runs}
    runs = []
    left_out = []
    for directory, label in directories.items():
        try:
            runs.append(results.open_run(directory, label))
        except results.Missing as e:
            if not choice.skip_missing:
                raise
            left_out.append(str(e))
            say(f"left out: {e}")
    if not runs:
        raise InputError(f"no run is left to report ({len(left_out)} left out): {left_out[0]}")
    return runs, left_out


def _draw(part, style: dict, out: str) -> None:
    """The pictures of one dataset; their file names go into `part.pictures`."""
    from paddleinterest.study import plots

    name = part.schema.name
    threads = " / ".join(sorted({t for n in part.cost.values() for t in n.threads}))
    pictures: dict[str, Callable[[str], None]] = {
        "learning": lambda path: plots.learning(
            part.learning, style, path, f"Learning curves, {name}"
        ),
        "length": lambda path: plots.by_length(
            part.ranges, part.lengths, style, path, f"AUC by history length, {name}"
        ),
        "calibration": lambda path: plots.calibrated(
            part.calibration, style, path, f"Calibration on test, {name}"
        ),
        "cost": lambda path: plots.cost(part.cost, style, path, f"Cost and AUC, {name}", threads),
    }
    if len(part.ranges) == 1:
        del pictures["length"]  # one model alone cannot be compared
    if not part.cost:
        del pictures["cost"]
    for kind, draw in pictures.items():
        file = f"{re.sub(r'[^A-Za-z0-9_.]+', '-', name)}-{kind}.svg"
        with whole_file(os.path.join(out, file)) as made:
            draw(made)
        part.pictures[kind] = file


def check_out(out: str) -> None:
    """Refuse a directory that cannot be created or holds another page, before the work."""
    from paddleinterest.study import page

    path = os.path.abspath(out)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    if not os.path.isdir(path):
        raise InputError(f"--out {out}: {path} is a file, not a directory")
    for language, name in page.PAGES.items():
        page_path = os.path.join(out, name)
        if os.path.exists(page_path) and _first_line(page_path) != page.first_line(language):
            raise InputError(
                f"--out {out}: its {name} is not a page of this tool and is not replaced; choose"
                " a different folder"
            )


def _first_line(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.readline(1000).strip()
