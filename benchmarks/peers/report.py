"""From the records of the runs to results.json's summary and a Markdown table."""

import statistics

DEPARTURES = {
    ("dien", "ours"): "with the auxiliary loss; the tower reads the history's sum too",
    ("dien", "fuxictr"): "without the auxiliary loss: the wheel's DIEN cannot run it",
    ("dien", "deepctr"): "without the auxiliary loss",
    ("dien", "rechub"): "with an auxiliary loss of weight 0.2; one pair of GRUs a field",
    ("din", "ours"): "softmax(s/√D), ReLU",
    ("din", "fuxictr"): "no softmax, Dice",
    ("din", "deepctr"): "no softmax, Dice",
    ("din", "rechub"): "no softmax, Dice, batch norm; one attention unit a field",
    ("bst", "ours"): "position beside the item, output at the target",
    (
        "bst",
        "fuxictr",
    ): "written on FuxiCTR's layers, as its wheel ships no BST; mean over the positions",
    ("bst", "rechub"): "feed-forward 2048 wide, dropout 0.2 (defaults)",
}


def spread(values):
    """{median, min, max} of the numbers that are there; None where there is none."""
    values = [v for v in values if v is not None]
    return (
        {"median": statistics.median(values), "min": min(values), "max": max(values)}
        if values
        else None
    )


def summarize(records, steps):
    """One row a model and side. Speed is samples a second, or with `steps` milliseconds a step; the
    ratio is how many times as fast ours is as this side, each repeat against the one beside it in
    time."""
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
                "speed": spread([r.get(key) for r in mine]),
                "ours_times_as_fast": spread(ratios),
                "auc": spread([(r.get("test") or {}).get("auc") for r in mine]),
                "gauc": spread([(r.get("test") or {}).get("gauc") for r in mine]),
                "peak_rss_mb": spread([r.get("peak_rss_mb") for r in mine]),
                "peak_rss_with_workers_mb": spread(
                    [r.get("peak_rss_with_workers_mb") for r in mine]
                ),
                "seconds": spread([r.get("seconds") for r in mine]),
                "failed": next((r["failed"] for r in mine if "failed" in r), None),
                "note": DEPARTURES.get((model, side), ""),
            }
        )
    return rows


def _faster(ours, theirs, steps):
    if not ours or not theirs:
        return None
    return theirs / ours if steps else ours / theirs


def markdown(results):
    """The report as text: machine, versions, settings, table."""
    s = results["settings"]
    lines = [
        "# Against FuxiCTR, DeepCTR-Torch and torch-rechub",
        "",
        _protocol(s),
        "",
        f"Machine: {results['machine']}, {s['threads']} threads. Versions: "
        + ", ".join(f"{k} {v}" for k, v in results["versions"].items())
        + ".",
        "",
        *_table(results["summary"], s["steps"]),
        "",
    ]
    failed = [
        f"- {r['model']} {r['side']}: {r['failed']}" for r in results["summary"] if r["failed"]
    ]
    lines += ["Failed:", "", *failed, ""] if failed else []
    return "\n".join(lines)


def _protocol(s):
    what = (
        f"ms of a training step, reading included, over {s['steps']} steps after 5 of warm-up"
        if s["steps"]
        else (
            f"at most {s['epochs']} epochs, the end after {s['patience']} without a better valid"
            " AUC; speed is the median over whole epochs from the second on, without evaluation;"
            " AUC is test's at the epoch best on valid"
        )
    )
    table = f"item table of {s['item_vocab']:,} rows, " if s["item_vocab"] else ""
    return (
        f"`{s['name']}`, the same rows, labels and histories for all; {table}embedding {s['emb']} a"
        f" field, attention 80-40, tower 200-80, Adam 1e-3, batch {s['batch_size']}, history"
        f" {s['history_cap']}, seeds from {s['seed']}. Repeats: {s['repeats']}, sides in turn;"
        f" {what}. Median (min–max). Memory is the peak of the main process, in brackets with"
        " loader workers added. Widths are the same; what else differs is in the last column."
    )


def _table(rows, steps):
    speed = "ms a step" if steps else "samples/s"
    head = [
        "model",
        "library",
        speed,
        "ours is × as fast",
        *([] if steps else ["test AUC", "test gAUC"]),
        "peak RSS, MB",
        "seconds",
        "note",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for r in rows:
        quality = [] if steps else [_text(r["auc"], ".4f"), _text(r["gauc"], ".4f")]
        ratio = "" if r["side"] == "ours" else _text(r["ours_times_as_fast"], ".2f")
        workers = r["peak_rss_with_workers_mb"]
        memory = _text(r["peak_rss_mb"], ",.0f", False) + (
            f" ({workers['median']:,.0f})" if workers else ""
        )
        cells = [
            r["model"].upper(),
            r["side"],
            _text(r["speed"], ",.1f" if steps else ",.0f"),
            ratio,
            *quality,
            memory,
            _text(r["seconds"], ",.0f", False),
            r["note"],
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _text(value, form, whole=True):
    if value is None:
        return "–"
    text = format(value["median"], form)
    if whole and value["min"] != value["max"]:
        text += f" ({value['min']:{form}}–{value['max']:{form}})"
    return text
