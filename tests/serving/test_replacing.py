"""A bundle that is replaced while it is opened, and an --out that is something else than a
bundle."""

import json
import os
import shutil
import threading
import time

import pytest
from helpers import TINY_DIN, small_dataset, trained, tree

from paddleinterest.core import atomic
from paddleinterest.core.errors import InputError
from paddleinterest.serving import bundle as bundle_module
from paddleinterest.serving import snapshot
from paddleinterest.serving.bundle import Bundle
from paddleinterest.serving.export import check_replaceable, export

pytestmark = pytest.mark.slow

REQUEST = {"user": "u1", "history": ["i1", "i2"], "candidates": ["i3", "i4", "i5"]}


@pytest.fixture(scope="module")
def two(tmp_path_factory, data):
    """Directories of two exports of one recipe with other weights."""
    made = []
    for seed in (1, 2):
        folder = tmp_path_factory.mktemp(f"export{seed}")
        config, _, _ = trained("din", data, folder, *TINY_DIN, scale=0.3, seed=seed)
        made.append(str(folder / "bundle"))
        export(config, data, made[-1])
    return made


def scores(bundle):
    return [c["score"] for c in bundle.rank(REQUEST)["candidates"]]


def swap(path, other, in_one_step):
    """What an export does when it is done."""
    with atomic.whole_directory(path, overwrite=True) as made:
        shutil.copytree(other, made, dirs_exist_ok=True)
        if not in_one_step:
            atomic._exchange, kept = (lambda *_: False), atomic._exchange
    if not in_one_step:
        atomic._exchange = kept


@pytest.mark.parametrize("in_one_step", [True, False])
def test_a_bundle_replaced_at_any_moment_is_one_of_the_two(two, tmp_path, in_one_step):
    right = [scores(Bundle(directory)) for directory in two]
    assert right[0] != right[1]
    path = str(tmp_path / "bundle")
    for k in range(12):
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(two[0], path)
        swapper = threading.Timer(k * 0.008, swap, (path, two[1], in_one_step))
        swapper.start()
        opened = Bundle(path)
        swapper.join()
        assert scores(opened) in right
        assert scores(opened) == right[[b.version for b in map(Bundle, two)].index(opened.version)]


def test_files_written_over_in_place_are_noticed(two, tmp_path, monkeypatch):
    """As by rsync: the checksums are of the old file, what is opened is the new one."""
    path = str(tmp_path / "bundle")
    shutil.copytree(two[0], path)
    whole = bundle_module._check_whole
    calls = []

    def then_overwrite(directory, schema):
        whole(directory, schema)
        calls.append(directory)
        shutil.copyfile(
            os.path.join(two[1], "model.pdiparams"), os.path.join(path, "model.pdiparams")
        )

    monkeypatch.setattr(bundle_module, "_check_whole", then_overwrite)
    with pytest.raises(InputError, match="model.pdiparams differs from the file"):
        Bundle(path)
    assert calls


def test_a_directory_that_never_stays_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot, "PAUSE", 0)
    name = tmp_path / "file"

    def read():
        name.write_text(str(time.time_ns()))

    with pytest.raises(InputError, match=f"was changed while it was read, {snapshot.TRIES} times"):
        snapshot.consistently(str(tmp_path), read)


def test_an_export_is_never_absent(two, tmp_path):
    path = str(tmp_path / "bundle")
    shutil.copytree(two[0], path)
    gone = []
    done = threading.Event()

    def watch():
        while not done.is_set():
            if not os.path.exists(os.path.join(path, "schema.yaml")):
                gone.append(1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for k in range(30):
        swap(path, two[k % 2], True)
    done.set()
    watcher.join()
    if not atomic._exchange(*two):
        pytest.skip("this file system cannot swap two directories")
    atomic._exchange(*two)
    assert not gone and os.listdir(tmp_path) == ["bundle"]


def foreign(path, kind):
    """Something that is not a bundle, or a bundle and more."""
    if kind == "a file":
        shutil.rmtree(path)
        with open(path, "w") as f:
            f.write("precious")
    elif kind == "signature alone":
        os.remove(os.path.join(path, "schema.yaml"))
    elif kind == "unsealed":
        with open(os.path.join(path, "schema.yaml")) as f:
            lines = f.readlines()
        with open(os.path.join(path, "schema.yaml"), "w") as f:
            f.writelines(lines[:-1])
    elif kind == "a file beside":
        with open(os.path.join(path, "vocab", "precious.txt"), "w") as f:
            f.write("precious")
    elif kind == "a link":
        os.symlink(os.path.dirname(path), os.path.join(path, "link"))


@pytest.mark.parametrize(
    "kind", ["a file", "signature alone", "unsealed", "a file beside", "a link"]
)
def test_only_a_bundle_is_replaced(two, data, tmp_path, kind):
    place = tmp_path / "place"
    path = str(place / "out")
    shutil.copytree(two[0], path)
    check_replaceable(path)
    foreign(path, kind)
    before = tree(place)
    config, _, _ = trained("din", data, tmp_path / "run", *TINY_DIN, scale=0.3)
    with pytest.raises(InputError, match="choose another --out, or remove it yourself"):
        export(config, data, path)
    assert tree(place) == before


def test_a_bundle_with_another_example_is_still_a_bundle(two, tmp_path):
    path = str(tmp_path / "out")
    shutil.copytree(two[0], path)
    with open(os.path.join(path, "request.example.json"), "w") as f:
        json.dump(REQUEST, f)
    check_replaceable(path)


def test_an_answer_says_which_bundle_gave_it_and_how_much_history_it_used(two):
    bundles = [Bundle(directory) for directory in two]
    assert bundles[0].version != bundles[1].version
    answer = bundles[0].rank(REQUEST)
    assert answer["version"] == bundles[0].version and answer["history_events"] == 2
    empty = bundles[0].rank({**REQUEST, "history": []})
    assert empty["known_user"] is True and empty["history_events"] == 0
    many = bundles[0].rank({**REQUEST, "history": ["i1"] * 30})
    assert many["history_events"] == bundles[0].signature["history_cap"] == 12


def test_a_clone_scores_in_another_thread(two):
    bundle = Bundle(two[0])
    expected = scores(bundle)
    found = []
    clones = [bundle.clone() for _ in range(2)]

    def work(clone):
        found.extend(scores(clone) == expected for _ in range(20))

    threads = [threading.Thread(target=work, args=(clone,)) for clone in clones]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 40


def test_a_dataset_replaced_during_the_export_is_refused(tmp_path, monkeypatch):
    """At the end the dataset is still the one that the bundle's tables were copied from."""
    from paddleinterest.serving import export as exporting

    data = small_dataset(tmp_path, "clicks", users=20, impressions=12)
    other = small_dataset(tmp_path, "others", users=20, impressions=12, seed=5)
    config, _, _ = trained("din", data, tmp_path / "runs")
    write = exporting._write_signature

    def write_and_replace(*args):
        write(*args)
        swap(data, other, True)

    monkeypatch.setattr(exporting, "_write_signature", write_and_replace)
    with pytest.raises(InputError, match="clicks was replaced while it was read"):
        export(config, data, str(tmp_path / "bundle"))
    assert not (tmp_path / "bundle").exists()
