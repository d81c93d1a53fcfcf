"""trainer, infer, to_static and paddle_infer as a user meets them: from another directory, with
wrong input, a full disk and Ctrl-C. The good ways run in processes of their own, the bad ones in
forks of one (helpers.ToolServer).
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers import ROOT, TINY_DIN, ToolServer, run_tool, small_dataset, tree

from paddleinterest.core.checksum import hashes
from paddleinterest.core.log import progress
from paddleinterest.data.schema import Schema

pytestmark = pytest.mark.slow

DIN, BASE = (os.path.join(ROOT, "models", m, "config.yaml") for m in ("din", "base"))


class Place:
    """A directory that is not the repository, with a dataset and a trained, exported run in it."""

    def __init__(self, folder):
        self.folder = str(folder)
        small_dataset(folder, "clicks", users=30, impressions=20)
        small_dataset(folder, "others", users=20, impressions=30, items=70)
        self.trained = run_tool(
            "trainer",
            "-m",
            DIN,
            "-o",
            *TINY_DIN,
            "runner.data_dir=clicks",
            "runner.epochs=3",
            "hyper_parameters.dropout=0.2",
            cwd=folder,
        )
        self.run = os.path.join("output", "din", "clicks")
        self.best = os.path.join(self.run, "checkpoints", "best.npz")
        self.bundle = os.path.join(self.run, "export")

    def path(self, *parts):
        return os.path.join(self.folder, *parts)


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    with ToolServer(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def place(tmp_path_factory, tools):
    place = Place(tmp_path_factory.mktemp("place"))
    place.exported = run_tool(
        "to_static", "-m", DIN, "-o", "runner.data_dir=clicks", cwd=place.folder
    )
    return place


METRICS = ("auc", "gauc", "logloss", "pcoc")


def one_line_of_json(result):
    """Exit status 0 and the result as the only line of standard output."""
    assert result.status == 0, result.err
    assert len(result.out.splitlines()) == 1 and result.out.endswith("\n")
    assert isinstance(json.loads(result.out)["seconds"], float)
    return result.json


def refused(result, *words, status=1):
    """Exit status 1, nothing on standard output, one line that says what is wrong, no traceback."""
    assert result.status == status, (result.status, result.err)
    assert result.out == ""
    errors = [line for line in result.lines if line.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in result.err, result.err
    for word in words:
        assert word in errors[0], errors[0]
    return errors[0]


# good ways


def test_trainer(place):
    result = one_line_of_json(place.trained)
    assert (
        result["run_dir"] == place.run
        and result["checkpoint"] == place.best
        and result["epochs"] == 3
    )
    assert {
        "model": "din",
        "dataset": "clicks",
        "protocol": "impressions",
    }.items() <= result.items()
    assert sorted(os.listdir(place.path(place.run))) == [
        "checkpoints",
        "config.yaml",
        "export",
        "log.txt",
        "metrics.jsonl",
        "result.json",
    ]
    for split in ("valid", "test"):
        assert all(isinstance(result[split][k], float) for k in METRICS)
    text = place.trained.err
    assert "epoch  3" in text and "test  at epoch" in text  # for the person at the terminal


def test_a_bar_in_a_file_has_few_frames(capsys):
    with progress(40, "epoch 1") as bar:
        for _ in range(40):
            time.sleep(0.01)
            bar.update(1)
            bar.set_postfix(auc=0.5, refresh=False)
    assert capsys.readouterr().err.count("epoch 1:") == 1


def test_infer_finds_the_settings_of_the_run(place):
    """Sizes of the net, history cap and the like come from the run; only the dataset is named
    again."""
    result = one_line_of_json(
        run_tool("infer", "-m", DIN, "-o", "runner.data_dir=clicks", cwd=place.folder)
    )
    for k in METRICS:
        assert abs(result[k] - place.trained.json["test"][k]) < 1e-6
    assert (
        result["epoch"] == place.trained.json["best_epoch"] and result["checkpoint"] == place.best
    )
    table = pq.read_table(place.path(result["predictions"])).to_pandas()
    assert (
        list(table.columns) == ["user", "item", "label", "time", "score"]
        and len(table) == result["rows"]
    )
    test = pq.read_table(place.path("clicks", "test")).to_pandas()
    assert (table.label == test.label).all() and (table.time == test.time).all()
    assert set(table.user) <= {f"u{k}" for k in range(30)} and set(table.item) <= {
        f"i{k}" for k in range(90)
    }
    from sklearn.metrics import roc_auc_score

    assert abs(roc_auc_score(table.label, table.score) - result["auc"]) < 1e-9


def test_infer_on_another_split_checkpoint_and_file(place, tools):
    latest = os.path.join(place.run, "checkpoints", "latest.npz")
    result = one_line_of_json(
        tools.run(
            "infer",
            "-m",
            DIN,
            "--split",
            "valid",
            "--out",
            "valid.parquet",
            "-o",
            "runner.data_dir=clicks",
            "runner.infer_batch_size=7",
            cwd=place.folder,
        )
    )
    for k in METRICS:
        assert abs(result[k] - place.trained.json["valid"][k]) < 1e-6
    assert result["predictions"] == "valid.parquet" and os.path.isfile(place.path("valid.parquet"))
    result = one_line_of_json(
        tools.run(
            "infer",
            "-m",
            DIN,
            "--out",
            "x.parquet",
            "-o",
            "runner.data_dir=clicks",
            f"runner.infer_load_path={latest}",
            cwd=place.folder,
        )
    )
    assert (result["checkpoint"], result["epoch"]) == (latest, 3)


@pytest.mark.parametrize("tool", ["infer", "to_static"])
def test_a_checkpoint_of_other_data_of_the_same_sizes_is_refused(place, tools, tool):
    """The catalogue of `turned` is that of `clicks` but for its order."""

    def run(data, *more):
        return tools.run(
            tool,
            "-m",
            DIN,
            "--out",
            f"{tool}-{data}{len(more)}.parquet",
            "-o",
            f"runner.data_dir={data}",
            "runner.name=clicks",
            *more,
            cwd=place.folder,
        )

    turned = place.path("turned")
    shutil.copytree(place.path("clicks"), turned, dirs_exist_ok=True)
    schema, items = Schema.load(turned), pq.read_table(os.path.join(turned, "items.parquet"))
    pq.write_table(
        items.set_column(0, "item", items["item"].take([*range(2), *range(len(items) - 1, 1, -1)])),
        os.path.join(turned, "items.parquet"),
    )
    schema.files = {k: v for k, v in hashes(turned) if k != "schema.yaml"}
    schema.save(turned)
    same, other, shorter = (
        run("clicks"),
        run("turned"),
        run("clicks", "runner.history_cap=5", "hyper_parameters.dropout=0"),
    )
    assert (
        shorter.status == 0 and "was trained with histories of 12 events, not 5" in shorter.err
    ), shorter.err
    assert same.status == 0 and "warning" not in same.err, same.err
    refused(other, "was trained on other data than turned is now")
    assert not os.path.exists(place.path(f"{tool}-turned0.parquet"))


def test_to_static(place):
    result = one_line_of_json(place.exported)
    assert result["bundle"] == place.bundle and result["epoch"] == place.trained.json["best_epoch"]
    files = tree(place.path(place.bundle))
    assert {
        "schema.yaml",
        "signature.yaml",
        "request.example.json",
        "items.parquet",
        "users.parquet",
        "model.pdiparams",
    } <= set(files)
    assert not {name for name in files if "label" in name or "part-" in name}
    assert not any("label" in name or "user" == name for name in result["inputs"])


def test_to_static_of_a_latest_checkpoint(place, tools):
    latest = os.path.join(place.run, "checkpoints", "latest.npz")
    result = one_line_of_json(
        tools.run(
            "to_static",
            "-m",
            DIN,
            "--out",
            "b",
            "-o",
            "runner.data_dir=clicks",
            f"runner.infer_load_path={latest}",
            cwd=place.folder,
        )
    )
    assert (result["bundle"], result["epoch"]) == ("b", 3)


def test_paddle_infer_gives_the_trainers_figures(place):
    result = one_line_of_json(
        run_tool(
            "paddle_infer",
            "--bundle",
            place.bundle,
            "--split",
            "test",
            "--out",
            "p.parquet",
            cwd=place.folder,
        )
    )
    for k in METRICS:
        assert abs(result[k] - place.trained.json["test"][k]) < 1e-6
    score = pq.read_table(place.path("p.parquet")).to_pandas().score
    assert result["rows"] == len(score) and score.between(0, 1).all()


@pytest.mark.parametrize(
    "flags", [["--onednn"], ["--batch-size", "7", "--threads", "1", "--no-cpu-tuning"]]
)
def test_paddle_infer_with_other_flags(place, tools, flags):
    result = one_line_of_json(
        tools.run(
            "paddle_infer", "--bundle", place.bundle, "--split", "test", *flags, cwd=place.folder
        )
    )
    for k in METRICS:
        assert abs(result[k] - place.trained.json["test"][k]) < 1e-6


def test_paddle_infer_from_elsewhere_with_the_data_named(place, tools, tmp_path):
    """The bundle moved to a machine without the run or the dataset's old place."""
    shutil.copytree(place.path(place.bundle), tmp_path / "bundle")
    refused(
        tools.run("paddle_infer", "--bundle", "bundle", "--split", "test", cwd=tmp_path),
        "no prepared dataset at clicks",
    )
    result = one_line_of_json(
        tools.run(
            "paddle_infer",
            "--bundle",
            "bundle",
            "--split",
            "test",
            "--data",
            place.path("clicks"),
            cwd=tmp_path,
        )
    )
    assert abs(result["auc"] - place.trained.json["test"]["auc"]) < 1e-6


def test_requests(place, tools):
    result = one_line_of_json(
        tools.run(
            "paddle_infer",
            "--bundle",
            place.bundle,
            "--request",
            os.path.join(place.bundle, "request.example.json"),
            cwd=place.folder,
        )
    )
    assert [c["place"] for c in result["candidates"]] == [1, 2, 3, 4, 5]
    scores = [c["score"] for c in result["candidates"]]
    assert scores == sorted(scores, reverse=True) and all(0 < s < 1 for s in scores)
    example = place.path(place.bundle, "request.example.json")
    with open(example) as f:
        request = json.load(f)
    with open(place.path("two.json"), "w") as f:
        json.dump([request, {"candidates": ["i1"]}], f)
    answers = one_line_of_json(
        tools.run(
            "paddle_infer", "--bundle", place.bundle, "--request", "two.json", cwd=place.folder
        )
    )["answers"]
    assert [c["item"] for c in answers[0]["candidates"]] == [
        c["item"] for c in result["candidates"]
    ]
    assert np.allclose([c["score"] for c in answers[0]["candidates"]], scores, rtol=0, atol=1e-6)
    with open(place.path("bad.json"), "w") as f:
        json.dump([request, {"candidates": []}], f)
    refused(
        tools.run(
            "paddle_infer", "--bundle", place.bundle, "--request", "bad.json", cwd=place.folder
        ),
        "must be a list of at least one item",
    )
    with open(example, "a") as f:  # a user tries another request in the same file
        f.write("   \n")
    assert (
        tools.run(
            "paddle_infer", "--bundle", place.bundle, "--request", example, cwd=place.folder
        ).status
        == 0
    )


@pytest.mark.parametrize("tool", ["trainer", "infer", "to_static", "paddle_infer"])
def test_help(tools, tmp_path, tool):
    result = tools.run(tool, "--help", cwd=tmp_path)
    assert result.status == 0 and f"tools/{tool}.py" in result.out
    options = [
        line
        for line in result.out.splitlines()
        if line.startswith("  --") or line.startswith("  -m")
    ]
    assert len(options) >= 1 and "SUPPRESS" not in result.out


# wrong input


@pytest.fixture
def untouched(place):
    """Whatever fails must leave no file and change none."""
    before = tree(place.folder)
    yield
    assert tree(place.folder) == before


USES_SETTINGS = ["trainer", "infer", "to_static"]


@pytest.mark.parametrize("tool", USES_SETTINGS)
@pytest.mark.parametrize(
    "overrides, words",
    [
        (["runner.epoch=3"], ["unknown key runner.epoch", "nearest is runner.epochs"]),
        (["runner.epochs=many"], ["runner.epochs is 'many', must be an integer"]),
        (["hyper_parameters.tower=8"], ["must be a list"]),
        (["runner.use_gpu=true"], ["paddlepaddle-gpu"]),
        (["runner.data_dir=nowhere"], ["no prepared dataset at nowhere"]),
    ],
)
def test_wrong_settings(place, tools, untouched, tool, overrides, words):
    if "use_gpu" in overrides[0]:
        import paddle

        if paddle.device.is_compiled_with_cuda():
            pytest.skip("this Paddle has CUDA")
    data = [] if "data_dir" in overrides[0] else ["runner.data_dir=clicks"]
    name = ["runner.name=fresh" if tool == "trainer" else "runner.name=clicks"]
    refused(tools.run(tool, "-m", DIN, "-o", *data, *name, *overrides, cwd=place.folder), *words)


@pytest.mark.parametrize("tool", USES_SETTINGS)
def test_a_missing_settings_file(place, tools, untouched, tool):
    refused(tools.run(tool, "-m", "nothing.yaml", cwd=place.folder), "nothing.yaml does not exist")


@pytest.mark.parametrize("tool", USES_SETTINGS)
@pytest.mark.parametrize(
    "file, words",
    [
        ("items.parquet", ["items.parquet", "schema.yaml says"]),
        ("test/part-00000.parquet", ["part-00000.parquet"]),
        ("sequences/part-00000.arrow", ["part-00000.arrow"]),
    ],
)
def test_a_truncated_dataset(place, tools, tool, file, words):
    data = place.path("clicks_cut")
    shutil.rmtree(data, ignore_errors=True)
    shutil.copytree(place.path("clicks"), data)
    path = os.path.join(data, *file.split("/"))
    os.truncate(path, os.path.getsize(path) - 8)
    before = tree(place.folder)
    refused(
        (
            tools.run(
                tool,
                "-m",
                DIN,
                "-o",
                "runner.data_dir=clicks_cut",
                "runner.name=clicks",
                cwd=place.folder,
            )
            if tool != "trainer"
            else tools.run(
                tool,
                "-m",
                DIN,
                "-o",
                "runner.data_dir=clicks_cut",
                "runner.name=fresh",
                cwd=place.folder,
            )
        ),
        *words,
    )
    assert tree(place.folder) == before
    shutil.rmtree(data)


def test_a_run_that_exists(place, tools, untouched):
    refused(
        tools.run("trainer", "-m", DIN, "-o", "runner.data_dir=clicks", cwd=place.folder),
        "holds a run already",
        "runner.resume=true",
        "runner.overwrite=true",
    )


@pytest.mark.parametrize("tool", ["infer", "to_static"])
def test_no_run(place, tools, untouched, tool):
    refused(
        tools.run(
            tool, "-m", DIN, "-o", "runner.data_dir=clicks", "runner.name=never", cwd=place.folder
        ),
        "no checkpoint at",
        "trainer.py",
    )


@pytest.mark.parametrize("tool", ["infer", "to_static"])
def test_checkpoints_that_do_not_fit(place, tools, untouched, tool):
    """Of another model, of other sizes, of another dataset, cut short, and no checkpoint at all."""

    def run(*overrides, m=DIN):
        return tools.run(
            tool, "-m", m, "-o", "runner.data_dir=clicks", *overrides, cwd=place.folder
        )

    best = place.path(place.best)
    refused(
        run("runner.name=never", f"runner.infer_load_path={best}", m=BASE),
        "checkpoint of model din, not of base",
    )
    refused(run("hyper_parameters.tower=[9,4]"), "does not fit this net")
    refused(
        run("hyper_parameters.embedding_std=0.5"),
        "was trained with hyper_parameters.embedding_std=0.01, not 0.5",
        "output/din/clicks/config.yaml",
    )  # of the same shapes
    refused(
        tools.run(
            tool, "-m", DIN, "-o", "runner.data_dir=others", "runner.name=clicks", cwd=place.folder
        ),
        "does not fit this net",
        "the dataset changed?",
    )
    with changed(best) as path:
        os.truncate(path, os.path.getsize(path) // 2)
        refused(run(), "best.npz is not a whole checkpoint")
    with changed(best) as path:
        with open(path, "wb") as f:
            f.write(b"no archive")
        refused(run(), "best.npz is not a whole checkpoint")
    refused(
        run(f"runner.infer_load_path={os.path.join(place.run, 'config.yaml')}"),
        "is not a whole checkpoint",
    )


@contextlib.contextmanager
def changed(path):
    """Put a file back as it was."""
    shutil.copy2(path, path + ".kept")
    try:
        yield path
    finally:
        os.replace(path + ".kept", path)


def test_to_static_replaces_bundles_only(place, tools, untouched):
    refused(
        tools.run(
            "to_static",
            "-m",
            DIN,
            "--out",
            "clicks",
            "-o",
            "runner.data_dir=clicks",
            cwd=place.folder,
        ),
        "clicks exists and is not an export bundle",
    )
    refused(
        tools.run(
            "to_static",
            "-m",
            DIN,
            "--out",
            place.best,
            "-o",
            "runner.data_dir=clicks",
            cwd=place.folder,
        ),
        "is not an export bundle",
    )


def test_bundles_that_are_broken(place, tools, untouched):
    def run(*flags):
        return tools.run(
            "paddle_infer",
            "--bundle",
            place.bundle,
            *(flags or ("--split", "test")),
            cwd=place.folder,
        )

    for name in sorted(
        set(tree(place.path(place.bundle))) - {"schema.yaml", "request.example.json"}
    ):
        with changed(place.path(place.bundle, name)) as path:
            os.truncate(path, os.path.getsize(path) - 3)
            refused(run(), name, "cut short")
            os.remove(path)
            refused(run(), f"{name} is missing")
    with changed(place.path(place.bundle, "schema.yaml")) as path:
        os.truncate(path, 100)
        refused(run(), "schema.yaml")
        os.remove(path)
        refused(run(), "schema.yaml does not exist")
    refused(
        tools.run("paddle_infer", "--bundle", "nowhere", "--split", "test", cwd=place.folder),
        "nowhere",
    )
    refused(
        tools.run("paddle_infer", "--bundle", "clicks", "--split", "test", cwd=place.folder),
        "is not an export bundle",
    )


def test_another_dataset_than_the_bundles(place, tools, untouched):
    refused(
        tools.run(
            "paddle_infer",
            "--bundle",
            place.bundle,
            "--split",
            "test",
            "--data",
            "others",
            "--out",
            "o.parquet",
            cwd=place.folder,
        ),
        "not the dataset that the bundle was trained on",
    )


@pytest.mark.parametrize(
    "text, words",
    [
        ("{", ["is not JSON"]),
        ("[1]", ["request 1 of 1: 1 must be an object"]),
        ('{"candidates": []}', ["at least one item"]),
        ('{"candidates": ["i1"], "hist": []}', ["unknown key 'hist'"]),
        ('{"candidates": [1.5]}', ["candidates[0]"]),
    ],
)
def test_malformed_requests(place, tools, tmp_path, text, words):
    (tmp_path / "r.json").write_text(text)
    refused(
        tools.run(
            "paddle_infer",
            "--bundle",
            place.bundle,
            "--request",
            tmp_path / "r.json",
            cwd=place.folder,
        ),
        *words,
    )


def test_wrong_flags(place, tools, untouched):
    """argparse's own: exit status 2, usage on standard error."""
    for tool, flags in (
        ("infer", ["-m", DIN, "--split", "tset"]),
        ("trainer", []),
        ("to_static", ["--bundle", "x"]),
        ("paddle_infer", ["--bundle", "x"]),
        ("paddle_infer", ["--bundle", "x", "--split", "test", "--request", "r"]),
    ):
        result = tools.run(tool, *flags, cwd=place.folder)
        assert (
            result.status == 2
            and result.out == ""
            and "usage:" in result.err
            and "Traceback" not in result.err
        )
    refused(
        tools.run(
            "paddle_infer",
            "--bundle",
            place.bundle,
            "--split",
            "test",
            "--batch-size",
            "0",
            cwd=place.folder,
        ),
        "--batch-size is 0, must be at least 1",
    )


def test_a_directory_that_cannot_be_written(place, tools, untouched):
    refused(
        tools.run(
            "infer",
            "-m",
            DIN,
            "--out",
            os.path.join("clicks", "schema.yaml", "p.parquet"),
            "-o",
            "runner.data_dir=clicks",
            cwd=place.folder,
        ),
        "schema.yaml",
    )


# full disk


@pytest.fixture
def small_disk(tmp_path):
    """A function that makes a file system of so many KiB and returns its directory."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("a small tmpfs can be mounted by root alone")
    mounted = []

    def mount(kilobytes):
        path = str(tmp_path / f"disk{len(mounted)}")
        os.mkdir(path)
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", path], capture_output=True
        ).returncode:
            pytest.skip("no tmpfs can be mounted here")
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        subprocess.run(["umount", path], check=True)


def no_space(result):
    assert "No space left on device" in refused(result)


def whole(directory):
    """No half-written file: no temporary one, and every checkpoint can be read."""
    from paddleinterest.training import checkpoint

    files = tree(directory)
    assert not [name for name in files if ".part-" in name], files
    for name in files:
        if name.endswith(".npz"):
            checkpoint.read(os.path.join(directory, name))


@pytest.mark.parametrize("kilobytes", [4, 12, 28, 60])
def test_trainer_on_a_full_disk(place, tools, small_disk, kilobytes):
    """Too little for the log, for the first checkpoint, for the second, for the third beside
    them."""
    disk = small_disk(kilobytes)
    no_space(
        tools.run(
            "trainer",
            "-m",
            DIN,
            "-o",
            *TINY_DIN,
            "runner.visualdl=true",
            "runner.data_dir=clicks",
            f"runner.model_save_path={disk}",
            cwd=place.folder,
        )
    )
    whole(disk)


def test_infer_and_paddle_infer_on_a_full_disk(place, tools, small_disk, untouched):
    for tool, flags in (
        ("infer", ["-m", DIN, "-o", "runner.data_dir=clicks"]),
        ("paddle_infer", ["--bundle", place.bundle, "--split", "train"]),
    ):
        disk = small_disk(4)
        no_space(
            tools.run(
                tool,
                *flags[:2],
                "--split",
                "train",
                "--out",
                os.path.join(disk, "p.parquet"),
                *flags[2:],
                cwd=place.folder,
            )
        )
        assert tree(disk) == {}


def test_to_static_on_a_full_disk(place, tools, small_disk, untouched):
    """At several points on the way: Paddle's own writer says nothing when it cannot write."""
    need = sum(-(-size // 4096) * 4 for size in tree(place.path(place.bundle)).values())
    for kilobytes in (4, need // 2, need - 12):
        disk = small_disk(kilobytes)
        no_space(
            tools.run(
                "to_static",
                "-m",
                DIN,
                "--out",
                os.path.join(disk, "b"),
                "-o",
                "runner.data_dir=clicks",
                cwd=place.folder,
            )
        )
        assert tree(disk) == {} and os.listdir(disk) == []


def test_a_bundle_stays_when_its_successor_does_not_fit(place, tools, small_disk):
    need = sum(-(-size // 4096) * 4 for size in tree(place.path(place.bundle)).values())
    disk = small_disk(need + 60)
    shutil.copytree(place.path(place.bundle), os.path.join(disk, "b"))
    before = tree(disk)
    no_space(
        tools.run(
            "to_static",
            "-m",
            DIN,
            "--out",
            os.path.join(disk, "b"),
            "-o",
            "runner.data_dir=clicks",
            cwd=place.folder,
        )
    )
    assert tree(disk) == before


# Ctrl-C and SIGTERM


def interrupted(result):
    assert result.status == 130, (result.status, result.err)
    assert result.out == "" and "Traceback" not in result.err
    assert result.lines[-1].startswith("interrupted")


def test_ctrl_c_in_training_leaves_a_run_that_goes_on(place, tools, tmp_path):
    overrides = [
        "-o",
        *TINY_DIN,
        f"runner.data_dir={place.path('clicks')}",
        "runner.save_interval=1",
        "runner.early_stop=0",
    ]
    interrupted(
        tools.run(
            "trainer",
            "-m",
            DIN,
            *overrides,
            "runner.epochs=1000",
            cwd=tmp_path,
            interrupt=lambda err: "epoch  2" in err,
        )
    )
    out = tmp_path / "output" / "din" / "clicks"
    whole(out)
    done = len((out / "metrics.jsonl").read_text().splitlines())
    result = one_line_of_json(
        tools.run(
            "trainer",
            "-m",
            DIN,
            *overrides,
            f"runner.epochs={done + 1}",
            "runner.resume=true",
            cwd=tmp_path,
        )
    )
    assert result["epochs"] == done + 1 >= 3


@pytest.mark.parametrize(
    "tool, flags, moment",
    [
        (
            "infer",
            [
                "-m",
                DIN,
                "--split",
                "train",
                "--out",
                "never.parquet",
                "-o",
                "runner.data_dir=clicks",
                "runner.infer_batch_size=1",
            ],
            "train:",
        ),
        (
            "paddle_infer",
            ["--split", "train", "--batch-size", "1", "--out", "never.parquet", "--bundle"],
            "train:",
        ),
        ("to_static", ["-m", DIN, "--out", "never", "-o", "runner.data_dir=clicks"], None),
    ],
)
def test_ctrl_c(place, tools, untouched, tool, flags, moment):
    def now(err):
        return (
            moment in err if moment else any(".part-" in name for name in os.listdir(place.folder))
        )

    interrupted(
        tools.run(
            tool,
            *flags,
            *([place.bundle] if flags[-1] == "--bundle" else []),
            cwd=place.folder,
            interrupt=now,
        )
    )
    assert not [name for name in os.listdir(place.folder) if ".part-" in name]


@pytest.mark.parametrize("sign, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_in_a_process_of_its_own(place, tmp_path, sign, status):
    """Ctrl-C while Paddle is imported, which makes an ImportError of it; SIGTERM in training, for
    which Paddle has a handler of its own."""
    process = subprocess.Popen(
        [
            sys.executable,
            os.path.join(ROOT, "tools", "trainer.py"),
            "-m",
            DIN,
            "-o",
            *TINY_DIN,
            "runner.threads=1",
            f"runner.data_dir={place.path('clicks')}",
            "runner.epochs=1000",
            "runner.early_stop=0",
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"},
    )
    log = tmp_path / "output" / "din" / "clicks" / "metrics.jsonl"
    line = process.stderr.readline()  # "set for this process", just before the import
    until = time.time() + 60
    while sign == signal.SIGTERM and not log.exists() and time.time() < until:
        time.sleep(0.05)
    time.sleep(0.25)
    process.send_signal(sign)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status and out == "" and "OMP_NUM_THREADS=1" in line
    assert "Traceback" not in err and "FatalError" not in err
    if (tmp_path / "output").exists():
        whole(tmp_path / "output")
