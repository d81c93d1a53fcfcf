"""What deploy/ holds has the structure that Kubernetes asks for, and flags that exist.

Nothing is run on a cluster.
"""

import os
import re
import subprocess

import pytest
import yaml

from paddleinterest.core import settings

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEPLOY = os.path.join(ROOT, "deploy")


@pytest.fixture(scope="module")
def objects():
    """{kind: object} of train.yaml."""
    with open(os.path.join(DEPLOY, "train.yaml")) as f:
        return {each["kind"]: each for each in yaml.safe_load_all(f)}


@pytest.fixture(scope="module")
def container(objects):
    (found,) = objects["Job"]["spec"]["template"]["spec"]["containers"]
    return found


def test_the_objects(objects):
    assert objects.keys() == {"Service", "Job"}
    service, job = objects["Service"], objects["Job"]
    assert (service["apiVersion"], job["apiVersion"]) == ("v1", "batch/v1")
    assert service["spec"]["clusterIP"] == "None"
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] > 1
    assert spec["backoffLimit"] > 0
    pod = spec["template"]["spec"]
    # a Job takes no restartPolicy but these; pods are named NAME-INDEX.SUBDOMAIN
    assert pod["restartPolicy"] in ("OnFailure", "Never")
    assert pod["subdomain"] == service["metadata"]["name"]
    labels = spec["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    allowed = {"completionMode", "completions", "parallelism", "backoffLimit", "template"}
    assert spec.keys() == allowed
    assert pod.keys() == {"subdomain", "restartPolicy", "containers", "volumes"}


def test_every_mount_has_its_volume(objects, container):
    volumes = {v["name"] for v in objects["Job"]["spec"]["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    assert all(
        re.fullmatch(r"\d+(m|Ki|Mi|Gi)?", x) for x in container["resources"]["requests"].values()
    )


def test_the_processes_find_each_other(objects, container):
    environment = {each["name"]: each for each in container["env"]}
    assert all(("value" in each) != ("valueFrom" in each) for each in container["env"])
    assert all(isinstance(each.get("value", ""), str) for each in container["env"])
    assert environment["PADDLE_NNODES"]["value"] == str(objects["Job"]["spec"]["completions"])
    assert environment["POD_IP"]["valueFrom"] == {"fieldRef": {"fieldPath": "status.podIP"}}
    (script,) = container["args"]
    port = objects["Service"]["spec"]["ports"][0]["port"]
    assert f"$master:{port}" in script
    assert (
        f"{objects['Job']['metadata']['name']}-0.{objects['Service']['metadata']['name']}" in script
    )


@pytest.mark.parametrize("index, master", [("0", "10.0.0.7"), ("3", "din-0.din")])
def test_the_script_of_a_pod(tmp_path, container, index, master):
    """Run with a python that prints how it was called."""
    fake = tmp_path / "python"
    fake.write_text('#!/bin/bash\necho "$PADDLE_RANK $PADDLE_MASTER" "$@"\n')
    fake.chmod(0o755)
    done = subprocess.run(
        [*container["command"], *container["args"]],
        env={
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "JOB_COMPLETION_INDEX": index,
            "POD_IP": "10.0.0.7",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    words = done.stdout.split()
    assert words[:2] == [index, f"{master}:29500"]
    assert words[2:4] == ["-m", "paddle.distributed.launch"]
    config = settings.load(
        os.path.join(ROOT, words[words.index("tools/trainer.py") + 2]),
        words[words.index("-o") + 1 :],
    )
    assert config.runner.resume and config.runner.save_interval
    mount = container["volumeMounts"][0]["mountPath"]
    assert config.runner.data_dir.startswith(mount)
    assert config.runner.model_save_path.startswith(mount)
