"""tools/reproduce.py and its tables: arithmetic by hand, what is run and what is not, READMEs,
wrong input."""

import csv
import io
import json
import math
import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers import ROOT, run_tool, small_dataset
from sklearn.metrics import roc_auc_score

from paddleinterest.core import settings
from paddleinterest.core.errors import InputError
from paddleinterest.core.names import check_folder_name
from paddleinterest.study import bars, excerpt, table_text, tables, uncertainty
from paddleinterest.study.tables import Row, Table

pytestmark = pytest.mark.slow

CONTENT = {
    "title": "A title",
    "seeds": [1, 2],
    "datasets": ["datasets/beauty.yaml"],
    "baseline": "base",
    "pairs": [],
    "rows": [
        {"label": "base", "model": "base"},
        {"label": "DIN", "model": "din", "set": ["runner.epochs=1"]},
    ],
}
DATASET = CONTENT["datasets"][0]
TABLE = Table(
    name="t",
    title="A title",
    seeds=[1, 2],
    datasets=[DATASET],
    rows=[Row("base", model="base"), Row("DIN", model="din", set=("runner.epochs=1",))],
    baseline="base",
)


def result(auc, epoch=1, **more):
    metrics = {"auc": auc, "gauc": auc - 0.1, "logloss": 0.5, "pcoc": 1.0}
    return {
        "valid": metrics,
        "test": metrics,
        "best_epoch": epoch,
        "samples_per_second": 10.0,
        "seconds": 1.0,
        "protocol": "p",
        "rows": {"train": 1000, "valid": 100, "test": 90},
        "command": ["python"],
        "versions": ["paddlepaddle 1"],
        **more,
    }


def written(tmp_path, **changes):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**CONTENT, **changes}))
    return str(path)


def test_markdown():
    done = {
        ("base", DATASET, 1): result(0.7),
        ("base", DATASET, 2): result(0.72),
        ("DIN", DATASET, 2): result(0.75, 3),
    }
    lines = table_text.as_markdown(TABLE, done).splitlines()
    assert lines[0] == "**beauty**, `p`, 1,000 / 100 / 90 samples, 2 seeds"
    # by hand: the standard deviation of 0.70 and 0.72 is 0.02/√2; RelaImpr, of the seed that both
    # have, is 0.25/0.22 − 1
    assert (
        lines[4]
        == "| base | 0.7100 ± 0.0141 | 0.6100 ± 0.0141 | 0.5000 ± 0.0000 | 1.0000 ± 0.0000 |  | 1 |"
    )
    assert lines[5] == "| DIN | 0.7500 (1) | 0.6500 (1) | 0.5000 (1) | 1.0000 (1) | +13.6 % | 3 |"
    assert len({line.count("|") for line in lines[2:6]}) == 1
    assert "A title" in lines[7] and "paddlepaddle 1" in lines[7]


def test_cells_that_were_not_run_say_so_and_truth_is_shown():
    best = {"test": {"auc": 0.86, "gauc": 0.85}}
    lines = table_text.as_markdown(
        TABLE, {("DIN", DATASET, 1): result(0.75, best_possible=best)}
    ).splitlines()
    assert (
        lines[4].startswith("| base | not run |")
        and lines[6] == "| *the true probabilities* | 0.8600 | 0.8500 |  |  |  |  |"
    )
    assert "not run" in table_text.as_markdown(TABLE, {})


def test_pairs_are_tested_over_their_common_seeds():
    """By hand: differences 0.04 and 0.06 have mean 0.05 and deviation 0.02/√2, so t = 5 with one
    degree of freedom: p = 2·atan(1/5)/π."""
    table = replace(TABLE, seeds=[1, 2, 3], pairs=[("DIN", "base")])
    done = {
        ("base", DATASET, 1): result(0.70),
        ("base", DATASET, 2): result(0.70),
        ("base", DATASET, 3): result(0.9),
    }
    assert "| DIN − base | not run |" in table_text.as_markdown(table, done)
    done["DIN", DATASET, 1] = result(0.74)
    assert "| DIN − base | +0.0400 (1) |" in table_text.as_markdown(table, done)
    done["DIN", DATASET, 2] = result(0.76)
    p = 2 * math.atan(1 / 5) / math.pi
    assert f"| DIN − base | +0.0500 ± 0.0141, p = {p:.3f} (2) |" in table_text.as_markdown(
        table, done
    )


def test_a_tool_has_one_cell_for_all_seeds_and_no_log_loss():
    table = replace(TABLE, rows=[*TABLE.rows, Row("popularity", tool="popularity")])
    cells = [c for c in tables.cells(table) if c.row == "popularity"]
    assert [" ".join(c.command) for c in cells] == [
        f"python tools/popularity.py --dataset {DATASET}"
    ]
    learned = result(0.6)
    done = {
        ("base", DATASET, 1): result(0.7),
        ("popularity", DATASET, 1): {
            k: {"auc": 0.6, "gauc": 0.5} if k in ("valid", "test") else v
            for k, v in learned.items()
            if k not in ("best_epoch", "samples_per_second")
        },
    }
    assert "| popularity | 0.6000 | 0.5000 |  |  | -50.0 % |  |" in table_text.as_markdown(
        table, done
    )
    assert "popularity,beauty,1,,0.6,0.5,,,0.6,0.5,,,,1.0" in table_text.as_csv(table, done)


def test_popularity_against_a_count_by_pandas(tmp_path):
    data = small_dataset(tmp_path, "mine", users=30, impressions=20)
    train, test = (
        pd.concat(pd.read_parquet(p) for p in (tmp_path / "mine" / split).iterdir())
        for split in ("train", "test")
    )
    count = test.item.map(train.item.value_counts()).fillna(0)
    run = run_tool("popularity", "--data", data, cwd=tmp_path)
    assert (
        run.status == 0
        and run.json["test"]["auc"] == pytest.approx(roc_auc_score(test.label, count))
        and set(run.json["test"]) == {"auc", "gauc"}
    )
    wrong = run_tool("popularity", "--data", str(tmp_path / "none"), cwd=tmp_path)
    assert wrong.status == 1 and wrong.err.count("\n") == 1


def test_commands_are_what_a_reader_types():
    cells = tables.cells(TABLE)
    assert [(c.row, c.seed) for c in cells] == [
        ("base", 1),
        ("DIN", 1),
        ("base", 2),
        ("DIN", 2),
    ]
    assert (
        " ".join(cells[1].command)
        == "python tools/trainer.py -m models/din/config.yaml -o runner.dataset=datasets/"
        "beauty.yaml runner.seed=1 runner.name=beauty-epochs_1-1 runner.epochs=1"
    )
    slow = Row("slow", model="din", set=("hyper_parameters.optimizer.learning_rate=0.01",))
    rate = replace(TABLE, rows=[*TABLE.rows, slow])
    assert "runner.name=beauty-learning_rate_0_01-1" in tables.cells(rate, rows=["slow"])[0].command
    tuned = Row("tuned", config="configs/tuned/din_{dataset}.yaml")
    own = replace(TABLE, baseline="", rows=[tuned])
    assert (
        " ".join(tables.cells(own)[0].command)
        == "python tools/trainer.py -m configs/tuned/din_beauty.yaml -o runner.dataset="
        "datasets/beauty.yaml runner.seed=1 runner.name=beauty-tuned-1"
    )
    assert [c.seed for c in tables.cells(TABLE, rows=["DIN"], seeds=[2])] == [2]
    for choice, word in (
        ({"rows": ["x"]}, "no row 'x'"),
        ({"datasets": ["toys"]}, "no dataset 'toys'"),
        ({"seeds": [3]}, "no seed 3"),
    ):
        with pytest.raises(InputError, match=word):
            tables.cells(TABLE, **choice)


@pytest.mark.parametrize("name", tables.names())
def test_the_tables_that_we_ship(name):
    """Every cell's settings are accepted, and no two cells share a run directory."""
    cells = tables.cells(tables.read(name))
    runs = set()
    for cell in cells:
        if "-o" not in cell.command:
            assert os.path.isfile(os.path.join(ROOT, cell.command[1])) and os.path.isfile(
                os.path.join(ROOT, cell.command[3])
            )
            runs.add(tuple(cell.command))
            continue
        flags = cell.command[cell.command.index("-o") + 1 :]
        config = settings.load(os.path.join(ROOT, cell.command[3]), flags)
        assert os.path.isfile(os.path.join(ROOT, config.runner.dataset))
        runs.add((config.model, config.runner.name))
    assert len(runs) == len(cells) > 0


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"seeds": 3}, "seeds is 3, must be a list"),
        ({"rows": [{"label": "x"}]}, "must have a label, and a model"),
        ({"baseline": "y"}, "baseline y"),
        ({"pairs": [["base", "y"]]}, "must be two labels"),
        ({"more": 1}, "a table has the keys"),
        ({"rows": [{"label": "base", "model": "base"}] * 2}, "have the label .base."),
        ({"rows": [{"label": "base", "config": 1}]}, "config and tool, and a list"),
        ({"rows": [{"label": "base", "tool": "popularity"}]}, "no row with a model or a config"),
    ],
)
def test_wrong_tables(tmp_path, changes, words):
    with pytest.raises(InputError, match=words):
        tables.read(written(tmp_path, **changes))
    with pytest.raises(InputError, match="the table nothing is unknown"):
        tables.read("nothing")


def test_names_of_many_settings_are_short_and_differ():
    """A run's name is one folder's."""
    many = [f"hyper_parameters.setting_number_{k}=0.{k}" for k in range(12)]
    rows = [Row(x, model="din", set=(*many, f"runner.last={x}")) for x in "ab"]
    found = [tables._tag(row, "") for row in rows]
    assert len(set(found)) == 2
    for name in found:
        assert check_folder_name(f"beauty{name}-2026", "runner.name")


def test_paste(tmp_path):
    path = tmp_path / "R.md"
    path.write_text(
        "before\n<!-- table t -->\nold\n<!-- /table -->\nafter\n<!-- table u -->\n<!-- /table -->\n"
    )
    table_text.paste(str(path), "t", "new\n")
    assert (
        path.read_text()
        == "before\n<!-- table t -->\nnew\n<!-- /table -->\nafter\n<!-- table u -->\n<!-- /table"
        " -->\n"
    )
    table_text.paste(str(path), "t", "new\n")
    assert path.read_text().count("new") == 1
    with pytest.raises(InputError, match="no place for table w"):
        table_text.paste(str(path), "w", "new")


def resampled(lift=0.0, noise=0.0, seed=0):
    """Figures of a run on 400 users; `lift` is how well it knows the label."""
    rng = np.random.default_rng(5)
    user, label = np.repeat(np.arange(400), 2), np.tile([1, 0], 400)
    score = rng.random(800) + lift * label
    score += noise * np.random.default_rng(seed).normal(0, 1, 800)
    return uncertainty.Resampler(user, label, user, 200).of_run([score, score + 0.0])


def test_a_difference_in_bold_survives_other_seeds_and_other_users():
    table = replace(TABLE, seeds=[1, 2, 3], pairs=[("DIN", "base")])
    done, again = {}, {}
    for seed in table.seeds:
        for row, lift in (("base", 0.1), ("DIN", 0.5)):
            found = resampled(lift, 0.05, seed)
            again[row, DATASET, seed] = found
            done[row, DATASET, seed] = result(float(found.whole["auc"][0]))
    text = table_text.as_markdown(table, done, again)
    line = next(x for x in text.splitlines() if x.startswith("| DIN − base |"))
    compared = uncertainty.compare(
        [again["DIN", DATASET, s] for s in table.seeds],
        [again["base", DATASET, s] for s in table.seeds],
    )
    assert f"| **{compared.difference:+.4f}** ± " in line and "(3)" in line
    assert f" [{compared.low:+.4f}, {compared.high:+.4f}] |" in line
    low, high = uncertainty.interval([again["base", DATASET, s] for s in table.seeds])
    assert f" [{low:.4f}, {high:.4f}] |" in text.splitlines()[4]
    assert "95 % over test's users and 2 draws of its negatives. A difference in bold" in text
    two = {key: value for key, value in again.items() if key[2] < 3}
    assert "**+" not in table_text.as_markdown(table, done, two)  # too few seeds
    same = {key: resampled(0.1, 0.05, key[2]) for key in again}
    assert "**+" not in table_text.as_markdown(table, done, same)
    chinese = excerpt.in_chinese(text)
    assert "方括号内：对测试集用户重新抽样、负样本抽取 2 次" in chinese and "square" not in chinese
    assert "A difference" not in chinese


def test_a_table_end_to_end(tmp_path):
    """Two seeds of a tiny model; the second call runs nothing, a changed setting runs again, a
    failing cell says so."""
    small_dataset(tmp_path, "clicks", users=30, impressions=20)
    tiny = [
        "runner.data_dir=clicks",
        "runner.visualdl=false",
        "runner.epochs=1",
        "hyper_parameters.embedding_size=4",
    ]
    readme = tmp_path / "R.md"
    readme.write_text("<!-- table mine -->\n<!-- /table -->\n")

    def table(**row):
        return written(tmp_path, rows=[{"label": "base", "model": "base", "set": tiny, **row}])

    run = run_tool("reproduce", "--table", table(), "--paste", "R.md", cwd=tmp_path)
    assert run.status == 0 and (run.json["done"], run.json["failed"]) == (2, 0), run.err
    text = (tmp_path / run.json["markdown"]).read_text()
    assert text.strip() in readme.read_text() and "±" in text
    rows = list(csv.DictReader(io.StringIO((tmp_path / run.json["csv"]).read_text())))
    kept = [
        json.loads(p.read_text())
        for p in sorted((tmp_path / "output" / "tables" / "cells").iterdir())
        if not p.name.endswith(".bars.json")
    ]
    assert sorted(float(r["test_auc"]) for r in rows) == sorted(k["test"]["auc"] for k in kept)
    assert f"| base | {np.mean([k['test']['auc'] for k in kept]):.4f} ± " in text
    # other users: the interval is that of tools/compare.py's figures, and holds the mean
    found = [bars.load(str(p)) for p in (tmp_path / "output" / "tables" / "cells").glob("*.bars.*")]
    low, high = uncertainty.interval(found)
    mean = np.mean([k["test"]["auc"] for k in kept])
    assert len(found) == 2 and low < mean < high and f" [{low:.4f}, {high:.4f}] |" in text
    assert sorted(f.whole["auc"][0] for f in found) == pytest.approx(
        sorted(k["test"]["auc"] for k in kept), abs=1e-6
    )
    assert "In square brackets: 95 % over test's users.\n" in text
    again = run_tool("reproduce", "--table", table(), cwd=tmp_path)
    before = again.err.split("**beauty**")[0]
    assert again.json["done"] == 2 and "epoch" not in before and "error bars" not in before
    broken = run_tool(
        "reproduce", "--table", table(set=[*tiny, "runner.epochs=many"]), cwd=tmp_path
    )
    assert (broken.json["done"], broken.json["failed"]) == (0, 2) and "not run" in broken.err


def test_auc_on_withheld_items_has_a_column():
    """Only in the part of a dataset that withholds items, and in the CSV."""
    table = tables.Table(
        "t", "Title", [1], ["datasets/a.yaml", "datasets/b.yaml"], [tables.Row("DIN", "din")]
    )
    figures = {"auc": 0.7, "gauc": 0.6, "logloss": 0.5, "pcoc": 1.0}
    common = {"rows": dict.fromkeys(("train", "valid", "test"), 9), "protocol": "impressions"}
    common |= {"seconds": 1.0, "command": ["python"]}
    done = {}
    for dataset, more in (("datasets/a.yaml", {}), ("datasets/b.yaml", {"auc_withheld": 0.6125})):
        test = {**figures, **more}
        done["DIN", dataset, 1] = {**common, "valid": test, "test": test}
    first, second = table_text.as_markdown(table, done).split("**b**")
    assert "withheld" not in first and "| AUC, withheld items |" in second
    assert "0.6125" in second
    head, *lines = table_text.as_csv(table, done).splitlines()
    at = head.split(",").index("test_auc_withheld")
    assert [line.split(",")[at] for line in lines] == ["", "0.6125"]
