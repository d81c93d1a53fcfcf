"""Calibration: fitted as scikit-learn fits, kept as plain numbers, applied to every score."""

import copy
import json
import os
import shutil

import numpy as np
import pytest
from helpers import TINY, small_log, trained
from sklearn.isotonic import IsotonicRegression

from paddleinterest.core.checksum import checksum
from paddleinterest.core.errors import InputError
from paddleinterest.core.metrics import auc, log_loss, pcoc
from paddleinterest.data.builder import build
from paddleinterest.data.reader import Reader
from paddleinterest.data.schema import Schema
from paddleinterest.serving import calibrate, calibration
from paddleinterest.serving.bundle import Bundle
from paddleinterest.serving.calibration import FILE
from paddleinterest.serving.day.score import DayScorer, Job
from paddleinterest.serving.export import Contents, export
from paddleinterest.serving.score_split import score_split, split_scores

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clicks():
    """Labels, and probabilities that are twice too extreme and too high."""
    rng = np.random.default_rng(5)
    logit = rng.normal(-1, 1, 20_000)
    label = (rng.random(20_000) < 1 / (1 + np.exp(-logit))).astype(int)
    return label, (1 / (1 + np.exp(-(2 * logit + 1.5)))).astype(np.float32)


@pytest.mark.parametrize("kind", calibration.KINDS)
def test_what_is_fitted_holds_on_other_rows(clicks, kind):
    label, p = clicks
    fitted = calibrate.fit(kind, p[:10_000], label[:10_000])
    test, before = label[10_000:], p[10_000:]
    after = fitted(before)
    assert after.dtype == np.float32 and abs(pcoc(test, before) - 1) > 0.2
    assert abs(pcoc(test, after) - 1) < 0.05
    assert log_loss(test, after) < log_loss(test, before) - 0.02
    order = np.argsort(before, kind="stable")
    assert (np.diff(after[order]) >= 0).all()  # no pair changes places; equal float32 count half
    limit = 1e-6 if kind == "platt" else 0.003
    assert auc(test, after) == pytest.approx(auc(test, before), abs=limit)


def test_platt_finds_the_true_map(clicks):
    label, p = clicks
    fitted = calibrate.fit("platt", p, label)
    assert fitted.slope == pytest.approx(0.5, abs=0.02)
    assert fitted.intercept == pytest.approx(-0.75, abs=0.06)
    # at the best log loss the mean probability is the click rate
    assert fitted(p).mean() == pytest.approx(label.mean(), abs=1e-5)


def test_isotonic_is_scikit_learns(clicks):
    label, p = clicks
    fitted = calibrate.fit("isotonic", p[:5000], label[:5000])
    theirs = IsotonicRegression(y_min=1 / 5002, y_max=1 - 1 / 5002, out_of_bounds="clip")
    expected = theirs.fit(p[:5000].astype(float), label[:5000]).predict(p.astype(float))
    np.testing.assert_allclose(fitted(p), expected, atol=1e-6)
    assert fitted(np.array([0.0, 1.0])).min() > 0 and fitted(np.array([1.0])) < 1


@pytest.mark.parametrize("kind", calibration.KINDS)
def test_what_is_written_is_read(clicks, tmp_path, kind):
    label, p = clicks
    fitted = calibrate.fit(kind, p[:1000], label[:1000])
    calibration.write(str(tmp_path), fitted)
    assert calibration.read(str(tmp_path)) == fitted
    assert np.isnan(fitted(np.array([np.nan], np.float32))).all()


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"kind": "platt", "slope": -1, "intercept": 0}',
        '{"kind": "platt", "slope": 1, "intercept": NaN}',
        '{"kind": "platt", "slope": 1, "intercept": true}',
        '{"kind": "platt", "slope": 1, "intercept": 0, "code": "x"}',
        '{"kind": "isotonic", "x": [0, 0], "y": [0, 1]}',
        '{"kind": "isotonic", "x": [0, 1], "y": [1, 0]}',
        '{"kind": "isotonic", "x": [0, 1], "y": [0, 2]}',
        '{"kind": "isotonic", "x": [], "y": []}',
        '{"kind": "spline"}',
    ],
)
def test_a_file_that_to_static_did_not_write_is_refused(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ValueError, match="is not what to_static.py writes"):
        calibration.read(str(tmp_path))


def test_what_cannot_be_fitted_is_refused(clicks, data, monkeypatch):
    label, p = clicks
    with pytest.raises(InputError, match="has one class"):
        calibrate.fit("isotonic", p, np.zeros(len(p)))
    with pytest.raises(InputError, match="worse than chance"):
        calibrate.fit("platt", p, 1 - label)
    schema = Schema.load(data)
    schema.rows = {"train": 10, "test": 5}
    with pytest.raises(InputError, match="is fitted on valid, which this dataset does not have"):
        calibrate.check_possible("platt", schema)
    monkeypatch.setattr(calibrate.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install '.\[calibrate\]'"):
        calibrate.check_possible("platt", Schema.load(data))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A net's run, its plain bundle, and the same with each calibration: {kind: bundle}."""
    folder = tmp_path_factory.mktemp("calibrated")
    data = str(folder / "data")
    build(small_log(), data, protocol="impressions", name="small", seed=3)
    config, _, _ = trained("base", data, folder, *TINY, scale=0.3, seed=3)
    bundles = {}
    for kind in ("none", *calibration.KINDS):
        out = str(folder / kind)
        result = export(config, data, out, Contents(calibration=kind))
        bundles[kind] = (Bundle(out), result)
    return data, bundles


@pytest.mark.parametrize("kind", calibration.KINDS)
def test_every_score_of_a_bundle_is_calibrated(exported, tmp_path, kind):
    data, bundles = exported
    plain, _ = bundles["none"]
    bundle, result = bundles[kind]
    fitted = calibration.read(bundle.directory)
    assert fitted.kind == kind and FILE in bundle.schema.files
    reader, raw = split_scores(plain, data, "test", 64)
    figures = result["calibration"]
    for when, score in (("before", raw), ("after", fitted(raw))):
        assert figures[when]["logloss"] == pytest.approx(log_loss(reader.label, score), abs=1e-6)
        assert figures[when]["pcoc"] == pytest.approx(pcoc(reader.label, score), abs=1e-6)
    split = score_split(bundle, data, "test", 64)
    assert split["pcoc"] == pytest.approx(figures["after"]["pcoc"], abs=1e-6)
    assert split["calibration"]["before"]["pcoc"] == pytest.approx(figures["before"]["pcoc"])

    batch = Reader(data, "test", 8, bundle.encoder.cap).batch(np.arange(8))
    np.testing.assert_allclose(bundle.score(batch), fitted(plain.score(batch)), atol=1e-6)

    ids = [bundle.encoder.item_row[k] for k in range(40)]
    request = {"user": "u1", "history": ids[:3], "candidates": ids}
    expected, answer = plain.rank(request), bundle.rank(request)
    assert [c["item"] for c in answer["candidates"]] == [c["item"] for c in expected["candidates"]]
    scores = np.array([c["score"] for c in expected["candidates"]])
    got = [c["score"] for c in answer["candidates"]]
    np.testing.assert_allclose(got, fitted(scores), atol=1e-6)
    assert answer["calibration"] == kind and "calibration" not in expected
    assert np.abs(np.array(got) - scores).max() > 1e-3
    np.testing.assert_allclose(
        bundle.attention(request)[0], fitted(plain.attention(request)[0]), atol=1e-6
    )
    assert bundle.clone().rank(request)["candidates"] == answer["candidates"]

    day = tmp_path / "day.jsonl"
    day.write_text(json.dumps({"user": "u1", "history": ids[:3], "candidates": ids}))
    DayScorer(bundle, bundle.histories, Job(str(day), str(tmp_path / "s.jsonl"))).run()
    lines = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert [line["item"] for line in lines] == [c["item"] for c in answer["candidates"]]
    np.testing.assert_allclose([line["score"] for line in lines], got, atol=1e-6)


def test_a_spoilt_calibration_is_refused(exported, tmp_path):
    _, bundles = exported
    made = str(tmp_path / "bundle")
    shutil.copytree(bundles["platt"][0].directory, made)
    path = os.path.join(made, FILE)
    with open(path, "w") as f:
        f.write('{"kind": "platt", "slope": 0, "intercept": 0}')
    with pytest.raises(InputError, match="calibration.json"):
        Bundle(made)
    schema = copy.deepcopy(bundles["platt"][0].schema)
    schema.files[FILE] = {"bytes": os.path.getsize(path), "sha256": checksum(path)}
    schema.save(made)
    with pytest.raises(InputError, match="is not what to_static.py writes"):
        Bundle(made)
