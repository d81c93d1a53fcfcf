"""The pictures of tools/report.py: each function draws numbers of study/curves.py as an SVG file.

The background is white, so the pictures are readable on a dark page too. Labels stay text, not
paths: files are half as large, a search finds the text, and the layout is computed with a wide font
so that substitutes fit.
"""

from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator  # noqa: E402

from paddleinterest.study import fonts, looks  # noqa: E402
from paddleinterest.study.breakdown import Range  # noqa: E402
from paddleinterest.study.curves import Calibration, Cost, Learning, Lengths  # noqa: E402

Style = dict[str, Any]  # keyword arguments of a line

# Second and later settings of one model: same colour, different line and mark.
LINES = ["-", "--", ":", "-."]
HOLLOW = "osD^v<>ph"
FAINT = {"color": "#777777", "linewidth": 1, "linestyle": (0, (2, 2)), "zorder": 1}
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 9,
    "text.parse_math": False,  # print a $ in a label as it is
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "figure.constrained_layout.w_pad": 0.08,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


def styles(labels: dict[str, str]) -> dict[str, Style]:
    """The look of each label's line.

    Args:
        labels: {label: model}, in the order of the legend.
    """
    of_model = looks.of_models(list(dict.fromkeys(labels.values())))
    found: dict[str, Style] = {}
    variants: dict[str, int] = {}
    for label, model in labels.items():
        look = of_model[model]
        n = variants.get(model, 0)
        variants[model] = n + 1
        found[label] = {
            "color": look.colour,
            "linestyle": LINES[n % len(LINES)],
            "marker": HOLLOW[n % len(HOLLOW)] if n else look.marker,
            "markerfacecolor": "white" if n else look.colour,
        }
    return found


def learning(numbers: dict[str, Learning], style: dict[str, Style], path: str, title: str) -> None:
    """Valid AUC and train loss by epoch; an empty panel is left out."""
    panels = {
        "AUC on valid": {label: n.auc for label, n in numbers.items()},
        "log loss on train": {label: n.loss for label, n in numbers.items()},
    }
    drawn = {
        name: lines
        for name, lines in panels.items()
        if any(np.isfinite(spread[0]).any() for spread in lines.values())
    }
    with plt.rc_context(STYLE), fonts.covering([title, *numbers]):
        size = (4.2 * len(drawn), 3.7)
        figure, axes = plt.subplots(
            1, len(drawn), figsize=size, layout="constrained", squeeze=False
        )
        for ax, (name, lines) in zip(axes[0], drawn.items(), strict=True):
            for label, (mean, low, high) in lines.items():
                epoch = np.arange(1, len(mean) + 1)
                ax.plot(epoch, mean, **style[label], markevery=1 + len(mean) // 12)
                _band(ax, epoch, low, high, style[label]["color"])
            ax.set(xlabel="epoch", title=name)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        _finish(figure, {label: label for label in numbers}, style, path, title)


def by_length(
    ranges: list[Range],
    numbers: dict[str, Lengths],
    style: dict[str, Style],
    path: str,
    title: str,
) -> None:
    """AUC on test in ranges of history length, a bar for the interval; models side by side in each
    range."""
    at = np.arange(len(ranges))
    shifts = np.linspace(-0.3, 0.3, len(numbers)) if len(numbers) > 1 else np.zeros(1)
    with plt.rc_context(STYLE), fonts.covering([title, *numbers]):
        figure, ax = plt.subplots(figsize=(8.4, 4.2), layout="constrained")
        for shift, (label, n) in zip(shifts, numbers.items(), strict=True):
            low, high = n.interval
            bars = [np.maximum(n.auc - low, 0), np.maximum(high - n.auc, 0)]
            line = {**style[label], "linewidth": 0.7}
            ax.errorbar(at + shift, n.auc, bars, elinewidth=1.2, **line)
        for x in at[1:] - 0.5:
            ax.axvline(x, color="#cccccc", linewidth=0.6)
        ax.grid(axis="x", visible=False)
        ax.set_xlim(-0.5, len(at) - 0.5)
        names = zip(names_of(ranges), ranges, strict=True)
        ax.set_xticks(at, [f"{name}\n{found.rows:,} rows" for name, found in names])
        ax.set(xlabel="events in the history", ylabel="AUC on test")
        _finish(figure, {label: label for label in numbers}, style, path, title)


def names_of(ranges: list[Range]) -> list[str]:
    """Ranges in words: 4, 5–6, ≥ 21."""
    return [name_of(found, found is ranges[-1]) for found in ranges]


def name_of(found: Range, last: bool) -> str:
    """A range in words; the last one has no end."""
    if found.low == found.high:
        return str(found.low)
    return f"≥ {found.low}" if last else f"{found.low}–{found.high}"


def calibrated(
    numbers: dict[str, Calibration], style: dict[str, Style], path: str, title: str
) -> None:
    """Mean label against mean prediction in equal groups, and the distance from the diagonal."""
    with plt.rc_context(STYLE), fonts.covering([title, *numbers]):
        figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 4.3), layout="constrained")
        for label, n in numbers.items():
            left.plot(n.score, n.label[0], **{**style[label], "marker": ""})
            mean, low, high = n.label - n.score
            right.plot(n.score, mean, **style[label])
            _band(right, n.score, low, high, style[label]["color"])
        left.plot([0, 1], [0, 1], **FAINT)
        right.axhline(0, **FAINT)
        left.set(xlabel="mean prediction", title="mean label", xlim=(0, 1), ylim=(0, 1))
        right.set(xlabel="mean prediction", title="mean label − mean prediction", xlim=(0, 1))
        legend = {label: f"{label}, PCOC {n.pcoc[0]:.3f}" for label, n in numbers.items()}
        _finish(figure, legend, style, path, title)


def cost(
    numbers: dict[str, Cost], style: dict[str, Style], path: str, title: str, threads: str
) -> None:
    """AUC on test against seconds of training per epoch, a point per model."""
    points = {label: {**own, "linestyle": "none"} for label, own in style.items()}
    with plt.rc_context(STYLE), fonts.covering([title, *numbers]):
        figure, ax = plt.subplots(figsize=(6.6, 4.2), layout="constrained")
        for label, n in numbers.items():
            x, y = n.seconds[0], n.auc[0]
            ax.errorbar(
                x, y, _bar(n.auc), _bar(n.seconds), elinewidth=1.2, markersize=7, **points[label]
            )
        low = min(n.seconds[1] for n in numbers.values()) / 1.25
        high = max(n.seconds[2] for n in numbers.values()) * 1.25
        ax.set_xscale("log")
        ax.set_xlim(low, high)
        ax.xaxis.set_major_locator(FixedLocator(_ticks(low, high)))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        ax.set(
            xlabel=f"seconds of training per epoch, threads: {threads} (logarithmic)",
            ylabel="AUC on test",
        )
        _finish(figure, {label: label for label in numbers}, points, path, title)


def _bar(spread: np.ndarray) -> list[list[float]]:
    """The length of the bar of a spread [3] below and above its mean."""
    mean, low, high = spread
    return [[mean - low], [high - mean]]


def _band(ax: Axes, x: np.ndarray, low: np.ndarray, high: np.ndarray, colour: str) -> None:
    """A band from the least to the greatest over seeds; nothing for one seed."""
    if (high > low).any():
        edge = np.append(low, high[::-1])
        ax.fill(np.append(x, x[::-1]), edge, color=colour, alpha=0.15, linewidth=0)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between two ends of a logarithmic axis: 1, 2, 5, 10 …, and more of them if
    the axis is short."""
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    ticks: list[float] = []
    for steps in ([1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 4, 5, 7]):
        places = np.outer(decades, steps).ravel()
        ticks = [round(place, 12) for place in places if low <= place <= high]
        if len(ticks) >= 4:
            break
    return ticks


def _finish(
    figure: Figure, names: dict[str, str], style: dict[str, Style], path: str, title: str
) -> None:
    """Add the title and one legend below all panels, and write the file."""
    figure.suptitle(title, fontsize=10)
    _legend(figure, [Line2D([], [], **style[label]) for label in names], list(names.values()))
    # without a date, so equal numbers give equal files
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)


def _legend(figure: Figure, lines: list[Line2D], names: list[str]) -> None:
    """A legend below the panels with as many columns as fit."""
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    for columns in range(min(4, len(lines)), 0, -1):
        legend = figure.legend(
            lines,
            names,
            loc="outside lower center",
            ncols=columns,
            frameon=False,
            handlelength=2.6,
        )
        if columns == 1 or legend.get_window_extent(renderer).width < 0.97 * figure.bbox.width:
            return
        legend.remove()
