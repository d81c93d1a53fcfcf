"""Datasets and bundles of version 1, which had one file of sequences, are read as those of now."""

import glob
import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pytest
from helpers import TINY, settings_of, small_dataset, trained

from paddleinterest.core.checksum import checksum
from paddleinterest.core.errors import InputError
from paddleinterest.data.reader import Reader
from paddleinterest.data.schema import Schema
from paddleinterest.serving.bundle import Bundle
from paddleinterest.serving.export import export
from paddleinterest.training.trainer import train


def as_version_1(directory, out):
    """A copy as version 1 wrote it: sequences.arrow in place of sequences/part-*.arrow."""
    shutil.copytree(directory, out)
    parts = sorted(glob.glob(os.path.join(out, "sequences", "*.arrow")))
    whole = pa.concat_tables([pa.ipc.open_file(path).read_all() for path in parts])
    shutil.rmtree(os.path.join(out, "sequences"))
    path = os.path.join(out, "sequences.arrow")
    with pa.ipc.new_file(path, whole.schema) as file:
        file.write_table(whole)
    return path


def rewritten(directory, version, out):
    """`as_version_1` with a schema that says so, or says another version."""
    schema = Schema.load(directory)
    path = as_version_1(directory, out)
    files = {k: v for k, v in schema.files.items() if not k.startswith("sequences")}
    files["sequences.arrow"] = {"bytes": os.path.getsize(path), "sha256": checksum(path)}
    schema.files = files
    schema.version = version
    schema.save(out)
    return out


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("versions")
    now = small_dataset(folder)
    return now, rewritten(now, 1, str(folder / "old"))


def test_a_dataset_of_version_1_gives_the_same_batches(both):
    now, old = both
    assert (Schema.load(now).version, Schema.load(old).version) == (2, 1)
    assert not os.path.exists(os.path.join(old, "sequences"))
    for split in ("train", "valid", "test"):
        readers = [Reader(d, split, 50, 7, times=True, negatives="uniform") for d in both]
        for one, other in zip(*(reader.epoch() for reader in readers), strict=True):
            assert one.keys() == other.keys()
            for name, column in one.items():
                np.testing.assert_array_equal(column, other[name], err_msg=name)


@pytest.mark.slow
def test_from_version_1_to_a_served_request(both, tmp_path):
    answers = []
    for directory in both:
        own = tmp_path / os.path.basename(directory)
        config, _, _ = trained("din", directory, own, *TINY, scale=0.3)
        export(config, directory, str(own / "bundle"))
        bundle = Bundle(str(own / "bundle"))
        with open(own / "bundle" / "request.example.json") as f:
            request = json.load(f)
        answers.append((request, bundle.rank(request)["candidates"]))
        del request["history"]
        answers[-1] += (bundle.rank(request)["candidates"],)  # the bundle's own history
    assert answers[0] == answers[1]


def test_training_on_version_1(both, tmp_path):
    results = []
    for directory in both:
        config = settings_of(
            "base",
            *TINY,
            "runner.epochs=1",
            f"runner.data_dir={directory}",
            f"runner.model_save_path={tmp_path / os.path.basename(directory)}",
        )
        results.append(train(config, directory)["test"])
    assert results[0] == results[1]


@pytest.mark.parametrize("version", [0, 3])
def test_another_version_is_refused_with_the_command(both, tmp_path, version):
    out = rewritten(both[0], version, str(tmp_path / "other"))
    wanted = rf"has version {version}, this program reads 1 and 2; prepare the data again: "
    with pytest.raises(InputError, match=wanted) as e:
        Schema.load(out)
    assert "tools/prepare.py" in str(e.value) and "\n" not in str(e.value)
