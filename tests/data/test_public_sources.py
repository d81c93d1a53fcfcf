"""The sources of public datasets, each on a small file of its true raw form; downloads from a
server of the test's."""

import http.server
import json
import os
import subprocess
import sys
import threading
import zipfile

import numpy as np
import pandas as pd
import pytest
from helpers import ROOT
from test_sources import load, refuses, rows, write

from paddleinterest.data.schema import Schema
from paddleinterest.data.sources import amazon, files, movielens

RECIPES = {
    "electronics": "amazon",
    "electronics_path": "amazon",
    "books": "amazon",
    "movielens_1m": "movielens",
    "movielens_1m_genres": "movielens",
    "movielens_1m_by_user": "movielens",
    "movielens_1m_by_day": "movielens",
    "movielens_1m_by_day_user_id": "movielens",
    "movielens_20m": "movielens",
    "taobao_ad": "taobao_ad",
    "taobao_user_behavior": "taobao_user_behavior",
    "taobao_user_behavior_actions": "taobao_user_behavior",
    "kuairand": "kuairand",
    "mind_small": "mind",
    "ebnerd_small": "ebnerd",
}


@pytest.fixture(params=[files.PIECE, 40], ids=["whole", "pieces"])
def piece(request, monkeypatch):
    """Reading in pieces of a line or two must change nothing."""
    monkeypatch.setattr(files, "PIECE", request.param)


def tool(cwd, *flags):
    return subprocess.run(
        [sys.executable, os.path.join(ROOT, "tools", "prepare.py"), *map(str, flags)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
    )


# amazon -------------------------------------------------------------------------------------------

REVIEWS = [
    ("A1", "B00", 300, 5.0),
    ("A2", "B01", 100, 1.0),
    ("A1", "0002", 100, 4.0),
    ("A2", "B00", 200, 3.0),
]
META = [
    {
        "asin": "B00",
        "categories": [["Electronics", "Old"], ["Electronics", "Audio", "MP3 Players"]],
        "brand": "O'Neil",
        "description": "a \"quoted\" text with 'brand': 'no'",
        "related": {"also_bought": ["B01"]},
        "price": 9.5,
    },
    {"asin": "B77", "categories": [["Electronics", "Unread"]]},
    {"asin": "0002", "title": "naïve", "categories": [["Electronics"]], "brand": ""},
    {"asin": "B00", "categories": [["Later"]]},
]


def review(user, item, time, stars):
    return (
        json.dumps(
            {
                "reviewerID": user,
                "asin": item,
                "reviewerName": 'J \\ "x" é',
                "helpful": [0, 0],
                "reviewText": "good",
                "overall": stars,
                "summary": "s",
                "unixReviewTime": time,
                "reviewTime": "01 1, 2014",
            }
        )
        + "\n"
    )


@pytest.fixture
def shop(tmp_path):
    write(tmp_path / "reviews_Electronics_5.json.gz", "".join(review(*r) for r in REVIEWS))
    write(tmp_path / "meta_Electronics.json.gz", "".join(f"{item!r}\n" for item in META))
    return tmp_path


def test_amazon(shop, piece, capsys):
    log = load("amazon", "--raw", shop)
    assert list(log.events) == ["user", "item", "time"] and list(log.items) == [
        "item",
        "category",
        "brand",
    ]
    assert rows(log.events) == [
        ["A2", "B01", 100],
        ["A1", "0002", 100],
        ["A2", "B00", 200],
        ["A1", "B00", 300],
    ]
    assert rows(log.items) == [
        ["B01", None, None],
        ["0002", "Electronics", None],
        ["B00", "MP3 Players", "O'Neil"],
    ]
    assert (log.time, log.users, log.context, log.events["time"].dtype) == (
        "seconds",
        None,
        [],
        np.int64,
    )
    assert "1 of 3 items are not in" in capsys.readouterr().err


def test_amazon_paths(shop, piece):
    log = load("amazon", "--raw", shop, "--path")
    assert log.multiple == ["path"] and log.items.drop(columns="path").equals(
        load("amazon", "--raw", shop).items
    )
    assert log.items["path"].tolist() == [
        [],
        ["Electronics"],
        ["Electronics", "Audio", "MP3 Players"],
    ]


def test_amazon_files_at_hand(shop, tmp_path):
    plain = write(tmp_path / "r.json", "".join(review(*r) for r in REVIEWS) + "\n")
    strict = write(tmp_path / "m.json", "".join(json.dumps(item) + "\n" for item in META))
    log, same = (
        load("amazon", "--reviews", plain, "--meta", strict, "--raw", "/none"),
        load("amazon", "--raw", shop),
    )
    assert log.events.equals(same.events) and log.items.equals(same.items)
    refuses(["both --reviews and --meta"], "amazon", "--reviews", plain)
    refuses(
        ["none.json does not exist"],
        "amazon",
        "--reviews",
        tmp_path / "none.json",
        "--meta",
        strict,
    )
    refuses(["--category-name is '../x'"], "amazon", "--category-name", "../x")


@pytest.mark.parametrize(
    "line, words",
    [
        ('{"reviewerID": "A", "asin": "B"', ["line 5", "is not JSON"]),
        ("[1]\n", ["line 5", "is not a review"]),
        (
            review("A", "B", None, 1),
            ["line 5: unixReviewTime is None, must be a whole number"],
        ),
        (review("A", "B", float("nan"), 1), ["line 5: unixReviewTime is nan"]),
        (review("A", "B", 1.5, 1), ["line 5: unixReviewTime is 1.5"]),
        (review("A", None, 1, 1), ["line 5: asin is None, must be a text"]),
        (review(7, "B", 1, 1), ["line 5: reviewerID is 7, must be a text"]),
        ('{"asin": "B", "unixReviewTime": 1}', ["line 5: reviewerID is missing"]),
        (
            '{"reviewerID": "A", "asin": "B", "unixReviewTime": 99999999999999999999}',
            ["cannot read", "r.json.gz"],
        ),
    ],
)
def test_amazon_wrong_review(shop, piece, line, words):
    text = "".join(review(*r) for r in REVIEWS)
    path = write(shop / "r.json.gz", text + line)
    refuses(
        [str(path), *words],
        "amazon",
        "--reviews",
        path,
        "--meta",
        shop / "meta_Electronics.json.gz",
    )


@pytest.mark.parametrize(
    "line, words",
    [
        (
            "{'asin': 'B01', 'categories': [['a'",
            ["line 5", "is not an item with asin, categories and brand"],
        ),
        ("{'title': 'B01'}", ["line 5", "(no 'asin')"]),
        ("{'asin': 'B01', 'categories': 7}", ["line 5"]),
        ("{'asin': 'B01', 'brand': 7}", ["line 5", "7 is not a text"]),
        ("['asin', 'B01']", ["line 5"]),
        ("{'asin': __import__('os')}", ["line 5"]),
    ],
)
def test_amazon_wrong_item(shop, line, words):
    path = write(shop / "m.json", "".join(f"{item!r}\n" for item in META) + line + "\n")
    refuses(
        [str(path), *words],
        "amazon",
        "--reviews",
        shop / "reviews_Electronics_5.json.gz",
        "--meta",
        path,
    )


def test_amazon_wrong_files(shop):
    path = shop / "reviews_Electronics_5.json.gz"
    other = write(shop / "other.json", "{'asin': 'X'}\n")
    refuses(["none of the 3 items of", "other.json"], "amazon", "--reviews", path, "--meta", other)
    refuses(
        ["empty.json is empty"],
        "amazon",
        "--reviews",
        write(shop / "empty.json", "\n"),
        "--meta",
        other,
    )
    path.write_bytes(path.read_bytes()[:-9])
    refuses(["cannot read", str(path), "delete it and run again"], "amazon", "--raw", shop)
    path.write_text("<html>")
    refuses(
        ["cannot read", "Not a gzipped file", "delete it and run again"], "amazon", "--raw", shop
    )


# movielens ----------------------------------------------------------------------------------------


def pack(path, **files):
    """A zip file with files in a folder, as GroupLens packs them. Names have _ for their dot."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ml/", "")
        for name, text in files.items():
            archive.writestr(
                f"ml/{name.replace('_', '.')}",
                text.encode("latin-1") if "dat" in name or "u_" in name else text.encode(),
            )
    return path


def release_1m(**other):
    return {
        "ratings_dat": (
            "1::20::5::978300760\n1::10::3::978300760\n2::20::4::978300000\n2::30::1::978300001\n"
        ),
        "movies_dat": (
            "10::Toy Story (1995)::Animation|Children's|Comedy\n20::Misérables, Les: 2"
            " (2000)::Drama\n30::Untitled::\n40::Seen by none (1919)::War\n"
        ),
        "users_dat": "1::F::1::10::48067\n2::M::56::16::70072\n",
        **other,
    }


def test_movielens_1m(tmp_path, piece):
    pack(tmp_path / "ml-1m.zip", **release_1m())
    log = load("movielens", "--raw", tmp_path)
    assert list(log.events) == ["user", "item", "time", "label"] and list(log.items) == [
        "item",
        "genre",
        "decade",
    ]
    assert rows(log.events) == [
        [2, 20, 978300000, 1],
        [2, 30, 978300001, 0],
        [1, 20, 978300760, 1],
        [1, 10, 978300760, 0],
    ]
    assert rows(log.items) == [
        [10, "Animation", 1990],
        [20, "Drama", 2000],
        [30, None, None],
        [40, "War", 1910],
    ]
    assert list(log.users) == ["user", "gender", "age", "occupation"]
    assert rows(log.users) == [[1, "F", 1, 10], [2, "M", 56, 16]]
    assert (
        log.time == "seconds"
        and "at least 4 stars" in log.note
        and log.events["label"].dtype == np.int8
    )
    high = load("movielens", "--zip", tmp_path / "ml-1m.zip", "--threshold", 4.5)
    assert high.events["label"].tolist() == [0, 0, 1, 0] and "4.5 stars" in high.note


def test_movielens_all_genres(tmp_path, piece):
    pack(tmp_path / "ml-1m.zip", **release_1m())
    log = load("movielens", "--raw", tmp_path, "--all-genres")
    assert log.multiple == ["genres"] and list(log.items) == ["item", "genres", "decade"]
    every = [["Animation", "Children's", "Comedy"], ["Drama"], [], ["War"]]
    assert log.items["genres"].tolist() == every
    assert load("movielens", "--raw", tmp_path).multiple == []


def test_movielens_core_is_what_removing_one_by_one_leaves(tmp_path):
    random = np.random.default_rng(0)
    ratings = sorted(
        {
            (int(u), int(i))
            for u, i in zip(
                random.integers(1, 26, 220),
                1 + (29 * random.random(220) ** 2).astype(int),
                strict=True,
            )
        }
    )
    stars = random.integers(2, 6, len(ratings))
    pack(
        tmp_path / "ml-1m.zip",
        **release_1m(
            ratings_dat="".join(
                f"{u}::{i}::{s}::{k}\n"
                for k, ((u, i), s) in enumerate(zip(ratings, stars, strict=True))
            ),
            movies_dat="".join(f"{i}::T::Drama\n" for i in range(1, 31)),
            users_dat="".join(f"{u}::F::1::10::1\n" for u in range(1, 26)),
        ),
    )
    left, removed = [(u, i, int(s >= 4)) for (u, i), s in zip(ratings, stars, strict=True)], 0
    while poor := [
        (c, x)
        for c in (0, 1)
        for x in {r[c] for r in left}
        if sum(r[2] for r in left if r[c] == x) < 3
    ]:
        c, x = poor[-1]
        left, removed = [r for r in left if r[c] != x], removed + 1
    found = load("movielens", "--raw", tmp_path, "--core", 3).events
    assert rows(found[["user", "item", "label"]]) == [list(r) for r in left] != [] and removed > 10
    refuses(["--core 90 leaves no rating"], "movielens", "--raw", tmp_path, "--core", 90)
    refuses(["--core is 0"], "movielens", "--raw", tmp_path, "--core", 0)


def test_movielens_100k(tmp_path, piece):
    flags = {
        "Toy": "0|0|0|1|1|1|" + "0|" * 12 + "0",
        "none": "0|" * 18 + "0",
        "unknown": "1|" + "0|" * 17 + "0",
    }
    path = pack(
        tmp_path / "x.zip",
        u_data="196\t1\t3\t881250949\n186\t2\t5\t881250949\n",
        u_item=(
            f"1|Toy Story (1995)|01-Jan-1995||http://x/?a%20(1995)|{flags['Toy']}\n2|Belle épo"
            f' "que|||x|{flags["none"]}\n'
            f"267|unknown||||{flags['unknown']}\n"
        ),
        u_user="196|24|M|technician|85711\n186|7|F|other|T8H1N\n",
    )
    log = load("movielens", "--version", "100k", "--zip", path)
    assert rows(log.events) == [[196, 1, 881250949, 0], [186, 2, 881250949, 1]]
    assert rows(log.items) == [[1, "Animation", 1990], [2, None, None], [267, None, None]]
    every = load("movielens", "--version", "100k", "--zip", path, "--all-genres").items["genres"]
    assert every.tolist() == [["Animation", "Children's", "Comedy"], [], []]
    assert rows(log.users) == [[196, "M", 18, "technician"], [186, "F", 1, "other"]]


def test_movielens_10m(tmp_path, piece):
    path = pack(
        tmp_path / "x.zip",
        ratings_dat="1::122::3.5::838985046\n1::185::4::838983525\n",
        movies_dat=(
            "122::Boomerang (1992)::Comedy|Romance\n185::Net, The (1995)::Action\n9::None"
            " (1996)::(no genres listed)\n"
        ),
    )
    log = load("movielens", "--version", "10m", "--zip", path)
    assert (
        rows(log.events) == [[1, 185, 838983525, 1], [1, 122, 838985046, 0]] and log.users is None
    )
    assert rows(log.items) == [[122, "Comedy", 1990], [185, "Action", 1990], [9, None, 1990]]


CSV = {
    "ratings_csv": (
        "userId,movieId,rating,timestamp\n1,2,3.5,1112486027\n1,29,4.0,1112484676\n\n2,2,0.5,5\n"
    ),
    "movies_csv": (
        'movieId,title,genres\n2,"American President, The (1995)",Comedy|Drama\n'
        '29,"A ""b"" (1985–1987)",(no genres listed)\n3,Été (2010) ,Sci-Fi\n'
    ),
}


@pytest.mark.parametrize("version", ["20m", "25m", "32m", "latest-small"])
def test_movielens_csv(tmp_path, version, piece):
    pack(tmp_path / f"ml-{version}.zip", **CSV)
    log = load("movielens", "--version", version, "--raw", tmp_path)
    assert (
        rows(log.events) == [[2, 2, 5, 0], [1, 29, 1112484676, 1], [1, 2, 1112486027, 0]]
        and log.users is None
    )
    assert rows(log.items) == [[2, "Comedy", 1990], [29, None, 1980], [3, "Sci-Fi", 2010]]


@pytest.mark.parametrize(
    "version, change, words",
    [
        (
            "1m",
            {"ratings_dat": "1::20::5::9\n1::20::x::9\n"},
            ["ratings.dat), line 2: rating is 'x', must be a num"],
        ),
        (
            "1m",
            {"ratings_dat": "1::20::5::9\n1::20::nan::9\n"},
            ["ratings.dat), line 2: rating is nan, must be 0.5"],
        ),
        (
            "1m",
            {"ratings_dat": "1::20::5::9\n\n1::20::6::9\n"},
            ["ratings.dat), line 3: rating is 6.0, must be"],
        ),
        (
            "1m",
            {"ratings_dat": "1::20::5::9\n1::20::5\n"},
            ["ratings.dat), line 2: 3 columns, but 4 are needed: userId"],
        ),
        (
            "1m",
            {"ratings_dat": "1::20::5::9\n1::20::5::\n"},
            ["ratings.dat), line 2: timestamp is missing"],
        ),
        ("1m", {"ratings_dat": ""}, ["ratings.dat) is empty"]),
        (
            "1m",
            {"users_dat": "1::F::17::1::1\n"},
            ["users.dat), line 1: age is 17, must be 1, 18, 25"],
        ),
        (
            "20m",
            {"ratings_csv": "userId,movie,rating,timestamp\n1,1,1,1\n"},
            ["has no column 'movieId', did you mean 'movie'?"],
        ),
        (
            "20m",
            {"ratings_csv": "userId,movieId,rating,timestamp\n1,1,1,1\n1,1,1,1.5\n"},
            ["ratings.csv), line 3: timestamp is '1.5', must be a whole number"],
        ),
        (
            "20m",
            {"ratings_csv": "userId,movieId,rating,timestamp\n"},
            ["ratings.csv) has columns but no rows"],
        ),
        (
            "20m",
            {"movies_csv": 'movieId,title,genres\n1,a,b\n2,"open,c\n3,c,d\n'},
            ["movies.csv), line 3"],
        ),
        ("100k", {}, ["holds no u.item", "is not MovieLens 100k", "--version"]),
        ("1m", {"movies_dat": "x::a::b\n"}, ["movies.dat), line 1: item is 'x'"]),
    ],
)
def test_movielens_wrong_files(tmp_path, version, change, words, piece):
    path = pack(
        tmp_path / "x.zip",
        **{**(CSV if version == "20m" else release_1m(u_data="1\t1\t1\t1\n")), **change},
    )
    refuses([str(path), *words], "movielens", "--version", version, "--zip", path)


def test_movielens_wrong_zip(tmp_path):
    refuses(["--threshold is 0.5"], "movielens", "--threshold", 0.5)
    refuses(["--threshold is nan"], "movielens", "--threshold", "nan")
    refuses(["none.zip does not exist"], "movielens", "--zip", tmp_path / "none.zip")
    path = pack(tmp_path / "ml-1m.zip", **release_1m())
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    refuses(["cannot read", str(path), "delete it and run again"], "movielens", "--raw", tmp_path)
    at = whole.index(b"ratings.dat") + 20
    path.write_bytes(whole[:at] + bytes(9) + whole[at + 9 :])  # damaged inside a member
    refuses(["cannot read", str(path), "delete it and run again"], "movielens", "--raw", tmp_path)


# taobao_ad ----------------------------------------------------------------------------------------


@pytest.fixture
def ads(tmp_path):
    write(
        tmp_path / "raw_sample.csv",
        "user,time_stamp,adgroup_id,pid,nonclk,clk\n"
        "581738,1494137644,1,430548_1007,1,0\n449818,1494638778,3,430548_1007,1,0\n"
        "914836,1494650879,4,430539_1007,0,1\n",
    )
    write(
        tmp_path / "ad_feature.csv",
        "adgroup_id,cate_id,campaign_id,customer,brand,price\n1,6406,83237,1,95471,170.0\n"
        "3,6406,83237,1,NULL,0\n4,7,8,9,10,99999999.0\n",
    )
    write(
        tmp_path / "user_profile.csv",
        "userid,cms_segid,cms_group_id,final_gender_code,age_level,pvalue_level,"
        "shopping_level,occupation,new_user_class_level \n581738,0,5,2,5,,3,0,3\n"
        "7,0,5,2,5,1,3,1,\n",
    )
    return tmp_path


def test_taobao_ad(ads, piece):
    log = load("taobao_ad", "--raw", ads)
    assert list(log.events) == ["user", "item", "time", "label", "pid"]
    assert rows(log.events) == [
        [581738, 1, 1494137644, 0, "430548_1007"],
        [449818, 3, 1494638778, 0, "430548_1007"],
        [914836, 4, 1494650879, 1, "430539_1007"],
    ]
    assert list(log.items) == ["item", "cate_id", "campaign_id", "customer", "brand", "log_price"]
    assert rows(log.items.iloc[:, :5]) == [
        [1, 6406, 83237, 1, 95471],
        [3, 6406, 83237, 1, None],
        [4, 7, 8, 9, 10],
    ]
    assert log.items["log_price"].tolist() == pytest.approx([5.1416636, 0, 18.4206807])
    assert list(log.users) == [
        "user",
        "cms_segid",
        "cms_group_id",
        "final_gender_code",
        "age_level",
        "pvalue_level",
        "shopping_level",
        "occupation",
        "new_user_class_level",
    ]
    assert rows(log.users) == [[581738, 0, 5, 2, 5, None, 3, 0, 3], [7, 0, 5, 2, 5, 1, 3, 1, None]]
    assert (log.context, log.dense, log.time) == (["pid"], ["log_price"], "seconds")
    for name in ("raw_sample.csv", "ad_feature.csv"):
        write(ads / (name + ".gz"), (ads / name).read_text())
        (ads / name).unlink()
    again = load("taobao_ad", "--raw", ads)
    assert again.events.equals(log.events) and again.items.equals(log.items)


@pytest.mark.parametrize(
    "name, old, new, words",
    [
        (
            "raw_sample.csv",
            "nonclk,clk",
            "nonclk,click",
            ["has no column 'clk', did you mean 'click'?"],
        ),
        ("raw_sample.csv", ",0,1\n", ",0,2\n", ["line 4: clk is 2, must be 0 or 1"]),
        ("raw_sample.csv", ",0,1\n", ",0,\n", ["line 4: clk is missing"]),
        (
            "raw_sample.csv",
            "1494638778",
            "nan",
            ["line 3: time_stamp is 'nan', must be a whole number"],
        ),
        ("raw_sample.csv", "449818", "", ["line 3: user is missing"]),
        (
            "raw_sample.csv",
            "449818,",
            "",
            ["line 3: 5 columns, but 6 are needed: user, time_stamp"],
        ),
        ("ad_feature.csv", "170.0", "-1", ["row 1: price is -1.0, must not be negative"]),
        ("ad_feature.csv", "170.0", "inf", ["line 2: price is inf, must be a number"]),
        ("ad_feature.csv", "170.0", "dear", ["line 2: price is 'dear', must be a number"]),
        ("user_profile.csv", "\n7,", "\nNULL,", ["line 3: userid is missing"]),
    ],
)
def test_taobao_ad_wrong_files(ads, piece, name, old, new, words):
    write(ads / name, (ads / name).read_text().replace(old, new, 1))
    refuses([str(ads / name), *words], "taobao_ad", "--raw", ads)


def test_taobao_ad_missing_files(ads):
    (ads / "ad_feature.csv").unlink()
    refuses(
        ["neither", "ad_feature.csv", "tianchi.aliyun.com/dataset/56"], "taobao_ad", "--raw", ads
    )
    write(ads / "ad_feature.csv", "")
    refuses(["ad_feature.csv is empty"], "taobao_ad", "--raw", ads)
    (ads / "ad_feature.csv").write_bytes(
        b"adgroup_id,cate_id,campaign_id,customer,brand,price\n1,\xe9,3,4,5,6\n"
    )
    refuses(["ad_feature.csv, line 2", "not UTF-8"], "taobao_ad", "--raw", ads)


# taobao_user_behavior -----------------------------------------------------------------------------

BEHAVIOUR = (
    "1,2268318,2520377,pv,1511544070\n1,2333346,2520771,pv,1511561733\n1,2576651,149192,buy,1511572885\n"
    "1,2268318,2520377,pv,1512316800\n100,2268318,7,pv,1511539200\n100,9,7,fav,-3\n"
)


def test_taobao_user_behavior(tmp_path, piece, capsys):
    path = write(tmp_path / "UserBehavior.csv", BEHAVIOUR)
    log = load("taobao_user_behavior", "--raw", tmp_path)
    assert rows(log.events) == [
        [1, 2268318, 1511544070],
        [1, 2333346, 1511561733],
        [100, 2268318, 1511539200],
    ]
    assert rows(log.items) == [[2268318, 2520377], [2333346, 2520771]] and list(log.items) == [
        "item",
        "category",
    ]
    assert (
        list(log.events) == ["user", "item", "time"] and log.time == "seconds" and log.users is None
    )
    told = capsys.readouterr().err
    assert "1 events outside" in told and "1 items come with more than one category" in told
    both = load("taobao_user_behavior", "--raw", path, "--behaviours", "buy", "fav")
    assert rows(both.events) == [[1, 2576651, 1511572885]] and rows(both.items) == [
        [2576651, 149192]
    ]


def test_taobao_actions(tmp_path, piece):
    path = write(tmp_path / "UserBehavior.csv", BEHAVIOUR)
    log = load(
        "taobao_user_behavior", "--raw", path, "--behaviours", "pv", "buy", "--event", "action"
    )
    assert log.event == ["action"] and list(log.events) == ["user", "item", "time", "action"]
    assert log.events["action"].tolist() == ["pv", "pv", "buy", "pv"]


@pytest.mark.parametrize(
    "text, words",
    [
        (
            BEHAVIOUR + "1,2,3,view,1511544070\n",
            ["line 7: behaviour is 'view', must be pv, buy, cart or fav"],
        ),
        (BEHAVIOUR + "1,2,3,,1511544070\n", ["line 7: behaviour is missing"]),
        (
            BEHAVIOUR + "1,2,3,pv\n",
            ["line 7: 4 columns, but 5 are needed: user, item, category, behaviour, time"],
        ),
        (
            "user,item,category,behaviour,time\n" + BEHAVIOUR,
            ["line 1: user is 'user', must be a whole number"],
        ),
        (BEHAVIOUR + "1,2,3,pv,nan\n", ["line 7: time is 'nan'"]),
        ("", ["UserBehavior.csv is empty"]),
        ("1,2,3,pv,5\n", ["has no event of pv from 2017-11-25"]),
    ],
)
def test_taobao_user_behavior_wrong_files(tmp_path, piece, text, words):
    write(tmp_path / "UserBehavior.csv", text)
    refuses([str(tmp_path / "UserBehavior.csv"), *words], "taobao_user_behavior", "--raw", tmp_path)


def test_taobao_user_behavior_missing_file(tmp_path):
    refuses(
        ["neither", "UserBehavior.csv.gz", "aliyun.com/dataset/649"],
        "taobao_user_behavior",
        "--raw",
        tmp_path,
    )


# kuairand -----------------------------------------------------------------------------------------

SHOWN = (
    "user_id,video_id,date,hourmin,time_ms,is_click,is_like,long_view,play_time_ms,duration_ms,"
    "is_rand,tab\n"
)


@pytest.fixture
def kuai(tmp_path):
    data = tmp_path / "KuaiRand" / "data"
    data.mkdir(parents=True)
    write(
        data / "log_standard_4_22_to_5_08_pure.csv",
        SHOWN + "0,7,20220422,930,1650590800999,1,0,0,1,2,0,1\n"
        "0,8,20220422,930,1650590800001,0,0,0,1,2,0,4\n",
    )
    write(
        data / "log_standard_4_08_to_4_21_pure.csv",
        SHOWN + "5,7,20220408,0,1649347200000,0,0,0,1,2,0,1\n"
        "5,9,20220408,0,1649347200000,1,1,0,1,2,0,0\n",
    )
    write(data / "log_random_4_22_to_5_08_pure.csv", "is not read")
    write(
        data / "video_features_basic_pure.csv",
        "video_id,author_id,video_type,upload_dt,tag\n"
        '7,70,NORMAL,2022-03-27,12\n8,80,AD,2022-03-27,"28,6"\n9,,UNKNOWN,,\n',
    )
    return data


def test_kuairand(kuai, piece):
    log = load("kuairand", "--raw", kuai.parent)
    assert list(log.events) == ["user", "item", "time", "label", "tab"] and log.context == ["tab"]
    assert rows(log.events) == [
        [5, 7, 1649347200, 0, 1],
        [5, 9, 1649347200, 1, 0],
        [0, 8, 1650590800, 0, 4],
        [0, 7, 1650590800, 1, 1],
    ]
    assert list(log.items) == ["item", "author_id", "video_type", "tag"]
    assert rows(log.items) == [[7, 70, "NORMAL", 12], [8, 80, "AD", 28], [9, None, "UNKNOWN", None]]
    assert load("kuairand", "--raw", kuai).events.equals(log.events) and log.time == "seconds"


def test_kuairand_tags_and_play_time(kuai, piece):
    path = kuai / "log_standard_4_22_to_5_08_pure.csv"
    path.write_text(path.read_text().replace("0,0,0,1,2,0,4", "0,0,0,2500,2,0,4"))
    log = load("kuairand", "--raw", kuai, "--all-tags", "--event", "play_time")
    assert list(log.items) == ["item", "author_id", "video_type", "tags"]
    assert log.multiple == ["tags"] and log.event == log.dense == ["play_time"]
    there = log.items["tags"].dropna()
    assert [list(tags) for tags in there] == [["12"], ["28", "6"]]
    assert log.events["play_time"].tolist() == [0.001, 0.001, 2.5, 0.001]


@pytest.mark.parametrize(
    "name, old, new, words",
    [
        (
            "log_standard_4_22_to_5_08_pure.csv",
            "is_click",
            "clicked",
            ["has no column 'is_click', did you mean 'is_like'?"],
        ),
        (
            "log_standard_4_22_to_5_08_pure.csv",
            "999,1,",
            "999,3,",
            ["line 2: is_click is 3, must be 0 or 1"],
        ),
        ("log_standard_4_22_to_5_08_pure.csv", "1650590800001", "", ["line 3: time_ms is missing"]),
        (
            "log_standard_4_22_to_5_08_pure.csv",
            ",4\n",
            "\n",
            ["line 3: 11 columns, but 12 are needed"],
        ),
        ("video_features_basic_pure.csv", '"28,6"', '"28,6', ["line 3"]),
        ("video_features_basic_pure.csv", "\n8,", "\nx,", ["line 3: video_id is 'x'"]),
    ],
)
def test_kuairand_wrong_files(kuai, piece, name, old, new, words):
    write(kuai / name, (kuai / name).read_text().replace(old, new, 1))
    refuses([str(kuai / name), *words], "kuairand", "--raw", kuai)


def test_kuairand_missing_files(kuai, tmp_path):
    refuses(["has no log_standard_*.csv", "kuairand.com"], "kuairand", "--raw", tmp_path)
    write(kuai / "video_features_basic_1k.csv.gz", "x\n")
    refuses(
        ["more than one release", "video_features_basic_1k.csv.gz, video_features_basic_pure.csv"],
        "kuairand",
        "--raw",
        kuai,
    )
    for path in kuai.glob("video*"):
        path.unlink()
    refuses(["has no video_features_basic_*.csv"], "kuairand", "--raw", kuai)


# downloads ----------------------------------------------------------------------------------------


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `files` by name, resumable; those in `cut` end after half of the length that is
    announced."""

    def do_GET(self):
        name, wanted = self.path.strip("/"), self.headers.get("Range")
        self.server.asked.append((name, wanted))
        if name not in self.server.files:
            return self.send_error(404)
        body, start = self.server.files[name], int(wanted[6:-1]) if wanted else 0
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : len(body) // 2 if name in self.server.cut else len(body)])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.files, server.cut = [], {}, set()
    url = f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.setattr(amazon, "URL", url)
    monkeypatch.setattr(movielens, "URL", url)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_amazon_downloads(server, shop, tmp_path):
    names = ["reviews_Electronics_5.json.gz", "meta_Electronics.json.gz"]
    body = {name: (shop / name).read_bytes() for name in names}
    raw = tmp_path / "new" / "raw"
    refuses(["HTTP 404", names[0], f"put it at {raw / names[0]}"], "amazon", "--raw", raw)
    assert not raw.parent.exists()
    server.files = {names[0]: body[names[0]]}
    refuses(["HTTP 404", names[1]], "amazon", "--raw", raw)
    assert [p.name for p in raw.iterdir()] == [names[0]] and (raw / names[0]).read_bytes() == body[
        names[0]
    ]
    server.files, server.cut = body, {names[1]}
    half = len(body[names[1]]) // 2
    refuses(
        [f"ended after {half} of {len(body[names[1]])} bytes", "run again to continue there"],
        "amazon",
        "--raw",
        raw,
    )
    assert not (raw / names[1]).exists()
    server.cut = set()
    log = load("amazon", "--raw", raw)
    assert rows(log.items)[2] == ["B00", "MP3 Players", "O'Neil"] and len(log.events) == 4
    assert (
        server.asked[-1] == (names[1], f"bytes={half}-")
        and server.asked.count((names[0], None)) == 2
    )
    assert sorted(p.name for p in raw.iterdir()) == sorted(names)
    asked = len(server.asked)
    load("amazon", "--raw", raw)
    assert len(server.asked) == asked  # what is there is not asked for again


def test_movielens_downloads(server, tmp_path):
    whole = pack(tmp_path / "x.zip", **release_1m()).read_bytes()
    refuses(["HTTP 404", "ml-1m.zip", "put it at"], "movielens", "--raw", tmp_path / "raw")
    server.files, server.cut = {"ml-1m.zip": whole}, {"ml-1m.zip"}
    refuses([f"of {len(whole):,} bytes"], "movielens", "--raw", tmp_path / "raw")
    assert not (tmp_path / "raw" / "ml-1m.zip").exists()
    server.cut = set()
    assert len(load("movielens", "--raw", tmp_path / "raw").events) == 4
    assert server.asked[-1] == ("ml-1m.zip", f"bytes={len(whole) // 2}-")
    assert (tmp_path / "raw" / "ml-1m.zip").read_bytes() == whole


# recipes and the tool -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
def test_recipe(name):
    from paddleinterest.data.prepare import read_recipe

    path = os.path.join(ROOT, "datasets", f"{name}.yaml")
    recipe = read_recipe(path).common
    assert (recipe.name, recipe.source) == (name, RECIPES[name])
    with open(path, encoding="utf-8") as f:
        first = f.readline()
    assert first.startswith("# ") and ("not measured here" in first) == (
        not name.startswith("movielens_1m")
    )


@pytest.mark.slow
def test_prepare_amazon_end_to_end(tmp_path):
    random = np.random.default_rng(0)
    lines = [
        review(f"A{u}", f"B{i}", int(t), 5.0)
        for u in range(20)
        for i, t in zip(random.permutation(30)[:6], random.integers(10**9, size=6), strict=True)
    ]
    (tmp_path / "raw").mkdir()
    write(tmp_path / "raw" / "reviews_Books_5.json.gz", "".join(lines))
    write(
        tmp_path / "raw" / "meta_Books.json.gz",
        "".join(
            f"{ {'asin': f'B{i}', 'categories': [['Books', f'c{i % 3}']], 'brand': f'b{i % 2}'} }\n"
            for i in range(40)
        ),
    )
    recipe = ("--config", f"{ROOT}/datasets/books.yaml", "--raw", "raw")
    done = tool(tmp_path, *recipe, "--protocol", "every_prefix")
    assert done.returncode == 0, done.stderr
    report, schema = json.loads(done.stdout), Schema.load(str(tmp_path / "data" / "books"))
    assert report["events"] == 120 and report["rows"] == {"train": 120, "valid": 40, "test": 40}
    assert [f.name for f in schema.fields] == [
        "item",
        "category",
        "brand",
    ] and schema.time == "seconds"
    assert schema.recipe["category_name"] == "Books" and str(tmp_path) not in str(schema)
    (tmp_path / "raw" / "meta_Books.json.gz").write_bytes(b"no gzip")
    done = tool(tmp_path, *recipe, "--out", "data/other")
    assert done.returncode == 1 and done.stdout == "" and not (tmp_path / "data" / "other").exists()
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and "cannot read" in errors[0] and "Traceback" not in done.stderr


def test_impressions_of_the_other_sources_can_be_prepared(tmp_path):
    """Builder and source agree on the types of the columns: missing values, context, numbers, users
    without events."""
    from paddleinterest.data.builder import build

    random = np.random.default_rng(0)
    shown = pd.DataFrame(
        {
            "user": random.integers(5, size=60),
            "time_stamp": range(60),
            "adgroup_id": random.integers(9, size=60),
            "pid": random.choice(["a_1", "b_2"], 60),
            "nonclk": 0,
            "clk": random.integers(2, size=60),
        }
    )
    shown.to_csv(tmp_path / "raw_sample.csv", index=False)
    write(
        tmp_path / "ad_feature.csv",
        "adgroup_id,cate_id,campaign_id,customer,brand,price\n"
        + "".join(f"{i},{i % 2},{i % 3},1,{'NULL' if i % 2 else i},{i}.5\n" for i in range(9)),
    )
    write(
        tmp_path / "user_profile.csv",
        "userid,cms_segid,cms_group_id,final_gender_code,age_level,pvalue_level,"
        "shopping_level,occupation,new_user_class_level \n3,0,5,2,5,,3,0,3\n8,,,,,,,,\n",
    )
    schema = build(
        load("taobao_ad", "--raw", tmp_path),
        str(tmp_path / "ads"),
        protocol="impressions",
        name="ads",
    )
    sizes = {f.name: (f.of, f.kind, f.size) for f in schema.fields}
    assert sizes["pid"] == ("context", "category", 4) and sizes["log_price"] == ("item", "dense", 0)
    assert sizes["cate_id"] == ("item", "category", 4) and sizes["brand"] == ("item", "category", 7)
    assert sizes["age_level"] == ("user", "category", 3) and sum(schema.rows.values()) == 60
    assert pd.read_parquet(tmp_path / "ads" / "vocab" / "brand.parquet")["value"].tolist() != []
    rated = "".join(
        f"{u}::{i}::{random.integers(1, 6)}::{random.integers(999)}\n"
        for u in range(1, 9)
        for i in range(1, 20)
    )
    listed = "".join(f"{i}::T ({1980 + i})::{'Drama' if i % 2 else ''}\n" for i in range(1, 30))
    path = pack(tmp_path / "x.zip", **release_1m(ratings_dat=rated, movies_dat=listed))
    for protocol in ("impressions", "every_prefix"):
        schema = build(
            load("movielens", "--zip", path), str(tmp_path / protocol), protocol=protocol, name="m"
        )
        assert [f.name for f in schema.fields] == [
            "item",
            "genre",
            "decade",
            "gender",
            "age",
            "occupation",
        ]
