"""One random log, written plainly and in a form that real logs have: the prepared datasets are the
same, or the other form is refused.

    python tests/data/same_log.py --count 10000

prints how many were the same and how many were refused, by reason; exit status 1 if one was
neither. A number of an example alone (--first 17 --count 1) repeats it. With --engine duckdb the
other form is read from disk, in pieces of a few rows.
"""

import argparse
import collections
import contextlib
import csv
import gzip
import io
import json
import os
import re
import shutil
import sys
import tempfile
import zipfile

import numpy as np
import pandas as pd

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from paddleinterest.core.errors import InputError  # noqa: E402
from paddleinterest.data.prepare import make_recipe, prepare  # noqa: E402
from paddleinterest.data.sources import files, pieces  # noqa: E402

ROWS, BYTES = 50, 2000  # in a piece of Parquet, of text
START = 1_704_100_000
BLANKS = (" ", "\u00a0", "\t", "\ufeff", "\u3000")


def random_log(rng):
    """Events with labels, an attribute of the item and one of the moment; ids are integers or
    texts."""
    users = rng.integers(14, 30)
    n = int(rng.integers(120, 240))
    user = rng.integers(users, size=n)
    item = rng.integers(40, size=n)
    texts = rng.random() < 0.5
    queries = np.array(["shoes", "red, dress", 'a "b"', "帽子", "6 pan", ""], object)
    frame = pd.DataFrame(
        {
            "user": [f"u{u}" for u in user] if texts else user + 100,
            "item": [f"item {i}" for i in item] if texts else item + 7,
            "time": START + np.cumsum(rng.integers(1, 5000, size=n)),
            "label": rng.integers(2, size=n),
            "brand": [f"b{i % 4}" for i in item],
            "query": queries[rng.integers(len(queries), size=n)],
        }
    )
    return frame.astype({"label": int})


def flags_of(rng):
    protocol = str(rng.choice(["impressions", "by_user", "every_prefix", "last_event"]))
    return {"protocol": protocol, "context": ["query"], "item_columns": ["brand"]}


def plain(frame, folder):
    path = os.path.join(folder, "plain.csv")
    frame.to_csv(path, index=False)
    return {"events": [path]}


def typed(frame, folder):
    path = os.path.join(folder, "typed.parquet")
    frame.to_parquet(path)
    return {"events": [path]}


def _texts(column):
    return column.dtype.kind not in "iu"


# what is changed of the log itself: spellings, times, order ---------------------------------------


def respelt_ids(frame, rng):
    """Some ids as 7.0 or with blanks at their ends."""
    for name in ("user", "item"):
        way = rng.integers(4)
        cells = frame[name].astype(str).to_numpy(object)
        some = rng.random(len(cells)) < 0.2
        if way == 1 and frame[name].dtype.kind == "i":
            cells[some] = [cell + ".0" for cell in cells[some]]
        if way == 2:
            blank = str(rng.choice(BLANKS))
            cells[some] = [cell + blank for cell in cells[some]]
        if way == 3 and rng.random() < 0.3:  # two spellings that cannot be told from two ids
            cells[:2] = ["7", "7.0"] if frame[name].dtype.kind != "i" else ["NULL", cells[1]]
        frame[name] = cells
    return frame


def retimed(frame, rng, recipe):
    """Times in another form."""
    moment = pd.to_datetime(frame["time"], unit="s")
    local = moment + pd.Timedelta(hours=8)
    seconds = frame["time"]
    forms = {
        "s": seconds,
        "ms": seconds * 1000,
        "us": seconds * 10**6,
        "ns": seconds * 10**9,
        "float": seconds.map(lambda t: f"{t}.0"),
        "digits": moment.dt.strftime("%Y%m%d%H%M%S"),
        "iso": moment.dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "utc": moment.dt.strftime("%Y-%m-%d %H:%M:%S UTC"),
        "slash": moment.dt.strftime("%Y/%m/%d %H:%M:%S"),
        "zone": local.dt.strftime("%Y-%m-%d %H:%M:%S+08:00"),
        "beijing": local.dt.strftime("%Y-%m-%d %H:%M:%S"),
        "own": moment.dt.strftime("%d.%m.%y %H-%M-%S"),
        "german": moment.dt.strftime("%d.%m.%Y %H:%M:%S"),
    }
    form = str(rng.choice(list(forms)))
    if form == "beijing":
        recipe["time_zone"] = "Asia/Shanghai"
    if form == "own":
        recipe["time_format"] = "%d.%m.%y %H-%M-%S"
    frame["time"] = forms[form]
    return frame


def renamed(frame, rng, recipe):
    """Columns of other names, and an index."""
    if rng.random() < 0.3:
        frame = frame.rename(columns={"user": "uid", "item": "sku", "query": "index"})
        recipe.update(user_column="uid", item_column="sku", context=["index=query"])
    if rng.random() < 0.3:
        frame.insert(0, rng.choice(["", "Unnamed: 0"]), np.arange(len(frame)))
    return frame


def relabelled(frame, rng, recipe):
    """Labels as ratings, event types or words; impressions that stand with both labels."""
    way = rng.integers(5)
    label = frame["label"]
    if way == 1:
        frame["label"] = np.where(label == 1, rng.integers(4, 6, len(frame)), 2)
        recipe["positive_from"] = 4
    if way == 2:
        frame["label"] = np.where(label == 1, "buy", "pv")
        recipe["positive"] = ["buy"]
    if way == 3:
        frame["label"] = np.where(label == 1, "True", "false")
    if way == 4:
        again = frame[(label == 1) & (rng.random(len(frame)) < 0.2)].assign(label=0)
        frame = pd.concat([frame, again], ignore_index=True)
    return frame


# how it is written --------------------------------------------------------------------------------


def text_of(frame, rng, separator=","):
    """The table as delimited text, and whether quotes enclose cells."""
    style = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
    made = io.StringIO(newline="")
    end = str(rng.choice(["\n", "\r\n"]))
    writer = csv.writer(made, delimiter=separator, quoting=int(style), lineterminator=end)
    writer.writerow(frame.columns)
    writer.writerows(frame.itertuples(index=False))
    text = made.getvalue()
    if rng.random() < 0.2:  # a writer that does not quote
        cells = [frame.columns, *frame.itertuples(index=False)]
        text = "".join(separator.join(map(str, row)) + "\n" for row in cells)
    return text


def written(frame, folder, rng, recipe):
    """Write the log in one of many forms of files; fills in the recipe."""
    form = str(
        rng.choice(
            ["csv", "gz", "tsv", "txt", "bare", "folder", "zip", "jsonl", "gbk", "utf-16"]
            + ["parquet", "twice", "bom"]
        )
    )
    path = os.path.join(folder, "log." + {"tsv": "tsv", "txt": "txt"}.get(form, "csv"))
    separator = {"tsv": "\t", "txt": "|"}.get(form, ",")
    text = text_of(frame, rng, separator)
    if form == "gz":
        path += ".gz"
        with gzip.open(path, "wt", encoding="utf-8", newline="") as f:
            f.write(text)
    elif form == "folder":
        path = os.path.join(folder, "parts")
        os.mkdir(path)
        half = len(frame) // 2
        for k, part in enumerate((frame[:half], frame[half:])):
            write(os.path.join(path, f"part-{k}.csv"), text_of(part, rng))
    elif form == "zip":
        path = os.path.join(folder, "log.zip")
        with zipfile.ZipFile(path, "w") as z:
            z.writestr("a/log.csv", text)
    elif form == "jsonl":
        path = os.path.join(folder, "log.jsonl")
        rows = frame.to_dict("records")
        write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    elif form == "parquet":
        path = os.path.join(folder, "log.parquet")
        frame.to_parquet(path)
    elif form == "bare":
        head, _, rest = text.partition("\n")
        recipe["columns"] = list(frame.columns)
        write(path, rest)
    elif form == "twice":
        half = len(frame) // 2
        write(path, text_of(frame[:half], rng) + text_of(frame[half:], rng))
    elif form == "bom":
        write(path, "\ufeff" + text)
    else:
        if form == "gbk":
            recipe["encoding"] = "gbk"
        encoding = {"gbk": "gbk", "utf-16": "utf-16"}.get(form, "utf-8")
        try:
            data = text.encode(encoding)
        except UnicodeEncodeError:
            recipe["encoding"] = "gb18030"
            data = text.encode("gb18030")
        with open(path, "wb") as f:
            f.write(data)
    recipe["events"] = [path]
    return form


def write(path, text):
    with open(path, "w", encoding="utf-8", newline="") as f:
        f.write(text)


def prepared(recipe, folder, name):
    """What makes the dataset: rows, fields, and the sha256 of every file."""
    out = os.path.join(folder, name)
    with contextlib.redirect_stderr(io.StringIO()):
        schema, _ = prepare(make_recipe({"source": "event_log", **recipe, "out": out, "name": "x"}))
    return schema.rows, schema.fields, schema.files


def example(number, engine="memory"):
    """Run one example; "same", or why the other form was refused. AssertionError for another
    dataset."""
    rng = np.random.default_rng([20_231_114, number])
    frame = random_log(rng)
    flags = flags_of(rng)
    with tempfile.TemporaryDirectory() as folder:
        try:
            wanted = prepared({**flags, **plain(frame, folder)}, folder, "plain")
        except InputError:
            return "no dataset"  # too small a log for the protocol
        recipe = dict(flags)
        other = frame.sample(frac=1, random_state=int(rng.integers(2**31)), ignore_index=True)
        other = respelt_ids(other, rng)
        other = retimed(other, rng, recipe)
        other = relabelled(other, rng, recipe)
        other = renamed(other, rng, recipe)
        form = written(other, folder, rng, recipe)
        before = sorted(os.listdir(folder))
        try:
            found = prepared({**recipe, "engine": engine}, folder, "other")
        except InputError as e:
            assert sorted(os.listdir(folder)) == before, "something was left behind"
            return "refused: " + re.sub(r"^.*?: |'[^']*'|[\d,.]+", "", str(e))[:60]
        if form in ("jsonl", "parquet"):  # these say what is a text: an id that is one stays one
            texts = {
                name: str
                for name in ("user", "item")
                if _texts(other[recipe.get(f"{name}_column", name)])
            }
            wanted = prepared({**flags, **typed(frame.astype(texts), folder)}, folder, "typed")
        assert found == wanted, f"example {number}, {form}: another dataset"
        shutil.rmtree(os.path.join(folder, "other"))
        return "same"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--engine", choices=["memory", "duckdb"], default="memory")
    args = parser.parse_args()
    if args.engine == "duckdb":
        pieces.PIECE = ROWS
        files.PIECE = BYTES
    counts: collections.Counter[str] = collections.Counter()
    failed = []
    for number in range(args.first, args.first + args.count):
        try:
            counts[example(number, args.engine)] += 1
        except AssertionError as e:
            failed.append(number)
            print(f"example {number}: {e}", file=sys.stderr, flush=True)
        except Exception as e:
            failed.append(number)
            print(f"example {number}: {type(e).__name__}: {e}", file=sys.stderr, flush=True)
    print(json.dumps({"failed": failed, **dict(counts.most_common())}, indent=1))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
