"""Settings: configs/default.yaml beneath, the model's config.yaml above it, then your own file,
then ``-o key=value``.

A setting's type is the type of its default, so the YAML files are their own schema: a key that has
no default, or a value of another type, is refused with the nearest key named.

Example:
    >>> c = load("models/din/config.yaml", ["runner.epochs=3"])
    >>> c["model"], c["runner"]["epochs"]
    ('din', 3)
"""

import datetime
import difflib
import operator
import os

import yaml

from paddleinterest.core import yaml_text
from paddleinterest.core.errors import InputError, nearest_path, one_line

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEFAULT = os.path.join(ROOT, "configs", "default.yaml")

# Of runner: what says where a run is and what of it, and what moves the last digits at most, as
# another machine would.
PLACE = (
    "dataset",
    "data_dir",
    "name",
    "model_save_path",
    "infer_load_path",
    "resume",
    "overwrite",
    "test",
)
MACHINE = (
    "infer_batch_size",
    "print_interval",
    "save_interval",
    "skip_bad_batches",
    "visualdl",
    "use_gpu",
    "threads",
    "native",
    "shard_tables",
    "cpu_tuning",
)

CHOICES = {
    "runner.monitor": ("auc", "gauc", "logloss"),
    "hyper_parameters.optimizer.class": ("adam", "sgd", "adagrad"),
    "hyper_parameters.schedule.kind": ("constant", "cosine", "exponential"),
    "hyper_parameters.activation": ("relu", "prelu", "dice"),
    "hyper_parameters.regularization_kind": ("mba", "l2"),
    "hyper_parameters.position": ("auto", "time", "index", "sinusoidal", "none"),
    "hyper_parameters.position_merge": ("concat", "add"),
    "hyper_parameters.output": ("target", "concat", "mean"),
    "hyper_parameters.evolution": ("augru", "agru", "aigru", "gru_attention"),
    "hyper_parameters.attention": ("bilinear", "mlp"),
    "hyper_parameters.auxiliary": ("none", "inner", "mlp"),
    "hyper_parameters.auxiliary_negatives": ("uniform", "popularity"),
    "hyper_parameters.product": ("inner", "outer", "both"),
}
LEAST = {  # smallest value allowed, for lists of each element
    "runner.epochs": 1,
    "runner.train_batch_size": 1,
    "runner.infer_batch_size": 1,
    "runner.print_interval": 1,
    "runner.history_cap": 1,
    "runner.bucket_batches": 0,
    "runner.save_interval": 0,
    "runner.early_stop": 0,
    "runner.skip_bad_batches": 0,
    "runner.threads": 0,
    "runner.seed": 0,
    "runner.shard_tables": 0,
    "hyper_parameters.embedding_size": 1,
    "hyper_parameters.tower": 1,
    "hyper_parameters.attention_units": 1,
    "hyper_parameters.optimizer.clip_norm": 0,
    "hyper_parameters.schedule.warmup_steps": 0,
    "hyper_parameters.schedule.gamma": 0,
    "hyper_parameters.plateau.patience": 0,
    "hyper_parameters.blocks": 1,
    "hyper_parameters.heads": 1,
    "hyper_parameters.feed_forward": 0,
    "hyper_parameters.position_size": 1,
    "hyper_parameters.position_buckets": 1,
    "hyper_parameters.concat_length": 0,
    "hyper_parameters.hidden_size": 0,
    "hyper_parameters.cross": 0,
    "hyper_parameters.block_dropout": 0,
    "hyper_parameters.auxiliary_weight": 0,
    "hyper_parameters.regularization": 0,
    "hyper_parameters.dropout": 0,
    "hyper_parameters.embedding_std": 0,
}
ABOVE = {
    "hyper_parameters.optimizer.learning_rate": 0,
    "hyper_parameters.plateau.factor": 0,
}  # not even equal
MOST = {
    "hyper_parameters.plateau.factor": 1,
    "hyper_parameters.schedule.gamma": 1,
    "hyper_parameters.dropout": 0.99,
    "hyper_parameters.block_dropout": 0.99,
    "hyper_parameters.blocks": 1000,
    "runner.threads": 1024,
}
LARGEST = 2**31 - 1  # of any other integer: Paddle's sizes and seeds have 32 bits
LONGEST = 100  # of a list: layers of an MLP


def load(path, overrides=()):
    """The settings of one run as nested dicts.

    Args:
        path: a YAML file with at least ``model: NAME``; usually models/NAME/config.yaml.
        overrides: strings ``section.key=value``, the value written as in YAML.

    Raises:
        InputError: a missing or unreadable file, an unknown key, a wrong type, a value out of its
            range.
    """
    path = from_root(path)
    own = read_yaml(path)
    model = own.get("model")
    if model not in models():  # not only a path that exists: its code is imported
        what = (
            f"model is {model!r}; it must be"
            if "model" in own
            else "it needs a line `model: NAME`, with"
        )
        raise InputError(f"{path}: {what} a folder under models/, one of {', '.join(models())}")
    config = read_yaml(DEFAULT)
    model_file = os.path.join(ROOT, "models", model, "config.yaml")
    config = _extend(config, read_yaml(model_file))
    if not os.path.samefile(path, model_file):
        _merge(config, own, "", path, config)
    for text in overrides:
        key, eq, value = text.partition("=")
        text = one_line(text, 600)  # for messages
        if not eq:
            raise InputError(f"-o {text}: write key=value, for example runner.epochs=3")
        key = key.strip()
        nested = value = _parse(value, text, flatten(config).get(key))
        if key == "model" and value != model:
            raise InputError(
                f"-o {text}: the model is chosen with -m, whose settings differ from model to model"
            )
        if key.count(".") > 10:  # no section lies so deep; thousands would exhaust the stack
            raise InputError(
                f"-o {text}: unknown key {one_line(key, 100)}{nearest(key, flatten(config))}"
            )
        for part in reversed(key.split(".")):
            nested = {part: nested}
        _merge(config, nested, "", f"-o {text}", config)
    _check_ranges(config)
    return config


def models():
    """Names of the model folders."""
    folder = os.path.join(ROOT, "models")
    return sorted(
        m for m in os.listdir(folder) if os.path.isfile(os.path.join(folder, m, "config.yaml"))
    )


def from_root(path):
    """A path as given, or else relative to the repository, so that the tools run from anywhere."""
    return (
        path
        if os.path.exists(path) or not os.path.exists(os.path.join(ROOT, path))
        else os.path.join(ROOT, path)
    )


def _nearest_yaml(path):
    """As `nearest_path`, there or in the repository; a model's or a recipe's name alone will do."""
    for meant in (f"models/{path}/config.yaml", f"datasets/{path}.yaml"):
        if os.path.isfile(os.path.join(ROOT, meant)):
            return f"; the nearest is {meant}"
    return nearest_path(path) or nearest_path(os.path.join(ROOT, path)).replace(ROOT + os.sep, "")


def read_yaml(path):
    """A YAML mapping from `path`, or InputError in one line."""
    try:
        data = yaml_text.read(path)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist{_nearest_yaml(path)}") from None
    except yaml.YAMLError as e:
        raise InputError(f"{path} is not YAML: {' '.join(str(e).split())}") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; name the YAML file in it") from None
    if not isinstance(data, dict):
        raise InputError(f"{path} must hold keys and values, not {type(data).__name__}")
    return data


def save(config, path):
    with open(path, "w", encoding="utf-8") as f:
        yaml.safe_dump(config, f, sort_keys=False, allow_unicode=True)


def difference(config, other):
    """What `config` sets otherwise than `other`, which has the same keys; nested as they are."""
    inner = {k: difference(v, other[k]) if isinstance(v, dict) else v for k, v in config.items()}
    return {k: v for k, v in inner.items() if (v if isinstance(config[k], dict) else v != other[k])}


def flatten(config, prefix=""):
    """{'runner.epochs': 3, …} from nested dicts."""
    flat = {}
    for k, v in config.items():
        flat.update(flatten(v, f"{prefix}{k}.") if isinstance(v, dict) else {f"{prefix}{k}": v})
    return flat


def nearest(name, known, section=None):
    """The end of a message about an unknown key: the likeliest of `known`, or what there is (in
    `section`).

    A key's last part counts as much as the whole, so that the right key in the wrong section is
    found.
    """

    def likeness(key):
        return sum(
            difflib.SequenceMatcher(None, a, b).ratio()
            for a, b in ((name, key), (name.split(".")[-1], key.split(".")[-1]))
        )

    name = name[:100]  # the likeness of two texts takes time with the product of their lengths
    best = max(known, key=likeness)
    return (
        f"; nearest is {best}"
        if likeness(best) > 1
        else f"; known here: {', '.join(section or known)}"
    )


def _parse(value, text, default):
    """The value of an override. Where text is asked for, 007, 1e3 and 2024-01-05 are what they look
    like."""
    try:
        parsed = yaml_text.parse(value) if value.strip() else ""
    except yaml.YAMLError:
        if isinstance(default, str):
            return value.strip()
        raise InputError(f"-o {text}: {value!r} is not a YAML value") from None
    return (
        value.strip()
        if isinstance(default, str) and isinstance(parsed, (int, float, datetime.date))
        else parsed
    )


def _extend(config, model):
    """The model's own file may change defaults and bring keys of its own; both are the schema of
    what follows."""
    for k, v in model.items():
        config[k] = (
            _extend(config[k], v) if isinstance(v, dict) and isinstance(config.get(k), dict) else v
        )
    return config


def _merge(config, new, prefix, where, root):
    for k, v in new.items():
        name = f"{prefix}{k}"
        if k not in config:
            name = next(iter(flatten({k: v}, prefix)), name)
            raise InputError(
                f"{where}: unknown key {one_line(name, 300)}{nearest(name, flatten(root), config)}"
            )
        if isinstance(config[k], dict):
            if not isinstance(v, dict):
                raise InputError(
                    f"{where}: {name} is a section; set one of its keys: {', '.join(config[k])}"
                )
            _merge(config[k], v, f"{name}.", where, root)
        elif isinstance(v, dict):
            inner = next(iter(flatten(v, f"{name}.")), name)
            raise InputError(
                f"{where}: {name} is a value, not a section{nearest(inner, flatten(root), config)}"
            )
        else:
            config[k] = _typed(name, v, config[k], where)


def _typed(name, value, default, where):
    kind = type(default)
    if kind is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            value = float(value)  # YAML reads 1 as an integer and 1e-3 as text
        except (ValueError, OverflowError):
            pass
    if kind is str and isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if kind is list and isinstance(value, list) and default:
        value = [_typed(f"{name}[{i}]", v, default[0], where) for i, v in enumerate(value)]
    if kind is str and isinstance(value, str) and not value.isprintable():
        raise InputError(f"{where}: {name} is {value!r}, must be text without control characters")
    if kind is float and isinstance(value, float) and value - value != 0:
        raise InputError(f"{where}: {name} is {value}, must be a finite number")
    if type(value) is not kind:
        words = {
            int: "an integer",
            float: "a number",
            bool: "true or false",
            str: "text",
            list: "a list",
        }
        raise InputError(
            f"{where}: {name} is {value!r}, must be {words[kind]} (default {default!r})"
        )
    return value


def _check_ranges(config):
    flat = flatten(config)
    for name, allowed in CHOICES.items():
        if name in flat and flat[name] not in allowed:
            near = difflib.get_close_matches(str(flat[name]), allowed, 1)
            raise InputError(
                f"{name} is {flat[name]!r}, must be one of {', '.join(allowed)}"
                + (f"; nearest is {near[0]}" if near else "")
            )
    for bounds, broken, words in (
        (LEAST, operator.lt, "at least"),
        (ABOVE, operator.le, "above"),
        (MOST, operator.gt, "at most"),
    ):
        for name, bound in bounds.items():
            values = flat.get(name, [])
            if any(broken(v, bound) for v in (values if isinstance(values, list) else [values])):
                raise InputError(f"{name} is {values}, must be {words} {bound}")
    for name, value in flat.items():
        values = value if isinstance(value, list) else [value]
        if len(values) > LONGEST:
            raise InputError(f"{name} has {len(values):,} elements, must have at most {LONGEST}")
        if any(isinstance(v, int) and v > LARGEST for v in values):
            raise InputError(f"{name} is {value}, must be at most {LARGEST}")
