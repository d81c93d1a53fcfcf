"""From YAML files and `-o key=value` to checked settings, and back to YAML."""

import difflib
import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml
from pydantic import ValidationError

from paddleinterest.core import yaml_text
from paddleinterest.core.errors import InputError, nearest_path, one_line
from paddleinterest.core.log import say
from paddleinterest.core.settings import model_folders
from paddleinterest.core.settings.common import Settings
from paddleinterest.core.settings.declare import Declared, Section

OLD_RECIPES = os.path.join("configs", "datasets")  # where datasets/ was before version 0.2
DEEPEST = 10  # dots in an overridden key
WORDS = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "text",
    list: "a list",
}


def load(path: str, overrides: Sequence[str] = (), folder: str = "") -> Settings:
    """The settings of one run.

    Later ones win: the declarations, the model's config.yaml, the file `path`, `overrides`.

    Args:
        path: a YAML file with at least ``model: NAME``; usually models/NAME/config.yaml. If
            its folder holds a dygraph_model.py, that folder is the model.
        overrides: texts ``section.key=value``, the value written as in YAML.
        folder: the model's folder if `path` alone does not name it, as for a run of a model outside
            the repository.

    Raises:
        InputError: a missing or unreadable file, an unknown key, a wrong type, a value out of its
            range.

    Example:
        >>> config = load("models/din/config.yaml", ["runner.epochs=3"])
        >>> config.model, config.runner.epochs
        ('din', 3)
    """
    path = from_root(path)
    own = read_yaml(path)
    folder = folder or _model_folder(path, own)
    config = Settings(model=own["model"], hyper_parameters=model_folders.hyper_parameters(folder))
    config._folder = folder
    model_file = os.path.join(folder, "config.yaml")
    for layer in (model_file, path):
        if layer == model_file or not os.path.samefile(layer, model_file):
            _merge(config, read_yaml(layer), read_yaml(layer, "all"), layer)
    for text in overrides:
        _override(config, text)
    config.runner.dataset = recipe_path(config.runner.dataset)
    return config


def recipe_path(path: str) -> str:
    """The path of a dataset's recipe. If it was moved, its new path, which is printed once."""
    folder, name = os.path.split(os.path.normpath(path))
    moved = os.path.join("datasets", name)
    is_old = folder == OLD_RECIPES or folder.endswith(os.sep + OLD_RECIPES)
    if is_old and not os.path.exists(from_root(path)) and os.path.exists(from_root(moved)):
        _say_once(f"{path} is now {moved}")
        return moved
    return path


@functools.cache
def _say_once(text: str) -> None:
    say(text)


def from_root(path: str) -> str:
    """A path as given if it exists, otherwise relative to the repository: tools run from any
    folder."""
    in_root = os.path.join(model_folders.ROOT, path)
    return in_root if not os.path.exists(path) and os.path.exists(in_root) else path


def read_yaml(path: str, as_written: str = "") -> dict[str, Any]:
    """A YAML mapping from `path`, or InputError in one line; `as_written` as in
    `yaml_text.parse`."""
    try:
        data = yaml_text.read(path, as_written)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist{_nearest_yaml(path)}") from None
    except yaml.YAMLError as e:
        raise InputError(f"{path} is not YAML: {yaml_text.fault(e)}") from None
    except IsADirectoryError:
        inside = os.path.join(path, "config.yaml")
        file = inside if os.path.isfile(inside) else "the YAML file in it"
        raise InputError(f"{path} is a folder; name {file}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path} must hold keys and values, not {type(data).__name__}")
    return data


def save(config: Settings | Mapping[str, Any], path: str) -> None:
    """Write settings so that `load` reads the same."""
    data = as_dict(config) if isinstance(config, Settings) else dict(config)
    with open(path, "w", encoding="utf-8") as f:
        f.write(yaml_text.dump(data))


def as_dict(section: Section, without: Iterable[str] = ()) -> dict[str, Any]:
    """Settings as nested dicts, as they are in YAML.

    Args:
        section: of any level.
        without: full keys to leave out, such as "runner.name".
    """
    return _as_dict(section, frozenset(without), "")


def _as_dict(section: Section, without: frozenset[str], prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, declared in section.declared().items():
        if f"{prefix}{key}" not in without:
            found[key] = getattr(section, declared.attribute)
    for key, inner in section.sections().items():
        found[key] = _as_dict(inner, without, f"{prefix}{key}.")
    return found


def flatten(config: Settings | Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{'runner.epochs': 3, …} from settings or nested dicts."""
    data = as_dict(config) if isinstance(config, Settings) else config
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def difference(config: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The values of nested dicts that differ from `other`, which has the same keys; also nested."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            inner = difference(value, other[key])
            if inner:
                found[key] = inner
        elif value != other[key]:
            found[key] = value
    return found


def keys_that(config: Section, which: str) -> list[str]:
    """The full keys of the settings that have a property of `Declared`, such as "place"."""
    return [declared.key for declared in config.all_declared() if getattr(declared, which)]


def nearest(name: str, known: Sequence[str], section: Sequence[str] | None = None) -> str:
    """The end of a message about an unknown key: the most similar one of `known`, or all keys (of
    `section`).

    A key's last part counts as much as the whole, which finds the right key in the wrong section.
    """

    def likeness(key: str) -> float:
        pairs = ((name, key), (name.split(".")[-1], key.split(".")[-1]))
        return sum(difflib.SequenceMatcher(None, a, b).ratio() for a, b in pairs)

    name = name[:100]  # comparing two texts takes time with the product of their lengths
    best = max(known, key=likeness)
    if likeness(best) > 1:
        return f"; nearest is {best}"
    return f"; known keys: {', '.join(section or known)}"


def _model_folder(path: str, own: Mapping[str, Any]) -> str:
    """The folder of the model that the settings file `path` is for."""
    name = own.get("model")
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.isfile(os.path.join(folder, model_folders.BINDING)):
        own_file = os.path.join(folder, "config.yaml")
        if os.path.isfile(own_file) and read_yaml(own_file).get("model") == name:
            _check_name(path, name)
            return folder
    if name in model_folders.models():  # a path is not enough: its code is imported
        return model_folders.model_folder(str(name))
    if "source" in own:
        raise InputError(
            f"{path} is a recipe of a dataset, must be the settings of a model; give"
            f" -m models/din/config.yaml -o runner.dataset={path}, for example"
        )
    what = (
        f"model is {name!r}; it must be"
        if "model" in own
        else "it needs a line `model: NAME`, with"
    )
    raise InputError(
        f"{path}: {what} a folder under models/, one of"
        f" {', '.join(model_folders.models())}; for a model elsewhere, -m names"
        " the config.yaml in its folder"
    )


def _check_name(path: str, name: object) -> None:
    """Raise InputError unless a model's name can name a folder of runs."""
    if not isinstance(name, str) or not name.isidentifier():
        raise InputError(
            f"{path}: model is {name!r}; it must be a name of letters, digits and underscores"
        )


def _nearest_yaml(path: str) -> str:
    """As `nearest_path`, here or in the repository; the name of a model or recipe is enough."""
    for meant in (f"models/{path}/config.yaml", f"datasets/{path}.yaml"):
        if os.path.isfile(os.path.join(model_folders.ROOT, meant)):
            return f"; the nearest is {meant}"
    in_root = nearest_path(os.path.join(model_folders.ROOT, path))
    return nearest_path(path) or in_root.replace(model_folders.ROOT + os.sep, "")


def _override(config: Settings, given: str) -> None:
    """Apply one `-o key=value`."""
    key, equals, value = given.partition("=")
    where = f"-o {one_line(given, 600)}"
    if not equals:
        raise InputError(f"{where}: write key=value, for example runner.epochs=3")
    key = key.strip()
    known = {declared.key: declared for declared in config.all_declared()}
    written = value.strip()
    parsed = _parse(written, where, known.get(key))
    if key == "model" and parsed != config.model:
        raise InputError(f"{where}: choose the model with -m instead")
    if key.count(".") > DEEPEST:  # thousands would exhaust the stack
        raise InputError(f"{where}: unknown key {one_line(key, 100)}{nearest(key, list(known))}")
    new: Any = parsed
    texts: Any = written
    for part in reversed(key.split(".")):
        new = {part: new}
        texts = {part: texts}
    _merge(config, new, texts, where)


def _parse(written: str, where: str, declared: Declared | None) -> Any:
    """The value of an override."""
    try:
        return yaml_text.parse(written) if written else ""
    except yaml.YAMLError:
        if declared is not None and declared.kind is str:
            return written
        raise InputError(f"{where}: {written!r} is not a YAML value") from None


def _merge(config: Settings, new: dict[Any, Any], texts: dict[Any, Any], where: str) -> None:
    """Set the values that `new`, nested dicts, holds."""
    _Layer(config, where).into(config, new, texts, "")


class _Layer:
    """One layer of settings on its way into `root`; `where` names it in messages."""

    def __init__(self, root: Settings, where: str):
        self.root = root
        self.where = where

    def into(self, section: Section, new: dict[Any, Any], texts: Any, prefix: str) -> None:
        """Set the values of `new` in a section; `texts` are its values as written."""
        declared = section.declared()
        sections = section.sections()
        for key, value in new.items():
            name = f"{prefix}{key}"
            text = texts.get(str(key)) if isinstance(texts, dict) else None
            if key in sections:
                if not isinstance(value, dict):
                    inner = sections[key]
                    keys = ", ".join([*inner.declared(), *inner.sections()])
                    raise InputError(
                        f"{self.where}: {name} is a section; set one of its keys: {keys}"
                    )
                self.into(sections[key], value, text, f"{name}.")
            elif key not in declared:
                self._refuse_key({key: value}, prefix, [*declared, *sections])
            elif isinstance(value, dict):
                inner_name = next(iter(flatten(value, f"{name}.")), name)
                raise InputError(
                    f"{self.where}: {name} is a value, not a section"
                    + nearest(inner_name, self._known(), [*declared, *sections])
                )
            else:
                self._assign(section, declared[key], name, _as_asked(declared[key], value, text))

    def _known(self) -> list[str]:
        return [declared.key for declared in self.root.all_declared()]

    def _refuse_key(self, new: dict[Any, Any], prefix: str, section: list[str]) -> None:
        name = next(iter(flatten(new, prefix)), f"{prefix}{next(iter(new))}")
        own = self.root.folder and os.path.join(self.root.folder, "config.yaml")
        hint = "; a setting of the model's own is declared in the settings.py of its folder"
        raise InputError(
            f"{self.where}: unknown key {one_line(name, 300)}"
            + nearest(name, self._known(), section)
            + (hint if self.where == own else "")
        )

    def _assign(self, section: Section, declared: Declared, name: str, value: Any) -> None:
        try:
            setattr(section, declared.attribute, value)
        except ValidationError as e:
            raise InputError(f"{self.where}: {_in_words(e, name, declared)}") from None


def _as_asked(declared: Declared, value: Any, text: Any) -> Any:
    """A YAML value as the setting's type, if that is possible without doubt."""
    if declared.kind is str and type(value) in (int, float):
        return text if isinstance(text, str) else str(value)  # 007 and 1e3 as they were written
    if declared.kind is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)
        except (ValueError, OverflowError):
            return value
    return value


def _in_words(error: ValidationError, name: str, declared: Declared) -> str:
    """Pydantic's objection to a value, in one line."""
    first = error.errors()[0]
    value = first["input"]
    place = "".join(f"[{k}]" for k in first["loc"] if isinstance(k, int))
    if first["type"] == "value_error":
        return f"{name} {first['ctx']['error']}"
    if first["type"] == "finite_number":
        return f"{name}{place} is {value}, must be a finite number"
    if first["type"] == "literal_error":
        matches = difflib.get_close_matches(str(value), declared.choices, 1)
        return f"{name} is {value!r}, must be one of {', '.join(declared.choices)}" + (
            f"; nearest is {matches[0]}" if matches else ""
        )
    kind = int if place else declared.kind
    return f"{name}{place} is {value!r}, must be {WORDS[kind]} (default {declared.default!r})"
