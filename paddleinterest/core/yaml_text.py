"""YAML from untrusted files: plain values only, with the meaning that a reader expects, and not
many more values than the file has characters.

PyYAML's safe loader makes numbers, texts, lists and mappings, and runs nothing: a tag that asks for
a Python object is an error. Three things are different here.

A limit. An alias takes three characters and may stand for a list of aliases, and so on ("billion
laughs"), harmless until someone copies or prints the value. So values are counted with the aliases
expanded.

A key may occur once. PyYAML takes the last one silently; here the second is an error with its line.

Plain words and numbers are those of YAML 1.2, not of 1.1: 010 is ten, 1e-3 is a number, and 1:30,
yes, no, on, off, 1_000 and 2024-01-05 are texts. True and false are written true and false. `dump`
quotes a text that would be read as anything else.
"""

import itertools
import re
from typing import Any

import yaml

LONGEST = 1 << 18  # characters; the longest file of ours has some thousands, and PyYAML is slow
MOST = 100_000  # values
DEEPEST = 50  # depth of brackets: PyYAML's time grows with its square
MERGE = "tag:yaml.org,2002:merge"
BITS = 8192  # of an integer: Python reads hexadecimal ones of any length, but does not print them

_NULL = re.compile(r"(?:~|null|Null|NULL|)\Z")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_INT = re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z")
_FLOAT = re.compile(
    r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
)
_PLAIN = (  # tag, pattern, first characters; the first match counts
    ("null", _NULL, "~nN"),
    ("bool", _BOOL, "tTfF"),
    ("int", _INT, "-+0123456789"),
    ("float", _FLOAT, "-+.0123456789"),
    ("merge", re.compile(r"<<\Z"), "<"),
)


def fault(error: yaml.YAMLError) -> str:
    """One line on what is wrong with a YAML text: its place first, if PyYAML knows it."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    parts = [getattr(error, "problem", None), getattr(error, "context", None)]
    what = ", ".join(part for part in parts if part)
    return f"line {mark.line + 1}, column {mark.column + 1}: {what}"


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = node.value.lower()
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        value = int(text, base)
        if value.bit_length() > BITS:
            raise yaml.YAMLError("a number is too long")
        return value


class _NumbersAsWritten(_Loader):
    """Reads every number as the text that is written."""

    def construct_yaml_int(self, node: yaml.ScalarNode) -> str:  # type: ignore[override]
        return node.value


class _AllAsWritten(yaml.BaseLoader):
    """Reads every value as the text that is written."""


class _Dumper(yaml.SafeDumper):
    """Quotes texts that YAML 1.1 or 1.2 would read as something else."""


for _tag, _pattern, _first in _PLAIN:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, list(_first))
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:null", _NULL, [""])
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
for _tag in ("int", "float"):
    _NumbersAsWritten.add_constructor(
        f"tag:yaml.org,2002:{_tag}", _NumbersAsWritten.construct_yaml_int
    )
_LOADERS = {"": _Loader, "numbers": _NumbersAsWritten, "all": _AllAsWritten}


def parse(text: str, as_written: str = "") -> Any:
    """The value that the YAML `text` holds.

    Args:
        text: the YAML.
        as_written: what is read as text: "" nothing, "numbers", or "all".

    Raises:
        yaml.YAMLError: for any fault in it; PyYAML itself also raises a dozen other exceptions.
    """
    if len(text) > LONGEST:
        raise yaml.YAMLError(f"it is longer than {LONGEST:,} characters")
    if max(itertools.accumulate((c in "[{") - (c in "]}") for c in text), default=0) > DEEPEST:
        raise yaml.YAMLError("it is nested too deeply")
    try:
        loader: Any = _LOADERS[as_written](text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > MOST:
            raise yaml.YAMLError(f"it holds more than {MOST:,} values, with its aliases expanded")
        _check_keys(loader, node, set())
        return loader.construct_document(node)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply, or holds itself") from None
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
    ) as e:  # !!bool 3, !!timestamp 2024-13-01, …
        raise yaml.YAMLError(f"a value does not fit its tag: {e}") from None


def read(path: str, as_written: str = "") -> Any:
    """`parse` a file. Raises yaml.YAMLError, also if it is not UTF-8, and OSError."""
    try:
        with open(path, encoding="utf-8") as f:
            return parse(f.read(LONGEST + 1), as_written)
    except UnicodeDecodeError as e:
        raise yaml.YAMLError(str(e)) from None


def dump(data: Any) -> str:
    """`data` as YAML; `parse` gives the same data back."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _check_keys(loader: Any, node: yaml.Node, done: set[int]) -> None:
    """Raise yaml.YAMLError if a key occurs twice in a mapping at `node` or below it."""
    if isinstance(node, yaml.ScalarNode) or id(node) in done:
        return
    done.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for inner in node.value:
            _check_keys(loader, inner, done)
        return
    seen = set()
    for key_node, value in node.value:
        _check_keys(loader, value, done)
        if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == MERGE:
            continue
        key = loader.construct_object(key_node)
        if key in seen:
            raise yaml.YAMLError(
                f"the key {key_node.value} occurs twice, again in line"
                f" {key_node.start_mark.line + 1}; remove one"
            )
        seen.add(key)


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Number of values in `node`. known: {id of a list or mapping: size}, to visit each once."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = MOST  # of a node within itself
        if isinstance(node, yaml.MappingNode):
            inner = [n for pair in node.value for n in pair]
        else:
            inner = node.value
        known[id(node)] = 1 + sum(_size(n, known) for n in inner)
    return known[id(node)]
