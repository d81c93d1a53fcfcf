"""Find and open raw files: plain, gzipped or in a zip file, alone or as a folder of parts. Every
fault ends in one error; unpacking has a limit."""

import codecs
import gzip
import io
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, cast

from paddleinterest.core.errors import InputError, nearest_path

PIECE = 1 << 25  # bytes read at once
LONGEST = 1 << 26  # bytes in one line
FREE = 1 << 30  # bytes that a packed file may always unpack to
RATIO = 200  # a larger file may unpack to this many times its size; text packs 5 to 20 times
FORMS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "text",
    ".dat": "text",
    ".data": "text",
    ".inter": "atomic",
    ".item": "atomic",
    ".user": "atomic",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
}


@dataclass(frozen=True)
class RawFile:
    """One file to read.

    Attributes:
        path: of the file, or of the zip file that holds it.
        form: one of csv, tsv, text, atomic, json and parquet.
        member: its name in the zip file; empty for a plain file.
    """

    path: str
    form: str
    member: str = ""

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f"{self.path} ({self.member})" if self.member else self.path


def find(directory: str, name: str, where: str) -> str:
    """The path of a file, plain or gzipped; `where` says where to get it."""
    path = os.path.join(directory, name)
    for candidate in (path, path + ".gz"):
        if os.path.isfile(candidate):
            return candidate
    raise InputError(
        f"neither {path} nor {path}.gz exists; get {name} from {where} and put it there, or name"
        " its directory with --raw"
    )


def parts(path: str, form: str = "") -> list[RawFile]:
    """The files that a path means: itself, the parts in a folder, or what a zip file holds.

    Args:
        path: a file, a folder of parts, a zip file, or `x.zip/member` for a file in a zip file.
        form: as in `RawFile`, for files whose names do not show it.

    Raises:
        InputError: the path does not exist, or its form is unclear, or it is unclear which of
            several files is meant.
    """
    archive, inner = _zip(path)
    if archive:
        return _members(archive, inner, form)
    if os.path.isdir(path):
        return _in_folder(path, form)
    if not os.path.isfile(path):
        if os.path.exists(path):
            raise InputError(f"{path} is neither a file nor a folder")
        raise InputError(f"{path} does not exist{nearest_path(path)}")
    return [RawFile(path, _form(path, form))]


def _zip(path: str) -> tuple[str, str]:
    """The zip file that a path names, and the member or folder within; ("", "") if none."""
    at = path.lower().find(".zip")
    if at < 0 or os.path.exists(path) and not zipfile.is_zipfile(path):
        return "", ""
    archive = path[: at + 4]
    inner = path[at + 5 :]
    if not os.path.isfile(archive) or path[at + 4 : at + 5] not in ("", "/"):
        return "", ""
    return archive, inner


def _form(name: str, form: str) -> str:
    """The form of a file: `form`, or by the ending of its name."""
    stem = re.sub(r"\.gz$", "", name.lower())
    found = form or FORMS.get(os.path.splitext(stem)[1], "")
    if not found:
        raise InputError(
            f"{name}: its format is unknown; set --format, or use an ending such as .csv,"
            f" .csv.gz, .tsv, .txt, .jsonl, .zip or .parquet (known: {', '.join(FORMS)})"
        )
    return found


def _in_folder(folder: str, form: str) -> list[RawFile]:
    """The parts in a folder and those beneath it, by name, without hidden files and markers."""
    names = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        for name in files:
            if not name.startswith((".", "_")) and not name.endswith(".crc"):
                names.append(os.path.join(place, name))
    if not names:
        raise InputError(f"{folder} holds no files; name the folder of the parts, or a file")
    found = [RawFile(name, _form(name, form)) for name in sorted(names)]
    for file in found:
        if file.form != found[0].form:
            raise InputError(
                f"{folder} holds files of several forms, such as {found[0].path} and {file.path};"
                " a folder must hold the parts of one log: name the files instead"
            )
    return found


def _members(archive: str, inner: str, form: str) -> list[RawFile]:
    """The tables in a zip file, or those of them that `inner` names."""
    try:
        with zipfile.ZipFile(archive) as z:
            names = [info.filename for info in z.infolist() if not info.is_dir()]
    except (OSError, zipfile.BadZipFile, ValueError) as e:
        raise unreadable(archive, e) from None
    names = [name for name in names if not _hidden(name)]
    if inner:
        asked = [name for name in names if name == inner or name.startswith(f"{inner}/")]
        if not asked:
            raise InputError(f"{archive} has no {inner}; it has {_listed(names)}")
        names = asked
    if inner not in names:
        names = [name for name in names if form or _ending(name) in FORMS]
    if not names:
        raise InputError(f"{archive} holds no table (known endings: {', '.join(FORMS)})")
    kinds = {re.sub(r"\d+", "", name) for name in names}
    if len(kinds) > 1:
        raise InputError(
            f"{archive} holds several tables: {_listed(names)}; name one, such as"
            f" {archive}/{names[0]}"
        )
    return [RawFile(archive, _form(name, form), name) for name in sorted(names)]


def _hidden(name: str) -> bool:
    return name.startswith("__MACOSX/") or name.split("/")[-1].startswith((".", "_"))


def _ending(name: str) -> str:
    return os.path.splitext(re.sub(r"\.gz$", "", name.lower()))[1]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:10]) + (" …" if len(names) > 10 else "")


@contextmanager
def opened(path: str, member: str = "", advice: str = "") -> Iterator[IO[bytes]]:
    """The bytes of a plain or gzipped file, or of one member of a zip file, as a file object.

    Every fault while reading raises InputError; `advice` is the advice in it, if not the usual one.
    """
    name = f"{path} ({member})" if member else path
    try:
        if member:
            with zipfile.ZipFile(path) as archive, archive.open(member) as f:
                packed = archive.getinfo(member).compress_size
                yield _unpacked(f, member, name, packed)
        else:
            with open(path, "rb") as f:
                yield _unpacked(f, path, name, os.fstat(f.fileno()).st_size)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (
        OSError,
        EOFError,
        zlib.error,
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
    ) as e:
        if advice:
            raise InputError(
                f"cannot read {name}: {' '.join(str(e).split())[:300]}; {advice}"
            ) from None
        raise unreadable(name, e) from None


def _unpacked(f: IO[bytes], stored_as: str, name: str, size: int) -> IO[bytes]:
    """The file unpacked if it is gzipped, with a limit; a plain file as it is."""
    gzipped = stored_as.lower().endswith(".gz")
    if not gzipped and isinstance(f, io.BufferedReader):
        return f
    stream = gzip.GzipFile(fileobj=f) if gzipped else f
    bounded = _Bounded(cast(IO[bytes], stream), name, max(FREE, RATIO * size), size)
    return cast(IO[bytes], io.BufferedReader(bounded, 1 << 20))


class _Bounded(io.RawIOBase):
    """A stream that refuses to give more than `most` bytes."""

    def __init__(self, stream: IO[bytes], name: str, most: int, packed: int):
        self.stream = stream
        self.name = name
        self.left = most
        self.packed = packed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.stream.read(len(buffer))
        self.left -= len(data)
        if self.left < 0:
            raise InputError(
                f"{self.name} has {self.packed:,} bytes and unpacks to more than"
                f" {max(FREE, RATIO * self.packed):,}; if that is right, unpack it first and name"
                " the plain file"
            )
        buffer[: len(data)] = data
        return len(data)


class Recoded(io.RawIOBase):
    """A stream of text in any encoding, as UTF-8."""

    def __init__(self, stream: IO[bytes], encoding: str, name: str):
        self.stream = stream
        self.name = name
        self.encoding = encoding
        self.decoder = codecs.getincrementaldecoder(encoding)()
        self.rest = b""
        self.lines = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.rest:
            data = self.stream.read(1 << 20)
            try:
                text = self.decoder.decode(data, final=not data)
            except UnicodeDecodeError as e:
                line = self.lines + 1 + e.object[: e.start].count(b"\n")
                raise InputError(
                    f"{self.name}, line {line:,}: not {self.encoding} ({e.reason}); --encoding"
                    f" names another{guessed(e.object[max(e.start - 200, 0) : e.start + 200])}"
                ) from None
            except UnicodeError as e:  # UTF-16 without byte order mark
                raise InputError(
                    f"{self.name}: not {self.encoding} ({e}); --encoding names another, such as"
                    " utf-16-le"
                ) from None
            self.lines += text.count("\n")
            self.rest = text.encode("utf-8", "surrogatepass")
            if not data:
                break
        n = min(len(buffer), len(self.rest))
        buffer[:n] = self.rest[:n]
        self.rest = self.rest[n:]
        return n


def recoded(file: IO[bytes], encoding: str, name: str) -> IO[bytes]:
    """The stream as UTF-8."""
    return cast(IO[bytes], io.BufferedReader(Recoded(file, encoding, name), 1 << 20))


def check_encoding(encoding: str) -> None:
    """Raise InputError unless Python knows `encoding` as one of text."""
    try:
        "a".encode(encoding)
    except (LookupError, ValueError):
        raise InputError(
            f"--encoding is {encoding!r}, must be one that Python knows, such as gbk, gb18030,"
            " big5, utf-16 or latin-1"
        ) from None


def guessed(sample: bytes) -> str:
    """The end of a message about bytes that are not UTF-8: the likely encoding."""
    for encoding in ("gb18030", "big5"):
        for start in range(4):
            for end in range(4):
                cut = sample[start : len(sample) - end]
                try:
                    text = cut.decode(encoding)
                except UnicodeDecodeError:
                    continue
                foreign = [c for c in text if ord(c) > 127]
                chinese = sum(
                    "\u4e00" <= c <= "\u9fff"
                    or "\u3000" <= c <= "\u303f"
                    or "\uff00" <= c <= "\uffef"
                    for c in foreign
                )
                if foreign and chinese >= 0.9 * len(foreign):
                    shown = "gbk" if encoding == "gb18030" else encoding
                    return f"; it reads as Chinese with --encoding {shown}"
    return "; in Western files often --encoding latin-1 (cp1252)"


def pieces(file: IO[bytes], name: str = "a file", before: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield (number of lines before, whole lines as bytes), piece by piece.

    Args:
        name: of the file, for messages.
        before: lines that were read already.
    """
    while piece := file.read(PIECE):
        end = file.readline(LONGEST)
        if len(end) == LONGEST and not end.endswith(b"\n"):
            line = before + piece.count(b"\n") + 1
            raise InputError(
                f"{name}, line {line:,} has more than {LONGEST:,} bytes; is it a text table?"
            )
        piece += end
        yield before, piece
        before += piece.count(b"\n")


def unreadable(path: str, error: object) -> InputError:
    """The error for a file that a library cannot read; `error` is the library's message."""
    return InputError(
        f"cannot read {path}: {' '.join(str(error).split())[:300]}; is it complete, and does its"
        " format match its name?"
    )
