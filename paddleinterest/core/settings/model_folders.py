"""Where a model's folder is, and how Python finds the files in it.

A model folder holds dygraph_model.py and net.py, and, if it has settings of its own, settings.py
and config.yaml. Those of this repository are models/<name>, imported as models.<name>. A folder
elsewhere becomes a package with its own name, so `from .net import X` works there too.
"""

import hashlib
import importlib
import os
import sys
import types

from paddleinterest.core.errors import InputError
from paddleinterest.core.settings.common import HyperParameters

_ABOVE_PACKAGE = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 3))
IS_CHECKOUT = os.path.isfile(os.path.join(_ABOVE_PACKAGE, "configs", "default.yaml"))
# Without a checkout, the repository's paths are looked up in the current directory.
ROOT = _ABOVE_PACKAGE if IS_CHECKOUT else os.curdir
BINDING = "dygraph_model.py"


def models() -> list[str]:
    """Names of the model folders under models/."""
    folder = os.path.join(ROOT, "models")
    if not os.path.isdir(folder):
        return []
    return sorted(
        name
        for name in os.listdir(folder)
        if os.path.isfile(os.path.join(folder, name, "config.yaml"))
    )


def model_folder(name: str) -> str:
    """The folder of the repository's model of this name."""
    return os.path.join(ROOT, "models", name)


def package(folder: str) -> str:
    """The name under which Python imports the files of a model folder."""
    folder = os.path.realpath(folder)
    name = os.path.basename(folder)
    if folder == os.path.realpath(model_folder(name)):
        root = os.path.dirname(os.path.dirname(folder))
        if root not in sys.path:
            sys.path.insert(0, root)
        return f"models.{name}"
    unique = f"model_{hashlib.sha256(folder.encode()).hexdigest()[:12]}"
    if unique not in sys.modules:
        module = types.ModuleType(unique, f"The model in {folder}.")
        module.__path__ = [folder]
        sys.modules[unique] = module
    return unique


def hyper_parameters(folder: str) -> HyperParameters:
    """The default hyper-parameters of the model in `folder`: those of its settings.py, or without
    one those that all models share.

    Raises:
        InputError: settings.py declares no HyperParameters, or it imports Paddle.
    """
    path = os.path.join(folder, "settings.py")
    if not os.path.isfile(path):
        return HyperParameters()
    had_paddle = "paddle" in sys.modules
    importlib.invalidate_caches()  # a test, or a notebook, may just have written the file
    module = importlib.import_module(f"{package(folder)}.settings")
    if "paddle" in sys.modules and not had_paddle:
        raise InputError(
            f"{path} imports Paddle, but settings must be read before Paddle starts; move that"
            " import to net.py"
        )
    own = getattr(module, "HyperParameters", None)
    if not (isinstance(own, type) and issubclass(own, HyperParameters)):
        raise InputError(
            f"{path} must hold `class HyperParameters(...)`, a subclass of the one in"
            " paddleinterest.core.settings; docs/own_model.md shows one"
        )
    return own()
