"""Settings: declared once, loaded from YAML and `-o key=value`, checked, typed.

`declare` says how a setting is declared, `common` declares those of all models, `model_folders`
finds a model's own, `loading` reads files, `rendering` writes the documentation.

Example:
    >>> from paddleinterest.core import settings
    >>> config = settings.load("models/din/config.yaml", ["runner.epochs=3"])
    >>> config.model, config.runner.epochs, config.hyper_parameters.optimizer.learning_rate
    ('din', 3, 0.001)
"""

from paddleinterest.core.settings.common import (
    HyperParameters,
    Optimizer,
    Plateau,
    Runner,
    Schedule,
    Settings,
)
from paddleinterest.core.settings.declare import Declared, Section, section, setting
from paddleinterest.core.settings.loading import (
    as_dict,
    difference,
    flatten,
    from_root,
    keys_that,
    load,
    nearest,
    read_yaml,
    recipe_path,
    save,
)
from paddleinterest.core.settings.model_folders import (
    BINDING,
    ROOT,
    model_folder,
    models,
    package,
)
from paddleinterest.core.settings.next_item import NextItemHyperParameters

__all__ = [
    "BINDING",
    "ROOT",
    "Declared",
    "HyperParameters",
    "NextItemHyperParameters",
    "Optimizer",
    "Plateau",
    "Runner",
    "Schedule",
    "Section",
    "Settings",
    "as_dict",
    "difference",
    "flatten",
    "from_root",
    "keys_that",
    "load",
    "model_folder",
    "models",
    "nearest",
    "package",
    "read_yaml",
    "recipe_path",
    "save",
    "section",
    "setting",
]
