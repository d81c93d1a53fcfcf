"""What is fuzzed. A target is a function of (place, rng) that spoils an input, hands it to our
code, and returns "accepted" or "refused". It raises where anything but an InputError comes out, or
where what was accepted is not what an independent look at the input says. Each is small enough for
hundreds of inputs a second or a minute; run.py runs one for long, test_fuzz.py all for a bit.
"""

import contextlib
import csv
import gzip
import io
import json
import os
import re
import shutil
import tempfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from fuzz.nasty import NUMBERS, TEXTS, VALUES, spoil_bytes, spoil_value
from helpers import TINY_DIN, ToolServer, probabilities, settings_of, small_log, trained

from paddleinterest.core import settings
from paddleinterest.core.errors import InputError
from paddleinterest.data.builder import build
from paddleinterest.data.reader import Reader
from paddleinterest.data.schema import Schema
from paddleinterest.serving.bundle import Bundle
from paddleinterest.serving.export import export
from paddleinterest.serving.request import read_requests
from paddleinterest.study import table_text, tables
from paddleinterest.training import checkpoint, loading, run

CAP = 5


class Place:
    """A dataset with every kind of column, a net with scrambled weights, its bundle and checkpoint;
    and another dataset of the same shapes with other ids, with its bundle."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.data, self.other_data = (os.path.join(self.folder, n) for n in ("data", "other"))
        log, other = (
            small_log(users=20, impressions=12, items=30),
            small_log(users=20, impressions=12, items=30),
        )
        for frame in (other.events, other.items):
            frame["item"] = "x" + frame["item"]
        build(log, self.data, protocol="impressions", name="data", seed=3)
        build(other, self.other_data, protocol="impressions", name="data", seed=3)
        tiny = [*TINY_DIN, "hyper_parameters.activation=prelu", f"runner.history_cap={CAP}"]
        self.config, self.binding, self.net = trained(
            "din", self.data, self.folder, *tiny, scale=0.3
        )
        other_config, _, _ = trained("din", self.other_data, self.folder, *tiny, scale=0.3, seed=1)
        self.bundle_dir, self.other_bundle = (
            os.path.join(self.folder, n) for n in ("bundle", "other_bundle")
        )
        export(self.config, self.data, self.bundle_dir)
        export(other_config, self.other_data, self.other_bundle)
        self.bundle = Bundle(self.bundle_dir)
        self.checkpoint = run.checkpoint_path(self.config)
        self.weights = {k: v.numpy() for k, v in self.net.state_dict().items()}
        self.server = None

    def new(self):
        """An empty directory for one example."""
        return tempfile.TemporaryDirectory(dir=self.folder)

    def tools(self):
        """The tools in forks of one process, started at the first use."""
        if self.server is None:
            folder = os.path.join(self.folder, "server")
            os.mkdir(folder)
            self.server = ToolServer(folder)
            self.server.__enter__()
        return self.server

    def close(self):
        if self.server is not None:
            self.server.__exit__()


def outcome(work):
    """ "refused" where `work` ends in a one-line InputError, else its result."""
    try:
        return work()
    except InputError as e:
        message = str(e)
        assert message and message.isprintable() and len(message) < 3000, message
        return "refused"


# requests

REQUEST = {
    "user": "u5",
    "time": 1_700_600_000,
    "history": ["i1", {"item": "i7", "time": 5}, {"item": "i2", "time": 9}],
    "candidates": [
        "i3",
        "i7",
        "nobody_sells_this",
        {"item": "new", "category": "c3", "brand": "b4", "maker": 1, "price": 7.5},
        "i11",
    ],
    "context": {"hour": "h2"},
    "user_attributes": {"age": "young"},
}


def request(place, rng):
    """JSON requests, spoilt as values and as text; scores against rows looked up by hand and scored
    by the net itself."""
    value = spoil_value(rng, REQUEST)
    text = json.dumps(value).encode()
    if rng.random() < 0.3:
        text = spoil_bytes(rng, text)
    with place.new() as folder:
        path = os.path.join(folder, "r.json")
        with open(path, "wb") as f:
            f.write(text)

        def work():
            read = read_requests(path)
            answer = place.bundle.rank(read)
            check_answer(place, read, answer)
            json.dumps(answer)
            return "accepted"

        return outcome(work)


def check_answer(place, asked, answer):
    """The scores by hand, the order, and that batch mates change nothing."""
    asked, _ = place.bundle.with_history(asked)
    expected = by_hand(place, asked)
    ranked = answer["candidates"]
    assert len(ranked) == len(asked["candidates"])
    scores = [c["score"] for c in ranked]
    assert scores == sorted(scores, reverse=True) and [c["place"] for c in ranked] == list(
        range(1, len(ranked) + 1)
    )
    names = [c["item"] if isinstance(c, dict) else c for c in asked["candidates"]]
    found = sorted(zip(map(str, names), expected, strict=True), key=lambda x: (x[0], -x[1]))
    given = sorted(
        zip((str(c["item"]) for c in ranked), scores, strict=True), key=lambda x: (x[0], -x[1])
    )
    assert [n for n, _ in found] == [n for n, _ in given]
    assert np.abs(np.array([s for _, s in found]) - [s for _, s in given]).max() < 2e-6, (
        found,
        given,
    )


class Rows:
    """The dataset's own files as plain dicts, read once."""

    def __init__(self, data):
        self.schema = yaml.safe_load(open(os.path.join(data, "schema.yaml"), encoding="utf-8"))
        self.table = {
            of: pq.read_table(os.path.join(data, f"{of}s.parquet")).to_pylist()
            for of in ("item", "user")
        }
        self.row = {
            of: {str(r[of]): k for k, r in enumerate(rows) if k >= 2}
            for of, rows in self.table.items()
        }
        self.index = {
            f["name"]: {
                r["value"]: r["index"]
                for r in pq.read_table(
                    os.path.join(data, "vocab", f"{f['name']}.parquet")
                ).to_pylist()
            }
            for f in self.schema["fields"]
            if f["kind"] == "category" and f["name"] != "item"
        }

    def value(self, f, raw):
        """What a value in a request means: an index, or a standardised number."""
        if f["kind"] == "dense":
            return 0.0 if raw is None or raw != raw else (raw - f["mean"]) / f["std"]
        text = str(int(raw)) if isinstance(raw, float) and raw == int(raw) else str(raw)
        return 1 if raw is None else self.index[f["name"]].get(text, 1)

    def of(self, kind, f, raw, own):
        """A field of the item or user `raw`, whose `own` values win."""
        if f["name"] in own:
            return self.value(f, own[f["name"]])
        row = self.row[kind].get(str(raw), 1) if raw is not None else 1
        if f["name"] == "item":
            return row if row < f["size"] else 1
        value = self.table[kind][row][f["name"]]
        return value if f["kind"] == "category" else self.value(f, value)


def by_hand(place, asked):
    """Scores of a request: every row looked up in plain dicts, scored one at a time by the net."""
    rows = place.__dict__.setdefault("rows", Rows(place.data))
    history = [e if isinstance(e, dict) else {"item": e} for e in asked.get("history", [])][-CAP:]
    own = {"user": asked.get("user_attributes") or {}, "context": asked.get("context") or {}}
    scores = []
    for candidate in asked["candidates"]:
        candidate = candidate if isinstance(candidate, dict) else {"item": candidate}
        batch, dense = {}, []
        for f in rows.schema["fields"]:
            if f["of"] == "item" and f["kind"] == "category":
                batch[f"history_{f['name']}"] = np.array(
                    [[rows.of("item", f, e["item"], {}) for e in history] or [0]]
                )
                given = {} if f["name"] == "item" else candidate
                batch[f"target_{f['name']}"] = np.array(
                    [rows.of("item", f, candidate["item"], given)]
                )
            elif f["of"] == "item":
                dense.append(rows.of("item", f, candidate["item"], candidate))
            elif f["of"] == "user":
                batch[f"user_{f['name']}"] = np.array(
                    [rows.of("user", f, asked.get("user"), own["user"])]
                )
            else:
                batch[f"context_{f['name']}"] = np.array(
                    [rows.value(f, own["context"].get(f["name"]))]
                )
        batch["dense"] = np.array([dense], np.float32)
        scores.append(float(probabilities(place.net, batch)[0]))
    return scores


# bundle


def bundle(place, rng):
    """One to two files of a bundle spoilt, exchanged with another bundle's, removed or added:
    always refused."""
    with place.new() as folder:
        copy = os.path.join(folder, "b")
        shutil.copytree(place.bundle_dir, copy)
        for _ in range(rng.randint(1, 2)):
            names = sorted(n for n in _files(place.bundle_dir) if n != "request.example.json")
            path, other = (
                os.path.join(copy, name := rng.choice(names)),
                os.path.join(place.other_bundle, name),
            )
            way = rng.randint(0, 5)
            if way == 0 and os.path.exists(path):
                os.remove(path)
            elif way == 1:
                shutil.copyfile(other, path)
            elif way == 2:
                shutil.copyfile(os.path.join(place.bundle_dir, rng.choice(names)), path)
            else:
                with open(os.path.join(place.bundle_dir, name), "rb") as f, open(other, "rb") as g:
                    spoilt = spoil_bytes(rng, f.read(), [g.read()])
                with open(path, "wb") as f:
                    f.write(spoilt)
        same = _contents(copy) == _contents(place.bundle_dir)

        def work():
            Bundle(copy)
            assert same, "a bundle was opened that is not the one that was written"
            return "accepted"

        return outcome(work)


def signature(place, rng):
    """signature.yaml and schema.yaml spoilt as values and sealed anew, as a hostile hand would."""
    with place.new() as folder:
        copy = os.path.join(folder, "b")
        shutil.copytree(place.bundle_dir, copy)
        which = rng.choice(["signature.yaml", "schema.yaml"])
        spoil_yaml(rng, os.path.join(copy, which))
        reseal(copy, keep=which == "schema.yaml" and rng.random() < 0.3)

        def work():
            opened = Bundle(copy)
            answer = opened.rank(REQUEST)
            assert all(0 <= c["score"] <= 1 for c in answer["candidates"])
            return "accepted"

        return outcome(work)


def spoil_yaml(rng, path):
    with open(path, encoding="utf-8") as f:
        value = spoil_value(rng, yaml.safe_load(f))
    with open(path, "wb") as f:
        f.write(yaml.dump(value, sort_keys=False).encode("utf-8", "surrogatepass"))


def reseal(directory, keep=False):
    """Make schema.yaml's sizes and checksums fit the files, and its own checksum fit itself, where
    it still is a schema."""
    import hashlib

    path = os.path.join(directory, "schema.yaml")
    with contextlib.suppress(Exception):
        with open(path, encoding="utf-8") as f:
            raw = yaml.safe_load(f)
        raw.pop("sha256", None)
        if not keep:
            raw["files"] = {
                n: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()}
                for n, c in _contents(directory).items()
                if n not in ("schema.yaml", "request.example.json")
            }
        text = yaml.safe_dump(raw, sort_keys=False).encode()
        with open(path, "wb") as f:
            f.write(text + b"sha256: " + hashlib.sha256(text).hexdigest().encode() + b"\n")


def _files(directory):
    return [
        os.path.relpath(os.path.join(folder, n), directory)
        for folder, _, names in os.walk(directory)
        for n in names
    ]


def _contents(directory):
    found = {}
    for name in _files(directory):
        if name != "request.example.json":
            with open(os.path.join(directory, name), "rb") as f:
                found[name] = f.read()
    return found


# checkpoints


def checkpoint_(place, rng):
    """A checkpoint spoilt as bytes, or built anew with odd members; what is accepted has the
    weights that were saved."""
    with place.new() as folder:
        path = os.path.join(folder, "c.npz")
        honest = True
        if rng.random() < 0.5:
            with open(place.checkpoint, "rb") as f:
                data = spoil_bytes(rng, f.read())
            with open(path, "wb") as f:
                f.write(data)
        else:
            honest = _odd_checkpoint(rng, place.checkpoint, path)
        net = loading.create_net(place.binding, place.config, Schema.load(place.data))

        def work():
            checkpoint.load(path, net, "din")
            for name, tensor in net.state_dict().items():
                value = tensor.numpy()
                assert np.isfinite(value).all() and value.dtype == np.float32, name
                assert not honest or np.array_equal(value, place.weights[name]), (
                    f"{name} is not what was saved"
                )
            return "accepted"

        return outcome(work)


def _odd_checkpoint(rng, source, path):
    """Write a zip of the members with one or two of them changed. Returns whether the weights are
    as they were."""
    with np.load(source) as f:
        arrays = {k: f[k] for k in f.files}
    names = sorted(arrays)
    raw = {}
    honest = True
    for _ in range(rng.randint(1, 2)):
        name = rng.choice(names)
        array, way = arrays[name], rng.randint(0, 8)
        if way == 0:
            array = array.astype(
                rng.choice([np.float64, np.int64, np.complex64, np.bool_, object, "S3", "U2"])
            )
        elif way == 1 and array.size:
            array = array.copy()
            array.flat[rng.randint(0, array.size - 1)] = (
                rng.choice([0, 1, 3, 200])
                if array.dtype == np.uint8
                else rng.choice([np.nan, np.inf, 1e30, 0])
            )
            honest = False
        elif way == 2:
            array = array.reshape(-1)
        elif way == 3:
            array = array[: rng.randint(0, len(array))]
        elif way == 4:
            raw[name] = (
                _header(rng.choice([(2**40,), (2**62, 4), (-1,), (0,), (10**400,), (3, 4)]))
                + b"\0" * 64
            )
        elif way == 5:
            raw[name] = rng.choice(
                [
                    b"",
                    b"\x93NUMPY",
                    b"\x93NUMPY\x01\x00\xff\xff{",
                    b"\x93NUMPY\x03\x00",
                    b"\x80\x04K\x01.",
                ]
            )
        elif way == 6:
            arrays[
                rng.choice(
                    [
                        "weights/x",
                        "x",
                        "../x",
                        "",
                        "optimizer/embeddings.tables.item.weight/moment1_0",
                    ]
                )
            ] = array
        elif way == 7:
            del arrays[name]
            names.remove(name)
            continue
        else:
            array = np.frombuffer(
                json.dumps(spoil_value(rng, {"model": "din", "epoch": 1, "valid": None})).encode(),
                np.uint8,
            )
            name = "state"
        arrays[name] = array
    with zipfile.ZipFile(path, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as z:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.asanyarray(array), allow_pickle=True)
            z.writestr(f"{name}.npy", raw.get(name, buffer.getvalue()))
    return honest


def _header(shape):
    """The start of an .npy file that claims to hold so large an array of float32."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(500) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


# dataset


def dataset(place, rng):
    """schema.yaml and tables spoilt, with no checksums listed, as another program's dataset; every
    batch of what is accepted."""
    with place.new() as folder:
        copy = os.path.join(folder, "d")
        shutil.copytree(place.data, copy)
        for _ in range(rng.randint(1, 2)):
            name = rng.choice(
                [
                    "schema.yaml",
                    "items.parquet",
                    "users.parquet",
                    "sequences/part-00000.arrow",
                    "train/part-00000.parquet",
                ]
            )
            path = os.path.join(copy, name)
            if rng.random() < 0.35:
                with open(path, "rb") as f, open(os.path.join(place.other_data, name), "rb") as g:
                    spoilt = spoil_bytes(rng, f.read(), [g.read()])
                with open(path, "wb") as f:
                    f.write(spoilt)
            else:
                with contextlib.suppress(
                    pa.ArrowException, OSError, yaml.YAMLError
                ):  # spoilt before
                    (spoil_yaml if name == "schema.yaml" else spoil_table)(rng, path)
        unlist(copy)

        def work():
            reader = Reader(copy, "train", 32, CAP, times=True, negatives="uniform", shuffle=True)
            reader.counts()
            for batch in reader.epoch():
                check_batch(reader.schema, batch)
            return "accepted"

        return outcome(work)


def unlist(directory):
    """No sizes, no checksums in schema.yaml, where it still is a mapping."""
    path = os.path.join(directory, "schema.yaml")
    with contextlib.suppress(Exception):
        with open(path, encoding="utf-8") as f:
            raw = yaml.safe_load(f)
        raw.pop("sha256", None)
        raw["files"] = {}
        with open(path, "w", encoding="utf-8") as f:
            yaml.safe_dump(raw, f, sort_keys=False)


def check_batch(schema, batch):
    rows = len(batch["label"])
    sizes = {f.name: f.size for f in schema.fields}
    for name, array in batch.items():
        of, _, field = name.partition("_")
        assert len(array) == rows, name
        if field in sizes and of in ("history", "target", "user", "context", "negative"):
            assert array.dtype == np.int64 and array.min() >= 0 and array.max() < sizes[field], name
    assert set(np.unique(batch["label"])) <= {0, 1}
    if "dense" in batch:
        assert batch["dense"].dtype == np.float32 and batch["dense"].shape == (
            rows,
            len(schema.dense_fields),
        )
        assert np.isfinite(batch["dense"]).all()
    assert batch["history_time"].shape == batch["history_item"].shape


def spoil_table(rng, path):
    """One or two columns of a Parquet or Arrow file: other values, another type, gaps, gone,
    double, renamed; or other rows."""
    arrow = path.endswith(".arrow")
    table = pa.ipc.open_file(path).read_all() if arrow else pq.read_table(path, partitioning=None)
    table.validate(full=True)  # spoilt before, it could take this process down
    for _ in range(rng.randint(1, 2)):
        at = rng.randint(0, table.num_columns - 1)
        name, values, kind, way = (
            table.column_names[at],
            table.column(at).to_pylist(),
            table.column(at).type,
            rng.randint(0, 9),
        )
        if way <= 3 and values:
            row = rng.randint(0, len(values) - 1)
            value = rng.choice(
                [*NUMBERS, None, "x", b"\xff", [1], [], [None], [2**31 - 1], [-1], [1, 2, 3]]
            )
            values[row] = value
            for taken in (kind, None):  # another type where the value wants one
                with contextlib.suppress(Exception):
                    table = table.set_column(at, name, pa.array(values, taken))
                    break
        elif way == 4:
            kind = rng.choice(
                [
                    pa.string(),
                    pa.float64(),
                    pa.float32(),
                    pa.int8(),
                    pa.uint64(),
                    pa.bool_(),
                    pa.null(),
                    pa.decimal128(20, 2),
                    pa.dictionary(pa.int8(), pa.int64()),
                    pa.list_(pa.float32()),
                    pa.list_(pa.int64()),
                    pa.timestamp("s"),
                ]
            )
            with contextlib.suppress(Exception):
                table = table.set_column(at, name, table.column(at).cast(kind, safe=False))
        elif way == 5 and table.num_columns > 1:
            table = table.remove_column(at)
        elif way == 6:
            table = table.append_column(name, table.column(at))
        elif way == 7:
            table = table.slice(0, rng.randint(0, table.num_rows))
        elif way == 8:
            table = pa.concat_tables([table, table])
        else:
            table = table.rename_columns(
                [
                    rng.choice(["", "item", "x", "日本", n]) if k == at else n
                    for k, n in enumerate(table.column_names)
                ]
            )
    if arrow:
        with pa.OSFile(path, "wb") as f, pa.ipc.new_file(f, table.schema) as w:
            w.write_table(table, max_chunksize=rng.choice([None, 3]))
    else:
        with contextlib.suppress(pa.ArrowException):  # Parquet cannot hold everything
            pq.write_table(table, path)


# event log

CELLS = [
    "",
    " ",
    "0",
    "1",
    "-1",
    "007",
    "1.0",
    "2.5",
    "nan",
    "NA",
    "true",
    "i1",
    "é",
    "日本",
    "x" * 2000,
    "1e999",
    "9" * 30,
    "2024-01-05",
    "a,b",
    'say "hi"',
    "two\nlines",
    "'",
    "\\",
    "\u202e",
    "\ufeff",
    "9223372036854775807",
    "-9223372036854775808",
    "0x10",
    "1_000",
]


def event_log(place, rng):
    """CSV, TSV, gzip or Parquet files of events and items, spoilt as cells, columns and bytes,
    through source and builder; what is accepted holds the events and items that Python's own csv
    module sees."""
    events, items = _log_rows(rng), _item_rows()
    tables_ = {"events": events, "items": items}
    spoilt = rng.choice(["events", "items", "both"])
    for name, rows in tables_.items():
        if spoilt in (name, "both"):
            for _ in range(rng.randint(0, 3)):
                _spoil_rows(rng, rows)
    ending = rng.choice([".csv", ".tsv", ".csv.gz", ".parquet"])
    with place.new() as folder:
        paths = {name: os.path.join(folder, name + ending) for name in tables_}
        for name, rows in tables_.items():
            _write_rows(paths[name], rows)
        plain = rng.random() < 0.7
        if not plain:
            path = paths[rng.choice(sorted(paths))]
            with open(path, "rb") as f:
                data = f.read()
            with open(path, "wb") as f:
                f.write(spoil_bytes(rng, data))
        flags = [
            "--events",
            paths["events"],
            "--items",
            paths["items"],
            "--out",
            os.path.join(folder, "out"),
            "--protocol",
            rng.choice(["impressions", "every_prefix", "last_event"]),
            "--min-count",
            str(rng.choice([1, 2])),
        ]
        if rng.random() < 0.5:
            flags += ["--context", "hour"]
        if rng.random() < 0.5:
            flags += ["--dense", "price"]
        if rng.random() < 0.3:
            flags += ["--time-unit", rng.choice(["ms", "us", "order"])]

        def work():
            from paddleinterest.commands.prepare import Parser
            from paddleinterest.data.prepare import prepare

            with contextlib.redirect_stderr(io.StringIO()):
                schema, out = prepare(Parser().parse_args(["--source", "event_log", *flags]))
            for split in schema.rows:
                for batch in Reader(out, split, 64, CAP, times=True).epoch():
                    check_batch(schema, batch)
            if plain and ending != ".parquet":
                _check_log(out, schema, paths, "order" not in flags)
            return "accepted"

        result = outcome(work)
        if result == "refused":
            assert sorted(os.listdir(folder)) == sorted(
                os.path.basename(p) for p in paths.values()
            ), "something was left behind"
        return result


def _log_rows(rng):
    """A header and events that every protocol can split."""
    rows = [["user", "item", "time", "label", "hour"]]
    for user in range(12):
        for k in range(7):
            rows.append(
                [
                    f"u{user}",
                    f"i{(user * 3 + k * k) % 9}",
                    str(1_700_000_000 + 1000 * k + user),
                    str(int(k % 3 != 1)),
                    f"h{k % 3}",
                ]
            )
    return rows


def _item_rows():
    return [
        ["item", "category", "price"],
        *([f"i{k}", f"c{k % 3}", "" if k == 4 else f"{k}.5"] for k in range(9)),
    ]


def _spoil_rows(rng, rows):
    way, row, column = (
        rng.randint(0, 9),
        rng.randint(0, len(rows) - 1),
        rng.randint(0, max(0, len(rows[0]) - 1)),
    )
    if way <= 4 and column < len(rows[row]):
        rows[row][column] = rng.choice(CELLS)
    elif way == 5:
        value = rng.choice(CELLS)
        for r in rows[1:]:
            r[column : column + 1] = [value]
    elif way == 6:
        rows[row] = rows[row][:column]
    elif way == 7:
        for r in rows:
            r[column : column + 1] = []
    elif way == 8:
        rows.insert(row, list(rows[rng.randint(0, len(rows) - 1)]))
    elif len(rows) > 1:
        del rows[row : row + rng.randint(1, len(rows))]
    if not rows:
        rows.append([])


def _write_rows(path, rows):
    if path.endswith(".parquet"):
        width = len(rows[0])
        frame = {
            str(n): [r[k] if k < len(r) else None for r in rows[1:]] for k, n in enumerate(rows[0])
        }
        for name, values in frame.items():
            with contextlib.suppress(ValueError, TypeError, OverflowError):
                frame[name] = [int(v) for v in values]
                pa.array(frame[name])
                continue
            frame[name] = values
        with contextlib.suppress(OverflowError, pa.ArrowException):
            pq.write_table(
                pa.table({n: pa.array(v) for n, v in frame.items()}) if width else pa.table({}),
                path,
            )
            return
        pq.write_table(pa.table({n: pa.array([str(x) for x in v]) for n, v in frame.items()}), path)
        return
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "wt", encoding="utf-8", newline="") as f:
        csv.writer(f, delimiter="\t" if ".tsv" in path else ",").writerows(rows)


BLANKS = "".join(chr(c) for c in range(0x3001) if chr(c).isspace()) + "\ufeff\u200b"


def _check_log(out, schema, paths, clock):
    """Events and ids as Python's csv module reads them, blanks off their ends, without header lines
    in the middle, and of an impression with both labels the click alone."""
    seen = {}
    for name, path in paths.items():
        opener = gzip.open if path.endswith(".gz") else open
        with opener(path, "rt", encoding="utf-8-sig", newline="") as f:
            rows = [r for r in csv.reader(f, delimiter="\t" if ".tsv" in path else ",") if r]
        header = [cell.strip() for cell in rows[0]]
        wanted = ("user", "item", "time", "label", "hour") if name == "events" else header
        seen[name] = []
        for r in rows[1:]:
            row = {key: cell.strip(BLANKS) for key, cell in zip(header, r, strict=True)}
            if any(row[key] != key for key in header if key in wanted):
                seen[name].append(row)
    events = seen["events"]
    if clock and {"time", "label"} <= events[0].keys():
        clicked = {_impression(row) for row in events if _clicked(row)}
        events = [row for row in events if _clicked(row) or _impression(row) not in clicked]
    assert schema.counts["events"] == len(events), (schema.counts, len(events))
    ids = {i for rows in (events, seen["items"]) for i in _ids(rows)}
    found = {
        str(i) for i in pq.read_table(os.path.join(out, "items.parquet"))["item"].to_pylist()[2:]
    }
    assert found == ids, found ^ ids


def _impression(row):
    return row["user"], row["item"], row["time"]


def _clicked(row):
    return row["label"].lower() in ("1", "1.0", "true")


def _ids(rows):
    """The items of a file: 7.0 is 7 if all are whole numbers."""
    ids = {row["item"] for row in rows}
    if all(re.fullmatch(r"(0|-?[1-9]\d{0,17})(\.0+)?", i) for i in ids):
        return {i.partition(".")[0] for i in ids}
    return ids


# config


def config(place, rng):
    """Settings as a YAML file and as -o overrides; what is accepted can be saved, read again, and
    made a net of where it fits."""
    model = rng.choice(["din", "dien", "bst", "base", "wide_deep", "pnn", "deepfm"])
    plain = settings.as_dict(settings_of(model))
    key = rng.choice(sorted(settings.flatten(plain)))
    with place.new() as folder:
        path, overrides = os.path.join(folder, "c.yaml"), []
        value = plain
        if rng.random() < 0.5:
            value = spoil_value(rng, plain)
        text = yaml.dump(value, sort_keys=False).encode("utf-8", "surrogatepass")
        if rng.random() < 0.3:
            text = spoil_bytes(rng, text)
        with open(path, "wb") as f:
            f.write(text)
        for _ in range(rng.randint(0, 2)):
            raw = rng.choice(
                [
                    rng.choice(TEXTS),
                    str(rng.choice(NUMBERS)),
                    json.dumps(rng.choice(VALUES)),
                    "0x" + "f" * 6000,
                    "[1, 2, 3]",
                    "1e3",
                ]
            )
            overrides.append(
                rng.choice(
                    [key, key, key, "runner", "x.y", "", "hyper_parameters." + rng.choice(TEXTS)]
                )
                + "="
                + raw
            )

        def work():
            loaded = settings.load(path, overrides)
            again = os.path.join(folder, "again.yaml")
            settings.save(loaded, again)
            assert settings.load(again) == loaded
            if rng.random() < 0.3:
                loaded.runner.use_gpu = False
                binding = loading.bind(loaded)
                loading.create_net(binding, loaded, Schema.load(place.data))
            return "accepted"

        return outcome(work)


def recipe(place, rng):
    """Recipes of tools/prepare.py and tables of tools/reproduce.py, as values and as text."""
    from paddleinterest.commands.prepare import Parser

    root = settings.ROOT
    kind = rng.choice(["datasets", "tables"])
    folder_ = os.path.join(root, *(["datasets"] if kind == "datasets" else ["configs", kind]))
    name = rng.choice(sorted(os.listdir(folder_)))
    with open(os.path.join(folder_, name), encoding="utf-8") as f:
        value = yaml.safe_load(f)
    with place.new() as folder:
        path = os.path.join(folder, "r.yaml")
        text = yaml.dump(spoil_value(rng, value), sort_keys=False).encode("utf-8", "surrogatepass")
        with open(path, "wb") as f:
            f.write(spoil_bytes(rng, text) if rng.random() < 0.3 else text)

        def work():
            if kind == "tables":
                table = tables.read(path)
                tables.cells(table)
                table_text.as_markdown(table, {})
            else:
                with contextlib.redirect_stdout(io.StringIO()):
                    with contextlib.suppress(SystemExit):
                        Parser().parse_args(["--config", path])
            return "accepted"

        return outcome(work)


# command lines

FLAGS = {
    "prepare": [
        "--config",
        "--source",
        "--protocol",
        "--out",
        "--name",
        "--seed",
        "--paper-split",
        "--min-count",
        "--overwrite",
        "--events",
        "--items",
        "--users",
        "--user-column",
        "--item-column",
        "--time-column",
        "--time-unit",
        "--label-column",
        "--context",
        "--dense",
        "--separator",
    ],
    "trainer": ["-m", "-o", "--config_yaml", "--override"],
    "infer": ["-m", "-o", "--split", "--out"],
    "to_static": ["-m", "-o", "--out", "--calibration"],
    "paddle_infer": [
        "--bundle",
        "--split",
        "--request",
        "--events",
        "--candidates",
        "--top",
        "--keep-going",
        "--data",
        "--out",
        "--batch-size",
        "--threads",
        "--onednn",
        "--no-cpu-tuning",
    ],
    "attention": [
        "--bundle",
        "--user",
        "--request",
        "--candidates",
        "--data",
        "--out",
        "--threads",
    ],
    "reproduce": [
        "--table",
        "--rows",
        "--datasets",
        "--seeds",
        "--out",
        "--dry-run",
        "--write-only",
    ],
}


def flags(place, rng):
    """Odd command lines of every tool: exit status 0 with one line of JSON, 1 with one line, or 2
    with the usage; nothing else."""
    tool = rng.choice(sorted(FLAGS))
    words = {
        "--bundle": [place.bundle_dir, place.data],
        "-m": [os.path.join(settings.ROOT, "models", "din", "config.yaml")],
        "--events": [os.path.join(place.data, "items.parquet")],
        "--data": [place.data, place.other_data],
        "--source": ["event_log"],
        "--split": ["test", "train"],
        "--table": ["main"],
        "--threads": ["1"],
        "--user": ["u5"],
    }
    need = {
        "prepare": ["--source", "--events"],
        "paddle_infer": ["--bundle", "--split"],
        "attention": ["--bundle", "--user"],
        "reproduce": ["--table", "--dry-run"],
    }.get(tool, ["-m"])
    argv = []
    for flag in need:
        argv += [flag, *words.get(flag, [])[:1]]
    for _ in range(rng.randint(1, 3)):
        flag = rng.choice(FLAGS[tool])
        argv += [
            flag,
            *(
                rng.choice([*words.get(flag, []), *words.get(flag, []), *ODD])
                for _ in range(rng.choice([0, 1, 1, 1, 2]))
            ),
        ]
    if tool == "reproduce" and "--dry-run" not in argv:
        argv.append("--dry-run")
    if tool in ("trainer", "infer", "to_static"):
        argv += ["-o", "runner.data_dir=nowhere"]  # else they would prepare the default one
    with place.new() as folder:
        result = place.tools().run(tool, *(a.replace("\0", "") for a in argv), cwd=folder)
        left = os.listdir(folder)
    assert "Traceback" not in result.err, (tool, argv, result.err)
    if result.status == 0:
        assert "-h" in argv or "--help" in argv or len(result.out.splitlines()) == 1, (
            tool,
            argv,
            result.out,
        )
        return "accepted"
    assert result.status in (1, 2), (tool, argv, result.status, result.err)
    if result.status == 1:
        errors = [line for line in result.lines if line.startswith("error: ")]
        assert len(errors) == 1 and result.lines[-1] == errors[0] and len(errors[0]) < 3000, (
            tool,
            argv,
            result.err,
        )
        assert not left, (tool, argv, left)
    else:
        assert "usage:" in result.err, (tool, argv, result.err)
    return "refused"


ODD = (
    [t for t in TEXTS if "\0" not in t and "\ud800" not in t]
    + [str(n) for n in NUMBERS]
    + [
        "\udcff",
        "-",
        "--",
        "-x",
        "x" * 100_000,
        "runner.epochs=0",
        "runner.name=\x07",
        "/dev/null",
        ".",
        "/proc/1/mem",
    ]
)

TARGETS = {
    "request": request,
    "bundle": bundle,
    "signature": signature,
    "checkpoint": checkpoint_,
    "dataset": dataset,
    "event_log": event_log,
    "config": config,
    "recipe": recipe,
    "flags": flags,
}
