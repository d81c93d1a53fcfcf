"""How a setting is declared: one call of `setting` in a `Section`.

The declaration is the only place of a setting's type, default, choices, range and meaning. What
checks a value, `--help`, the comments of configs/default.yaml and docs/settings.md come from it.

Example:
    >>> class HyperParameters(Section):
    ...     heads: int = setting(4, "Attention heads", least=1)
    >>> HyperParameters().heads
    4
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.config import JsonDict

LARGEST = 2**31 - 1  # of an integer without a bound of its own: Paddle's sizes have 32 bits
LONGEST = 100  # elements of a list: layers of an MLP


@dataclasses.dataclass(frozen=True)
class Declared:
    """One setting as it was declared.

    Attributes:
        key: its name in YAML, within its section or in full.
        attribute: its name in Python.
        kind: `int`, `float`, `bool`, `str`, or `list` (of int).
        default: what it is if nobody sets it.
        meaning: one or two sentences.
        choices: the texts allowed; empty if any value of the kind is.
        least, above, most: bounds, of a list for each element; None = none.
        zero: what the value 0 means if that is special.
        place: says where a run is or what happens to it; does not change any number.
        machine: changes the last digits at most, as a different machine would.
        free_on_resume: may change when a run is resumed; so may those of `place` and `machine`.
        of_training: acts in training only; a trained net does not need it.
    """

    key: str
    attribute: str
    kind: type
    default: Any
    meaning: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    above: float | None = None
    most: float | None = None
    zero: str = ""
    place: bool = False
    machine: bool = False
    free_on_resume: bool = False
    of_training: bool = False

    @property
    def may_change_on_resume(self) -> bool:
        """True if a resumed run may change it."""
        return self.place or self.machine or self.free_on_resume


def setting(
    default: Any,
    meaning: str,
    *,
    key: str | None = None,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    zero: str = "",
    place: bool = False,
    machine: bool = False,
    free_on_resume: bool = False,
    of_training: bool = False,
) -> Any:
    """Declare a setting: an annotated attribute of a `Section`. Choices are a `Literal` type.

    Args:
        default: the value if nobody sets it.
        meaning: one or two sentences for the reader of the documentation.
        key: its name in YAML if Python does not allow that as an attribute.
        least: the smallest value allowed.
        above: a value that it must exceed.
        most: the largest value allowed.
        zero: what 0 means, such as "off".
        place, machine, free_on_resume, of_training: see `Declared`.

    Example:
        >>> class Runner(Section):
        ...     monitor: Literal["auc", "gauc"] = setting("auc", "What decides the best epoch")
    """
    extra: JsonDict = {
        "least": least,
        "above": above,
        "most": most,
        "zero": zero,
        "place": place,
        "machine": machine,
        "free_on_resume": free_on_resume,
        "of_training": of_training,
    }
    return Field(default, description=meaning, alias=key, json_schema_extra=extra)


def section(kind: "type[Section]", meaning: str) -> Any:
    """Declare a section within a section."""
    return Field(default_factory=kind, description=meaning)


class Section(BaseModel):
    """Settings that belong together. Assigning a value checks it."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        validate_assignment=True,
        populate_by_name=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )
    acts_in_training_only: ClassVar[bool] = False  # of every setting in it

    @classmethod
    def declared(cls) -> dict[str, Declared]:
        """The settings of this section, {key: declaration}; not those of sections within it."""
        return {
            info.alias or name: _declared(cls, name)
            for name, info in cls.model_fields.items()
            if info.default_factory is None
        }

    def sections(self) -> "dict[str, Section]":
        """The sections within this one, {key: section}."""
        values = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: value for name, value in values if isinstance(value, Section)}

    def all_declared(self, prefix: str = "") -> Iterator[Declared]:
        """Every setting in it and in the sections within it, with its full key."""
        for key, declared in self.declared().items():
            yield dataclasses.replace(declared, key=f"{prefix}{key}")
        for key, inner in self.sections().items():
            yield from inner.all_declared(f"{prefix}{key}.")

    @field_validator("*", mode="after")
    @classmethod
    def _in_range(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, Section) or info.field_name is None:
            return value
        declared = _declared(cls, info.field_name)
        if isinstance(value, list) and len(value) > LONGEST:
            raise ValueError(f"has {len(value):,} elements, must have at most {LONGEST}")
        for element in value if isinstance(value, list) else [value]:
            fault = _fault(declared, element)
            if fault:
                raise ValueError(f"is {value!r}, must be {fault}")
        return value


def _declared(cls: type[Section], name: str) -> Declared:
    info = cls.model_fields[name]
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    facts: dict[str, Any] = {**extra}
    if cls.acts_in_training_only:
        facts["of_training"] = True
    is_choice = get_origin(info.annotation) is Literal
    return Declared(
        key=info.alias or name,
        attribute=name,
        kind=type(info.default),
        default=info.default,
        meaning=info.description or "",
        choices=get_args(info.annotation) if is_choice else (),
        **facts,
    )


def _fault(declared: Declared, value: Any) -> str:
    """The condition that a value, or an element of a list, breaks; "" if it is fine."""
    if isinstance(value, str):
        return "" if value.isprintable() else "text without control characters"
    if declared.least is not None and value < declared.least:
        return f"at least {declared.least}"
    if declared.above is not None and value <= declared.above:
        return f"above {declared.above}"
    if declared.most is not None and value > declared.most:
        return f"at most {declared.most}"
    if isinstance(value, int) and value > LARGEST:
        return f"at most {LARGEST}"
    return ""
