"""JSON in and out: one meaning for each text that is read, readable UTF-8 for each that is written.

Python's own reader takes the last value of a key that occurs twice, and its own writer turns every
Chinese character into six ASCII ones.
"""

import json
import re
import reprlib
from typing import Any

from paddleinterest.core.errors import InputError

_SURROGATE = re.compile("[\ud800-\udfff]")


def parse(text: "str | bytes", where: str) -> Any:
    """The value of a JSON text.

    Args:
        text: the JSON text; bytes are read as UTF-8.
        where: where the text comes from, for messages.

    Raises:
        InputError: `text` is not JSON, is nested too deeply, or names a key twice in one object.

    Example:
        >>> parse('{"candidates": ["i1"]}', "the request")
        {'candidates': ['i1']}
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise InputError(f"{where} is not JSON that can be read: it is nested too deeply") from None
    except ValueError as e:
        raise InputError(f"{where} is not JSON: {' '.join(str(e).split())[:120]}") from None


def dumps(value: Any, indent: "int | None" = None) -> str:
    """`value` as JSON that UTF-8 can always hold.

    Characters stay as they are. Half of a surrogate pair has no UTF-8, so it is escaped.

    Raises:
        ValueError: a number in `value` is not finite.

    Example:
        >>> print(dumps({"类目": "a" + chr(0xd800)}))
        {"类目": "a\\ud800"}
    """
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, indent=indent)
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def shown(value: Any) -> str:
    """The start of a value, for a message, however long or deeply nested the value is."""
    return _short.repr(value)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. If a key occurs twice, it is unclear which value is meant."""
    made = dict(pairs)
    if len(made) < len(pairs):
        seen = set()
        for name, _ in pairs:
            if name in seen:
                raise InputError(f"the key {shown(name)} occurs twice in one object")
            seen.add(name)
    return made


_short = reprlib.Repr()
_short.maxlevel = 3
_short.maxstring = 200
_short.maxother = 200
_short.maxlong = 60
