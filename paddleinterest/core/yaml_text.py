"""YAML from a file that may be anyone's: plain values only, and never many more of them than the
file has characters.

PyYAML's safe loader makes numbers, dates, texts, lists and mappings, and runs nothing: a tag that
asks for a Python object is an error. What it lacks is a limit: an alias takes three characters and
may stand for a list of aliases, and so on ("billion laughs"), harmless until someone copies or
prints the value. So the values are counted with the aliases written out.
"""

import itertools

import yaml

LONGEST = 1 << 18  # characters; the longest file of ours has some thousands, and PyYAML is slow
MOST = 100_000  # values
DEEPEST = 50  # brackets within brackets: PyYAML's time grows with the square of it
BITS = 8192  # of an integer: Python reads hexadecimal ones of any length, but does not print them


class _Loader(yaml.SafeLoader):
    def construct_yaml_int(self, node):
        value = super().construct_yaml_int(node)
        if value.bit_length() > BITS:
            raise yaml.YAMLError("a number is too long")
        return value


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def parse(text):
    """The value that the YAML `text` holds.

    Raises:
        yaml.YAMLError: whatever is wrong with it; PyYAML lets a dozen other exceptions through.
    """
    if len(text) > LONGEST:
        raise yaml.YAMLError(f"it is longer than {LONGEST:,} characters")
    if max(itertools.accumulate((c in "[{") - (c in "]}") for c in text), default=0) > DEEPEST:
        raise yaml.YAMLError("it is nested too deeply")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > MOST:
            raise yaml.YAMLError(
                f"it holds more than {MOST:,} values, with its aliases written out"
            )
        return loader.construct_document(node)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply, or holds itself") from None
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
    ) as e:  # the date 2024-13-01, !!bool 3, …
        raise yaml.YAMLError(f"a value is not what it says: {e}") from None


def read(path):
    """`parse` of a file. Raises yaml.YAMLError, also where it is not UTF-8, and OSError."""
    try:
        with open(path, encoding="utf-8") as f:
            return parse(f.read(LONGEST + 1))
    except UnicodeDecodeError as e:
        raise yaml.YAMLError(str(e)) from None


def _size(node, known):
    """How many values `node` comes to. known: {id of a list or mapping: its size}, so that each is
    walked once."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = MOST  # of a node within itself
        inner = (
            [n for pair in node.value for n in pair]
            if isinstance(node, yaml.MappingNode)
            else node.value
        )
        known[id(node)] = 1 + sum(_size(n, known) for n in inner)
    return known[id(node)]
