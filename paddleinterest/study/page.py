"""The page of tools/report.py in Markdown, in English and in Chinese: pictures, how to read them,
and their numbers. Its words are in words/en.yaml and words/cn.yaml."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import yaml

from paddleinterest.study.breakdown import Range
from paddleinterest.study.curves import DRAWS, InSlice, Numbers
from paddleinterest.study.markdown import block, code, plain, table
from paddleinterest.study.plots import name_of, names_of

PAGES = {"en": "README.md", "cn": "README.zh.md"}

Words = dict[str, Any]  # {key: a text, or a list of column heads}


def words(language: str) -> Words:
    """The words of a language, "en" or "cn"."""
    path = os.path.join(os.path.dirname(__file__), "words", f"{language}.yaml")
    with open(path, encoding="utf-8") as f:
        return yaml.safe_load(f)


def first_line(language: str) -> str:
    return f"# {words(language)['title']}"


def page(language: str, command: str, parts: list[Numbers], left_out: list[str]) -> str:
    """The whole page.

    Args:
        language: "en" or "cn".
        command: the command that wrote it.
        parts: the numbers of each dataset, with the names of their pictures.
        left_out: one line per missing run.
    """
    t = words(language)
    blocks = [first_line(language), t["other"], f"{t['made']}:", block(command), t["all"]]
    if left_out:
        blocks.append("\n".join([t["left"], "", *(f"- {plain(line)}" for line in left_out)]))
    for part in parts:
        blocks += _dataset(t, part)
    return "\n\n".join(blocks) + "\n"


def _dataset(t: Words, part: Numbers) -> Iterator[str]:
    schema = part.schema
    name = plain(schema.name)
    splits = [split for split in ("train", "valid", "test") if split in schema.rows]
    rows = " / ".join(f"{schema.rows[split]:,}" for split in splits)
    yield f"## {name}"
    yield f"{code(schema.protocol)}, {rows} {t['samples']}"
    if schema.note:
        yield plain(schema.note)
    yield table(t["runs"], _runs(t, part))
    caps = " / ".join(map(str, part.caps))
    sections: dict[str, tuple[str, dict[str, object]]] = {
        "learning": (_learning(t, part), {}),
        "length": (_length(t, part), {"draws": DRAWS, "cap": caps}),
        "calibration": (_calibration(t, part), {"bins": part.bins}),
        "cost": (_cost(t, part), {}),
    }
    for kind, (numbers, facts) in sections.items():
        yield f"### {t[kind]}"
        if kind in part.pictures:
            yield f"![{t[kind]}, {name}]({part.pictures[kind]})"
            yield t[f"read_{kind}"].format(**facts)
            yield f"<details><summary>{t['numbers']}</summary>\n\n{numbers}\n\n</details>"
        else:
            yield t[f"no_{kind}"]
    if part.untimed and "cost" in part.pictures:
        yield t["untimed"].format(n=len(part.untimed), all=len(part.runs))
    if part.slices:
        yield f"### {t['slices']}"
        yield t["read_slices"]
        for one in part.slices:
            yield t["slice"][one.slice.name].format(field=code(one.slice.of))
            yield _slice(t, part, one)


def number(t: Words, spread: np.ndarray, seeds: int, digits: int = 4) -> str:
    """Mean, and if there are several seeds the least and the greatest of them."""
    if not np.isfinite(spread).all():
        return t["undefined"]
    mean, low, high = (f"{v:.{digits}f}" for v in spread)
    return f"{mean} ({low}–{high})" if seeds > 1 else mean


def _runs(t: Words, part: Numbers) -> Iterator[list[object]]:
    for label, runs in part.series.items():
        epochs = sorted({run.best_epoch for run in runs})
        yield [
            plain(label),
            ", ".join(str(run.seed) for run in runs),
            f"{epochs[0]}–{epochs[-1]}" if len(epochs) > 1 else epochs[0],
            *(number(t, spread, len(runs)) for spread in part.quality[label].values()),
            ", ".join(code(setting) for setting in part.settings[label]),
        ]


def _learning(t: Words, part: Numbers) -> str:
    rows = []
    for label, n in part.learning.items():
        seeds = len(part.series[label])
        for k in range(n.loss.shape[1]):
            auc = number(t, n.auc[:, k], seeds)
            rows.append([plain(label), k + 1, auc, number(t, n.loss[:, k], seeds)])
    return table(t["head_learning"], rows)


def _length(t: Words, part: Numbers) -> str:
    heads = [
        f"{name} ({found.rows:,} {t['rows']})"
        for name, found in zip(names_of(part.ranges), part.ranges, strict=True)
    ]
    rows = []
    for label, n in part.lengths.items():
        low, high = n.interval
        cells = [_with_interval(t, *values) for values in zip(n.auc, low, high, strict=True)]
        rows.append([plain(label), *cells])
    return table([*t["head_length"], *heads], rows)


def _with_interval(t: Words, value: float, low: float, high: float) -> str:
    return t["undefined"] if np.isnan(value) else f"{value:.4f} [{low:.4f}, {high:.4f}]"


def _calibration(t: Words, part: Numbers) -> str:
    groups = [f"{t['group']} {k + 1}" for k in range(part.bins)]
    rows = []
    for label, n in part.calibration.items():
        cells = [f"{s:.4f} / {m:.4f}" for s, m in zip(n.score, n.label[0], strict=True)]
        rows.append([plain(label), *cells])
    return table([t["head_calibration"], *groups], rows)


def _slice(t: Words, part: Numbers, one: InSlice) -> str:
    """A line per group: its rows, its click rate, and AUC and PCOC of each label."""
    labels = [plain(label) for label in part.series]
    heads = [text for label in labels for text in (f"{label}: AUC", "PCOC")]
    rows = []
    for g, group in enumerate(one.slice.groups):
        cells: list[object] = [_group(t, one.slice.groups, group)]
        cells += [f"{one.rows[g]:,}", f"{one.rate[g]:.4f}"]
        for label, runs in part.series.items():
            cells.append(number(t, one.auc[label][:, g], len(runs)))
            cells.append(number(t, one.pcoc[label][:, g], len(runs), 2))
        rows.append(cells)
    return table([*t["head_slice"], *heads], rows)


def _group(t: Words, groups: list[Range | str], group: Range | str) -> str:
    """A group in words."""
    if isinstance(group, str):
        return t["groups"][group]
    return name_of(group, group is groups[-1])


def _cost(t: Words, part: Numbers) -> str:
    rows = [
        [
            plain(label),
            number(t, n.seconds, n.timed, 1),
            number(t, n.auc, len(part.series[label])),
            " / ".join(n.threads),
            n.timed,
        ]
        for label, n in part.cost.items()
    ]
    return table(t["head_cost"], rows)
