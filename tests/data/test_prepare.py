"""tools/prepare.py as a user runs it: from another directory, with good and bad input, Ctrl-C and a
full disk."""

import argparse
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from helpers import ROOT
from random_log import random_log
from sklearn.metrics import roc_auc_score

from paddleinterest.commands.prepare import Parser, add_flags
from paddleinterest.core.errors import InputError
from paddleinterest.data.prepare import prepare_file
from paddleinterest.data.reader import Reader
from paddleinterest.data.schema import Schema
from paddleinterest.data.sources import SOURCES

COMMAND = [sys.executable, os.path.join(ROOT, "tools", "prepare.py")]


def tool(cwd, *flags):
    return subprocess.run(
        [*COMMAND, *map(str, flags)], cwd=cwd, capture_output=True, text=True, timeout=60
    )


def result(done):
    """The one line on standard output of a run that went well."""
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout)


def failed(done, *words, status=1):
    """The error line of a run that did not."""
    assert done.returncode == status, done.stderr
    assert done.stdout == "" and "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and done.stderr.splitlines()[-1] == lines[0]
    for word in words:
        assert word in lines[0], lines[0]
    return lines[0]


@pytest.fixture
def shop(tmp_path):
    """events.csv, items.csv and users.csv.gz: three item attributes, a dense price, context, users
    who never click."""
    log = random_log(11, users=80)
    log.events.loc[log.events["user"].isin(["u1", "u2", "u3"]), "label"] = 0
    log.events.rename(columns={"label": "clicked"}).to_csv(tmp_path / "events.csv", index=False)
    items = log.items.assign(
        season=["s", "t", None, "s", "t"] * (len(log.items) // 5) + [None] * (len(log.items) % 5)
    )
    items.to_csv(tmp_path / "items.csv", index=False)
    log.users.to_csv(tmp_path / "users.csv.gz", index=False)
    return tmp_path


FLAGS = [
    "--source",
    "event_log",
    "--events",
    "events.csv",
    "--items",
    "items.csv",
    "--users",
    "users.csv.gz",
    "--label-column",
    "clicked",
    "--context",
    "device",
    "wait",
    "--dense",
    "price",
    "wait",
]


# what works ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["impressions", "every_prefix"])
def test_a_log_of_ones_own(shop, protocol):
    report = result(
        tool(shop, *FLAGS, "--protocol", protocol, "--out", "data/mine", "--name", "mine")
    )
    schema = Schema.load(str(shop / "data/mine"))
    events = pd.read_csv(shop / "events.csv")
    items = pd.read_csv(shop / "items.csv")
    clicked = events.groupby(["user", "item", "time"])["clicked"].transform("max")
    events = events[events["clicked"] == clicked]  # the click wins
    assert (report["data_dir"], report["protocol"], report["rows"]) == (
        "data/mine",
        protocol,
        schema.rows,
    )
    assert report["events"] == len(events) and report["items"] == len(
        {*events["item"], *items["item"]}
    )
    assert report["seconds"] > 0 and set(report["rows"]) == {"train", "valid", "test"}
    assert [(f.name, f.of, f.kind) for f in schema.fields] == [
        ("item", "item", "category"),
        ("category", "item", "category"),
        ("brand", "item", "category"),
        ("price", "item", "dense"),
        ("season", "item", "category"),
        ("city", "user", "category"),
        ("device", "context", "category"),
        ("wait", "context", "dense"),
    ]
    assert (schema.name, schema.source, schema.protocol) == ("mine", "event_log", protocol)
    assert sorted(os.listdir(shop / "data")) == ["mine"]
    reader = Reader(str(shop / "data/mine"), "train", 1000)
    batch = next(reader.epoch())
    users = pq.read_table(shop / "data/mine/users.parquet")["user"].to_pylist()
    empty = {
        users[u]
        for u, history in zip(batch["user"], batch["history_item"], strict=True)
        if not history.any()
    }
    if protocol == "impressions":
        assert report["rows"]["train"] + report["rows"]["valid"] + report["rows"]["test"] == len(
            events
        )
        assert {"u1", "u2", "u3"} & empty
    else:
        assert not empty and {"u1", "u2", "u3"} <= set(users)


@pytest.mark.slow
def test_the_same_command_in_another_folder_writes_the_same_bytes(shop):
    result(tool(shop, *FLAGS, "--protocol", "impressions", "--out", "one", "--name", "x"))
    flags = [shop / f if (shop / f).is_file() else f for f in FLAGS]
    (shop / "elsewhere").mkdir()
    result(
        tool(
            shop / "elsewhere",
            *flags,
            "--protocol",
            "impressions",
            "--out",
            "../two",
            "--name",
            "x",
        )
    )
    assert tree(shop / "one") == tree(shop / "two")


@pytest.mark.slow
@pytest.mark.parametrize("engine", [[], ["--engine", "memory"], ["--engine", "duckdb"]])
def test_every_engine_writes_the_same_bytes(shop, engine):
    """And nothing in the dataset says which one it was."""
    result(tool(shop, *FLAGS, "--protocol", "impressions", "--out", "one", "--name", "x"))
    flags = [*FLAGS, "--protocol", "impressions", "--out", "two", "--name", "x", *engine]
    result(tool(shop, *flags, "--memory", "2GB"))
    assert tree(shop / "one") == tree(shop / "two")


def tree(folder):
    """{path: bytes} of all files below a folder."""
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.slow
def test_matched_negatives_are_a_switch(shop):
    """A target that stands in its history is a positive; the report says what that alone scores,
    and --negatives matched takes it away."""
    done = tool(shop, *FLAGS, "--protocol", "every_prefix", "--out", "one", "--name", "x")
    result(done)
    said = float(re.search(r"this alone scores an AUC of (0\.\d+)", done.stderr)[1])
    alone = score_of_standing_in_the_history(shop / "one")
    assert said == pytest.approx(alone, abs=0.0006) and alone > 0.55
    done = tool(shop, *FLAGS, "--out", "two", "--negatives", "matched")
    result(done)
    assert "this alone scores" not in done.stderr
    assert abs(score_of_standing_in_the_history(shop / "two") - 0.5) < 0.05
    recipes = [Schema.load(str(shop / name)).recipe.get("negatives") for name in ("one", "two")]
    assert recipes == [None, "matched"]


def score_of_standing_in_the_history(dataset):
    """AUC on test of 1 for a target that stands in its history, else 0."""
    reader = Reader(str(dataset), "test", 100_000, history_cap=1000)
    (batch,) = reader.epoch()
    stands = [reader.item[k] in reader.history(k)[0] for k in range(reader.rows)]
    return roc_auc_score(batch["label"], stands)


@pytest.mark.slow
def test_a_recipe_and_flags_beside_it(tmp_path):
    (tmp_path / "r.yaml").write_text(
        "name: r\nsource: synthetic\nprotocol: impressions\nusers: 100\nitems: 60\n"
        "drift: 1e-2\nimpressions: 20\nseed: 4\npaper_split: false\n"
    )
    report = result(tool(tmp_path, "--config", "r.yaml", "--impressions", "10", "--seed", "5"))
    schema = Schema.load(str(tmp_path / "data/r"))
    assert report["data_dir"] == os.path.join("data", "r") and report["events"] == 1000
    assert (schema.name, schema.seed, schema.protocol) == ("r", 5, "impressions")
    assert schema.recipe == {
        "users": 100,
        "items": 60,
        "categories": 50,
        "impressions": 10,
        "drift": 0.01,
        "paper_split": False,
        "min_count": 1,
    }
    assert (
        set(report["best"]) == {"train", "valid", "test"}
        and 0.5 < report["best"]["train"]["auc"] < 1
    )
    report = result(
        tool(
            tmp_path,
            "--config",
            "r.yaml",
            "--paper-split",
            "--protocol",
            "every_prefix",
            "--overwrite",
        )
    )
    assert (
        set(report["rows"]) == {"train", "test"}
        and report["events"] == 2000
        and "best" not in report
    )
    assert os.listdir(tmp_path / "data") == ["r"]


@pytest.mark.slow
def test_user_id_needs_users(tmp_path):
    failed(
        tool(tmp_path, "--source", "paddlerec_text", "--train", "x", "--test", "y", "--user-id"),
        "--user-id: the lines of paddlerec_text",
    )
    for protocol in ("by_user", "last_event"):
        failed(
            tool(tmp_path, "--source", "synthetic", "--protocol", protocol, "--user-id"),
            f"--user-id: under {protocol} the users of valid and test are not in train",
        )
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_a_dataset_of_other_options_than_the_recipes_is_refused(tmp_path):
    from paddleinterest.data.prepare import check_same

    plain = "source: synthetic\nprotocol: impressions\nusers: 100\nitems: 60\nimpressions: 10\n"
    for name, text in (("plain", plain), ("known", plain + "user_id: true\n")):
        (tmp_path / f"{name}.yaml").write_text(text)
        result(tool(tmp_path, "--config", f"{name}.yaml", "--out", name))
        check_same(str(tmp_path / name), str(tmp_path / f"{name}.yaml"))
    assert [f.name for f in Schema.load(str(tmp_path / "known")).fields if f.of == "user"][
        -1
    ] == "user_id"
    with pytest.raises(
        InputError, match="plain was prepared with user_id absent, but .*known.yaml says true"
    ):
        check_same(str(tmp_path / "plain"), str(tmp_path / "known.yaml"))
    with pytest.raises(
        InputError, match="known was prepared with user_id true, but .*plain.yaml says absent"
    ):
        check_same(str(tmp_path / "known"), str(tmp_path / "plain.yaml"))


@pytest.mark.parametrize("source", SOURCES)
def test_help_lists_the_flags_of_the_source(source, tmp_path, capsys):
    own = argparse.ArgumentParser(add_help=False)
    add_flags(own, SOURCES[source].Options)
    (tmp_path / "r.yaml").write_text(f"source: {source}\n")
    for argv in (["--source", source, "--help"], ["--help", "--config", str(tmp_path / "r.yaml")]):
        with pytest.raises(SystemExit) as e:
            Parser().parse_args(argv)
        assert e.value.code == 0
        text = capsys.readouterr().out
        flags = [flag for action in own._actions for flag in action.option_strings]
        for flag in [*flags, "--protocol", "--out", "--seed", "--min-count"]:
            assert f"{flag} " in text, flag


@pytest.mark.slow
def test_help_of_the_tool():
    done = tool("/", "--help")
    assert done.returncode == 0
    examples, flags = done.stdout.split("options:")
    assert (
        "--items items.csv \\\n        --protocol" in examples
        and "--overwrite" in flags
        and "--events" not in flags
    )


@pytest.mark.parametrize("path", sorted(os.listdir(os.path.join(ROOT, "datasets"))))
def test_every_recipe_of_the_repository_is_understood(path):
    file = os.path.join(ROOT, "datasets", path)
    recipe = yaml.safe_load(open(file))
    read = Parser().parse_args(["--config", file])
    values = {**vars(read.common), **vars(read.options)}
    assert {k: values[k] for k in recipe} == recipe and recipe["name"] == path[:-5]


def test_flags_win_over_the_recipe_and_the_recipe_over_the_defaults(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "source: event_log\nevents: [a.csv, b.csv]\ncontext: [x]\ndense: []\nseparator:"
        " '-'\nmin_count: 3\npaper_split: true\nusers: null\nlabel_column: 7\n"
    )
    read = Parser().parse_args(["--config", str(recipe)])
    own, common = read.options, read.common
    assert (own.events, own.context, own.dense) == (["a.csv", "b.csv"], ["x"], [])
    assert (own.separator, own.users, own.label_column) == ("-", "", "7")
    assert (common.min_count, common.paper_split, common.seed) == (3, True, 2026)
    read = Parser().parse_args(
        ["--events", "c.csv", "--config", str(recipe), "--min-count=5", "--context", "y", "z"]
    )
    own, common = read.options, read.common
    assert (own.events, own.context, common.min_count) == (["c.csv"], ["y", "z"], 5)


# what is refused ----------------------------------------------------------------------------------


def spoil_label(shop):
    events = pd.read_csv(shop / "events.csv")
    events.loc[3, "clicked"] = 2
    events.to_csv(shop / "events.csv", index=False)


def double_item(shop):
    with open(shop / "items.csv", "a") as f:
        f.write((shop / "items.csv").read_text().splitlines()[1] + "\n")


def drop_column(shop):
    pd.read_csv(shop / "events.csv").drop(columns="item").to_csv(shop / "events.csv", index=False)


def cut_parquet(shop):
    pd.read_csv(shop / "events.csv").to_parquet(shop / "whole.parquet")
    (shop / "events.parquet").write_bytes((shop / "whole.parquet").read_bytes()[:-200])


def cut_gzip(shop):
    data = gzip.compress(b"user,city\n" + b"".join(b"u%d,x%d\n" % (k, k * k) for k in range(500)))
    (shop / "users.csv.gz").write_bytes(data[:-200])


def one_moment(shop):
    pd.read_csv(shop / "events.csv").assign(time=7).to_csv(shop / "events.csv", index=False)


def existing(shop):
    (shop / "out").mkdir()
    (shop / "out" / "mine.txt").write_text("mine")


@pytest.mark.slow
@pytest.mark.parametrize(
    "spoil, flags, words",
    [
        (None, ["--events", "none.csv"], ["none.csv", "does not exist"]),
        (drop_column, [], ["events.csv has no column 'item'"]),
        (spoil_label, [], ["events.csv: clicked is 2 in row 4", "labels are 0 or 1"]),
        (double_item, [], ["items.csv", "more than one row"]),
        (cut_parquet, ["--events", "events.parquet"], ["events.parquet"]),
        (cut_gzip, [], ["users.csv.gz"]),
        (one_moment, [], ["the valid split is empty"]),
        (existing, [], ["out exists already"]),
        (existing, ["--overwrite"], ["out is not a prepared dataset"]),
        (None, ["--protocol", "given"], ["protocol given does not fit source event_log"]),
        (None, ["--min-count", "0"], ["--min-count is 0, must be at least 1"]),
        (None, ["--memory", "4 apples"], ["--memory is '4 apples', must be a size such as 4GB"]),
        (None, ["--memory", "12MB"], ["--memory is 12MB, must be at least 1GB"]),
        (None, ["--negatives", "matched"], ["--negatives matched is for every_prefix alone"]),
    ],
    ids="missing column label duplicate parquet gzip empty exists foreign given min_count size"
    " small matched".split(),
)
def test_bad_input_ends_in_one_line_and_leaves_nothing(shop, spoil, flags, words):
    if spoil:
        spoil(shop)
    before = sorted(p.relative_to(shop) for p in shop.rglob("*"))
    failed(tool(shop, *FLAGS, "--protocol", "impressions", "--out", "out", *flags), *words)
    assert sorted(p.relative_to(shop) for p in shop.rglob("*")) == before


@pytest.mark.parametrize(
    "text, words",
    [
        ("source: synthetic\nuser: 5\n", "unknown key user; nearest is users"),
        ("source: synthetic\nmin-count: 5\n", "unknown key min-count; nearest is min_count"),
        ("source: synthetic\nconfig: x\n", "unknown key config"),
        ("source: synthetic\nhelp: true\n", "unknown key help"),
        ("source: synthetic\nevents: [a]\n", "unknown key events"),
        ("source: synthetic\n1: 2\n", "unknown key 1"),
        ("source: synthetic\nusers: many\n", "users is 'many', must be a whole number"),
        ("source: synthetic\nusers: 2.5\n", "users is '2.5', must be a whole number"),
        ("source: synthetic\nusers: [1, 2]\n", "users is ['1', '2'], must be a whole number"),
        ("source: synthetic\nusers: {a: 1}\n", "users is a section"),
        ("source: synthetic\nuser_id: 'yes'\n", "user_id is 'yes', must be true or false"),
        ("source: synthetic\npaper_split: 1\n", "paper_split is '1', must be true or false"),
        (
            "source: synthetic\nprotocol: both\n",
            "protocol is 'both', must be one of every_prefix, last_event,",
        ),
        ("source: synthetic\nusers: true\n", "users is True, must be a whole number"),
        ("source: synthetik\n", "source is 'synthetik', must be one of"),
        ("users: 5\n", "has no source"),
        ("source: [synthetic]\n", "must be one of"),
        ("source: [\n", "is not YAML"),
        ("- a\n", "must hold keys and values"),
    ],
)
def test_a_bad_recipe_is_refused(tmp_path, text, words):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(InputError) as e:
        prepare_file(str(tmp_path / "r.yaml"), str(tmp_path / "d"))
    assert "r.yaml" in str(e.value) and words in str(e.value) and "\n" not in str(e.value)
    assert os.listdir(tmp_path) == ["r.yaml"]


@pytest.mark.slow
@pytest.mark.parametrize("text", ["source: synthetic\nuser: 5\n", "source: [\n"])
def test_a_bad_recipe_ends_the_tool_in_one_line(tmp_path, text):
    (tmp_path / "r.yaml").write_text(text)
    failed(tool(tmp_path, "--config", "r.yaml"), "r.yaml")
    assert os.listdir(tmp_path) == ["r.yaml"]


@pytest.mark.slow
def test_a_wrong_command_line(tmp_path, capsys):
    failed(tool(tmp_path), "--source", "--config")
    with pytest.raises(InputError, match="write --config datasets/beauty.yaml"):
        Parser().parse_args(["datasets/beauty.yaml"])
    done = tool(
        tmp_path, "--source", "synthetic", "--user", "5"
    )  # a beginning of a name is no name
    assert (
        done.returncode == 2
        and "unrecognized arguments: --user 5" in done.stderr
        and not done.stdout
    )
    assert not os.listdir(tmp_path)
    with pytest.raises(InputError, match="none.yaml does not exist"):
        Parser().parse_args(["--config", "none.yaml"])
    with pytest.raises(InputError, match="--source"):  # rather than call --events unknown
        Parser().parse_args(["--events", "events.csv"])
    for flags, words in (
        (["--source", "nowhere"], "invalid choice: 'nowhere'"),
        (["--source", "synthetic", "--seed", "x"], "invalid int value"),
        (["--source", "synthetic", "--drift"], "expected one argument"),
    ):
        with pytest.raises(SystemExit) as e:
            Parser().parse_args(flags)
        assert e.value.code == 2 and words in capsys.readouterr().err


# Ctrl-C and a full disk ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "number, status, old",
    [(signal.SIGINT, 130, False), (signal.SIGINT, 130, True), (signal.SIGTERM, 143, False)],
)
def test_a_signal_in_the_middle_leaves_what_was_there(tmp_path, number, status, old):
    small = [
        "--source",
        "synthetic",
        "--users",
        "200",
        "--impressions",
        "10",
        "--protocol",
        "impressions",
    ]
    if old:
        result(tool(tmp_path, *small, "--out", "d"))
    before = {p: p.read_bytes() for p in (tmp_path / "d").rglob("*") if p.is_file()}
    names = set(os.listdir(tmp_path))
    flags = [
        "--source",
        "synthetic",
        "--users",
        "40000",
        "--impressions",
        "20",
        "--protocol",
        "impressions",
        "--out",
        "d",
        "--overwrite",
    ]
    with subprocess.Popen(
        [*COMMAND, *flags], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as p:
        end = time.time() + 60
        while set(os.listdir(tmp_path)) == names and p.poll() is None and time.time() < end:
            time.sleep(0.005)
        assert set(os.listdir(tmp_path)) != names and p.poll() is None
        p.send_signal(number)
        out, err = p.communicate(timeout=60)
    assert p.returncode == status and out == "" and "Traceback" not in err
    if number == signal.SIGINT:
        assert err.splitlines()[-1].startswith("interrupted")
    assert set(os.listdir(tmp_path)) == names
    assert {p: p.read_bytes() for p in (tmp_path / "d").rglob("*") if p.is_file()} == before


@pytest.fixture
def tmpfs(tmp_path):
    """A function that mounts an empty file system of so many kilobytes."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(kilobytes):
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", folder],
            capture_output=True,
        )
        if done.returncode:
            pytest.skip("cannot mount a tmpfs here")
        return folder

    try:
        yield mount
    finally:
        while os.path.ismount(folder):
            subprocess.run(["umount", folder], check=True)


@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0,
    reason="only root can mount a small file system",
)
@pytest.mark.parametrize("kilobytes", [16, 200, 700])
def test_a_full_disk_ends_in_one_line_and_leaves_nothing(tmpfs, kilobytes):
    """What fills up first are the tables, the sequences, the samples."""
    folder = tmpfs(kilobytes)
    failed(
        tool(
            folder,
            "--source",
            "synthetic",
            "--users",
            "1000",
            "--protocol",
            "impressions",
            "--out",
            "d",
        ),
        "No space left on device",
    )
    assert os.listdir(folder) == []


@pytest.mark.slow
def test_the_old_path_of_a_recipe_answers_with_the_new_one(tmp_path):
    done = tool(tmp_path, "--config", "configs/datasets/debug.yaml", "--out", "made")
    assert result(done)["data_dir"] == "made"
    assert "configs/datasets/debug.yaml is now datasets/debug.yaml" in done.stderr.splitlines()
    mine = tmp_path / "configs" / "datasets" / "debug.yaml"  # a file of one's own there is meant
    mine.parent.mkdir(parents=True)
    mine.write_text("source: synthetic\nname: mine\nusers: 30\n")
    done = tool(tmp_path, "--config", "configs/datasets/debug.yaml")
    assert result(done)["data_dir"] == "data/mine" and "is now" not in done.stderr


def test_a_recipes_texts_are_taken_as_they_are_written(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("source: synthetic\nname: 007\nusers: 030\n")
    recipe = Parser().parse_args(["--config", str(path)])
    assert (recipe.name, recipe.options.users) == ("007", 30)
    path.write_text("source: synthetic\nname: 1e3\nusers: 1:30\n")
    with pytest.raises(InputError, match="users is '1:30', must be a whole number"):
        Parser().parse_args(["--config", str(path)])
    path.write_text("source: synthetic\nname: a\nname: b\n")
    with pytest.raises(InputError, match="the key name occurs twice, again in line 3"):
        Parser().parse_args(["--config", str(path)])
