"""One owner of a run's directory at a time; only a run's own files are ever removed; names that
lead elsewhere and states that cannot be are refused."""

import io
import json
import multiprocessing
import os
import shutil
import threading
import zipfile

import numpy as np
import pytest
from helpers import settings_of, small_dataset, tree
from runs import arrays, lines, ran, settings_for

from paddleinterest.core.checksum import hashes
from paddleinterest.core.errors import InputError
from paddleinterest.data.schema import Schema
from paddleinterest.training import checkpoint, run
from paddleinterest.training.run_directory import RunDirectory
from paddleinterest.training.trainer import train


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("data"), "tiny", users=30, impressions=20)


# one owner ----------------------------------------------------------------------------------------


def hold(path, taken, release):
    with RunDirectory(path).owned():
        taken.set()
        release.wait(60)


@pytest.fixture
def held(tmp_path):
    """A run's directory that another process holds; its path, and what lets go of it."""
    path = str(tmp_path / "runs" / "din" / "tiny")
    context = multiprocessing.get_context("fork")
    taken, release = context.Event(), context.Event()
    process = context.Process(target=hold, args=(path, taken, release))
    process.start()
    assert taken.wait(60)
    yield path, lambda: (release.set(), process.join(60))
    release.set()
    process.join(60)


@pytest.mark.parametrize("flag", [[], ["runner.resume=true"], ["runner.overwrite=true"]])
def test_a_second_training_is_refused(tmp_path, tiny, held, flag):
    path, let_go = held
    before = tree(tmp_path)
    with pytest.raises(InputError, match="another process trains in .*din/tiny; wait for it"):
        ran(tiny, tmp_path / "runs", "runner.epochs=1", *flag)
    assert tree(tmp_path) == before
    let_go()
    ran(tiny, tmp_path / "runs", "runner.epochs=1", *flag)
    assert len(lines(path)) == 1


def test_two_that_start_together_are_one_run_and_one_refusal(tmp_path, tiny):
    """Whoever comes first, the run is that of one of them alone."""
    outcomes = {}

    def work(seed):
        path = str(tmp_path / "runs" / "din" / "tiny")
        try:
            with RunDirectory(path).owned():
                started.wait(60)
                outcomes[seed] = "owner"
        except InputError as e:
            outcomes[seed] = str(e)
            started.set()

    started = threading.Event()
    both = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(60)
    assert sorted(o.split()[0] for o in outcomes.values()) == ["another", "owner"]
    assert not (tmp_path / "runs").exists()  # nothing was written


# what is removed ----------------------------------------------------------------------------------


def foreign(folder):
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "precious.txt").write_text("mine")


@pytest.mark.parametrize("flag", [[], ["runner.resume=true"], ["runner.overwrite=true"]])
@pytest.mark.parametrize(
    "config", [None, "", "model: base\n", "model: din\nrunner: {}\n", "[", "model: din\nx: 1\n"]
)
def test_a_folder_that_is_not_a_run_is_left_alone(tmp_path, tiny, flag, config):
    place = tmp_path / "runs" / "din" / "tiny"
    foreign(place)
    if config is not None:
        (place / "config.yaml").write_text(config)
    before = tree(tmp_path)
    with pytest.raises(InputError, match="is not empty and not a run of din"):
        ran(tiny, tmp_path / "runs", "runner.epochs=1", *flag)
    assert tree(tmp_path) == before


def test_a_run_of_another_model_is_not_replaced(tmp_path, tiny):
    ran(tiny, tmp_path, "runner.epochs=1", model="base")
    shutil.move(tmp_path / "base", tmp_path / "din")
    before = tree(tmp_path)
    with pytest.raises(InputError, match="not a run of din"):
        ran(tiny, tmp_path, "runner.epochs=1", "runner.overwrite=true")
    assert tree(tmp_path) == before


def test_what_no_run_writes_stays_when_a_run_is_replaced(tmp_path, tiny, capfd):
    _, out, _ = ran(tiny, tmp_path, "runner.epochs=2")
    for name in ("notes.txt", "checkpoints/epoch-1.npz", "export/mine.txt"):
        os.makedirs(os.path.dirname(os.path.join(out, name)), exist_ok=True)
        with open(os.path.join(out, name), "w") as f:
            f.write("mine")
    with open(os.path.join(out, "predictions.parquet"), "w") as f:
        f.write("of the older run")
    capfd.readouterr()
    ran(tiny, tmp_path, "runner.epochs=1", "runner.seed=5", "runner.overwrite=true")
    assert "checkpoints, export, notes.txt stays" in capfd.readouterr().err
    for name in ("notes.txt", "checkpoints/epoch-1.npz", "export/mine.txt"):
        with open(os.path.join(out, name)) as f:
            assert f.read() == "mine"
    assert not os.path.exists(os.path.join(out, "predictions.parquet")) and len(lines(out)) == 1


@pytest.mark.parametrize("mine", ["", "precious.txt", "vocab/precious.txt"])
def test_a_bundle_of_the_older_run_goes_with_it(tmp_path, tiny, mine):
    """But not if a file in it is not of the bundle."""
    _, out, _ = ran(tiny, tmp_path, "runner.epochs=1")
    export = os.path.join(out, "export")
    os.makedirs(os.path.join(export, "vocab"))
    for name in ("signature.yaml", "model.json", "vocab/item.parquet"):
        open(os.path.join(export, name), "w").close()
    schema = Schema.load(tiny)
    schema.files = dict(hashes(export))
    schema.save(export)
    if mine:
        open(os.path.join(export, mine), "w").close()
    ran(tiny, tmp_path, "runner.epochs=1", "runner.overwrite=true")
    assert os.path.exists(export) == bool(mine)
    assert not mine or os.path.exists(os.path.join(export, mine))


def test_what_is_not_visualdls_stays_beside_its_scalars(tmp_path, tiny):
    _, out, _ = ran(tiny, tmp_path, "runner.epochs=1")
    scalars = os.path.join(out, "visualdl")
    os.makedirs(scalars, exist_ok=True)
    for name in ("vdlrecords.1.log", "mine.txt"):
        open(os.path.join(scalars, name), "w").close()
    ran(tiny, tmp_path, "runner.epochs=1", "runner.overwrite=true", "runner.visualdl=false")
    assert os.listdir(scalars) == ["mine.txt"]


# names --------------------------------------------------------------------------------------------

ELSEWHERE = ["..", ".", "../x", "/tmp/x", "a/b", "a\\b", "x" * 300, "a/"]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_the_name_of_a_run_is_one_folder(tmp_path, tiny, name):
    config = settings_for(tiny, tmp_path, "runner.epochs=1")
    config.runner.name = name
    with pytest.raises(InputError, match="runner.name is .*must be the name of one folder"):
        train(config, tiny)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", [*ELSEWHERE, "a\\nb", "a\\u001b[31m"])
def test_the_name_of_a_recipe_is_one_folder(tmp_path, name, monkeypatch):
    from paddleinterest.commands.prepare import Parser
    from paddleinterest.data.prepare import prepare

    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "r.yaml"
    name = name.replace("\\n", "\n").replace("\\u001b", "\x1b")
    recipe.write_text(f"source: synthetic\nusers: 30\nname: {json.dumps(name)}\n")
    with pytest.raises(InputError, match="must be the name of one folder"):
        run.dataset(settings_of("din", f"runner.dataset={recipe}"))
    with pytest.raises(InputError, match="must be the name of one folder"):
        prepare(Parser().parse_args(["--config", str(recipe)]))
    assert os.listdir(tmp_path) == ["r.yaml"]


def test_a_dataset_in_the_current_folder_has_that_folders_name(tmp_path, tiny, monkeypatch):
    monkeypatch.chdir(tiny)
    config = settings_of("din", "runner.data_dir=.", f"runner.model_save_path={tmp_path}")
    assert run.directory(config) == str(tmp_path / "din" / "tiny")


# states that cannot be ----------------------------------------------------------------------------

WRONG = {
    "epoch": ["x", -1, 1.5, None, True, 10**9],
    "batch": [-5, 10**9, "1", [0]],
    "step": [3, -1, "x", 1e300],
    "best": ["high", [1], float("nan")],
    "best_epoch": ["x", -1],
    "waited": ["x", None, -3],
    "loss": [[1], {"loss": "x"}, "x", {"rows": None}],
    "learning_rate": ["x", -1.0, float("inf")],
    "metrics_bytes": ["x", -1, 0.5],
    "plateau": [{}, "x", {"best": 0.5, "waited": "x", "factor": 1.0}],
    "skipped_batches": ["x", -1],
    "settings": ["x", [1], None],
    "model": [3, None],
}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, tiny):
    """A run with an epoch left."""
    where = tmp_path_factory.mktemp("stopped")
    ran(tiny, where, "runner.epochs=1")
    return where


@pytest.mark.parametrize(
    "key, value", [(key, value) for key, values in WRONG.items() for value in values]
)
def test_a_state_that_cannot_be_is_refused(tmp_path, tiny, stopped, key, value):
    shutil.copytree(stopped, tmp_path / "runs")
    path = str(tmp_path / "runs" / "din" / "tiny" / "checkpoints" / "latest.npz")
    state = checkpoint.read(path)["state"]
    assert repr(state[key]) != repr(value)
    spoil(path, {**state, key: value})
    before = tree(tmp_path)
    with pytest.raises(InputError) as e:
        ran(tiny, tmp_path / "runs", "runner.epochs=2", "runner.resume=true")
    assert "latest.npz" in str(e.value) and "\n" not in str(e.value)
    assert tree(tmp_path) == before


def spoil(path, state):
    """Give the checkpoint another state."""
    with zipfile.ZipFile(path) as z:
        members = {name: z.read(name) for name in z.namelist()}
    text = io.BytesIO()
    np.lib.format.write_array(text, np.frombuffer(json.dumps(state).encode(), np.uint8))
    members["state.npy"] = text.getvalue()
    with zipfile.ZipFile(path, "w") as z:
        for name, content in members.items():
            z.writestr(name, content)


def test_a_member_that_is_no_array_of_ours_is_refused(tmp_path, tiny, stopped):
    shutil.copytree(stopped, tmp_path / "runs")
    path = str(tmp_path / "runs" / "din" / "tiny" / "checkpoints" / "latest.npz")
    with zipfile.ZipFile(path, "a") as z:
        z.writestr("../../x.npy", b"x")
    with pytest.raises(InputError, match=r"its member '../../x.npy' is neither a weight nor"):
        ran(tiny, tmp_path / "runs", "runner.epochs=2", "runner.resume=true")


# weights of another run ---------------------------------------------------------------------------


def test_infer_load_path_is_not_for_the_trainer(tmp_path, tiny, stopped):
    best = stopped / "din" / "tiny" / "checkpoints" / "best.npz"
    with pytest.raises(InputError, match="infer_load_path is what infer .* runner.warm_start"):
        ran(tiny, tmp_path / "runs", f"runner.infer_load_path={best}")
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_warm_start(tmp_path, tiny, stopped, capfd):
    best = str(stopped / "din" / "tiny" / "checkpoints" / "best.npz")
    given = checkpoint.read(best)
    still = ["hyper_parameters.optimizer.learning_rate=1e-30", f"runner.warm_start={best}"]
    still.append("runner.epochs=1")
    _, _, found = ran(tiny, tmp_path / "same", *still)
    weights = [k for k in given if k.startswith("weights/")]
    weights = [k for k in weights if not k.endswith(("dice.mean", "dice.variance"))]
    assert [k for k in weights if not np.array_equal(found[k], given[k])] == []
    # another model takes what it has under the same names
    capfd.readouterr()
    _, out, found = ran(tiny, tmp_path / "other", *still, model="base")
    err = capfd.readouterr().err
    table = "weights/embeddings.tables.item.weight"
    assert np.array_equal(found[table], given[table])
    assert "weights start from" in err and "drawn anew: " not in err or "tower" in err
    # a resumed run needs the file no more
    shutil.copytree(tmp_path / "same", tmp_path / "moved")
    gone = str(tmp_path / "gone.npz")
    shutil.copy(best, gone)
    still[1] = f"runner.warm_start={gone}"
    ran(tiny, tmp_path / "again", *still)
    os.remove(gone)
    _, out, found = ran(
        tiny, tmp_path / "again", *still[:2], "runner.epochs=2", "runner.resume=true"
    )
    assert len(lines(out)) == 2 and np.array_equal(found[table], given[table])


def test_a_warm_start_that_does_not_fit_is_refused(tmp_path, tiny, stopped):
    best = stopped / "din" / "tiny" / "checkpoints" / "best.npz"
    other = small_dataset(tmp_path, "other", users=30, impressions=20, items=80)
    for data, flags, words in (
        (other, [], "was trained on different data"),
        (tiny, ["hyper_parameters.embedding_size=6"], "does not fit this net: embeddings"),
    ):
        with pytest.raises(InputError, match=words):
            ran(data, tmp_path / "runs", f"runner.warm_start={best}", *flags)
        assert not (tmp_path / "runs").exists()


def test_the_run_is_the_same_without_a_warm_start(tmp_path, tiny, stopped):
    """A setting that is not used changes nothing."""
    _, out, _ = ran(tiny, tmp_path, "runner.epochs=1", "runner.warm_start=")
    one, other = arrays(out), arrays(str(stopped / "din" / "tiny"))
    assert all(np.array_equal(one[k], other[k]) for k in one if k != "state")
