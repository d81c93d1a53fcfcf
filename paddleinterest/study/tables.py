"""Named tables of results: their YAML files, their cells, and how they are written.

A table has a title, seeds, datasets (recipes), rows, and maybe the `baseline` row of RelaImpr and
`pairs` of rows whose difference is tested. A row is a label and a model, with the settings in `set`
laid over its config.yaml; or a label and a
`config` of its own for each dataset, such as configs/tuned/din_{dataset}.yaml; or a label and a `tool` that learns nothing,
such as popularity, and so has one figure for all seeds.
"""

import csv
import io
import os
import platform
import re
import statistics
from importlib import metadata

from paddleinterest.core import settings
from paddleinterest.core.atomic import whole_file
from paddleinterest.core.errors import InputError, nearest_path
from paddleinterest.core.metrics import rela_impr

FOLDER = os.path.join(settings.ROOT, "configs", "tables")
KEYS = {"title": str, "seeds": list, "datasets": list, "baseline": str, "pairs": list, "rows": list}
ROW_KEYS = ({"label", "model"}, {"label", "model", "set"}, {"label", "config"}, {"label", "tool"})
METRICS = {"auc": "AUC", "gauc": "gAUC", "logloss": "log loss", "pcoc": "PCOC"}
MISSING = "not run"


def names():
    return sorted(f[:-5] for f in os.listdir(FOLDER) if f.endswith(".yaml"))


def read(table):
    """A table's YAML file, by its name or path, checked; {name, title, seeds, datasets, baseline,
    pairs, rows}."""
    path = table if table.endswith(".yaml") else os.path.join(FOLDER, f"{table}.yaml")
    if not os.path.isfile(path):
        raise InputError(
            f"there is no table {table}{nearest_path(path)}; configs/tables has"
            f" {', '.join(names())}"
        )
    content = settings.read_yaml(path)
    content = {"baseline": "", "pairs": [], **content}
    for key in sorted(KEYS.keys() ^ content.keys(), key=str):
        raise InputError(
            f"{path}: {f'unknown key {key}' if key in content else f'the key {key} is missing'}; a"
            f" table has the keys {', '.join(KEYS)}"
        )
    for key, kind in KEYS.items():
        if not isinstance(content[key], kind):
            raise InputError(f"{path}: {key} must be a {kind.__name__}")
    for key, kind in (("seeds", int), ("datasets", str)):
        if not content[key] or not all(type(v) is kind for v in content[key]):
            raise InputError(f"{path}: {key} must be a list of at least one {kind.__name__}")
    for row in content["rows"]:
        if not isinstance(row, dict) or row.keys() not in ROW_KEYS:
            raise InputError(
                f"{path}: a row has a label, and a model and maybe `set`, or a config, or a tool,"
                f" not {row}"
            )
        if not (
            all(isinstance(row.get(k, ""), str) for k in ("label", "model", "config", "tool"))
            and isinstance(row.get("set", []), list)
        ):
            raise InputError(
                f"{path}: a row's label, model, config and tool are texts, `set` is a list, not"
                f" {row}"
            )
    labels = [row["label"] for row in content["rows"]]
    if all("tool" in row for row in content["rows"]):
        raise InputError(f"{path}: it has no row with a model or a config")
    if len(set(labels)) < len(labels):
        raise InputError(f"{path}: two rows have the same label")
    if content["baseline"] and content["baseline"] not in labels:
        raise InputError(f"{path}: baseline {content['baseline']} is not the label of a row")
    for pair in content["pairs"]:
        if (
            not isinstance(pair, list)
            or len(pair) != 2
            or not all(label in labels for label in pair)
        ):
            raise InputError(f"{path}: a pair is two labels of rows, not {pair}")
    return {"name": dataset_name(path), **content}


def cells(table, rows=None, datasets=None, seeds=None):
    """Each cell as {row, dataset, seed, command}, seeds outermost so that a table fills evenly;
    arguments choose some."""
    names = [dataset_name(d) for d in table["datasets"]]
    for given, known, what in (
        (rows, [r["label"] for r in table["rows"]], "row"),
        (datasets, names, "dataset"),
        (seeds, table["seeds"], "seed"),
    ):
        wrong = [g for g in given or [] if g not in known]
        if wrong:
            raise InputError(
                f"table {table['name']} has no {what} {wrong[0]!r}; it has"
                f" {', '.join(map(repr, known))}"
            )
    return [
        {
            "row": row["label"],
            "dataset": dataset,
            "seed": seed,
            "command": _command(row, dataset, seed),
        }
        for seed in table["seeds"]
        if not seeds or seed in seeds
        for dataset in table["datasets"]
        if not datasets or dataset_name(dataset) in datasets
        for row in table["rows"]
        if (not rows or row["label"] in rows) and seed in _seeds(table, row)
    ]


def _seeds(table, row):
    """A tool learns nothing, so that one seed is enough."""
    return table["seeds"][:1] if "tool" in row else table["seeds"]


def dataset_name(dataset):
    """Of a recipe's path: its file's, without the ending; of a table's likewise."""
    return os.path.splitext(os.path.basename(dataset))[0]


def _command(row, dataset, seed):
    """What a reader types to have this cell again."""
    if "tool" in row:
        return ["python", f"tools/{row['tool']}.py", "--dataset", dataset]
    config = (
        row["config"].replace("{dataset}", dataset_name(dataset))
        if "config" in row
        else f"models/{row['model']}/config.yaml"
    )
    own = [str(s) for s in row.get("set", [])]
    words = [
        key.split(".")[-1] + "_" + value.lower()
        for key, _, value in (s.partition("=") for s in own)
    ]
    words += [os.path.basename(os.path.dirname(config))] if "config" in row else []
    tag = "".join("-" + re.sub(r"[^a-z0-9]+", "_", word) for word in words)
    return [
        "python",
        "tools/trainer.py",
        "-m",
        config,
        "-o",
        f"runner.dataset={dataset}",
        f"runner.seed={seed}",
        f"runner.name={dataset_name(dataset)}{tag}-{seed}",
        *own,
    ]


def markdown(table, done):
    """The table as Markdown: one part a dataset. done: {(row, dataset, seed): result of the
    trainer}."""
    parts = [_of_dataset(table, dataset, done) for dataset in table["datasets"]]
    if table["pairs"]:
        parts.append(_of_pairs(table, done))
    example = next(cell["command"] for cell in cells(table) if "-m" in cell["command"])
    found = sorted({v for result in done.values() for v in result.get("versions", [])})
    seeds = ", ".join(map(str, table["seeds"]))
    over = (
        f"Mean ± standard deviation over seeds {seeds}, or over as many as brackets say"
        if len(table["seeds"]) > 1
        else f"Seed {seeds}"
    )
    made = f" {'; '.join(found)}." if found else ""
    foot = (
        f"{table['title']}. {over}.{made}\n\n`{' '.join(example)}` is the first training; "
        f"`python tools/reproduce.py --table {table['name']} --dry-run` prints all."
    )
    return "\n\n".join([*parts, foot]) + "\n"


def _of_dataset(table, dataset, done):
    results = {
        row["label"]: {
            s: done[row["label"], dataset, s]
            for s in table["seeds"]
            if (row["label"], dataset, s) in done
        }
        for row in table["rows"]
    }
    some = next((r for found in results.values() for r in found.values()), None)
    head = f"**{dataset_name(dataset)}**"
    if some:
        head += (
            f", `{some['protocol']}`, {some['rows']['train']:,} / {some['rows']['valid']:,} /"
            f" {some['rows']['test']:,} samples"
        )
        head += f", {len(table['seeds'])} seeds" if len(table["seeds"]) > 1 else ""
    columns = ["", *METRICS.values(), *(["RelaImpr"] if table["baseline"] else []), "best epoch"]
    lines = [head, "", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in table["rows"]:
        cells_of_row = _cells_of(table, results, results[row["label"]], len(_seeds(table, row)))
        lines.append("| " + " | ".join([row["label"], *cells_of_row]) + " |")
    if some and "best_possible" in some:
        best = some["best_possible"]["test"]
        rest = [""] * (len(columns) - 3)
        lines.append(
            "| "
            + " | ".join(
                ["*the true probabilities*", f"{best['auc']:.4f}", f"{best['gauc']:.4f}", *rest]
            )
            + " |"
        )
    return "\n".join(lines)


def _cells_of(table, results, by_seed, wanted):
    width = len(METRICS) + 1 + bool(table["baseline"])
    found = list(by_seed.values())
    if not found:
        return [MISSING] + [""] * (width - 1)
    texts = [
        _spread([r["test"][m] for r in found], len(found) < wanted) if m in found[0]["test"] else ""
        for m in METRICS
    ]
    if table["baseline"]:
        texts.append(_improvement(results[table["baseline"]], by_seed, wanted))
    epochs = sorted(r["best_epoch"] for r in found if "best_epoch" in r)
    return [*texts, "–".join(map(str, sorted({*epochs[:1], *epochs[-1:]})))]


def _spread(values, partial):
    values = [v for v in values if v is not None]
    if not values:
        return "undefined"
    mean = f"{statistics.mean(values):.4f}"
    if len(values) > 1:
        mean += f" ± {statistics.stdev(values):.4f}"
    return mean + (f" ({len(values)})" if partial else "")


def _improvement(base, found, wanted):
    """RelaImpr of the mean AUC over the seeds that both rows have; a row of one figure stands for
    all seeds."""
    both = base.keys() & found.keys() if wanted > 1 else base.keys() | found.keys()
    ours, theirs = (
        [r["test"]["auc"] for s, r in rows.items() if s in both] for rows in (found, base)
    )
    if found is base or not ours or not theirs:
        return ""
    return (  # never -0.0
        f"{round(rela_impr(statistics.mean(ours), statistics.mean(theirs)), 1) + 0.0:+.1f} %"
    )


def _of_pairs(table, done):
    """Differences in test AUC of two rows on the same seeds, with Student's t-test of their mean
    against 0."""
    names = [dataset_name(d) for d in table["datasets"]]
    lines = [
        "| test AUC, paired over seeds | " + " | ".join(names) + " |",
        "|" + "---|" * (len(names) + 1),
    ]
    for one, other in table["pairs"]:
        cells = [
            _difference(
                [
                    done[one, d, s]["test"]["auc"] - done[other, d, s]["test"]["auc"]
                    for s in table["seeds"]
                    if (one, d, s) in done and (other, d, s) in done
                ]
            )
            for d in table["datasets"]
        ]
        lines.append(f"| {one} − {other} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _difference(values):
    if not values:
        return MISSING
    text = f"{statistics.mean(values):+.4f}"
    if len(values) < 2 or not statistics.stdev(values):
        return f"{text} ({len(values)})"
    from scipy.stats import ttest_1samp

    p = ttest_1samp(values, 0).pvalue
    return (
        f"{text} ± {statistics.stdev(values):.4f}, "
        + ("p < 0.001" if p < 0.001 else f"p = {p:.3f}")
        + f" ({len(values)})"
    )


def csv_rows(table, done):
    """One line a cell that has been run."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(
        [
            "row",
            "dataset",
            "seed",
            "best_epoch",
            *(f"{s}_{m}" for s in ("valid", "test") for m in METRICS),
            "samples_per_second",
            "seconds",
            "command",
            "versions",
        ]
    )
    for (row, dataset, seed), r in done.items():
        writer.writerow(
            [
                row,
                dataset_name(dataset),
                seed,
                r.get("best_epoch"),
                *(r[s].get(m) for s in ("valid", "test") for m in METRICS),
                r.get("samples_per_second"),
                r["seconds"],
                " ".join(r["command"]),
                " ".join(r.get("versions", [])),
            ]
        )
    return out.getvalue()


def paste(path, name, text):
    """Put the table between its marks in a README; the rest of the file stays as it is."""
    start, end = f"<!-- table {name} -->", "<!-- /table -->"
    with open(path, encoding="utf-8") as f:
        old = f.read()
    if old.count(start) != 1 or end not in old[old.index(start) :]:
        raise InputError(
            f"{path} has no place for table {name}: it needs a line {start} and, after it, a line"
            f" {end}"
        )
    first = old.index(start) + len(start)
    last = old.index(end, first)
    with whole_file(path) as temporary, open(temporary, "w", encoding="utf-8") as f:
        f.write(f"{old[:first]}\n{text.strip()}\n{old[last:]}")


def versions():
    """What a figure was made with."""
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    packages = [
        f"{p} {metadata.version(p)}"
        for p in ("paddlepaddle", "paddlepaddle-gpu", "numpy")
        if _installed(p)
    ]
    return [
        *packages,
        f"Python {platform.python_version()}",
        f"{threads} thread{'' if threads == '1' else 's'}",
    ]


def _installed(package):
    try:
        metadata.version(package)
        return True
    except metadata.PackageNotFoundError:
        return False
