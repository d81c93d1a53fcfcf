"""The peers' own virtual environment, so that PyTorch and its companions never meet Paddle's
packages."""

import json
import os
import subprocess
import sys
from importlib import metadata

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say

PINS = {"torch": "2.13.0", "fuxictr": "2.3.10", "deepctr-torch": "0.3.0", "torch-rechub": "0.9.0"}
ALSO = ("pandas", "pyarrow", "scikit-learn", "psutil")
VERSIONS = (
    "import json, importlib.metadata as m;"
    " print(json.dumps({d.metadata['Name'].lower().replace('_', '-'): d.version for d in"
    " m.distributions()}))"
)


def default_folder() -> str:
    """In the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(cache, "paddleinterest", "benchmarks-venv")


def ensure(folder: str) -> str:
    """The Python of the environment at `folder`, made and filled where needed. pip's own settings
    choose the index."""
    python = os.path.join(folder, "bin", "python")
    if not os.path.exists(python):
        if os.path.isdir(folder) and os.listdir(folder):
            raise InputError(
                f"{folder} exists but is not a virtual environment; name another with --venv"
            )
        say(f"making {folder}")
        _call([sys.executable, "-m", "venv", folder], "python -m venv")
    wrong = _wrong(installed(python))
    if wrong:
        say(f"installing the peers into {folder}: {' '.join(wrong)}")
        _call([python, "-m", "pip", "install", *wrong], "pip install")
        wrong = _wrong(installed(python))
        if wrong:
            raise InputError(
                f"pip left {folder} without {', '.join(wrong)}; remove it and try again"
            )
    return python


def installed(python: str) -> dict[str, str]:
    """{distribution: version} of an environment."""
    done = subprocess.run([python, "-c", VERSIONS], capture_output=True, text=True)
    if done.returncode:
        raise InputError(
            f"{python} does not run: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"
        )
    return json.loads(done.stdout)


def _wrong(versions: dict[str, str]) -> list[str]:
    """The requirement for pip. A local version such as 2.13.0+cpu is the pinned one."""
    pinned = [
        f"{name}=={pin}"
        for name, pin in PINS.items()
        if versions.get(name, "").split("+")[0] != pin
    ]
    return pinned + [name for name in ALSO if name not in versions]


def _call(command: list[str], name: str) -> None:
    status = subprocess.run(command, stdout=sys.stderr).returncode
    if status:
        raise InputError(f"{name} ended with exit status {status}; its messages are above")


def versions_of_ours() -> dict[str, str]:
    """Paddle's version, and the commit of this repository, or why it is not known."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            cwd=os.path.dirname(os.path.abspath(__file__)),
        )
        commit = done.stdout.strip() or "no git repository"
    except OSError:
        commit = "no git"
    return {"PaddleInterest": commit, "paddlepaddle": metadata.version("paddlepaddle")}
