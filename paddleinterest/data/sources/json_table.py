"""Read the columns of JSON lines: one object per line, whose keys are the columns."""

import io
import json
from collections.abc import Sequence
from typing import IO

import pyarrow as pa
import pyarrow.json

from paddleinterest.core.errors import InputError
from paddleinterest.data.sources.columns import plain, whole
from paddleinterest.data.sources.files import RawFile, guessed, opened, pieces, recoded, unreadable

FIRST = 1 << 20  # bytes whose keys are the columns


def names(file: RawFile, encoding: str = "") -> list[str]:
    """The keys of the first lines, in order of appearance.

    Raises:
        InputError: the file is empty, or its first lines are not JSON objects.
    """
    with opened(file.path, file.member) as raw:
        f = _text(raw, file, encoding)
        data = f.read(FIRST) + f.readline(FIRST)
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        raise InputError(f"{file.name} is empty, must have one JSON object per line")
    if data.lstrip()[:1] != b"{":
        raise InputError(
            f"{file.name}: a JSON file must have one object per line, {{…}}; it starts with"
            f" {data.lstrip()[:20].decode('utf-8', 'replace')!r}"
        )
    return list(_parse(data, None, file.name, 0).column_names)


def read(file: RawFile, columns: Sequence[str], encoding: str = "") -> pa.Table:
    """The columns with their types; a key that an object does not have is missing.

    Raises:
        InputError: a line is not a JSON object, or one column holds texts and numbers in one piece.
    """
    found = []
    with opened(file.path, file.member) as raw:
        f = _text(raw, file, encoding)
        for before, piece in pieces(f, file.name):
            if not before:
                piece = piece.removeprefix(b"\xef\xbb\xbf")
            if piece.strip():
                found.append(_columns(piece, columns, file.name, before))
    made = [_joined([part.column(name) for part in found], name, file) for name in columns]
    return pa.table(made, names=list(columns))


def _text(raw: IO[bytes], file: RawFile, encoding: str) -> IO[bytes]:
    return recoded(raw, encoding, file.name) if encoding else raw


def _columns(piece: bytes, columns: Sequence[str], name: str, before: int) -> pa.Table:
    """The columns of one piece; a column that no object has is null."""
    table = _parse(piece, None, name, before)
    texts = [f.name for f in table.schema if pa.types.is_timestamp(f.type)]
    if texts:  # texts that look like times stay texts: they may be ids
        schema = pa.schema([(each, pa.string()) for each in texts])
        table = _parse(piece, schema, name, before)
    lacking = [each for each in columns if each not in table.column_names]
    for each in lacking:
        table = table.append_column(each, pa.nulls(table.num_rows))
    return table.select(list(columns))


def _parse(piece: bytes, schema: pa.Schema | None, name: str, before: int) -> pa.Table:
    options = pa.json.ReadOptions(block_size=len(piece) + 1)
    parse = pa.json.ParseOptions(explicit_schema=schema)
    try:
        return pa.json.read_json(io.BytesIO(piece), options, parse)
    except (pa.ArrowException, UnicodeError) as e:
        raise _fault(piece, name, before, e) from None


def _fault(piece: bytes, name: str, before: int, error: Exception) -> InputError:
    """The InputError for the first line that is not a JSON object of plain values."""
    kinds: dict[str, tuple[type, int]] = {}
    for number, line in enumerate(piece.split(b"\n"), before + 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except UnicodeDecodeError as e:
            excerpt = line[max(e.start - 200, 0) : e.start + 200]
            return InputError(f"{name}, line {number:,}: not UTF-8{guessed(excerpt)}")
        except (ValueError, RecursionError) as e:
            return InputError(
                f"{name}, line {number:,}: not JSON ({getattr(e, 'msg', 'nested too deep')})"
            )
        if not isinstance(value, dict):
            return InputError(f"{name}, line {number:,}: not an object, {{…}}")
        for key, each in value.items():
            kind = float if isinstance(each, int) and not isinstance(each, bool) else type(each)
            first = kinds.setdefault(key, (kind, number))
            if each is not None and first[0] is not kind:
                return InputError(
                    f"{name}, line {number:,}: {key} is {each!r}, but in line {first[1]:,} it has"
                    " a different type; write all as texts or all as numbers"
                )
    return unreadable(name, error)


def _joined(parts: list[pa.ChunkedArray], column: str, file: RawFile) -> pa.ChunkedArray:
    """The parts of one column joined, as texts if some are texts."""
    known = [plain(part) for part in parts if not pa.types.is_null(part.type)]
    if not known:
        return pa.chunked_array([pa.nulls(sum(map(len, parts)), pa.large_string())])
    kinds = {part.type for part in known}
    to = _common(kinds)
    try:
        chunks = [_as(part, to) for part in parts]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as e:
        raise InputError(
            f"{file.name}: {column} is of several kinds ({', '.join(map(str, kinds))}), which do"
            f" not go together ({' '.join(str(e).split())[:100]}); write one kind"
        ) from None
    return pa.chunked_array([chunk for part in chunks for chunk in part.chunks], to)


def _common(kinds: set[pa.DataType]) -> pa.DataType:
    """The type that holds values of all these, of lists that of their values."""
    if len(kinds) == 1:
        return next(iter(kinds))
    if all(pa.types.is_list(kind) for kind in kinds):
        values = {kind.value_type for kind in kinds if not pa.types.is_null(kind.value_type)}
        return pa.list_(_common(values))
    numeric = all(pa.types.is_integer(k) or pa.types.is_floating(k) for k in kinds)
    return pa.float64() if numeric else pa.large_string()


def _as(part: pa.ChunkedArray, to: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_null(part.type):
        return pa.chunked_array([pa.nulls(len(part), to)])
    part = plain(part)
    if part.type == to:
        return part
    numbers = whole(part) if pa.types.is_large_string(to) else None
    return (part if numbers is None else numbers).cast(to)
