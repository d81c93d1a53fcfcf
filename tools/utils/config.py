"""Settings: configs/default.yaml beneath, the model's config.yaml above it, then your own file, then ``-o key=value``.

A setting's type is the type of its default, so the YAML files are their own schema: a key that has no default, or
a value of another type, is refused with the nearest key named.

Example:
    >>> c = load("models/din/config.yaml", ["runner.epochs=3"])
    >>> c["model"], c["runner"]["epochs"]
    ('din', 3)
"""
import difflib
import os

import yaml

from datasets.schema import InputError

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEFAULT = os.path.join(ROOT, "configs", "default.yaml")

CHOICES = {
    "runner.monitor": ("auc", "gauc", "logloss"),
    "hyper_parameters.optimizer.class": ("adam", "sgd", "adagrad"),
    "hyper_parameters.schedule.kind": ("constant", "cosine", "exponential"),
    "hyper_parameters.activation": ("relu", "prelu", "dice"),
}
LEAST = {  # smallest value allowed
    "runner.epochs": 1, "runner.train_batch_size": 1, "runner.infer_batch_size": 1, "runner.print_interval": 1,
    "runner.history_cap": 1, "runner.bucket_batches": 0, "runner.save_interval": 0, "runner.early_stop": 0, "runner.threads": 0, "runner.seed": 0,
    "hyper_parameters.embedding_size": 1, "hyper_parameters.optimizer.learning_rate": 0,
    "hyper_parameters.optimizer.clip_norm": 0, "hyper_parameters.schedule.warmup_steps": 0,
    "hyper_parameters.schedule.gamma": 0, "hyper_parameters.plateau.patience": 0, "hyper_parameters.plateau.factor": 0,
    "hyper_parameters.regularization": 0, "hyper_parameters.dropout": 0, "hyper_parameters.embedding_std": 0,
}
MOST = {"hyper_parameters.plateau.factor": 1, "hyper_parameters.schedule.gamma": 1, "hyper_parameters.dropout": 0.99}


def load(path, overrides=()):
    """The settings of one run as nested dicts.

    Args:
        path: a YAML file with at least ``model: NAME``; usually models/NAME/config.yaml.
        overrides: strings ``section.key=value``, the value written as in YAML.

    Raises:
        InputError: a missing or unreadable file, an unknown key, a wrong type, a value out of its range.
    """
    own = read_yaml(path)
    model = own.get("model")
    folder = os.path.join(ROOT, "models", str(model))
    if not isinstance(model, str) or not os.path.isfile(os.path.join(folder, "config.yaml")):
        raise InputError(f"{path}: model is {model!r}; it must be one of {', '.join(models())}")
    config = read_yaml(DEFAULT)
    model_file = os.path.join(folder, "config.yaml")
    config = _extend(config, read_yaml(model_file))
    if not os.path.samefile(path, model_file):
        _merge(config, own, "", path)
    for text in overrides:
        key, eq, value = text.partition("=")
        if not eq:
            raise InputError(f"-o {text}: write key=value, for example runner.epochs=3")
        nested = value = _parse(value, text)
        for part in reversed(key.strip().split(".")):
            nested = {part: nested}
        _merge(config, nested, "", f"-o {text}")
    _check_ranges(config)
    return config


def models():
    """Names of the model folders."""
    folder = os.path.join(ROOT, "models")
    return sorted(m for m in os.listdir(folder) if os.path.isfile(os.path.join(folder, m, "config.yaml")))


def read_yaml(path):
    """A YAML mapping from `path`, or InputError in one line."""
    try:
        with open(path, encoding="utf-8") as f:
            data = yaml.safe_load(f)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise InputError(f"{path} is not YAML: {' '.join(str(e).split())}") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; name the YAML file in it") from None
    if not isinstance(data, dict):
        raise InputError(f"{path} must hold keys and values, not {type(data).__name__}")
    return data


def save(config, path):
    with open(path, "w", encoding="utf-8") as f:
        yaml.safe_dump(config, f, sort_keys=False, allow_unicode=True)


def flatten(config, prefix=""):
    """{'runner.epochs': 3, …} from nested dicts."""
    flat = {}
    for k, v in config.items():
        flat.update(flatten(v, f"{prefix}{k}.") if isinstance(v, dict) else {prefix + k: v})
    return flat


def _parse(value, text):
    try:
        return yaml.safe_load(value) if value.strip() else ""
    except yaml.YAMLError:
        raise InputError(f"-o {text}: {value!r} is not a YAML value") from None


def _extend(config, model):
    """The model's own file may change defaults and bring keys of its own; both are the schema of what follows."""
    for k, v in model.items():
        config[k] = _extend(config[k], v) if isinstance(v, dict) and isinstance(config.get(k), dict) else v
    return config


def _merge(config, new, prefix, where):
    for k, v in new.items():
        name = f"{prefix}{k}"
        if k not in config:
            raise InputError(f"{where}: unknown key {name}{_nearest(name, config, prefix)}")
        if isinstance(config[k], dict):
            if not isinstance(v, dict):
                raise InputError(f"{where}: {name} is a section; set one of its keys: {', '.join(config[k])}")
            _merge(config[k], v, f"{name}.", where)
        elif isinstance(v, dict):
            raise InputError(f"{where}: {name} is a value, not a section{_nearest(name + '.' + next(iter(v), ''), config, prefix)}")
        else:
            config[k] = _typed(name, v, config[k], where)


def _nearest(name, config, prefix):
    known = {prefix + k: k for k in flatten(config)}
    near = difflib.get_close_matches(name, known, 1, 0.5)
    if not near:  # right key, wrong section
        near = [k for k in known if k.split(".")[-1] == name.split(".")[-1]][:1]
    return f"; nearest is {near[0]}" if near else f"; known here: {', '.join(config)}"


def _typed(name, value, default, where):
    kind = type(default)
    if kind is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            value = float(value)  # YAML reads 1 as an integer and 1e-3 as text
        except ValueError:
            pass
    if kind is str and isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if kind is list and isinstance(value, list) and default:
        value = [_typed(f"{name}[{i}]", v, default[0], where) for i, v in enumerate(value)]
    if kind is float and isinstance(value, float) and value - value != 0:
        raise InputError(f"{where}: {name} is {value}, must be a finite number")
    if type(value) is not kind:
        words = {int: "an integer", float: "a number", bool: "true or false", str: "text", list: "a list"}
        raise InputError(f"{where}: {name} is {value!r}, must be {words[kind]} (default {default!r})")
    return value


def _check_ranges(config):
    flat = flatten(config)
    for name, allowed in CHOICES.items():
        if name in flat and flat[name] not in allowed:
            near = difflib.get_close_matches(str(flat[name]), allowed, 1)
            raise InputError(f"{name} is {flat[name]!r}, must be one of {', '.join(allowed)}"
                             + (f"; nearest is {near[0]}" if near else ""))
    for name, least in LEAST.items():
        if name in flat and flat[name] < least:
            raise InputError(f"{name} is {flat[name]}, must be at least {least}")
    for name, most in MOST.items():
        if name in flat and flat[name] > most:
            raise InputError(f"{name} is {flat[name]}, must be at most {most}")
