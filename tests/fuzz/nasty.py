"""Ways to spoil an input. `rng` is a random.Random, or something that looks like one (Hypothesis
and atheris bring theirs)."""

import copy

NUMBERS = [
    0,
    -1,
    1,
    2,
    3,
    7.0,
    0.5,
    -0.0,
    2**31 - 1,
    2**31,
    -(2**31),
    2**53 + 1,
    2**62,
    2**63 - 1,
    2**63,
    -(2**63),
    2**64,
    10**9,
    10**30,
    -(10**400),
    1e38,
    -1e38,
    1e308,
    5e-324,
    float("inf"),
    float("-inf"),
    float("nan"),
]
TEXTS = [
    "",
    " ",
    "0",
    "-1",
    "1e999",
    "nan",
    "None",
    "null",
    "true",
    "i1",
    "u1",
    "c1",
    "007",
    "1.0",
    "é",
    "日本",
    "\u202e",
    "\ud800",
    "\0",
    "\n",
    "a\tb",
    "'",
    '"',
    ",",
    ";",
    "=",
    "../../x",
    "/",
    "%s%n",
    "{}",
    "🦊",
    "x" * 3000,
    "&a",
    "*a",
    "!!python/name:os.system",
    "!!python/object/apply:os.system ['touch canary']",
    "\x1b[31m",
    "ﬀ",
    "\ufeff",
]
VALUES = [
    None,
    True,
    False,
    *NUMBERS,
    *TEXTS,
    [],
    {},
    [[]],
    [None],
    ["i1"],
    {"item": "i1"},
    {"item": None},
    {"": 1},
    [[[[[["x"]]]]]],
]
BYTES = [
    b"",
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0\0\0\0\0",
    b"\n",
    b",",
    b'"',
    b"\r",
    b"\t",
    b"[" * 50,
    b"{",
    b"}",
    b"&a [*a]",
    b": ",
    b"- ",
    b"!!",
    b"1e999",
    b"PK\3\4",
    b"PAR1",
    b"ARROW1",
    b"\xef\xbb\xbf",
    b"\xc3\x28",
    b"9" * 30,
]


def spoil_bytes(rng, data, others=()):
    """One to three of: flip a bit, set a byte, cut off, drop a piece, repeat one, insert something,
    splice with another file."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at, upto = sorted((rng.randint(0, len(data)), rng.randint(0, len(data))))
        way = rng.randint(0, 7)
        if way <= 1 and at < len(data):
            data[at] ^= 1 << rng.randint(0, 7)
        elif way == 2 and at < len(data):
            data[at] = rng.choice((0, 1, 127, 128, 255))
        elif way == 3:
            del data[at:]
        elif way == 4:
            del data[at : min(upto, at + 64)]
        elif way == 5:
            data[at:at] = data[at : min(upto, at + 64)]
        elif way == 6:
            data[at:at] = rng.choice(BYTES)
        elif others:
            other = rng.choice(list(others))
            data[at:] = other[at:]
    return bytes(data)


def spoil_value(rng, value):
    """A copy of a nest of dicts and lists with one to three places replaced, dropped, repeated or
    renamed."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, 3)):
        value = _spoil_one(rng, value)
    return value


def _spoil_one(rng, value):
    if not isinstance(value, (dict, list)) or not value or rng.random() < 0.12:
        return copy.deepcopy(rng.choice(VALUES))
    key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
    way = rng.randint(0, 9)
    if way <= 6:
        value[key] = _spoil_one(rng, value[key])
    elif way == 7:
        del value[key]
    elif isinstance(value, dict):
        value[
            rng.choice([k for k in VALUES if isinstance(k, (str, int, float, bool, type(None)))])
        ] = value[key]
    else:
        value.insert(key, copy.deepcopy(rng.choice([value[key], *VALUES])))
    return value
