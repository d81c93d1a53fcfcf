"""signature.yaml of a bundle: its programs' inputs and outputs, and where it comes from."""

import os
from typing import Any

from paddleinterest.core import yaml_text

DTYPES = ("int64", "float32")
PROGRAMS = {"model", "rank"}

Signature = dict[str, Any]


def read(directory: str) -> Signature:
    """The checked contents of a bundle's signature.yaml.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is not what to_static.py writes.
    """
    signature = yaml_text.read(os.path.join(directory, "signature.yaml"))
    cap = signature["history_cap"]
    fine = (
        isinstance(signature["model"], str)
        and type(cap) is int
        and cap >= 1
        and isinstance(signature["origin"]["data_dir"], str)
        and signature["programs"].keys() == PROGRAMS
    )
    for program in signature["programs"].values():
        fine = fine and all(facts["dtype"] in DTYPES for facts in program["inputs"].values())
    if not fine:
        raise ValueError("its signature.yaml is not what to_static.py writes")
    return signature


def reads(signature: Signature, name: str) -> bool:
    """True if a program has an input of that name."""
    return any(name in facts["inputs"] for facts in signature["programs"].values())


def needs_times(signature: Signature) -> bool:
    """True if a program reads the times of a history."""
    return reads(signature, "history_time")
