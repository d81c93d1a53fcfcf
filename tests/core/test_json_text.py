"""JSON that people read stays readable, and JSON that can be read two ways is refused."""

import json
import time

import pytest

from paddleinterest.core import json_text
from paddleinterest.core.errors import InputError


@pytest.mark.parametrize(
    "value",
    [
        {"类目": "女装"},
        "\ud800",
        "a\udfffb\U0001f600",
        ["\\ud800", "\\\ud800"],
        {"\udc00": 1, "é": [1.5, None, True]},
        'quote " and line\n',
    ],
)
def test_what_is_written_is_utf8_and_reads_back(value):
    text = json_text.dumps(value)
    assert json.loads(text.encode("utf-8")) == value


def test_characters_stay_as_they_are():
    assert json_text.dumps({"类目": "女装\ud800"}) == '{"类目": "女装\\ud800"}'


def test_numbers_that_json_lacks_are_an_error():
    with pytest.raises(ValueError):
        json_text.dumps(float("nan"))


def test_a_key_that_occurs_twice_is_found_in_one_pass():
    keys = ", ".join(f'"k{k}": 1' for k in range(200_000))
    started = time.process_time()
    with pytest.raises(InputError, match="the key 'k199999' occurs twice in one object"):
        json_text.parse(f'{{{keys}, "k199999": 2}}', "the request")
    assert time.process_time() - started < 5  # the quadratic search took minutes


@pytest.mark.parametrize("depth", [100_000, 2_000_000])
def test_deep_json_ends_in_one_line(depth):
    for opening in ("[", '{"a":'):
        with pytest.raises(InputError, match="^the request is not JSON .*nested too deeply"):
            json_text.parse(opening * depth, "the request")


def test_values_are_shown_short():
    deep = value = []
    for _ in range(900):
        value.append([])
        value = value[0]
    assert len(json_text.shown(deep)) < 100
    assert len(json_text.shown("类" * 10**6)) < 250
    assert json_text.shown(10**4000)[:3] == "100"
