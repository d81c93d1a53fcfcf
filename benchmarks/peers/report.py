"""From the records of the runs to results.json's summary and a Markdown table."""

import statistics
from collections.abc import Iterable
from typing import Any, TypeAlias

from paddleinterest.study.markdown import table

Record: TypeAlias = dict[str, Any]  # of one run
Spread: TypeAlias = dict[str, float]  # {median, min, max}

DEPARTURES = {
    ("dien", "ours"): "with the auxiliary loss; the tower reads the history's sum too",
    ("dien", "fuxictr"): "without the auxiliary loss: the wheel's DIEN cannot run it",
    ("dien", "deepctr"): "without the auxiliary loss",
    ("dien", "rechub"): "with an auxiliary loss of weight 0.2; one pair of GRUs per field",
    ("din", "ours"): "softmax(s/√D), ReLU",
    ("din", "fuxictr"): "no softmax, Dice",
    ("din", "deepctr"): "no softmax, Dice",
    ("din", "rechub"): "no softmax, Dice, batch norm; one attention unit per field",
    ("bst", "ours"): "position beside the item, output at the target",
    ("bst", "fuxictr"): (
        "written on FuxiCTR's layers, as its wheel ships no BST; mean over the positions"
    ),
    ("bst", "rechub"): "feed-forward 2048 wide, dropout 0.2 (defaults)",
}


def spread(values: Iterable[float | None]) -> Spread | None:
    """Median, least and greatest of the numbers that exist; None without numbers."""
    given = [value for value in values if value is not None]
    if not given:
        return None
    return {"median": statistics.median(given), "min": min(given), "max": max(given)}


def summarize(records: list[Record], steps: int) -> list[Record]:
    """One row per model and side.

    Speed is samples a second, or with `steps` milliseconds a step. The ratio is how many times as
    fast ours is as this side, each repeat against the one next to it in time.
    """
    rows = []
    for model, side in dict.fromkeys((r["model"], r["side"]) for r in records):
        mine = [r for r in records if (r["model"], r["side"]) == (model, side)]
        ours = {r["repeat"]: r for r in records if (r["model"], r["side"]) == (model, "ours")}
        key = "ms_a_step" if steps else "samples_per_second"
        ratios = [_faster(ours.get(r["repeat"], {}).get(key), r.get(key), steps) for r in mine]
        rows.append(
            {
                "model": model,
                "side": side,
                "runs": sum("failed" not in r for r in mine),
                "of": len(mine),
                "speed": spread(r.get(key) for r in mine),
                "ours_times_as_fast": spread(ratios),
                "auc": spread(_on_test(r, "auc") for r in mine),
                "gauc": spread(_on_test(r, "gauc") for r in mine),
                "peak_rss_mb": spread(r.get("peak_rss_mb") for r in mine),
                "peak_rss_with_workers_mb": spread(r.get("peak_rss_with_workers_mb") for r in mine),
                "seconds": spread(r.get("seconds") for r in mine),
                "failed": next((r["failed"] for r in mine if "failed" in r), None),
                "note": DEPARTURES.get((model, side), ""),
            }
        )
    return rows


def _on_test(record: Record, metric: str) -> float | None:
    return (record.get("test") or {}).get(metric)


def _faster(ours: float | None, theirs: float | None, steps: int) -> float | None:
    if not ours or not theirs:
        return None
    return theirs / ours if steps else ours / theirs


def markdown(results: Record) -> str:
    """The report as text: machine, versions, settings, table."""
    s = results["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    blocks = [
        "# Against FuxiCTR, DeepCTR-Torch and torch-rechub",
        _protocol(s),
        f"Machine: {results['machine']}, {s['threads']} threads. Versions: {versions}.",
        _table(results["summary"], s["steps"]),
    ]
    failed = [r for r in results["summary"] if r["failed"]]
    if failed:
        blocks.append("Failed:")
        blocks.append("\n".join(f"- {r['model']} {r['side']}: {r['failed']}" for r in failed))
    return "\n\n".join(blocks) + "\n"


def _protocol(s: dict[str, Any]) -> str:
    what = (
        f"at most {s['epochs']} epochs, the end after {s['patience']} without a better valid AUC;"
        " speed is the median over whole epochs from the second on, without evaluation; AUC is"
        " test's at the epoch best on valid"
    )
    if s["steps"]:
        what = (
            f"ms of a training step, reading included, over {s['steps']} steps after 5 of warm-up"
        )
    rows = f"item table of {s['item_vocab']:,} rows, " if s["item_vocab"] else ""
    return (
        f"`{s['name']}`, the same rows, labels and histories for all; {rows}embedding {s['emb']} a"
        f" field, attention 80-40, tower 200-80, Adam 1e-3, batch {s['batch_size']}, history"
        f" {s['history_cap']}, seeds from {s['seed']}. Repeats: {s['repeats']}, sides in turn;"
        f" {what}. Median (min–max). Memory is the peak of the main process, in brackets with"
        " loader workers added. Widths are the same; what else differs is in the last column."
    )


def _table(rows: list[Record], steps: int) -> str:
    quality = {} if steps else {"auc": "test AUC", "gauc": "test gAUC"}
    head = [
        "model",
        "library",
        "ms per step" if steps else "samples/s",
        "ours is × as fast",
        *quality.values(),
        "peak RSS, MB",
        "seconds",
        "note",
    ]
    lines = []
    for r in rows:
        lines.append(
            [
                r["model"].upper(),
                r["side"],
                _text(r["speed"], ",.1f" if steps else ",.0f"),
                "" if r["side"] == "ours" else _text(r["ours_times_as_fast"], ".2f"),
                *(_text(r[metric], ".4f") for metric in quality),
                _memory(r),
                _median(r["seconds"], ",.0f"),
                r["note"],
            ]
        )
    return table(head, lines)


def _memory(row: Record) -> str:
    workers = row["peak_rss_with_workers_mb"]
    rest = f" ({workers['median']:,.0f})" if workers else ""
    return _median(row["peak_rss_mb"], ",.0f") + rest


def _median(value: Spread | None, form: str) -> str:
    return "–" if value is None else format(value["median"], form)


def _text(value: Spread | None, form: str) -> str:
    """Median, and in brackets the least and the greatest if they differ."""
    text = _median(value, form)
    if value is not None and value["min"] != value["max"]:
        text += f" ({value['min']:{form}}–{value['max']:{form}})"
    return text
