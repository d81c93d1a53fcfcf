"""The OpenAPI document says what the checks do, and random requests after it give no 5xx."""

import json
import os
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from server_process import Server, example

from paddleinterest.core.errors import InputError
from paddleinterest.serving.history.source import Histories
from paddleinterest.serving.history.sqlite_store import SqliteStore
from paddleinterest.serving.server import openapi
from paddleinterest.serving.server.limits import Limits
from paddleinterest.serving.server.loader import Options, bundle_facts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def facts(opened, bundle):
    return bundle_facts(opened, Options(bundle))


@pytest.fixture(scope="module")
def request_model(facts):
    return openapi.request_model(facts)


RAW = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(0, 9),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["i1", "i2", "u1", "c3", "b2", 1e37, 1e39, [], {}, [1], {"item": "i1"}]),
)
ATTRIBUTES = st.dictionaries(
    st.sampled_from(["category", "brand", "price", "age", "hour", "item", "x"]), RAW, max_size=3
)
ITEM = st.one_of(
    st.sampled_from(["i1", "i2", 7]),
    st.fixed_dictionaries({"item": st.sampled_from(["i1", 5])}),
    ATTRIBUTES,
    RAW,
)
REQUESTS = st.one_of(
    RAW,
    st.fixed_dictionaries(
        {"candidates": st.one_of(st.lists(ITEM, max_size=4), RAW)},
        optional={
            "user": RAW,
            "user_attributes": st.one_of(ATTRIBUTES, RAW),
            "context": st.one_of(ATTRIBUTES, RAW),
            "history": st.one_of(st.lists(ITEM, max_size=3), RAW),
            "time": RAW,
            "x": RAW,
        },
    ),
)
OF_MEANING = (  # refusals that no schema can express: of order, and of values beside each other
    "times fall",
    "before the last event",
    "is it milliseconds",
    "too far outside",
    "scores are not finite",
)


@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
@given(REQUESTS)
def test_models_and_checks_take_the_same_requests(opened, request_model, asked):
    try:
        opened.rank(asked)
        refusal = None
    except InputError as e:
        refusal = str(e)
    try:
        request_model.model_validate(asked)
        valid = True
    except ValidationError:
        valid = False
    if refusal is None:
        assert valid, asked
    elif not any(words in refusal for words in OF_MEANING):
        assert not valid, (asked, refusal)


EVENTS = st.dictionaries(st.sampled_from(["user", "item", "time", "x"]), RAW, max_size=4)
EVENT_MEANING = ("half of a surrogate pair", "characters, more than", "is it milliseconds")


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.one_of(EVENTS, RAW))
def test_models_and_checks_take_the_same_events(facts, asked):
    store = SqliteStore(":memory:")
    try:
        Histories(None, store, True).append([asked], 5)
        refusal = None
    except InputError as e:
        refusal = str(e)
    finally:
        store.close()
    try:
        openapi.arrived_model(facts).model_validate(asked)
        valid = True
    except ValidationError:
        valid = False
    if refusal is None:
        assert valid, asked
    elif not any(words in refusal for words in EVENT_MEANING):
        assert not valid, (asked, refusal)


def test_a_time_of_null_is_not_a_missing_one(facts):
    """Both refuse it; the document says no type null, and no default of another type."""
    histories = Histories(None, SqliteStore(":memory:"), True)
    arrived = openapi.arrived_model(facts)
    event = {"user": "u1", "item": "i1"}
    assert histories.append([event], 5) == 1
    arrived.model_validate(event)
    with pytest.raises(InputError, match=r"events\[0\].time is None, must be an integer"):
        histories.append([{**event, "time": None}], 5)
    with pytest.raises(ValidationError):
        arrived.model_validate({**event, "time": None})
    declared = arrived.model_json_schema()["properties"]["time"]
    assert declared["type"] == "integer" and "default" not in declared
    histories.close()


def test_the_example_and_its_answer_are_of_the_models(opened, bundle, request_model):
    request_model.model_validate(example(bundle))
    openapi.Answer.model_validate(opened.rank(example(bundle)))


def test_the_document_is_whole(facts):
    document = openapi.document(facts, Limits())
    text = json.dumps(document)
    for name in document["components"]["schemas"]:
        assert text.count(f'"#/components/schemas/{name}"') >= 1 or name in ("Request",)
    targets = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert targets <= set(document["components"]["schemas"])
    assert document["components"]["schemas"]["Request"]["additionalProperties"] is False


def test_requests_after_the_document_give_no_bug(bundle, tmp_path):
    """Schemathesis: a minute of CI, or as long as SCHEMATHESIS_SECONDS says."""
    pytest.importorskip("schemathesis")
    seconds = float(os.environ.get("SCHEMATHESIS_SECONDS", "20"))
    with Server(bundle, "--history", f"sqlite:{tmp_path / 'e.db'}") as server:
        url = f"http://127.0.0.1:{server.port}"
        until = time.monotonic() + seconds
        seed = 0
        while time.monotonic() < until:
            seed += 1
            command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"]
            flags = ["--checks", "not_a_server_error,response_schema_conformance", "--seed"]
            more = ["--max-examples", "40", "--phases", "examples,coverage,fuzzing"]
            done = subprocess.run(
                [*command, *flags, str(seed), *more], capture_output=True, text=True, cwd=tmp_path
            )
            assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert server.ask("POST", "/rank", example(bundle))[0] == 200
        assert server.metric('paddleinterest_refusals_total{reason="bug"}') == 0
