"""Bad input: spoilt at random for a while (tests/fuzz says how, and can go on for hours), and, one
by one, what that has found and what a hostile hand would try. Nothing but an InputError of one line
comes out, nothing is run, no score is wrong in silence.
"""

import collections
import io
import json
import os
import random
import re
import shutil
import stat
import subprocess
import sys
import zipfile

import numpy as np
import paddle
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from fuzz import targets
from fuzz.run import one
from fuzz.targets import Place, reseal, unlist
from helpers import ROOT, scramble, settings_of
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as bounds
from hypothesis import strategies as st

from paddleinterest.core import memory, settings, yaml_text
from paddleinterest.core.errors import InputError, one_line
from paddleinterest.data.reader import Reader
from paddleinterest.data.schema import Field, Schema
from paddleinterest.nets import native
from paddleinterest.serving.bundle import CANDIDATES, Bundle
from paddleinterest.serving.request import RequestEncoder, read_requests
from paddleinterest.serving.values import Values
from paddleinterest.training import checkpoint, loading

pytestmark = pytest.mark.slow

EXAMPLES = {
    "request": 120,
    "bundle": 25,
    "signature": 20,
    "checkpoint": 40,
    "dataset": 40,
    "event_log": 40,
    "config": 60,
    "recipe": 60,
    "flags": 12,
}
DIN = os.path.join(ROOT, "models", "din", "config.yaml")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("place"))
    yield place
    place.close()


@pytest.mark.parametrize("target", EXAMPLES)
def test_spoilt_at_random(place, target):
    """The same examples in every run; each has a minute, and what fails is made smaller before it
    is shown."""
    seen = set()

    @bounds(
        max_examples=EXAMPLES[target],
        derandomize=True,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=False))
    def examples(rng):
        seen.add(one(targets.TARGETS[target], place, rng))

    examples()
    assert "refused" in seen and seen <= {"refused", "accepted"}


def test_the_fuzzers_examples_are_read_from_bytes():
    """Under atheris every choice comes from its bytes, and the same bytes choose the same."""
    from fuzz.run import Bytes

    rng = random.Random(1)
    for _ in range(50):
        data = rng.randbytes(60)
        a, b = (
            [r.randint(0, 9), r.choice("xyz"), r.random(), r.randint(0, 10**6)]
            for r in (Bytes(data), Bytes(data))
        )
        assert a == b and 0 <= a[0] <= 9 and 0 <= a[2] < 1 and 0 <= a[3] <= 10**6
    assert len({Bytes(rng.randbytes(60)).randint(0, 9) for _ in range(200)}) == 10
    assert Bytes(b"").choice("xyz") == "x"


def refused(words, work, *arguments, **named):
    with pytest.raises(InputError, match=words) as e:
        work(*arguments, **named)
    assert str(e.value).isprintable()


# messages and YAML


def test_an_error_is_one_short_line():
    assert (
        str(InputError("a\nb\x1b[31m\u2028c\ud800 日本 é"))
        == "a\\nb\\x1b[31m\\u2028c\\ud800 日本 é"
    )
    assert len(one_line("x" * 10**7)) < 2100 and one_line("x" * 10**6 + "end").endswith("end")
    assert one_line("as it is, with  two spaces") == "as it is, with  two spaces"


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(['*' + a] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
BAD_YAML = {
    "billion laughs": (LAUGHS, "more than 100,000 values"),
    "merged laughs": (
        "a: &a {x: 1, y: 2}\n"
        + "".join(
            f"{b}: &{b} {{{', '.join(f'k{k}: *{a}' for k in range(10))}}}\n"
            for a, b in zip("abcdefg", "bcdefgh", strict=True)
        ),
        "more than",
    ),
    "itself": ("&a [*a]", "more than"),
    "itself in a mapping": ("&a {x: *a}", "more than"),
    "deep": ("[" * 3000, "nested too deeply"),
    "deep mappings": ("{a: " * 5000, "nested too deeply"),
    "deep blocks": ("- " * 3000, "nested too deeply"),
    "long": ("# " + "x" * (1 << 18), "longer than"),
    "hexadecimal": ("x: 0x" + "f" * 9000, "too long"),
    "a date": ("!!timestamp 2024-13-01", "does not fit its tag"),
    "tags": ("!!bool x", "does not fit its tag"),
    "no int": ("!!int ''", "does not fit its tag"),
    "no time": ("!!timestamp x", "does not fit its tag"),
    "no binary": ("!!binary é", "failed to convert|does not fit"),
    "unhashable": ("{[a]: 1}", "unhashable|while constructing"),
    "nul": ("a: \0", "special characters"),
}


@pytest.mark.parametrize("case", BAD_YAML)
def test_yaml_bombs_and_nonsense_are_refused(tmp_path, case):
    text, words = BAD_YAML[case]
    with pytest.raises(yaml.YAMLError, match=words):
        yaml_text.parse(text)
    (tmp_path / "c.yaml").write_text(text)
    refused("is not YAML", settings.load, str(tmp_path / "c.yaml"))


def test_ordinary_yaml_is_read():
    text = (
        "a: &a [1, 0x10, 1.5, 2024.01.05, é, null, true]\nb: *a\nc: {<<: {x: 1}, y: 2}\n"
        + "d: ["
        + "0, " * 3000
        + "]"
    )
    assert yaml_text.parse(text) == yaml.safe_load(text)
    assert yaml_text.parse("") is None


@pytest.mark.parametrize(
    "tag",
    [
        '!!python/object/apply:os.system ["touch canary"]',
        '!!python/object/new:os.system ["touch canary"]',
        "!!python/object/apply:builtins.open [canary, w]",
        "!!python/module:os",
        "!!python/name:os.system",
    ],
)
def test_yaml_runs_nothing(place, tmp_path, monkeypatch, tag):
    """In settings, in an override, in a recipe, and in both YAML files of a bundle; where it would
    run, it leaves a file."""
    from paddleinterest.commands.prepare import Parser

    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(f"model: din\nrunner: {{name: {tag}}}\n")
    refused("is not YAML", settings.load, "c.yaml")
    refused("is not a YAML value", settings.load, DIN, [f"runner.epochs={tag}"])
    refused("is not YAML", Parser().parse_args, ["--config", "c.yaml"])
    for name in ("schema.yaml", "signature.yaml"):
        shutil.copytree(place.bundle_dir, tmp_path / name)
        (tmp_path / name / name).write_text(f"name: {tag}\nfields: []\n")
        reseal(str(tmp_path / name))
        refused("not a schema that|not an export bundle", Bundle, str(tmp_path / name))
    assert not os.path.exists("canary")
    if "module" not in tag and "name" not in tag:  # with PyYAML's unsafe loader it would have run
        yaml.unsafe_load(tag)
        assert os.path.exists("canary")


# settings


@pytest.mark.parametrize(
    "override, words",
    [
        ("hyper_parameters.embedding_size=1000000000", "the net would take .* GiB"),
        ("hyper_parameters.tower=[2147483647,2147483647]", "the net would take"),
        ("hyper_parameters.attention_units=[2000000000]", "the net would take"),
        ("hyper_parameters.embedding_size=1000000000000", "must be at most 2147483647"),
        ("hyper_parameters.tower=[" + "8," * 101 + "8]", "at most 100"),
        ("runner.seed=4294967296", "must be at most"),
        ("runner.threads=1000000000", "must be at most 1024"),
        ("runner.history_cap=0x" + "f" * 2000, "must be at most"),
        ("runner.epochs=0x" + "f" * 9000, "not a YAML value"),
        ('runner.name="a\\0b"', "control characters"),
        ('runner.data_dir="\\uD800"', "control characters|not a YAML"),
        ("runner.name=a\nb: c", "runner.name"),
        ("x" * 200_000 + "=1", "unknown key"),
        ("=", "unknown key"),
        ("runner." + "a." * 3000 + "b=1", "runner"),
    ],
)
def test_odd_settings_end_in_one_line(place, override, words):
    def make():
        config = settings_of("din", override)
        return loading.create_net(place.binding, config, Schema.load(place.data))

    refused(words, make)


def test_too_many_blocks_are_refused_at_once():
    refused("must be at most 1000", settings_of, "bst", "hyper_parameters.blocks=1000000000")


def test_memory_is_asked_for_first(place, monkeypatch):
    """The net, then its optimiser's moments; a machine with just enough makes both."""
    config, schema = settings_of("base", "hyper_parameters.tower=[100]"), Schema.load(place.data)
    binding = loading.bind(config)
    net = loading.create_net(binding, config, schema)
    size = 4 * sum(int(np.prod(p.shape)) for p in net.parameters())
    for room, fits in ((size, True), (size - 1, False)):
        monkeypatch.setattr(memory, "available", lambda: room)
        if fits:
            loading.create_net(binding, config, schema)
        else:
            refused("the net would take", loading.create_net, binding, config, schema)
    for room, fits in ((2 * size, True), (2 * size - 1, False)):
        monkeypatch.setattr(memory, "available", lambda: room)
        if fits:
            binding.create_optimizer(net, config)
        else:
            refused("adam's moments would take", binding.create_optimizer, net, config)
    assert paddle.nn.Layer.create_parameter.__name__ == "create_parameter"  # put back as it was
    monkeypatch.undo()
    assert 2**26 < memory.available() < 2**50


@pytest.mark.parametrize(
    "model", ["../models/din", "din/../din", "/etc", "native", "din\0", "é", "1", "[din]", "{}"]
)
def test_a_model_is_one_of_ours(tmp_path, model):
    """Its name leads to code that is imported."""
    (tmp_path / "config.yaml").write_text("model: din")
    path = tmp_path / "c.yaml"
    path.write_text(f"model: {model}" if "\0" not in model else 'model: "din\\0"')
    refused("must be a folder under models/, one of .*base, bst", settings.load, str(path))


# requests


def test_numbers_of_a_category_mean_what_they_mean_in_preparation(place):
    """maker is 0, 1 or 2 there. 1.0 is 1; a boolean, or a number that is none, is refused and not
    unknown in silence."""

    def index(raw):
        return int(
            place.bundle.encoder.encode({"candidates": [{"item": "i1", "maker": raw}]}).arrays[
                "target_maker"
            ][0]
        )

    values = {m: index(m) for m in ("0", "1", "2")}
    assert sorted(values.values()) == [2, 3, 4]
    assert [index(m) for m in (0, 1.0, 2.0, "1.0")] == [values[m] for m in ("0", "1", "2", "1")]
    assert [index(m) for m in (1.5, 1e300, -1, 3.0, "1.00", None, 10**30)] == [1] * 7
    for raw in (True, False, float("nan"), float("inf"), -float("inf")):
        refused("maker is .* must be text or a number", index, raw)


def test_a_vocabulary_of_fractions_is_found_by_integers():
    values = Values.__new__(Values)
    values.vocabularies = {"size": {"1.0": 5, "2.5": 6, "None": 7}}
    field = Field("size", "item", size=8)
    unknown = collections.Counter()
    raw_values = (1, 1.0, "1.0", "1", 2.5, "2.50", None, "None")
    assert [values.one(field, raw, unknown) for raw in raw_values] == [5, 5, 5, 5, 6, 1, 1, 7]
    assert unknown == {"size": 1}


def test_a_key_that_occurs_twice_is_refused(tmp_path):
    path = tmp_path / "r.json"
    path.write_text('{"candidates": [{"item": "i1", "brand": "b1", "brand": "b2"}]}')
    refused("the key 'brand' occurs twice", read_requests, str(path))


def test_many_candidates_are_scored_in_pieces(place):
    """As many as would not fit in memory at once; each gets the score that it has alone."""
    n = 2 * CANDIDATES + 5
    items = [f"i{k % 40}" for k in range(n)]
    asked = {
        "history": ["i1", "i2"],
        "user": "u3",
        "candidates": items,
        "context": {"hour": "h1"},
        "time": 5,
    }
    score, weight = place.bundle.attention(asked)
    assert score.shape == (n,) and weight.shape == (n, 2)
    alone = {i: place.bundle.attention({**asked, "candidates": [i]})[0][0] for i in set(items)}
    assert (
        np.abs(score - [alone[i] for i in items]).max() < 1e-6
        and np.std(list(alone.values())) > 1e-3
    )
    calls, rank = [], place.bundle.programs["rank"]
    place.bundle.programs["rank"] = lambda arrays: (
        calls.append(len(arrays["target_item"])) or rank(arrays)
    )
    place.bundle.attention(asked)
    place.bundle.programs["rank"] = rank
    assert calls == [CANDIDATES, CANDIDATES, 5]


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda t: pa.concat_tables([t, t.slice(5, 1)]), "more than once"),
        (
            lambda t: t.set_column(
                0, "item", pa.array([None, None, None, *t["item"].to_pylist()[3:]])
            ),
            "without missing values",
        ),
    ],
)
def test_ids_of_a_catalogue_are_there_and_unique(place, tmp_path, spoil, words):
    data = shutil.copytree(place.data, tmp_path / "d")
    pq.write_table(spoil(pq.read_table(data / "items.parquet")), data / "items.parquet")
    unlist(data)
    refused(words, RequestEncoder, str(data), Schema.load(str(data)), 5)


# bundles


def files(directory):
    return sorted(n for n in targets._contents(directory))


def test_one_flipped_bit_in_any_file_is_refused(place, tmp_path):
    """Also in schema.yaml itself, say in the mean of a dense column, and before Paddle opens its
    program."""
    rng = random.Random(0)
    copy = str(tmp_path / "b")
    shutil.copytree(place.bundle_dir, copy)
    assert len(files(copy)) > 8
    for name in files(copy):
        for _ in range(3):
            path = os.path.join(copy, name)
            with open(path, "r+b") as f:
                f.seek(rng.randrange(os.path.getsize(path)))
                byte = f.read(1)[0]
                f.seek(-1, os.SEEK_CUR)
                f.write(bytes([byte ^ 1 << rng.randrange(8)]))
            refused(
                "differs from the file|changed after it was written|not a schema|not an export"
                " bundle|schema.yaml says|is missing",
                Bundle,
                copy,
            )
            shutil.copyfile(os.path.join(place.bundle_dir, name), path)
    Bundle(copy)


@pytest.mark.parametrize(
    "name",
    ["items.parquet", "vocab/brand.parquet", "model.pdiparams", "signature.yaml", "schema.yaml"],
)
def test_a_file_of_another_bundle_of_the_same_shapes_is_refused(place, tmp_path, name):
    copy = shutil.copytree(place.bundle_dir, tmp_path / "b")
    other = os.path.join(place.other_bundle, *name.split("/"))
    same = open(other, "rb").read() == open(copy / name, "rb").read()
    shutil.copyfile(other, copy / name)
    assert not same or name == "vocab/brand.parquet"
    if same:
        pq.write_table(pq.read_table(other).slice(1), copy / name)
    refused("differs from the file|schema.yaml says", Bundle, str(copy))


def test_what_the_bundle_does_not_list_is_not_opened(place, tmp_path):
    """Weights for the rank program, which shares the model's; and a program in the form of another
    Paddle."""
    copy = shutil.copytree(place.bundle_dir, tmp_path / "b")
    assert not (copy / "rank.pdiparams").exists()
    shutil.copyfile(os.path.join(place.other_bundle, "model.pdiparams"), copy / "rank.pdiparams")
    for name in ("model", "rank"):
        for suffix in (".json", ".pdmodel"):
            if not (copy / f"{name}{suffix}").exists():
                (copy / f"{name}{suffix}").write_bytes(b"\xff" * 100)
    assert Bundle(str(copy)).rank(targets.REQUEST) == place.bundle.rank(targets.REQUEST)


def test_a_bundle_without_checksums_is_refused(place, tmp_path):
    copy = shutil.copytree(place.bundle_dir, tmp_path / "b")
    text = (copy / "schema.yaml").read_text()
    (copy / "schema.yaml").write_text(text[: text.index("\nsha256:") + 1])
    refused("lacks checksums; make it with", Bundle, str(copy))
    unlist(copy)
    reseal(str(copy), keep=True)
    refused("lacks checksums", Bundle, str(copy))


def test_a_dataset_of_the_same_shapes_is_not_the_bundles(place):
    """Sizes and names agree, the ids differ: every score would be of another item. A dataset
    prepared again is the same."""
    place.bundle.check_data(place.data)
    refused(
        "is not the dataset that the bundle was trained on; these differ: items.parquet",
        place.bundle.check_data,
        place.other_data,
    )
    again = os.path.join(place.folder, "again")
    shutil.copytree(place.data, again)
    table = pq.read_table(os.path.join(again, "items.parquet"))
    pq.write_table(
        table, os.path.join(again, "items.parquet"), compression="gzip"
    )  # other bytes, the same table
    unlist(again)
    place.bundle.check_data(again)


def test_programs_are_not_opened_before_the_check(place, tmp_path, monkeypatch):
    """A damaged program could take the process down in Paddle's C++."""
    copy = shutil.copytree(place.bundle_dir, tmp_path / "b")
    program = next(
        copy / f"model{s}" for s in (".json", ".pdmodel") if (copy / f"model{s}").exists()
    )
    program.write_bytes(program.read_bytes().replace(b"e", b"f", 1))
    monkeypatch.setattr(
        "paddleinterest.serving.engine.open_programs", lambda *_: pytest.fail("opened")
    )
    refused(f"{re.escape(program.name)} .*sha256", Bundle, str(copy))


# checkpoints


def made(place, path, compression=zipfile.ZIP_STORED, **raw):
    """A checkpoint with some members replaced by the bytes given."""
    with zipfile.ZipFile(place.checkpoint) as z, zipfile.ZipFile(path, "w", compression) as out:
        names = [n.removesuffix(".npy") for n in z.namelist()]
        for name in [*names, *(n for n in raw if n not in names)]:
            out.writestr(f"{name}.npy", raw[name] if name in raw else z.read(f"{name}.npy"))
    return str(path)


def npy(array):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array)
    return buffer.getvalue()


def test_checkpoints_that_would_fill_the_memory_are_refused(place, tmp_path):
    """A header that claims four terabytes; sixty megabytes of zeros in a few kilobytes; members
    that share their bytes."""
    weight = "weights/tower.mlp.out.weight"
    for shape in ((2**20,), (2**40,), (2**62, 4), (2**31, 2**31)):
        path = made(place, tmp_path / "c.npz", **{weight: targets._header(shape) + b"\0" * 64})
        refused("not as long as its header says", checkpoint.read, path)
    zeros = npy(np.zeros(15_000_000, np.float32))
    path = made(place, tmp_path / "z.npz", zipfile.ZIP_DEFLATED, **{weight: zeros})
    assert os.path.getsize(path) < len(zeros) // 20
    refused("larger than the file", checkpoint.read, path)


def test_weights_that_are_no_numbers_are_refused(place, tmp_path):
    name = next(n for n in place.weights if n.startswith("embeddings"))
    for bad in (np.nan, np.inf):
        weight = place.weights[name].copy()
        weight[1, 0] = bad
        path = made(place, tmp_path / "c.npz", **{f"weights/{name}": npy(weight)})
        net = scramble(
            loading.create_net(place.binding, place.config, Schema.load(place.data)), seed=9
        )
        before = {k: v.numpy() for k, v in net.state_dict().items()}
        refused(f"{name} is not finite", checkpoint.load, path, net, "din")
        assert all(np.array_equal(before[k], v.numpy()) for k, v in net.state_dict().items())


@pytest.mark.parametrize(
    "moment, array",
    [
        ("nowhere/moment1_0", np.zeros(3, np.float32)),
        ("tower.mlp.out.weight/moment1_0", np.zeros(7, np.float32)),
        ("tower.mlp.out.bias/moment1_0", np.float32([np.nan])),
        ("tower.mlp.out.bias/moment1_0", np.zeros(1)),
    ],
)
def test_moments_that_do_not_fit_are_refused(place, tmp_path, moment, array):
    path = made(place, tmp_path / "c.npz", **{f"optimizer/{moment}": npy(array)})
    net = loading.create_net(place.binding, place.config, Schema.load(place.data))
    optimizer = place.binding.create_optimizer(net, place.config)
    refused(
        "does not fit this net|not finite, or not float32",
        checkpoint.load,
        path,
        net,
        "din",
        optimizer,
    )


# datasets


def copied(place, tmp_path):
    data = shutil.copytree(place.data, tmp_path / "d")
    unlist(data)
    return data


@pytest.mark.parametrize(
    "name",
    ["items.parquet", "users.parquet", "sequences/part-00000.arrow", "train/part-00000.parquet"],
)
def test_a_file_exchanged_for_another_datasets_of_the_same_size_is_refused(place, tmp_path, name):
    """Sizes are compared when a dataset is opened; here only the sha256 tells."""
    data = shutil.copytree(place.data, tmp_path / "d")
    path = data / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    Schema.load(str(data))
    refused(f"{re.escape(name)} .*schema.yaml.*sha256", Reader, str(data), "train", 7)
    if name.startswith("train/"):
        Reader(str(data), "test", 7)  # reads, and so checks, its own split


def arrow(data, item, time):
    table = pa.table({"item": item, "time": time})
    with (
        pa.OSFile(str(data / "sequences/part-00000.arrow"), "wb") as f,
        pa.ipc.new_file(f, table.schema) as w,
    ):
        w.write_table(table)


def test_lists_beyond_their_values_are_refused(place, tmp_path):
    """Offsets are positions in memory; NumPy would read whatever lies there."""
    data = copied(place, tmp_path)
    path = data / "sequences/part-00000.arrow"
    content = path.read_bytes()
    offsets = (
        pa.ipc.open_file(pa.BufferReader(content))
        .read_all()["item"]
        .combine_chunks()
        .offsets.to_numpy()
    )
    assert content.count(offsets.tobytes()) == 2  # of item and of time
    for at, value in ((-1, 2**30), (3, 2**30), (5, -8), (0, 1), (4, 0)):
        bad = offsets.copy()
        bad[at] = value
        path.write_bytes(content.replace(offsets.tobytes(), bad.tobytes()))
        if at == 0:
            targets.outcome(lambda: Reader(str(data), "train", 7))  # an event less
        else:
            refused("part-00000.arrow is not a readable Arrow file", Reader, str(data), "train", 7)
    path.write_bytes(content)
    Reader(str(data), "train", 7)


@pytest.mark.parametrize(
    "item, time, words",
    [
        (pa.array([[2, None]] * 20), pa.array([[1, 2]] * 20), "missing values"),
        (pa.array([None] * 20, pa.list_(pa.int32())), pa.array([[1]] * 20), "missing"),
        (pa.array([[2.0]] * 20), pa.array([[1]] * 20), "must be lists of integers"),
        (pa.array([2] * 20), pa.array([[1]] * 20), "must be lists"),
        (pa.array([["2"]] * 20), pa.array([[1]] * 20), "must be lists"),
        (pa.array([[2]] * 20), pa.array([[2**63 - 1]] * 20), "outside ±2[*][*]62"),
    ],
)
def test_sequences_of_another_kind_are_refused(place, tmp_path, item, time, words):
    data = copied(place, tmp_path)
    arrow(data, item, time)
    refused(words, Reader, str(data), "train", 7)


@pytest.mark.parametrize(
    "column, values",
    [
        ("label", "text"),
        ("sequence", "text"),
        ("end", "float"),
        ("item", "null"),
        ("user", "list"),
        ("time", "text"),
    ],
)
def test_columns_of_another_kind_are_refused(place, tmp_path, column, values):
    data = copied(place, tmp_path)
    path = data / "train" / "part-00000.parquet"
    table = pq.read_table(path, partitioning=None)
    kind = {
        "text": pa.string(),
        "float": pa.float64(),
        "null": pa.null(),
        "list": pa.list_(pa.int64()),
    }[values]
    spoilt = {"text": ["1"], "float": [1.5], "null": [None], "list": [[1]]}[values] * table.num_rows
    pq.write_table(
        table.set_column(table.column_names.index(column), column, pa.array(spoilt, kind)), path
    )
    refused(f"column {column} holds .* must be integers", Reader, str(data), "train", 7)


def test_a_part_too_many_is_refused(place, tmp_path):
    data = shutil.copytree(place.data, tmp_path / "d")
    shutil.copyfile(data / "train" / "part-00000.parquet", data / "train" / "part-00001.parquet")
    refused("train has .* rows, but schema.yaml says", Reader, str(data), "train", 7)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["fields"][1].update(name="../../etc/passwd"),
        lambda s: s["fields"][1].update(size=-5),
        lambda s: s["fields"][1].update(size=2**40),
        lambda s: s["fields"][1].update(size="9"),
        lambda s: s["fields"][1].update(of="planet"),
        lambda s: s["fields"].reverse(),
        lambda s: s["fields"].append(s["fields"][1]),
        lambda s: s.update(fields=[]),
        lambda s: s.update(rows={"train": "many"}),
        lambda s: s.update(files={"/etc/passwd": {"bytes": 1, "sha256": ""}}),
        lambda s: s.update(files=[1]),
        lambda s: s.update(best={"test": {"auc": "high"}}),
        *(
            lambda s, bad=bad: [f for f in s["fields"] if f["kind"] == "dense"][0].update(std=bad)
            for bad in (0, 0.0, -1.0, float("nan"), "1", None)
        ),
    ],
)
def test_schemas_that_no_preparation_writes_are_refused(place, tmp_path, change):
    data = copied(place, tmp_path)
    schema = yaml.safe_load((data / "schema.yaml").read_text())
    change(schema)
    (data / "schema.yaml").write_text(yaml.safe_dump(schema))
    refused("is not a schema that this version reads", Schema.load, str(data))


def test_parquet_runs_nothing(place, tmp_path, monkeypatch):
    """Metadata is not unpickled: a pandas index, an Arrow extension type and a Python extension
    type that carry a pickle."""
    from paddleinterest.data.sources.files import RawFile
    from paddleinterest.data.sources.table_file import Form, Table

    pickle = b"cos\nsystem\n(S'touch canary'\ntR."
    monkeypatch.chdir(tmp_path)
    data = copied(place, tmp_path)
    table = pq.read_table(data / "items.parquet")
    hostile = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle,
    }
    at = table.column_names.index("category")
    spoilt = table.set_column(
        at, pa.field("category", table["category"].type, metadata=hostile), table["category"]
    )
    spoilt = spoilt.replace_schema_metadata(
        {
            b"pandas": (
                json.dumps(
                    {
                        "index_columns": ["category"],
                        "columns": [
                            {
                                "name": "category",
                                "field_name": "category",
                                "pandas_type": "object",
                                "numpy_type": "object",
                                "metadata": {"pickle": pickle.decode()},
                            }
                        ],
                        "column_indexes": [],
                    }
                ).encode()
            ),
            b"pickle": pickle,
        }
    )
    pq.write_table(spoilt, data / "items.parquet")
    targets.outcome(lambda: Reader(str(data), "train", 7))
    targets.outcome(lambda: RequestEncoder(str(data), Schema.load(str(data)), 5))
    items = RawFile(str(data / "items.parquet"), "parquet")
    targets.outcome(lambda: Table(items, Form()).read(["category", "brand"]))
    assert not (tmp_path / "canary").exists()
    import pickle as module

    module.loads(pickle)
    assert (tmp_path / "canary").exists()  # it would have run


def test_a_zip_of_raw_data_writes_nothing(tmp_path):
    """Members are read by their last name, none is unpacked: a path that climbs out leads
    nowhere."""
    from paddleinterest.data.sources.movielens import Release

    path = tmp_path / "in" / "ml-1m.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("../../canary", "x")
        z.writestr("../ratings.dat", "1::1::5::978300760\n")
        z.writestr(str(tmp_path / "canary"), "x")
    release = Release(str(path), "1m")
    assert len(release.ratings("::", header=False)) == 1
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["in", "ml-1m.zip"]


# operators that are loaded


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """Two shared libraries: an honest one, and one that leaves a file `canary` when it is
    loaded."""
    folder = tmp_path_factory.mktemp("libraries")
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("no C++ compiler on this machine")
    (folder / "honest.cc").write_text('extern "C" int honest() { return 1; }\n')
    (folder / "hostile.cc").write_text(
        "#include <stdio.h>\n__attribute__((constructor)) static void run() { if (FILE *f ="
        ' fopen("canary", "w")) fclose(f); }\n'
    )
    for name in ("honest", "hostile"):
        subprocess.run(
            [
                compiler,
                "-shared",
                "-fPIC",
                str(folder / f"{name}.cc"),
                "-o",
                str(folder / f"{name}.so"),
            ],
            check=True,
        )
    return folder / "honest.so", folder / "hostile.so"


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root can give a file to another user"
)
def test_a_library_that_another_user_could_have_written_is_not_loaded(
    tmp_path, monkeypatch, libraries
):
    honest, hostile = libraries
    canary, folder = tmp_path / "canary", tmp_path / "cache" / "paddleinterest"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    names = iter(
        range(99)
    )  # a library is loaded once a path and process, so each attempt has a path of its own

    def attempt(plant):
        """Put something where the library would be found; returns what was loaded, and what was
        built anew."""
        name, builds = str(next(names)), []
        path = folder / f"positions-{name}.so"

        def build(compiler, source, path):
            builds.append(path)
            fresh = tmp_path / "fresh.so"
            shutil.copyfile(honest, fresh)
            fresh.chmod(0o700)
            os.replace(fresh, path)

        plant(path)
        monkeypatch.setattr(native, "_fingerprint", lambda *_: name)
        monkeypatch.setattr(native, "_build", build)
        return native.library.__wrapped__("positions"), builds

    def planted(mode, owner):
        def plant(path):
            shutil.copyfile(hostile, path)
            path.chmod(mode)
            os.chown(path, owner, -1)

        return plant

    def linked(path):
        planted(0o700, 0)(tmp_path / "elsewhere.so")
        path.symlink_to(tmp_path / "elsewhere.so")

    loaded, builds = attempt(lambda path: None)
    assert (
        loaded.honest() == 1 and len(builds) == 1 and stat.S_IMODE(folder.stat().st_mode) == 0o700
    )
    folder.chmod(0o777)
    for plant in (
        planted(0o700, 1234),
        planted(0o777, 0),
        planted(0o770, 0),
        linked,
    ):  # another's, anybody's, the group's
        loaded, builds = attempt(plant)
        assert len(builds) == 1 and loaded.honest() == 1 and not canary.exists()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    loaded, builds = attempt(planted(0o700, 0))
    assert (
        builds == [] and canary.exists()
    )  # it does run where it is loaded: a file of the user's own
    canary.unlink()
    os.chown(
        folder, 1234, -1
    )  # the folder is another's, who can exchange what is in it at any time
    assert attempt(planted(0o700, 0))[0] is None and not canary.exists()
    folder.rename(tmp_path / "mine")
    os.chown(tmp_path / "mine", 0, -1)
    folder.symlink_to(tmp_path / "mine")
    assert attempt(planted(0o700, 0))[0] is None and not canary.exists()
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert native._cache() == str(tmp_path / "home" / ".cache" / "paddleinterest")


def test_what_is_built_is_its_users_alone(tmp_path, monkeypatch, libraries):
    """Whatever the umask."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    (tmp_path / "s.cc").write_text("int f() { return 1; }\n")
    before = os.umask(0)
    try:
        native._build(compiler, str(tmp_path / "s.cc"), os.path.join(native._cache(), "s.so"))
    finally:
        os.umask(before)
    assert native._ours(str(tmp_path / "cache" / "paddleinterest" / "s.so"))
    assert stat.S_IMODE((tmp_path / "cache" / "paddleinterest" / "s.so").stat().st_mode) == 0o700


# the tools themselves


@pytest.mark.parametrize(
    "tool, arguments, words",
    [
        ("trainer", ["-m", DIN, "-o", "runner.name=\udcff"], "is not UTF-8"),
        (
            "trainer",
            [
                "-m",
                DIN,
                "-o",
                "runner.data_dir={data}",
                "hyper_parameters.embedding_size=2000000000",
            ],
            "the net would take",
        ),
        ("trainer", ["-m", DIN, "-o", "a\nb=1"], "unknown key a"),
        ("trainer", ["-m", "x" * 100_000], "File name too long"),
        ("trainer", ["-m", "{laughs}"], "is not YAML"),
        (
            "infer",
            [
                "-m",
                DIN,
                "-o",
                "runner.data_dir={data}",
                "runner.infer_load_path={data}/schema.yaml",
            ],
            "not a whole checkpoint",
        ),
        (
            "paddle_infer",
            ["--bundle", "{bundle}", "--split", "test", "--data", "{other}"],
            "not the dataset that the bundle",
        ),
        (
            "paddle_infer",
            ["--bundle", "{bundle}", "--split", "test", "--threads", "-1"],
            "-1 threads",
        ),
        (
            "attention",
            ["--bundle", "{bundle}", "--user", "u5", "--threads", str(10**30)],
            "threads",
        ),
        (
            "attention",
            ["--bundle", "{bundle}", "--user", "u5", "--data", "{other}"],
            "not the dataset that the bundle",
        ),
        ("prepare", ["--config", "{laughs}"], "is not YAML"),
        ("reproduce", ["--table", "{laughs}"], "is not YAML"),
    ],
)
def test_tools_end_in_one_line(place, tmp_path, tool, arguments, words):
    (tmp_path / "laughs.yaml").write_text(LAUGHS)
    work = tmp_path / "work"
    work.mkdir()
    names = dict(
        data=place.data,
        other=place.other_data,
        bundle=place.bundle_dir,
        laughs=tmp_path / "laughs.yaml",
    )
    result = place.tools().run(tool, *(a.format(**names) for a in arguments), cwd=work)
    assert result.status == 1 and result.out == "" and "Traceback" not in result.err, (
        result.status,
        result.err,
    )
    assert (
        result.lines[-1].startswith("error: ")
        and words in result.lines[-1]
        and len(result.lines[-1]) < 2100
    ), result.err
    assert not os.listdir(work)
