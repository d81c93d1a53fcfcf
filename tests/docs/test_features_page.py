"""docs/features.md as its reader follows it: from CSV and Parquet to a served request."""

import json
import signal
import subprocess

import numpy as np
import pages
import pyarrow.parquet as pq
import pytest
from test_tutorial import environment, free_port, place, run, wait_for

pytestmark = pytest.mark.slow
__all__ = ["place"]  # a fixture


def commands():
    found = []
    for language, code in pages.blocks(pages.text_of("docs/features.md")):
        if language == "bash":
            found += [code] if "<<" in code else code.splitlines()
    return found


def test_every_command(place):
    port = free_port()
    outputs = {}
    server = None
    try:
        for number, command in enumerate(commands()):
            if "tools/serve.py" in command:
                words = f"exec {command} --port {port}"
                server = subprocess.Popen(["bash", "-c", words], cwd=place, env=environment())
                wait_for(port, server)
            else:
                asked = command.replace("localhost:8000", f"127.0.0.1:{port}")
                outputs[number] = run(place, asked)
    finally:
        if server:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
    trained, _, before, told, after = list(outputs.values())[-5:]
    assert json.loads(trained.splitlines()[-1])["test"]["auc"] > 0.65
    before, after = json.loads(before), json.loads(after)
    assert before["unknown_values"] == {} and told
    assert after["history_events"] == before["history_events"] + 2
    scores = [{c["item"]: c["score"] for c in answer["candidates"]} for answer in (before, after)]
    assert scores[0]["new"] != scores[1]["new"]
    check_the_same_items(place)
    refuse_what_is_not_declared(place)


def check_the_same_items(place):
    """CSV and Parquet give the same lists, and vectors that differ by the text's rounding."""
    one, other = (place / "data" / name for name in ("shop_features", "shop_features_csv"))
    tables = [pq.read_table(folder / "items.parquet").to_pylist() for folder in (one, other)]
    lists = [{row["item"]: row["genres"] for row in table} for table in tables]
    by_text = [{str(k): v for k, v in of.items()} for of in lists]
    assert by_text[0] == by_text[1] and any(len(v) > 1 for v in by_text[0].values())
    vectors = [np.load(folder / "vectors" / "text.npy") for folder in (one, other)]
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-4)


def refuse_what_is_not_declared(place):
    command = next(c for c in commands() if "items.parquet" in c and "prepare.py" in c)
    words = command.replace("--multiple genres ", "").replace("shop_features", "not_declared")
    done = subprocess.run(
        ["bash", "-c", words], cwd=place, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 1 and "--multiple genres" in done.stderr.splitlines()[-1]
    assert not (place / "data" / "not_declared").exists()
