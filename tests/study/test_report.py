"""tools/report.py: the numbers behind the pictures against other libraries, the page and its files,
runs that are not whole."""

import json
import os
import re
import shutil
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers import ROOT, TINY, ToolServer, close, settings_of, small_log
from sklearn.metrics import roc_auc_score

from paddleinterest.core import settings
from paddleinterest.core.errors import InputError
from paddleinterest.data.builder import build
from paddleinterest.study import (
    breakdown,
    curves,
    looks,
    names,
    page,
    plots,
    results,
    scores,
    tables,
)

pytestmark = pytest.mark.slow

TABLE = {
    "title": "t",
    "seeds": [1, 2],
    "datasets": ["datasets/debug.yaml"],
    "baseline": "",
    "pairs": [],
    "rows": [
        {"label": "popularity", "tool": "popularity"},
        *[
            {
                "label": label,
                "model": model,
                "set": [
                    "runner.epochs=2",
                    "runner.early_stop=0",
                    *TINY,
                    "runner.train_batch_size=256",
                ],
            }
            for label, model in (("no attention", "base"), ("DIN", "din"))
        ],
    ],
}
KINDS = ("learning", "length", "calibration", "cost")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with mine.yaml and its four runs on the debug dataset; what the trainer printed
    of each; a server of tools."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "mine.yaml").write_text(yaml.safe_dump(TABLE))
    with ToolServer(tmp_path_factory.mktemp("server")) as tools:
        printed = {}
        for cell in tables.cells(
            tables.read(str(folder / "mine.yaml")), rows=["no attention", "DIN"]
        ):
            command = [
                os.path.join(ROOT, c) if c.startswith("models/") else c for c in cell.command[2:]
            ]
            done = tools.run("trainer", *command, cwd=folder)
            assert done.status == 0, done.err
            printed[done.json["run_dir"]] = done.json
        yield folder, printed, tools


@pytest.fixture
def runs(place, monkeypatch):
    """The four runs, scored in this process."""
    folder, printed, _ = place
    monkeypatch.chdir(folder)
    found = results.by_model([results.open_run(d) for d in printed])
    names.name_runs(found)
    scores.score_runs(found)
    return found


def a_copy(place, tmp_path, which=-1, name="copy"):
    """A copy of one run that a test may spoil."""
    folder, printed, _ = place
    out = tmp_path / name
    shutil.copytree(folder / list(printed)[which], out)
    return out


# numbers


@pytest.mark.parametrize("seed", range(5))
def test_equal_bins_partition_the_rows(seed):
    rng = np.random.default_rng(seed)
    value = np.floor(rng.exponential(rng.integers(1, 30), rng.integers(1, 3000))).astype(np.int64)
    bins = int(rng.integers(1, 12))
    ranges, group = breakdown.equal_bins(value, bins)
    assert sum(rows for _, _, rows in ranges) == len(value) == len(group) and len(ranges) <= bins
    assert (ranges[0][0], ranges[-1][1]) == (value.min(), value.max())
    assert all(a[1] < b[0] for a, b in pairwise(ranges))
    for g, (low, high, rows) in enumerate(ranges):
        inside = (value >= low) & (value <= high)
        assert inside.sum() == rows >= len(value) / bins / 2 and (group[inside] == g).all()


def test_equal_bins_are_about_equal():
    ranges, _ = breakdown.equal_bins(np.arange(600) // 2, 6)
    assert [r[2] for r in ranges] == [100] * 6
    heavy, _ = breakdown.equal_bins(
        np.repeat([4, 5, 6, 7, 8], [600, 100, 100, 100, 100]), 5
    )  # a value is never cut in two
    assert heavy == [(4, 4, 600), (5, 6, 200), (7, 8, 200)]


def test_weighted_auc_is_sklearns():
    rng = np.random.default_rng(0)
    label, score = rng.integers(0, 2, 400), rng.integers(0, 30, 400) / 30  # many ties
    for weight in (np.ones(400), rng.integers(0, 4, 400), rng.random(400)):
        close(
            breakdown.WeightedAUC(label, score)(weight),
            roc_auc_score(label, score, sample_weight=weight),
            1e-12,
        )
    assert np.isnan(breakdown.WeightedAUC(label, score)(label))


def test_resampling_draws_users():
    rng = np.random.default_rng(1)
    user, label = np.arange(500), rng.integers(0, 2, 500)
    score = label + rng.normal(0, 1.2, 500)
    once = breakdown.resampled_auc(user, label, [score], 300)
    # as wide as Hanley and McNeil's formula for independent rows says, within a quarter
    a, positive = roc_auc_score(label, score), label.sum()
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    negative = 500 - positive
    error = np.sqrt(
        (a * (1 - a) + (positive - 1) * (q1 - a * a) + (negative - 1) * (q2 - a * a))
        / (positive * negative)
    )
    assert abs(once.mean() - a) < error / 2 and 0.75 < once.std() / error < 1.25
    # four copies of every row of a user are no more evidence than one
    four = breakdown.resampled_auc(
        np.repeat(user, 4), np.repeat(label, 4), [np.repeat(score, 4)], 300
    )
    close(four, once, 1e-12)
    # several scores: their mean on the same users
    other = score + rng.normal(0, 1, 500)
    both = breakdown.resampled_auc(user, label, [score, other], 300)
    close(both, (once + breakdown.resampled_auc(user, label, [other], 300)) / 2, 1e-12)


def test_calibration_is_pandas():
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({"score": rng.random(1000)})
    frame["label"] = (rng.random(1000) < frame.score).astype(int)
    by = frame.groupby(pd.qcut(frame.score, 10)).mean()
    close(
        breakdown.calibration(frame.label.to_numpy(), frame.score.to_numpy(), 10),
        by[["score", "label"]].to_numpy().T,
        1e-12,
    )
    assert breakdown.calibration(np.array([0, 1, 1]), np.array([0.1, 0.2, 0.3]), 10).shape == (2, 3)


def test_scores_are_those_of_infer_and_the_trainer(place, runs):
    folder, printed, tools = place
    r = runs[-1]
    done = tools.run(
        "infer",
        "-m",
        os.path.join(ROOT, "models", r.model, "config.yaml"),
        "-o",
        f"runner.name={os.path.basename(r.directory)}",
        "--out",
        "p.parquet",
        cwd=folder,
    )
    assert done.status == 0, done.err
    assert np.array_equal(pd.read_parquet(folder / "p.parquet").score, r.score)
    for label, of_label in results.series_of(runs)["debug"].items():
        tested = [printed[r.directory]["test"] for r in of_label]
        for metric, (mean, low, high) in curves.quality({label: of_label})[label].items():
            close(
                [mean, low, high],
                [f([t[metric] for t in tested]) for f in (np.mean, min, max)],
                1e-6,
            )
        assert [r.best_epoch for r in of_label] == [
            printed[r.directory]["best_epoch"] for r in of_label
        ]


def test_what_the_trainer_printed_lies_in_the_run(place):
    folder, printed, _ = place
    for directory, said in printed.items():
        assert json.loads((folder / directory / "result.json").read_text()) == {
            k: v for k, v in said.items() if k != "seconds"
        }
        assert said["samples_per_second"] > 0 and said["threads"] == 1


def test_by_length(place, runs):
    """Against scikit-learn on the dataset's own files: whole histories, not capped ones (12), an
    AUC a seed, then the mean."""
    folder, _, _ = place
    test = pd.concat(
        [pd.read_parquet(p) for p in sorted((folder / "data" / "debug" / "test").iterdir())]
    )
    series = results.series_of(runs)["debug"]
    ranges, found = curves.by_length(series, runs[0].split, 3, 40)
    assert (
        sum(r[2] for r in ranges) == len(test)
        and len(ranges) == 3
        and ranges[-1][1] == test.end.max()
    )
    for label, of_label in series.items():
        for g, (low, high, rows) in enumerate(ranges):
            inside = test.end.between(low, high).to_numpy()
            assert inside.sum() == rows
            expected = np.mean(
                [roc_auc_score(test.label[inside], r.score[inside]) for r in of_label]
            )
            close(found[label].auc[g], expected, 1e-9)
            assert found[label].interval[0, g] < expected < found[label].interval[1, g]


def test_learning_and_cost(place, runs):
    folder, printed, _ = place
    series = results.series_of(runs)["debug"]
    found, costs = curves.learning(series), curves.cost(series, runs[0].split)
    for label, of_label in series.items():
        lines = [pd.read_json(folder / r.directory / "metrics.jsonl", lines=True) for r in of_label]
        for spread, column in (
            (found[label].auc, lambda f: f.valid.str["auc"]),
            (found[label].loss, lambda f: f.train.str["loss"]),
        ):
            both = np.array([column(f) for f in lines], float)
            close(spread, [both.mean(0), both.min(0), both.max(0)], 1e-12)
            assert both.shape == (2, 2)
        seconds = [
            printed[r.directory]["rows"]["train"] / printed[r.directory]["samples_per_second"]
            for r in of_label
        ]
        close(costs[label].seconds, [np.mean(seconds), min(seconds), max(seconds)], 1e-9)
        assert costs[label].threads == ["1"] and costs[label].timed == 2
    of_label = series["DIN"]
    of_label[0].epochs.pop()  # a line ends where one of its seeds does
    assert curves.learning({"DIN": of_label})["DIN"].loss.shape == (3, 1)
    of_label[0].result = None
    close(curves.cost({"DIN": of_label}, runs[0].split)["DIN"].seconds, [seconds[1]] * 3, 1e-9)


def test_calibrated(runs):
    series = results.series_of(runs)["debug"]
    found = curves.calibrated(series, runs[0].split, 7)
    for label, of_label in series.items():
        label_of = runs[0].split.label
        for r in of_label:
            assert not np.array_equal(r.score, of_label[1 - of_label.index(r)].score)
        close(
            found[label].pcoc[0],
            np.mean([r.score.mean(dtype=float) / label_of.mean() for r in of_label]),
            1e-9,
        )
        frames = [
            pd.DataFrame({"s": r.score.astype(float), "l": label_of}).sort_values(
                "s", kind="stable"
            )
            for r in of_label
        ]
        rows = len(label_of)
        sizes = [rows // 7 + (k < rows % 7) for k in range(7)]
        means = np.array(
            [f.groupby(np.repeat(np.arange(7), sizes)).mean().to_numpy() for f in frames]
        )
        close(found[label].score, means[:, :, 0].mean(0), 1e-9)
        close(
            found[label].label,
            [means[:, :, 1].mean(0), means[:, :, 1].min(0), means[:, :, 1].max(0)],
            1e-9,
        )


def test_names_say_what_differs():
    def named(*overrides):
        return results.Run("d", settings_of("din", *overrides), [], None)

    alone = [named("runner.epochs=3", "runner.seed=5")]
    names.name_runs(alone)
    assert alone[0].label == "DIN"
    several = [
        named(),
        named("runner.seed=7", "runner.threads=2"),
        named("runner.epochs=3"),
        named("hyper_parameters.sparse=false"),
    ]
    names.name_runs(several)
    assert [r.label for r in several] == ["DIN", "DIN", "DIN, epochs=3", "DIN, sparse=false"]
    assert names.own_settings(several[1:]) == ["epochs=3", "sparse=false"]


# pictures


def test_a_model_keeps_its_colour():
    one = plots.styles({"DIN": "din", "DIN, Dice": "din"})
    other = plots.styles({"base": "base", "DIN": "din"})
    assert one["DIN"] == other["DIN"] and one["DIN"]["color"] == one["DIN, Dice"]["color"]
    assert one["DIN"]["linestyle"] != one["DIN, Dice"]["linestyle"]
    many = plots.styles({f"DIN, {k}": "din" for k in range(8)}).values()
    assert (
        len({s["color"] for s in many}) == 1
        and len({(s["marker"], s["markerfacecolor"]) for s in many}) == 8
    )


def test_every_model_looks_different(monkeypatch):
    """Those that name no colour or mark get spare ones, the same whatever else is drawn."""
    known = {m: looks.of_model(m) for m in settings.models()}
    plain = looks.Look("", "", "")
    monkeypatch.setattr(looks, "of_model", lambda m: known.get(m, plain._replace(title=m)))
    every = looks.of_models([*settings.models(), "x", "y", "z"])
    assert len({look.colour for look in every.values()}) == len(every)
    assert len({look.marker for look in every.values()}) == len(every)
    assert every["din"] == looks.Look("DIN", "#0072b2", "s") and every["x"].title == "x"
    assert looks.of_models(["x", "din"])["x"] == every["x"]


def drawn(path):
    """The words of an SVG file, which must be one and not be too big to keep in a repository."""
    assert 1000 < os.path.getsize(path) <= 60_000
    root = ElementTree.parse(path).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg" and len(root.findall(".//{*}path")) > 10
    return " ".join(" ".join(t.itertext()) for t in root.findall(".//{*}text"))


def test_without_a_valid_split_there_is_no_valid_panel(tmp_path):
    style, path = plots.styles({"DIN": "din"}), tmp_path / "p.svg"
    for auc, panel in ((np.nan, False), (0.7, True)):
        plots.learning(
            {"DIN": curves.Learning(auc=np.full((3, 2), auc), loss=np.full((3, 2), 0.5))},
            style,
            path,
            "title",
        )
        assert ("AUC on valid" in drawn(path)) is panel and "log loss on train" in drawn(path)


def test_a_legend_of_long_names_stays_inside(tmp_path):
    labels = [f"DIN, a_rather_long_setting={k} and_another={k}" for k in range(5)]
    of_one = curves.Calibration(np.array([0.2, 0.8]), np.full((3, 2), 0.5), np.ones(3))
    numbers = {label: of_one for label in labels}
    style = plots.styles({label: "din" for label in labels})
    plots.calibrated(numbers, style, tmp_path / "p.svg", "title")
    root = ElementTree.parse(tmp_path / "p.svg").getroot()
    width = float(root.get("viewBox").split()[2])
    starts = [
        float(t.get("x") or re.search(r"translate\(([-\d.]+)", t.get("transform")).group(1))
        for t in root.findall(".//{*}text")
        if "rather_long" in "".join(t.itertext())
    ]
    assert len(starts) == 5 and all(0 < x < width - 150 for x in starts)


# page


def report(place, *flags):
    folder, _, tools = place
    return tools.run("report", *map(str, flags), cwd=folder)


def test_the_page(place, tmp_path):
    folder, printed, _ = place
    done = report(place, "--table", "mine.yaml", "--out", tmp_path / "page")
    assert done.status == 0, done.err
    assert done.json["runs"] == 4 and done.json["pictures"] == [f"debug-{k}.svg" for k in KINDS]
    files = {"README.md", "README.zh.md", *done.json["pictures"]}
    assert set(os.listdir(tmp_path / "page")) == files
    english, chinese = (
        (tmp_path / "page" / f"README{k}.md").read_text(encoding="utf-8") for k in ("", ".zh")
    )
    for text in (english, chinese):
        assert set(re.findall(r"\]\(([^)]+)\)", text)) | {"README.md", "README.zh.md"} == files
        assert f"python tools/report.py --table mine.yaml --out {tmp_path / 'page'}" in text
        assert text.count("<details>") == text.count("</details>") == 4 and "{" not in text
    mean = np.mean([p["test"]["auc"] for d, p in printed.items() if d.startswith("output/din")])
    assert (
        "| DIN | 1, 2 |" in english and f"| {mean:.4f} (" in english and "no attention" in english
    )
    assert re.findall(r"\d\.\d{4}", english) == re.findall(
        r"\d\.\d{4}", chinese
    )  # equal numbers, other words
    for block in re.findall(r"(?:^\|.*\n)+", english, re.M):
        assert len({line.count("|") for line in block.splitlines()}) == 1, block
    slices = english[english.index("### Where a model fails") :]
    assert "| group | rows | click rate | no attention: AUC | PCOC | DIN: AUC | PCOC |" in slices
    history = slices[: slices.index("By whether")]
    assert sum(
        int(n.replace(",", "")) for n in re.findall(r"^\| [^|]+ \| ([\d,]+) \|", history, re.M)
    ) == len(rows_of_test(place))
    words = {k: drawn(tmp_path / "page" / f"debug-{k}.svg") for k in KINDS}
    assert all("DIN" in w and "no attention" in w for w in words.values())
    assert (
        "PCOC" in words["calibration"]
        and "rows" in words["length"]
        and "threads: 1" in words["cost"]
    )
    # again, on the scores that were kept: the same files to the byte
    again = report(place, "--table", "mine.yaml", "--out", tmp_path / "again")
    assert again.status == 0 and "scoring" not in again.err
    for name in files - {"README.md", "README.zh.md"}:
        assert (tmp_path / "again" / name).read_bytes() == (
            tmp_path / "page" / name
        ).read_bytes(), name


def rows_of_test(place):
    """The test split of the debug dataset."""
    folder, _, _ = place
    return pd.read_parquet(folder / "data" / "debug" / "test")


def test_runs_by_directory(place, tmp_path):
    """The same numbers as by the table; labels are the models' names; a directory named twice
    counts once."""
    folder, printed, _ = place
    done = report(
        place, "--runs", *printed, list(printed)[0] + "/", "--out", tmp_path / "page", "--bins", 2
    )
    assert done.status == 0 and done.json["runs"] == 4, done.err
    text = (tmp_path / "page" / "README.md").read_text()
    assert "| base | 1, 2 |" in text and "| DIN | 1, 2 |" in text and "`epochs=2`" in text


def test_one_range_of_lengths_is_no_picture(place, tmp_path):
    done = report(place, "--runs", *place[1], "--out", tmp_path / "page", "--bins", 1)
    assert done.status == 0 and done.json["pictures"] == [
        f"debug-{k}.svg" for k in KINDS if k != "length"
    ], done.err
    assert (
        "No picture: there is a single range of history lengths, so nothing to compare."
        in (tmp_path / "page" / "README.md").read_text()
    )


def test_two_datasets(place, tmp_path):
    folder, printed, tools = place
    build(
        small_log(users=30, impressions=20),
        str(tmp_path / "other"),
        protocol="impressions",
        name="other | <script>log</script> *x*",
        seed=3,
    )
    done = tools.run(
        "trainer",
        "-m",
        os.path.join(ROOT, "models", "din", "config.yaml"),
        "-o",
        *TINY,
        "runner.epochs=1",
        f"runner.data_dir={tmp_path / 'other'}",
        f"runner.model_save_path={tmp_path / 'runs'}",
        cwd=folder,
    )
    assert done.status == 0, done.err
    done = report(place, "--runs", *printed, done.json["run_dir"], "--out", tmp_path / "page")
    assert done.status == 0, done.err
    assert sorted(done.json["pictures"]) == sorted(
        f"{d}-{k}.svg" for d in ("debug", "other-script-log-script-x-") for k in KINDS
    )
    text = (tmp_path / "page" / "README.md").read_text()
    assert all(f"]({p})" in text for p in done.json["pictures"])
    assert "## other | &lt;script&gt;log&lt;/script&gt; \\*x\\*\n" in text
    assert "<script>" not in text


def test_another_checkpoint_is_scored_again(place, tmp_path, runs, monkeypatch):
    """Kept scores belong to checkpoint, settings and dataset; damaged ones are made again."""
    copy = a_copy(place, tmp_path)
    other = runs[-2]
    assert other.model == runs[-1].model and (copy / scores.SCORES).exists()
    shutil.copy(
        os.path.join(other.directory, "checkpoints", "best.npz"), copy / "checkpoints" / "best.npz"
    )
    for _ in range(2):
        r = results.open_run(str(copy))
        scores.score_runs([r])
        assert np.array_equal(r.score, other.score) and not np.array_equal(r.score, runs[-1].score)
        (copy / scores.SCORES).write_bytes(b"PK\x03\x04 cut short")


def test_without_result_json(place, tmp_path):
    folder, printed, _ = place
    copy = a_copy(place, tmp_path)
    os.remove(copy / "result.json")
    done = report(place, "--runs", *list(printed)[:-1], copy, "--out", tmp_path / "page")
    assert done.status == 0 and f"{copy} has no result.json" in done.err
    text = (tmp_path / "page" / "README.md").read_text()
    assert f"\n1 of {len(printed)} runs are not timed" in text and "debug-cost.svg" in text
    done = report(place, "--runs", copy, "--out", tmp_path / "alone")
    assert done.json["pictures"] == [f"debug-{k}.svg" for k in KINDS[:3]]
    assert "none of the runs has a result.json" in (tmp_path / "alone" / "README.md").read_text()


def test_skip_missing(place, tmp_path):
    folder, printed, _ = place
    shutil.rmtree(a_copy(place, tmp_path) / "checkpoints")
    done = report(
        place,
        "--runs",
        list(printed)[0],
        tmp_path / "copy",
        tmp_path / "nothing",
        "--skip-missing",
        "--out",
        tmp_path / "page",
    )
    assert done.status == 0 and done.json["runs"] == 1 and len(done.json["left_out"]) == 2, done.err
    text = (tmp_path / "page" / "README.md").read_text()
    assert f"- {tmp_path / 'nothing'} does not exist" in text and "checkpoints/best.npz" in text
    done = report(
        place, "--runs", tmp_path / "nothing", "--skip-missing", "--out", tmp_path / "never"
    )
    assert (
        done.status == 1
        and any(line.startswith("error: no run is left to report") for line in done.lines)
        and not (tmp_path / "never").exists()
    )


# wrong input


def no_metrics(run):
    os.remove(run / "metrics.jsonl")


def broken_metrics(run):
    (run / "metrics.jsonl").write_text('{"epoch": 1, "tra')


def other_metrics(run):
    (run / "metrics.jsonl").write_text('{"epoch": 1, "train": 3, "valid": null}\n')


def broken_result(run):
    (run / "result.json").write_text("[]")


SPOILT_RESULTS = [
    {"samples_per_second": "x"},
    {"samples_per_second": [1]},
    {"samples_per_second": 1e-320},
    {"samples_per_second": -5},
    {"samples_per_second": True},
    {"samples_per_second": float("nan")},
    {"samples_per_second": 10**400},
    {"rows": {"train": 0}},
    {"rows": {"train": 2.5}},
    {"rows": []},
    {"rows": None},
    {"threads": "two"},
    {"test": 5},
    {"valid": {"auc": 7}},
]
SPOILT_LINES = [
    "null",
    "[" * 100_000,
    '{"epoch": 0, "train": {"loss": 0.5}, "valid": null}',
    '{"epoch": 1, "train": {"loss": NaN}, "valid": null}',
    '{"epoch": 1, "train": {"loss": 1e999}, "valid": null}',
    '{"epoch": 1, "train": {"loss": 0.5}, "valid": {"auc": 7}}',
    '{"epoch": 1, "train": {"loss": 0.5}, "valid": {"auc": "0.5x"}}',
    '{"epoch": 1, "train": {"loss": 0.5}, "valid": [0.5]}',
    "\xff\xfe",
]


@pytest.mark.parametrize("spoilt", SPOILT_RESULTS, ids=str)
def test_a_spoilt_result_ends_in_one_line(tmp_path, spoilt):
    path = tmp_path / "result.json"
    good = {"samples_per_second": 100.0, "rows": {"train": 50}, "threads": 1, "seconds": 3}
    path.write_text(json.dumps(good))
    assert results._result(str(path)).seconds_per_epoch == 0.5
    path.write_text(json.dumps({**good, **spoilt}))
    with pytest.raises(InputError, match="result.json is not a file of the trainer") as e:
        results._result(str(path))
    assert len(str(e.value)) < 500


@pytest.mark.parametrize("line", SPOILT_LINES, ids=[line[:60] for line in SPOILT_LINES])
def test_a_spoilt_epoch_ends_in_one_line(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    good = '{"epoch": 1, "train": {"loss": 0.5, "own": 1}, "valid": {"auc": 0.5}, "step": 3}'
    path.write_text(f"{good}\n")
    assert results._epochs(str(path))[0].valid.auc == 0.5
    path.write_text(f"{good}\n{line}\n", encoding="latin-1")
    with pytest.raises(InputError, match="metrics.jsonl is not a file of the trainer") as e:
        results._epochs(str(path))
    assert len(str(e.value)) < 500


def no_checkpoint(run):
    os.remove(run / "checkpoints" / "best.npz")


def broken_checkpoint(run):
    (run / "checkpoints" / "best.npz").write_bytes(b"PK")


def no_dataset(run):
    change(run, data_dir="gone")


def one_class(run):
    log = small_log(users=30, impressions=20)
    log.events.loc[log.events.time >= log.events.time.quantile(0.8), "label"] = 0
    build(log, str(run.parent / "one"), protocol="impressions", name="one", seed=3)
    change(run, data_dir=str(run.parent / "one"))


def other_data(run):
    build(
        small_log(users=30, impressions=20),
        str(run.parent / "two"),
        protocol="impressions",
        name="debug",
        seed=3,
    )
    change(run, data_dir=str(run.parent / "two"))


def nothing(run):
    pass


def change(run, **runner):
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["runner"].update(runner)
    (run / "config.yaml").write_text(yaml.safe_dump(config))


@pytest.mark.parametrize(
    "spoil, words",
    [
        (shutil.rmtree, "does not exist"),
        (no_metrics, "has no metrics.jsonl"),
        (broken_metrics, "metrics.jsonl is not a file of the trainer"),
        (other_metrics, "metrics.jsonl is not a file of the trainer"),
        (broken_result, "result.json is not a file of the trainer"),
        (no_checkpoint, "has no checkpoints/best.npz"),
        (broken_checkpoint, "not a whole checkpoint"),
        (no_dataset, "was trained on gone, which is missing"),
        (one_class, "has only one class: AUC is undefined"),
        (other_data, "but their test splits differ"),
        (nothing, "have the same model, settings and seed"),
    ],
)
def test_runs_that_cannot_be_drawn(place, tmp_path, spoil, words):
    folder, printed, _ = place
    copy = a_copy(place, tmp_path)
    spoil(copy)
    done = report(place, "--runs", *printed, copy, "--out", tmp_path / "page")
    refused(done, words, str(copy))
    assert not (tmp_path / "page").exists()


def refused(done, *words):
    assert done.status == 1 and done.out == "" and "Traceback" not in done.err, done.err
    errors = [line for line in done.lines if line.startswith("error: ")]
    assert len(errors) == 1 and all(w in errors[0] for w in words), done.err


def test_wrong_flags(place, tmp_path):
    folder, printed, _ = place
    one = list(printed)[0]
    (tmp_path / "file").write_text("mine")
    refused(report(place, "--runs", one, "--out", tmp_path / "file"), "is a file, not a directory")
    refused(
        report(place, "--runs", one, "--out", tmp_path / "file" / "page"),
        "is a file, not a directory",
    )
    (tmp_path / "README.md").write_text("# Mine\n")
    refused(
        report(place, "--runs", one, "--out", tmp_path), "its README.md is not a page of this tool"
    )
    os.remove(tmp_path / "README.md")
    refused(
        report(place, "--runs", one, "--out", tmp_path / "page", "--bins", 0),
        "--bins is 0, must be at least 1",
    )
    refused(
        report(place, "--table", "nothing", "--out", tmp_path / "page"),
        "the table nothing is unknown",
    )
    refused(
        report(place, "--table", "mine.yaml", "--seeds", 3, "--out", tmp_path / "page"),
        "has no seed 3",
    )
    assert report(place, "--out", tmp_path / "page").status == 2
    assert (tmp_path / "file").read_text() == "mine" and os.listdir(tmp_path) == ["file"]


def test_the_page_comes_last(place, tmp_path):
    """Where a picture cannot be written there is no page, and nothing cut short."""
    folder, printed, _ = place
    (tmp_path / "page" / "debug-cost.svg").mkdir(parents=True)
    done = report(place, "--runs", list(printed)[0], "--out", tmp_path / "page")
    refused(done, "debug-cost.svg")
    assert set(os.listdir(tmp_path / "page")) == {f"debug-{k}.svg" for k in KINDS}


def test_texts_fit_each_other():
    english, chinese = (page.words(language) for language in page.PAGES)
    assert english.keys() == chinese.keys()
    for key in english:
        a, b = english[key], chinese[key]
        assert type(a) is type(b) and (len(a) == len(b) if isinstance(a, list) else True)
        assert a.keys() == b.keys() if isinstance(a, dict) else True
        assert set(re.findall(r"{\w+}", str(a))) == set(re.findall(r"{\w+}", str(b))), key
