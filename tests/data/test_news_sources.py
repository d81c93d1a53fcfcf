"""MIND and EB-NeRD, each on a small set of files of its raw form."""

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_sources import load, refuses, rows, write

from paddleinterest.data.builder import build
from paddleinterest.data.reader import Reader
from paddleinterest.study import candidates

# mind ---------------------------------------------------------------------------------------------

TRAIN = (
    "1\tU1\t11/11/2019 9:05:58 AM\tN1 N2\tN3-1 N4-0\n"
    "2\tU2\t11/11/2019 12:00:00 PM\t\tN1-0 N3-1\n"
    "3\tU1\t11/14/2019 11:59:59 PM\tN1 N2\tN5-0 N4-1 N1-0\n"
    "4\tU2\t11/14/2019 12:00:00 AM\t\tN4-0 N5-1\n"
)
DEV = (
    "1\tU1\t11/15/2019 8:00:00 AM\tN1 N2 N3\tN4-0 N6-1\n"
    "2\tU2\t11/15/2019 8:00:00 AM\tN3\tN6-0 N1-1\n"
)
NEWS = 'N%d\tnews\tworld\tThe "title\tabout\thttps://x\t[]\t[]\n'


@pytest.fixture
def mind(tmp_path):
    raw = tmp_path / "mind"
    for name, text, news in (("train", TRAIN, range(1, 6)), ("dev", DEV, range(3, 7))):
        folder = raw / f"MINDsmall_{name}"
        folder.mkdir(parents=True)
        write(folder / "behaviors.tsv", text)
        write(folder / "news.tsv", "".join(NEWS % n for n in news))
    return raw


def test_mind(mind):
    log = load("mind", "--raw", mind)
    assert log.time == "order"
    assert rows(log.items) == [[f"N{n}", "news", "world"] for n in range(1, 7)]
    histories = log.events.groupby("user")["item"].agg(list).to_dict()
    assert histories == {
        "U1": ["N1", "N2"],
        "U1 history 2": ["N1", "N2", "N3"],
        "U2 history 2": ["N3"],
    }
    s = log.samples
    assert s[s.split == "train"][["user", "item", "label"]].values.tolist() == [
        ["U1", "N3", 1],
        ["U1", "N4", 0],
        ["U2", "N1", 0],
        ["U2", "N3", 1],
    ]
    assert s[s.split == "valid"]["item"].tolist() == ["N5", "N4", "N1", "N4", "N5"]
    assert set(s[s.split == "test"]["user"]) == {"U1 history 2", "U2 history 2"}
    assert s["time"][0] == pd.Timestamp("2019-11-11 09:05:58").timestamp()
    assert s["time"][2] == pd.Timestamp("2019-11-11 12:00").timestamp()


def test_mind_prepared_gives_figures_by_impression(mind, tmp_path):
    build(load("mind", "--raw", mind), str(tmp_path / "out"), protocol="given", name="m", seed=1)
    reader = Reader(str(tmp_path / "out"), "test", 64, 12)
    assert sorted(reader.length.tolist()) == [1, 1, 3, 3]
    found = candidates.by_impression(reader, reader.label.astype(float))
    assert found["groups"] == 2 and found["auc"] == 1


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("N4-0\n2", "N4\n2", ["line 1", "'N3-1 N4'", "must be like N1-0 N2-1"]),
        ("11/11/2019 12", "2019-11-11 12", ["line 2", "the time is '2019-11-11", "AM"]),
        ("\tU2\t11/14", "\t\t11/14", ["line 4: user is missing"]),
        ("3\tU1\t", "3\tU1", ["line 3"]),
    ],
)
def test_mind_wrong_lines(mind, old, new, words):
    path = mind / "MINDsmall_train" / "behaviors.tsv"
    write(path, path.read_text().replace(old, new, 1))
    refuses([str(path), *words], "mind", "--raw", mind)


def test_mind_missing(mind, tmp_path):
    refuses(
        ["neither MINDlarge_train nor train", "msnews"], "mind", "--raw", mind, "--release", "large"
    )


# ebnerd -------------------------------------------------------------------------------------------


def stamp(*texts):
    return [pd.Timestamp(text) for text in texts]


def behaviors(*shown):
    user, time, inview, clicked = zip(*shown, strict=True)
    return pa.table(
        {
            "impression_id": pa.array(range(len(user)), pa.uint32()),
            "user_id": pa.array(user, pa.uint32()),
            "impression_time": pa.array(stamp(*time), pa.timestamp("us")),
            "article_ids_inview": pa.array(inview, pa.list_(pa.int32())),
            "article_ids_clicked": pa.array(clicked, pa.list_(pa.int32())),
            "device_type": pa.array([1] * len(user), pa.int8()),
        }
    )


def history(*read):
    user, item, time, seconds = zip(*read, strict=True)
    return pa.table(
        {
            "user_id": pa.array(user, pa.uint32()),
            "impression_time_fixed": pa.array(
                [stamp(*t) for t in time], pa.list_(pa.timestamp("us"))
            ),
            "article_id_fixed": pa.array(item, pa.list_(pa.int32())),
            "read_time_fixed": pa.array(seconds, pa.list_(pa.float32())),
        }
    )


@pytest.fixture
def ebnerd(tmp_path):
    raw = tmp_path / "ebnerd"
    for split in ("train", "validation"):
        (raw / split).mkdir(parents=True)
    pq.write_table(
        pa.table(
            {
                "article_id": pa.array([10, 11, 12, 13], pa.int32()),
                "category": pa.array([1, 1, 2, 2], pa.int16()),
                "article_type": ["article"] * 4,
                "topics": [["Sport", "Fodbold"], [], ["Krimi"], None],
            }
        ),
        raw / "articles.parquet",
    )
    train = behaviors(
        (7, "2023-05-18 08:00:00", [10, 11], [11]),
        (8, "2023-05-18 09:00:00", [12, 11], [12]),
        (7, "2023-05-19 08:00:00", [12, 13], [12]),
        (8, "2023-05-19 08:00:00", [13, 10], [10]),
    )
    pq.write_table(train, raw / "train" / "behaviors.parquet")
    shown = (7, "2023-05-25 08:00:00", [13, 10, 13], [13])
    pq.write_table(behaviors(shown), raw / "validation" / "behaviors.parquet")
    first = [10], ["2023-05-01 10:00:00"], [5.0]
    pq.write_table(history((7, *first)), raw / "train" / "history.parquet")
    later = [10, 11], ["2023-05-01 10:00:00", "2023-05-18 08:00:00"], [5.0, None]
    pq.write_table(history((7, *later)), raw / "validation" / "history.parquet")
    return raw


def test_ebnerd(ebnerd):
    log = load("ebnerd", "--raw", ebnerd, "--event", "read_time")
    assert rows(log.events[["user", "item"]]) == [[7, 10], [7, 11]]  # each reading once
    assert log.events["read_time"].iloc[0] == 5 and pd.isna(log.events["read_time"].iloc[1])
    assert log.multiple == ["topics"] and log.context == ["device_type"]
    s = log.samples
    assert s[s.split == "train"][["user", "item", "label"]].values.tolist() == [
        [7, 10, 0],
        [7, 11, 1],
        [8, 12, 1],
        [8, 11, 0],
    ]
    assert s[s.split == "valid"]["label"].tolist() == [1, 0, 0, 1]
    assert s[s.split == "test"]["label"].tolist() == [1, 0, 1]


def test_ebnerd_prepared_sees_what_was_read_before(ebnerd, tmp_path):
    """A click of the train week is in the history of later impressions, not in that of its own."""
    log = load("ebnerd", "--raw", ebnerd, "--event", "read_time")
    build(log, str(tmp_path / "out"), protocol="given", name="e", seed=1)
    length = {
        split: sorted(Reader(str(tmp_path / "out"), split, 64, 12).length.tolist())
        for split in ("train", "valid", "test")
    }
    assert length == {"train": [0, 0, 1, 1], "valid": [0, 0, 2, 2], "test": [2, 2, 2]}


def test_ebnerd_missing(ebnerd):
    (ebnerd / "articles.parquet").unlink()
    refuses(["has no articles.parquet", "recsys.eb.dk"], "ebnerd", "--raw", ebnerd)
    pq.write_table(pa.table({"x": [1]}), ebnerd / "train" / "behaviors.parquet")
    refuses(["has no column 'user_id'"], "ebnerd", "--raw", ebnerd)
    (ebnerd / "train" / "behaviors.parquet").write_text("x")
    refuses(["behaviors.parquet is not a Parquet file"], "ebnerd", "--raw", ebnerd)
