"""One log in many forms of files: the same frames."""

import gzip
import json
import os
import zipfile

import numpy as np
import pandas as pd
import pytest
from test_sources import load, refuses, rows, write

from paddleinterest.commands.prepare import Parser
from paddleinterest.data.prepare import prepare
from paddleinterest.data.reader import Reader
from paddleinterest.data.sources import files

FRAME = pd.DataFrame(
    {
        "user": ["u1", "u2", "u1", "用户"],
        "item": [3, 4, 4, 5],
        "time": [1_700_000_000, 1_700_000_100, 1_700_000_200, 1_700_000_300],
        "label": [1, 0, 1, 1],
        "device": ["ios", "网页", "ios", "pc"],
    }
)
PLAIN = FRAME.to_csv(index=False)
BARE = FRAME.to_csv(index=False, header=False)
COLUMNS = ["--columns", *FRAME.columns]


def lines(frame):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in frame.to_dict("records"))


def in_zip(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        for name, text in members.items():
            z.writestr(name.replace("__", "/").replace("_dot_", "."), text)
    return path


def folder(path, **texts):
    path.mkdir()
    for name, text in texts.items():
        write(path / name.replace("_dot_", "."), text)
    return path


def atomic(frame):
    kinds = {"user": "user_id:token", "item": "item_id:token", "time": "timestamp:float"}
    names = {**kinds, "label": "label:float", "device": "device:token"}
    return frame.rename(columns=names).to_csv(index=False, sep="\t")


FORMS = {
    "csv.gz": lambda d: [write(d / "e.csv.gz", PLAIN)],
    "dat": lambda d: [write(d / "e.dat", BARE.replace(",", "::")), *COLUMNS],
    "txt": lambda d: [write(d / "e.txt", PLAIN.replace(",", "|"))],
    "no header": lambda d: [write(d / "e.csv", BARE), *COLUMNS],
    "inter": lambda d: [write(d / "e.inter", atomic(FRAME))],
    "jsonl": lambda d: [write(d / "e.jsonl", lines(FRAME))],
    "jsonl.gz": lambda d: [write(d / "e.jsonl.gz", lines(FRAME))],
    "zip": lambda d: [in_zip(d / "e.zip", e_dot_csv=PLAIN)],
    "zip of tables": lambda d: [
        str(in_zip(d / "e.zip", a__e_dot_csv=PLAIN, a__items_dot_csv="x\n")) + "/a/e.csv"
    ],
    "folder": lambda d: [
        folder(
            d / "log",
            part0_dot_csv=FRAME[:2].to_csv(index=False),
            _SUCCESS="",
            part1_dot_csv=FRAME[2:].to_csv(index=False),
        )
    ],
    "gbk": lambda d: [_bytes(d / "e.csv", PLAIN.encode("gbk")), "--encoding", "gbk"],
    "utf-16": lambda d: [_bytes(d / "e.csv", PLAIN.encode("utf-16"))],
    "index": lambda d: [write(d / "e.csv", FRAME.to_csv())],
    "format": lambda d: [write(d / "000000_0", PLAIN), "--format", "csv"],
    "renamed": lambda d: [
        write(d / "e.csv", PLAIN.replace("device", "count")),
        "--context",
        "count=device",
    ],
}


def _bytes(path, data):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("form", FORMS)
def test_the_same_log_in_another_form(tmp_path, form):
    wanted = load("event_log", "--events", write(tmp_path / "p.csv", PLAIN), "--context", "device")
    flags = FORMS[form](tmp_path)
    if "--context" not in flags:
        flags += ["--context", "device"]
    found = load("event_log", "--events", *flags)
    assert list(found.events) == list(wanted.events) and rows(found.events) == rows(wanted.events)


def test_gbk_without_a_word_gets_the_right_advice(tmp_path):
    path = _bytes(tmp_path / "e.csv", PLAIN.encode("gbk"))
    refuses(
        ["line 3: not UTF-8", "--encoding gbk"],
        "event_log",
        "--events",
        path,
        "--context",
        "device",
    )
    refuses(
        ["--encoding is 'gkb', must be"],
        "event_log",
        "--events",
        path,
        "--encoding",
        "gkb",
    )


def test_a_header_in_gbk_gets_the_advice_and_no_unreadable_names(tmp_path, capsys):
    text = "用户,商品,时间,类目\n1,2,3,手机\n"
    path = _bytes(tmp_path / "e.csv", text.encode("gbk"))
    flags = ["--user-column", "用户", "--item-column", "商品", "--time-column", "时间"]
    refuses(["e.csv, line 1: not UTF-8", "--encoding gbk"], "event_log", "--events", path, *flags)
    assert "\ufffd" not in capsys.readouterr().err
    log = load("event_log", "--events", path, *flags, "--encoding", "gbk", "--context", "类目")
    assert rows(log.events) == [[1, 2, 3, "手机"]]


def test_other_line_ends_and_encodings_are_named(tmp_path):
    path = write(tmp_path / "e.csv", PLAIN)
    refuses(
        ["e.csv: not utf-16", "--encoding"], "event_log", "--events", path, "--encoding", "utf-16"
    )
    path = _bytes(tmp_path / "old.csv", PLAIN.replace("\n", "\r").encode())
    refuses(["old.csv: the first line", "carriage returns"], "event_log", "--events", path)


def test_a_file_without_a_header_gets_the_right_advice(tmp_path):
    text = "1,2,1700000000\n1,3,1700000001\n"
    path = write(tmp_path / "e.csv", text)
    refuses(["has no column 'user'", "--columns names them"], "event_log", "--events", path)
    refuses(
        ["e.csv has 3 columns, but 2 are named: user, item"],
        "event_log",
        "--events",
        path,
        "--columns",
        "user",
        "item",
    )


@pytest.mark.parametrize(
    "text, words",
    [
        ('{"user": 1, "item": 2}\n{"user": \n', ["e.jsonl, line 2: not JSON"]),
        ('{"user": 1, "item": 2}\n{"user": "a", "item": 3}\n', ["line 2: user is 'a'", "line 1"]),
        ('[{"user": 1}]\n', ["one object per line"]),
        ("", ["e.jsonl is empty"]),
    ],
)
def test_wrong_json_lines(tmp_path, text, words):
    refuses(words, "event_log", "--events", write(tmp_path / "e.jsonl", text))


def test_several_tables_in_a_zip_are_refused(tmp_path):
    path = in_zip(tmp_path / "e.zip", a_dot_csv=PLAIN, b_dot_csv=PLAIN)
    refuses(["holds several tables: a.csv, b.csv", "e.zip/a.csv"], "event_log", "--events", path)
    refuses(["has no c.csv"], "event_log", "--events", f"{path}/c.csv")


def test_what_unpacks_to_gigabytes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "FREE", 1 << 16)
    monkeypatch.setattr(files, "RATIO", 10)
    text = PLAIN + "u9,3,1700000000,1,ios\n" * 20_000
    with gzip.open(tmp_path / "e.csv.gz", "wt") as f:
        f.write(text)
    path = in_zip(tmp_path / "z.zip", e_dot_csv=text)
    for name in (tmp_path / "e.csv.gz", path):
        refuses(["unpacks to more than", "unpack it"], "event_log", "--events", name)
    monkeypatch.setattr(files, "LONGEST", 1000)
    monkeypatch.setattr(files, "PIECE", 64)
    long = write(tmp_path / "long.csv", PLAIN + "x" * 5000)
    refuses(["line 6 has more than 1,000 bytes"], "event_log", "--events", long)


def test_a_parquet_file_of_more_rows_than_memory_is_refused(tmp_path, monkeypatch):
    FRAME.to_parquet(tmp_path / "e.parquet")
    monkeypatch.setattr("paddleinterest.data.sources.table_file.available", lambda: 100)
    refuses(["e.parquet has 4 rows", "memory"], "event_log", "--events", tmp_path / "e.parquet")


def test_ones_own_split(tmp_path):
    """A history is what the user clicked strictly before, in any of the files."""
    rng = np.random.default_rng(5)
    n = 600
    frame = pd.DataFrame(
        {
            "user": rng.integers(20, size=n),
            "item": rng.integers(100, 140, size=n),
            "time": np.sort(rng.integers(1_700_000_000, 1_700_100_000, size=n)),
            "label": rng.integers(2, size=n),
        }
    ).drop_duplicates(["user", "time"])
    cut = {"train": frame[:400], "valid": frame[400:450], "test": frame[450:]}
    argv = ["--source", "event_log"]
    for name, part in cut.items():
        argv += [f"--{name}", str(write(tmp_path / f"{name}.csv", part.to_csv(index=False)))]
    schema, out = prepare(Parser().parse_args([*argv, "--out", str(tmp_path / "out")]))
    assert schema.protocol == "given"
    assert schema.rows == {name: len(part) for name, part in cut.items()}
    ids = pd.read_parquet(os.path.join(out, "items.parquet"))["item"]
    clicks = frame[frame["label"] == 1]
    for name, part in cut.items():
        found = []
        for batch in Reader(out, name, 64, 100).epoch():
            for k in range(len(batch["label"])):
                history = [int(ids[i]) for i in batch["history_item"][k] if i > 1]
                found.append((history, int(batch["label"].ravel()[k])))
        wanted = []
        for row in part.itertuples():
            before = clicks[(clicks["user"] == row.user) & (clicks["time"] < row.time)]
            known = before["item"].isin(set(cut["train"]["item"]) | set(clicks["item"]))
            wanted.append((list(before["item"][known]), row.label))
        assert sorted(map(str, found)) == sorted(map(str, wanted))


def test_impressions_beside_events(tmp_path):
    """Two files: one makes the histories, the other the samples."""
    past = write(
        tmp_path / "p.csv",
        "user,item,time\n"
        + "".join(f"u{k % 3},{k},{1_700_000_000 + 100 * k}\n" for k in range(30)),
    )
    shown = write(
        tmp_path / "s.csv",
        "user,item,time,label\n"
        + "".join(
            f"u{k % 3},{100 + k},{1_700_000_000 + 30 * k},{int(k % 4 == 0)}\n" for k in range(100)
        ),
    )
    flags = ["event_log", "--events", past, "--impressions", shown]
    log = load(*flags)
    assert len(log.events) == 30 and len(log.samples) == 100 and max(log.events["item"]) < 100
    assert list(log.samples["split"]) == ["train"] * 80 + ["valid"] * 10 + ["test"] * 10
    argv = ["--source", *map(str, flags), "--out", str(tmp_path / "out")]
    schema, out = prepare(Parser().parse_args(argv))
    assert schema.rows == {"train": 80, "valid": 10, "test": 10} and schema.protocol == "given"
    batch = next(Reader(out, "train", 100, 40).epoch())
    lengths = (batch["history_item"] > 0).sum(axis=1)
    moments = 1_700_000_000 + 30 * np.arange(80)
    wanted = [
        sum(1 for j in range(30) if j % 3 == k % 3 and 1_700_000_000 + 100 * j < moments[k])
        for k in range(80)
    ]
    assert sorted(lengths) == sorted(wanted)
    refuses(["--impressions needs --events"], "event_log", "--impressions", shown)
    bare = write(tmp_path / "o.csv", "user,item,label\nu1,1,1\n")
    refuses(["split by time"], "event_log", "--events", bare, "--impressions", bare)


def test_events_that_only_make_histories(tmp_path):
    """Events beside samples: the samples' own clicks are in no history."""
    past = write(tmp_path / "p.csv", "user,item,time\nu,1,10\nu,2,20\nv,1,5\n")
    text = "user,item,time,label\nu,3,15,1\nu,4,25,0\nv,3,30,1\n"
    train = write(tmp_path / "train.csv", text)
    test = write(tmp_path / "test.csv", text.replace("u,4,25,0", "u,4,26,1"))
    log = load("event_log", "--events", past, "--train", train, "--test", test)
    assert sorted(rows(log.events)) == [["u", 1, 10], ["u", 2, 20], ["v", 1, 5]]
    assert list(log.samples["split"]) == ["train"] * 3 + ["test"] * 3
    assert list(log.samples["label"]) == [1, 0, 1, 1, 1, 1]
    refuses(["needs --train FILE and --test"], "event_log", "--events", past, "--train", train)
    bare = write(tmp_path / "bare.csv", "user,item,time\nu,1,1\n")
    refuses(["has no labels"], "event_log", "--train", bare, "--test", bare)
