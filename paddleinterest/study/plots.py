"""Pictures of tools/report.py: each a function from numbers (paddleinterest/study/curves.py) to an
SVG file.

White ground, so that they can be read on a dark page too; letters stay text, which is half the size
of drawn ones, is found by a search, and fits where the reader's machine has another font, since the
one that the places are computed with is among the widest.
"""

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator  # noqa: E402

# Okabe and Ito's colours, which the colour-blind tell apart too; the same for a model in every
# picture. A model that is not named here gets one of the spare ones.
COLOURS = {
    "base": "#000000",
    "wide_deep": "#56b4e9",
    "deepfm": "#e69f00",
    "pnn": "#009e73",
    "din": "#0072b2",
    "dien": "#d55e00",
    "bst": "#cc79a7",
}
MARKERS = {
    "base": "o",
    "wide_deep": "v",
    "deepfm": "^",
    "pnn": "D",
    "din": "s",
    "dien": "P",
    "bst": "X",
}
SPARE = [("#882255", "<"), ("#999933", ">"), ("#332288", "p"), ("#44aa99", "h")]
LINES, HOLLOW = (
    ["-", "--", ":", "-."],
    "osD^v<>ph",
)  # second and later settings of one model: same colour, other line and mark
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 9,
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


def styles(labels):
    """{label: keyword arguments of a line}. labels: {label: model}, in the order of the legend."""
    found, variants, others = {}, {}, sorted(set(labels.values()) - COLOURS.keys())
    for label, model in labels.items():
        colour, marker = (
            SPARE[others.index(model) % len(SPARE)]
            if model in others
            else (COLOURS[model], MARKERS[model])
        )
        n = variants[model] = variants.get(model, -1) + 1
        found[label] = {
            "color": colour,
            "linestyle": LINES[n % len(LINES)],
            "marker": HOLLOW[n % len(HOLLOW)] if n else marker,
            "markerfacecolor": "white" if n else colour,
        }
    return found


def learning(numbers, style, path, title):
    """Valid AUC and train loss by epoch; a panel without any number is left out."""
    panels = [
        (k, name)
        for k, name in (("auc", "AUC on valid"), ("loss", "log loss on train"))
        if any(np.isfinite(n[k][0]).any() for n in numbers.values())
    ]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            1, len(panels), figsize=(4.2 * len(panels), 3.7), layout="constrained", squeeze=False
        )
        for ax, (key, name) in zip(axes[0], panels):
            for label, n in numbers.items():
                mean, low, high = n[key]
                epoch = np.arange(1, len(mean) + 1)
                ax.plot(epoch, mean, **style[label], markevery=1 + len(mean) // 12)
                _band(ax, epoch, low, high, style[label]["color"])
            ax.set(xlabel="epoch", title=name)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        _finish(figure, {k: k for k in numbers}, style, path, title)


def by_length(ranges, numbers, style, path, title):
    """AUC on test in ranges of history length, a bar for the interval; models side by side in each
    range."""
    at = np.arange(len(ranges))
    shifts = np.linspace(-0.3, 0.3, len(numbers)) if len(numbers) > 1 else [0.0]
    with plt.rc_context(STYLE):
        figure, ax = plt.subplots(figsize=(8.4, 4.2), layout="constrained")
        for shift, (label, n) in zip(shifts, numbers.items()):
            mean, (low, high) = n["auc"], n["interval"]
            line = {**style[label], "linewidth": 0.7}
            ax.errorbar(
                at + shift,
                mean,
                [np.maximum(mean - low, 0), np.maximum(high - mean, 0)],
                elinewidth=1.2,
                **line,
            )
        for x in at[1:] - 0.5:
            ax.axvline(x, color="#cccccc", linewidth=0.6)
        ax.grid(axis="x", visible=False)
        ax.set_xlim(-0.5, len(at) - 0.5)
        ax.set_xticks(at, [f"{range_name(r, r is ranges[-1])}\n{r[2]:,} rows" for r in ranges])
        ax.set(xlabel="events in the history", ylabel="AUC on test")
        _finish(figure, {k: k for k in numbers}, style, path, title)


def range_name(found, last):
    """A range of lengths in words: 4, 5–6, ≥ 21."""
    low, high, _ = found
    return str(low) if low == high else f"≥ {low}" if last else f"{low}–{high}"


def calibrated(numbers, style, path, title):
    """Mean label against mean prediction in equal groups: as they are, and how far from the
    diagonal."""
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 4.3), layout="constrained")
        for label, n in numbers.items():
            left.plot(n["score"], n["label"][0], **{**style[label], "marker": ""})
            mean, low, high = n["label"] - n["score"]
            right.plot(n["score"], mean, **style[label])
            _band(right, n["score"], low, high, style[label]["color"])
        left.plot([0, 1], [0, 1], color="#777777", linewidth=1, linestyle=(0, (2, 2)), zorder=1)
        right.axhline(0, color="#777777", linewidth=1, linestyle=(0, (2, 2)), zorder=1)
        left.set(xlabel="mean prediction", title="mean label", xlim=(0, 1), ylim=(0, 1))
        right.set(xlabel="mean prediction", title="mean label − mean prediction", xlim=(0, 1))
        _finish(
            figure,
            {k: f"{k}, PCOC {n['pcoc'][0]:.3f}" for k, n in numbers.items()},
            style,
            path,
            title,
        )


def cost(numbers, style, path, title, threads):
    """AUC on test against seconds of training an epoch, a point a model."""
    with plt.rc_context(STYLE):
        figure, ax = plt.subplots(figsize=(6.6, 4.2), layout="constrained")
        ends = []
        for label, n in numbers.items():
            (x, *xs), (y, *ys) = n["seconds"], n["auc"]
            line = {**style[label], "linestyle": "none", "markersize": 7}
            ax.errorbar(
                x, y, [[y - ys[0]], [ys[1] - y]], [[x - xs[0]], [xs[1] - x]], elinewidth=1.2, **line
            )
            ends += xs
        ax.set_xscale("log")
        ax.set_xlim(min(ends) / 1.25, max(ends) * 1.25)
        ax.xaxis.set_major_locator(FixedLocator(_ticks(min(ends) / 1.25, max(ends) * 1.25)))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        ax.set(
            xlabel=f"seconds of training an epoch, threads: {threads} (logarithmic)",
            ylabel="AUC on test",
        )
        _finish(
            figure,
            {k: k for k in numbers},
            {k: {**s, "linestyle": "none"} for k, s in style.items()},
            path,
            title,
        )


def _band(ax, x, low, high, colour):
    """From the least to the greatest over seeds; nothing where there is one seed."""
    if (high > low).any():
        ax.fill(
            np.append(x, x[::-1]), np.append(low, high[::-1]), color=colour, alpha=0.15, linewidth=0
        )


def _ticks(low, high):
    """Round numbers between two ends of a logarithmic axis: 1, 2, 5, 10 …, and more of them where
    the axis is short."""
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for steps in ([1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 4, 5, 7]):
        ticks = [round(s * d, 12) for d in decades for s in steps if low <= s * d <= high]
        if len(ticks) >= 4:
            break
    return ticks


def _finish(figure, names, style, path, title):
    """Title, one legend below for all panels, as wide as fits, and the file."""
    lines = [Line2D([], [], **style[label]) for label in names]
    figure.suptitle(title, fontsize=10)
    for columns in range(min(4, len(lines)), 0, -1):
        legend = figure.legend(
            lines,
            list(names.values()),
            loc="outside lower center",
            ncols=columns,
            frameon=False,
            handlelength=2.6,
        )
        if (
            columns == 1
            or legend.get_window_extent(figure.canvas.get_renderer()).width
            < 0.97 * figure.bbox.width
        ):
            break
        legend.remove()
    figure.savefig(
        path, format="svg", metadata={"Date": None, "Creator": None}
    )  # no date: equal numbers give equal files
    plt.close(figure)
