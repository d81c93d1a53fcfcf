"""The options of preparation, each declared once: as a field of a dataclass, with its type, default
and meaning. Recipes (YAML) are checked against it, and the command line takes its flags from it.

Example:
    >>> @dataclasses.dataclass
    ... class Options:
    ...     users: int = option(4000, "number of users", metavar="N")
    >>> read(Options, {"users": 3}, "r.yaml")
    Options(users=3)
"""

import dataclasses
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from paddleinterest.core.errors import InputError
from paddleinterest.core.settings import nearest

T = TypeVar("T")
WORDS = {int: "a whole number", float: "a number"}


def option(
    default: Any, meaning: str, *, metavar: str | None = None, choices: Iterable[str] = ()
) -> Any:
    """Declare an option: the default of a dataclass field, with its text for `--help`.

    Args:
        default: its value if it is not set; a list is copied for each object.
        meaning: one sentence for `--help`, which ends in the default.
        metavar: what `--help` shows for the value. FILE and DIR are paths; they differ between
            machines, so a dataset's schema does not record them.
        choices: the values allowed; empty allows all of the type.
    """
    metadata = {"meaning": meaning, "metavar": metavar, "choices": tuple(choices)}
    if isinstance(default, list):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Declared:
    """One option of a dataclass, as `declared` lists them.

    Attributes:
        name: of the field and of the key in a recipe.
        kind: str, int, float or bool; for a list the type of its elements.
        many: the value is a list.
        meaning, metavar, choices: as in `option`.
    """

    name: str
    kind: type
    many: bool
    meaning: str
    metavar: str | None
    choices: tuple[str, ...]

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def is_path(self) -> bool:
        return self.metavar in ("FILE", "DIR")


def declared(options: Any) -> list[Declared]:
    """The options of a dataclass made with `option`, in order."""
    hints = typing.get_type_hints(options if isinstance(options, type) else type(options))
    found = []
    for field in dataclasses.fields(options):
        kind = hints[field.name]
        plain = [k for k in typing.get_args(kind) if k is not type(None)] or [kind]
        many = typing.get_origin(kind) is list
        found.append(Declared(field.name, plain[0], many, **field.metadata))
    return found


def read(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """Make an options object of values from YAML; missing ones and None take the default.

    Args:
        kind: a dataclass made with `option`.
        where: names the file in an error.

    Raises:
        InputError: an unknown key, or a value of a wrong type or outside the choices.
    """
    known = {each.name: each for each in declared(kind)}
    for key in values:
        if key not in known:
            raise InputError(f"{where}: unknown key {key}{nearest(str(key), list(known))}")
    given = {key: value for key, value in values.items() if value is not None}
    return kind(**{key: _value(known[key], value, where) for key, value in given.items()})


def _value(of: Declared, value: Any, where: str) -> Any:
    """`value` as the option's type."""
    if isinstance(value, dict):
        raise InputError(f"{where}: {of.name} is a section, must be a value or a list of values")
    if of.many:
        return [_one(of, each, where) for each in (value if isinstance(value, list) else [value])]
    return _one(of, value, where)


def _one(of: Declared, value: Any, where: str) -> Any:
    if of.kind is bool:
        if not isinstance(value, bool):
            raise InputError(f"{where}: {of.name} is {value!r}, must be true or false")
        return value
    if isinstance(value, (bool, list, dict)) or value is None:
        raise InputError(f"{where}: {of.name} is {value!r}, must be {WORDS.get(of.kind, 'a text')}")
    try:
        made = of.kind(str(value))
    except ValueError:
        raise InputError(f"{where}: {of.name} is {value!r}, must be {WORDS[of.kind]}") from None
    if of.choices and made not in of.choices:
        raise InputError(f"{where}: {of.name} is {value!r}, must be one of {', '.join(of.choices)}")
    return made
