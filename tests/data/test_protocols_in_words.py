"""An independent check: histories, splits and labels from the protocols' words (README.md), with
pandas alone, against the prepared Parquet, on ten forms of log."""

import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_forms import FORMS

from paddleinterest.commands.prepare import Parser
from paddleinterest.data.prepare import prepare

TEN = ["csv.gz", "dat", "txt", "no header", "inter", "jsonl", "zip", "folder", "gbk", "utf-16"]


def raw_log():
    """Distinct times within a user, so that the words leave nothing open."""
    rng = np.random.default_rng(8)
    n = 900
    frame = pd.DataFrame(
        {
            "user": rng.integers(40, size=n) + 1000,
            "item": rng.integers(60, size=n) + 1,
            "time": 1_700_000_000 + rng.permutation(n) * 1000,
            "label": rng.integers(2, size=n),
            "device": rng.choice(["ios", "网页", "pc"], n),
        }
    )
    return frame


def samples_of(out):
    """What the prepared dataset says: a row a sample, with its history as raw ids."""
    items = pq.read_table(os.path.join(out, "items.parquet"))["item"].to_pylist()
    users = pq.read_table(os.path.join(out, "users.parquet"))["user"].to_pylist()
    sequences = []
    folder = os.path.join(out, "sequences")
    for name in sorted(os.listdir(folder)):
        with pa.ipc.open_file(os.path.join(folder, name)) as f:
            sequences += f.read_all()["item"].to_pylist()
    found = []
    for split in ("train", "valid", "test"):
        if not os.path.isdir(os.path.join(out, split)):
            continue
        table = pq.read_table(os.path.join(out, split)).to_pandas()
        for row in table.itertuples():
            history = [items[i] for i in sequences[row.sequence][: row.end]]
            found.append(
                (split, users[row.user], items[row.item], int(row.label), int(row.time), history)
            )
    return found


def every_prefix(log):
    """Each click after a user's first is a positive; the last is test, the one before it valid;
    users with fewer than four clicks give no samples."""
    wanted = []
    for user, clicks in log[log["label"] == 1].sort_values("time").groupby("user"):
        items = clicks["item"].tolist()
        for k in range(1, len(items)):
            split = {len(items) - 1: "test", len(items) - 2: "valid"}.get(k, "train")
            if len(items) >= 4:
                wanted.append((split, user, items[k], 1, clicks["time"].iloc[k], items[:k]))
    return wanted


def last_event(log):
    """The last click of each user with two or more."""
    wanted = []
    for user, clicks in log[log["label"] == 1].sort_values("time").groupby("user"):
        items = clicks["item"].tolist()
        if len(items) >= 2:
            wanted.append((None, user, items[-1], 1, clicks["time"].iloc[-1], items[:-1]))
    return wanted


def labelled(log, split_of):
    """Every impression is a sample; its history is what the user clicked strictly before."""
    wanted = []
    for row in log.itertuples():
        before = log[(log["user"] == row.user) & (log["label"] == 1) & (log["time"] < row.time)]
        history = before.sort_values("time")["item"].tolist()
        wanted.append((split_of(row), row.user, row.item, row.label, row.time, history))
    return wanted


def by_time(log):
    """The earliest 80 % of the impressions are train, the next 10 % valid, the last 10 % test."""
    rank = log["time"].rank(method="first") - 1
    place = dict(zip(log["time"], rank, strict=True))
    last = len(log) - 1

    def split_of(row):
        at = place[row.time]
        return "train" if at <= int(0.8 * last) else "valid" if at <= int(0.9 * last) else "test"

    return labelled(log, split_of)


def by_day(log):
    """Cut at 80 % and 90 % of the days (UTC) from the first to the last."""
    day = log["time"] // 86400
    first, last = day.min(), day.max()
    cuts = [first + int(np.floor(share * (last - first))) for share in (0.8, 0.9)]

    def split_of(row):
        at = row.time // 86400
        return "train" if at <= cuts[0] else "valid" if at <= cuts[1] else "test"

    return labelled(log, split_of)


def by_user(log):
    """Whole users in train, valid or test."""
    return labelled(log, lambda row: None)


WORDS = {
    "every_prefix": every_prefix,
    "last_event": last_event,
    "impressions": by_time,
    "by_day": by_day,
    "by_user": by_user,
}


@pytest.mark.slow
@pytest.mark.parametrize("protocol", WORDS)
@pytest.mark.parametrize("form", TEN)
def test_the_prepared_dataset_is_what_the_words_say(tmp_path, monkeypatch, form, protocol):
    log = raw_log()
    monkeypatch.setattr("test_forms.FRAME", log)
    monkeypatch.setattr("test_forms.PLAIN", log.to_csv(index=False))
    monkeypatch.setattr("test_forms.BARE", log.to_csv(index=False, header=False))
    flags = [str(flag) for flag in FORMS[form](tmp_path)]
    argv = ["--source", "event_log", "--protocol", protocol, "--out", str(tmp_path / "out")]
    _, out = prepare(Parser().parse_args([*argv, "--context", "device", "--events", *flags]))
    found = samples_of(out)
    drawn = protocol in ("every_prefix", "last_event")
    wanted = WORDS[protocol](log)
    positives = [row for row in found if row[3] == 1] if drawn else found
    if protocol in ("last_event", "by_user"):
        split_of_user = {row[1]: row[0] for row in found}
        assert all(split_of_user[row[1]] == row[0] for row in found)  # whole users
        users = pd.Series(split_of_user).value_counts(normalize=True)
        shares = (0.8, 0.1, 0.1) if protocol == "last_event" else (0.65, 0.07, 0.28)
        for split, share in zip(("train", "valid", "test"), shares, strict=True):
            assert abs(users[split] - share) <= 2 / len(split_of_user)
        wanted = [(split_of_user[row[1]], *row[1:]) for row in wanted]
    assert sorted(positives) == sorted(wanted)
    if drawn:
        negatives = [row for row in found if row[3] == 0]
        assert len(negatives) == len(positives)
        assert sorted((r[0], r[1], r[4], r[5]) for r in negatives) == sorted(
            (r[0], r[1], r[4], r[5]) for r in positives
        )
    if protocol == "every_prefix":
        clicked = log[log["label"] == 1].groupby("user")["item"].agg(set)
        assert not any(item in clicked[user] for _, user, item, *_ in negatives)
