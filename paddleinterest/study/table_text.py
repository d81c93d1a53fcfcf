"""A table of results as Markdown and CSV, and its place in a README.

`Done` is {(row, dataset, seed): what the trainer printed}, `Bars` the same with the figures on
other users and negatives of test.
"""

import csv
import io
import re
import statistics
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from paddleinterest.core.atomic import whole_file
from paddleinterest.core.errors import InputError
from paddleinterest.core.metrics import rela_impr
from paddleinterest.study import excerpt, markdown
from paddleinterest.study.tables import Row, Table, cells, dataset_name
from paddleinterest.study.uncertainty import (
    ALPHA,
    FEWEST_SEEDS,
    Resampled,
    compare,
    interval,
)
from paddleinterest.training.new_items import KEY

METRICS = {"auc": "AUC", "gauc": "gAUC", "logloss": "log loss", "pcoc": "PCOC"}
WITHHELD = {KEY: "AUC, withheld items"}  # only of datasets that withhold some
MISSING = excerpt.MISSING

Result: TypeAlias = dict[str, Any]
Done: TypeAlias = dict[tuple[str, str, int], Result]
Bars: TypeAlias = dict[tuple[str, str, int], Resampled]
BySeed: TypeAlias = dict[int, Result]


def as_markdown(table: Table, done: Done, bars: Bars | None = None) -> str:
    """The table as Markdown: one part per dataset, one of the pairs, and what it was made with."""
    bars = bars or {}
    parts = [_of_dataset(table, dataset, done, bars) for dataset in table.datasets]
    if table.pairs:
        parts.append(_of_pairs(table, done, bars))
    return "\n\n".join([*parts, _foot(table, done, bars)]) + "\n"


def _foot(table: Table, done: Done, bars: Bars) -> str:
    example = next(cell.command for cell in cells(table) if cell.trains)
    found = sorted({version for result in done.values() for version in result.get("versions", [])})
    made = f" {'; '.join(found)}." if found else ""
    seeds = ", ".join(map(str, table.seeds))
    over = f"Seed {seeds}"
    if len(table.seeds) > 1:
        over = f"Mean ± standard deviation over seeds {seeds}, or over as many as brackets say"
    words = f"{table.title}. {over}.{made}{_words_on_bars(table, bars)}"
    return (
        f"{words}\n\n`{' '.join(example)}` is the first training; "
        f"`python tools/reproduce.py --table {table.name} --dry-run` prints all."
    )


def _words_on_bars(table: Table, bars: Bars) -> str:
    """How to read square brackets and bold; "" if there are none."""
    if not bars:
        return ""
    most = max(found.draws for found in bars.values())
    negatives = f" and {most} draws of its negatives" if most > 1 else ""
    said = f" In square brackets: 95 % over test's users{negatives}."
    if table.pairs:
        said += (
            f" A difference in bold survives both: these, and {FEWEST_SEEDS} seeds or more"
            f" (p < {ALPHA})."
        )
    return said


def _of_dataset(table: Table, dataset: str, done: Done, bars: Bars) -> str:
    """The part of one dataset: a line of its name and size, and its table."""
    results = {row.label: _by_seed(table, row, dataset, done) for row in table.rows}
    some = next((result for found in results.values() for result in found.values()), None)
    metrics = _metrics(results.values())
    columns = ["", *metrics.values(), *(["RelaImpr"] if table.baseline else []), "best epoch"]
    rows = []
    for row in table.rows:
        cells_of_row = _cells_of(table, row, results, metrics)
        resampled = [
            bars[row.label, dataset, s] for s in table.seeds if (row.label, dataset, s) in bars
        ]
        if resampled:
            cells_of_row[0] += _interval(resampled)
        rows.append([row.label, *cells_of_row])
    if some and "best_possible" in some:
        best = some["best_possible"]["test"]
        figures = ["*the true probabilities*", f"{best['auc']:.4f}", f"{best['gauc']:.4f}"]
        rows.append(figures + [""] * (len(columns) - len(figures)))
    return f"{_heading(table, dataset, some)}\n\n{markdown.table(columns, rows)}"


def _metrics(results: Iterable[Mapping[Any, Result]]) -> dict[str, str]:
    """{metric: name of its column} of a dataset's results."""
    tests = [result["test"] for by_seed in results for result in by_seed.values()]
    return {**METRICS, **(WITHHELD if any(KEY in test for test in tests) else {})}


def _interval(resampled: list[Resampled]) -> str:
    low, high = interval(resampled)
    return f" [{low:.4f}, {high:.4f}]"


def _by_seed(table: Table, row: Row, dataset: str, done: Done) -> BySeed:
    keys = {seed: (row.label, dataset, seed) for seed in table.seeds}
    return {seed: done[key] for seed, key in keys.items() if key in done}


def _heading(table: Table, dataset: str, some: Result | None) -> str:
    head = f"**{dataset_name(dataset)}**"
    if some:
        rows = some["rows"]
        sizes = f"{rows['train']:,} / {rows['valid']:,} / {rows['test']:,}"
        head += f", `{some['protocol']}`, {sizes} samples"
        head += f", {len(table.seeds)} seeds" if len(table.seeds) > 1 else ""
    return head


def _cells_of(
    table: Table, row: Row, results: dict[str, BySeed], metrics: dict[str, str]
) -> list[str]:
    """The cells of a row after its label."""
    by_seed = results[row.label]
    planned = len(table.seeds_of(row))
    found = list(by_seed.values())
    if not found:
        return [MISSING] + [""] * (len(metrics) + bool(table.baseline))
    partial = len(found) < planned
    texts = []
    for metric in metrics:
        values = [result["test"].get(metric) for result in found]
        texts.append(_spread(values, partial) if metric in found[0]["test"] else "")
    if table.baseline:
        texts.append(_improvement(results[table.baseline], by_seed, planned))
    epochs = sorted({result["best_epoch"] for result in found if "best_epoch" in result})
    return [*texts, "–".join(map(str, dict.fromkeys([*epochs[:1], *epochs[-1:]])))]


def _spread(values: list[float | None], partial: bool) -> str:
    """Mean ± standard deviation; in brackets how many values there are, if some are missing."""
    defined = [value for value in values if value is not None]
    if not defined:
        return "undefined"
    text = f"{statistics.mean(defined):.4f}"
    if len(defined) > 1:
        text += f" ± {statistics.stdev(defined):.4f}"
    return text + (f" ({len(defined)})" if partial else "")


def _improvement(base: BySeed, found: BySeed, planned: int) -> str:
    """RelaImpr of the mean AUC over the seeds that both rows have; a row with one figure counts for
    all seeds."""
    both = base.keys() & found.keys() if planned > 1 else base.keys() | found.keys()
    ours = [result["test"]["auc"] for seed, result in found.items() if seed in both]
    theirs = [result["test"]["auc"] for seed, result in base.items() if seed in both]
    if found is base or not ours or not theirs:
        return ""
    percent = round(rela_impr(statistics.mean(ours), statistics.mean(theirs)), 1)
    return f"{percent + 0.0:+.1f} %"  # + 0.0: never -0.0


def _of_pairs(table: Table, done: Done, bars: Bars) -> str:
    """Differences in test AUC of two rows on the same seeds, with Student's t-test of their mean
    against 0, and their intervals over other users and negatives."""
    names = [dataset_name(dataset) for dataset in table.datasets]
    rows = []
    for one, other in table.pairs:
        texts = []
        for dataset in table.datasets:
            text = _difference(_differences(table, done, one, other, dataset))
            texts.append(_with_bars(table, bars, one, other, dataset, text))
        rows.append([f"{one} − {other}", *texts])
    return markdown.table(["test AUC, paired over seeds", *names], rows)


def _with_bars(table: Table, bars: Bars, one: str, other: str, dataset: str, text: str) -> str:
    """A difference with its interval; in bold if it survives both."""
    both = [
        seed
        for seed in table.seeds
        if (one, dataset, seed) in bars and (other, dataset, seed) in bars
    ]
    if not both:
        return text
    found = compare(
        [bars[one, dataset, seed] for seed in both],
        [bars[other, dataset, seed] for seed in both],
    )
    value, space, rest = text.partition(" ")
    if found.is_difference:
        value = f"**{value}**"
    return f"{value}{space}{rest} [{found.low:+.4f}, {found.high:+.4f}]"


def _differences(table: Table, done: Done, one: str, other: str, dataset: str) -> list[float]:
    """The difference in test AUC on each seed that both rows have."""
    found = []
    for seed in table.seeds:
        ours = done.get((one, dataset, seed))
        theirs = done.get((other, dataset, seed))
        if ours and theirs:
            found.append(ours["test"]["auc"] - theirs["test"]["auc"])
    return found


def _difference(values: list[float]) -> str:
    if not values:
        return MISSING
    text = f"{statistics.mean(values):+.4f}"
    if len(values) < 2 or not statistics.stdev(values):
        return f"{text} ({len(values)})"
    from scipy.stats import ttest_1samp

    p = ttest_1samp(values, 0).pvalue
    said = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    return f"{text} ± {statistics.stdev(values):.4f}, {said} ({len(values)})"


def as_csv(table: Table, done: Done) -> str:
    """One line per cell that has been run."""
    out = io.StringIO()
    figures = [(split, metric) for split in ("valid", "test") for metric in _metrics([done])]
    writer = csv.writer(out)
    writer.writerow(
        [
            "row",
            "dataset",
            "seed",
            "best_epoch",
            *(f"{split}_{metric}" for split, metric in figures),
            "samples_per_second",
            "seconds",
            "command",
            "versions",
        ]
    )
    for (row, dataset, seed), result in done.items():
        writer.writerow(
            [
                row,
                dataset_name(dataset),
                seed,
                result.get("best_epoch"),
                *(result[split].get(metric) for split, metric in figures),
                result.get("samples_per_second"),
                result["seconds"],
                " ".join(result["command"]),
                " ".join(result.get("versions", [])),
            ]
        )
    return out.getvalue()


def paste(path: str, name: str, text: str) -> None:
    """Put the table between its marks in a page; the rest of the page stays as it is.

    `<!-- table main -->` takes the whole table, `<!-- table main, AUC: base | DIN -->` one figure
    of some rows. On a page that ends in _cn.md or .zh.md its words are Chinese.

    Raises:
        InputError: the file has no such marks, or they name a row or column that the table does not
            have.
    """
    mark = re.compile(
        rf"^(?P<mark><!-- table {re.escape(name)}(?:, (?P<figure>[^:>]+): (?P<rows>[^>]+))? -->)"
        rf"$.*?^(?P<end><!-- /table -->)$",
        re.M | re.S,
    )
    with open(path, encoding="utf-8") as f:
        old = f.read()
    if not mark.search(old):
        raise InputError(
            f"{path} has no place for table {name}: it needs a line <!-- table {name} --> and,"
            " after it, a line <!-- /table -->"
        )

    def filled(found: re.Match) -> str:
        piece = text.strip()
        if found["figure"]:
            labels = [label.strip() for label in found["rows"].split("|")]
            piece = excerpt.one_figure(piece, found["figure"], labels)
        if path.endswith(excerpt.CHINESE):
            piece = excerpt.in_chinese(piece)
        return f"{found['mark']}\n{piece}\n{found['end']}"

    with whole_file(path) as made, open(made, "w", encoding="utf-8") as f:
        f.write(mark.sub(filled, old))
