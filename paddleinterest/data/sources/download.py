"""Download one file over HTTP: resumed after an interruption, checked, and in place only when
complete."""

import http.client
import os
import re
import urllib.error
import urllib.request

from tqdm import tqdm

from paddleinterest.core.checksum import checksum
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say

TIMEOUT = 60  # seconds without data after which the connection counts as dead
AGAIN = (  # advice about a file that cannot be read
    "if it was downloaded, delete it and run again"
)


def at_hand(url: str, path: str) -> str:
    """`path`; if it does not exist, it is downloaded from `url`."""
    if not os.path.isfile(path):
        fetch(url, path)
    return path


def fetch(url: str, path: str, sha256: str = "") -> None:
    """Download `url` to `path`, through ``path + ".part"``, from which a later call continues.

    Args:
        sha256: expected checksum in hex; empty skips that check (the length is always checked).

    Raises:
        InputError: the network or the server fails, fewer bytes arrive than announced, the checksum
            differs, or the file cannot be written. Then `path` does not exist.
    """
    part = path + ".part"
    try:
        total = stream(url, part)
        size = os.path.getsize(part)
    except (
        OSError,
        http.client.HTTPException,
        ValueError,
    ) as e:  # URLError is an OSError; a bad URL a ValueError
        reason = (
            f"HTTP {e.code} {e.reason}"
            if isinstance(e, urllib.error.HTTPError)
            else getattr(e, "reason", e)
        )
        raise failure(url, path, " ".join(f"{reason}".split()) or type(e).__name__) from None
    if total is not None and size < total:
        raise failure(
            url,
            path,
            f"the connection ended after {size:,} of {total:,} bytes; run again to continue there",
        )
    if total is not None and size > total:
        os.remove(part)
        raise failure(
            url, path, f"got {size:,} bytes, but {total:,} were announced; run again to start over"
        )
    found = checksum(part)
    if sha256 and found != sha256.lower():
        os.remove(part)  # a wrong file cannot be completed
        raise failure(
            url,
            path,
            f"its sha256 is {found}, not {sha256}: the file has changed or was damaged during the"
            " download",
        )
    os.replace(part, path)
    if not sha256:
        say(
            f"{path}: {size:,} bytes from {url}, not checked: its publisher does not give a"
            f" sha256. The sha256 of this file is {found}"
        )


def failure(url: str, path: str, what: str) -> InputError:
    """The error of a download, with a way around it."""
    return InputError(
        f"cannot download {url}: {what}; or download it in another way and put it at {path}"
    )


def stream(url: str, part: str) -> int | None:
    """Append the rest of `url` to `part`, with a progress bar; return the size of the whole file,
    None if the server does not say it."""
    have = os.path.getsize(part) if os.path.exists(part) else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as e:
        if e.code != 416 or not have:
            raise
        said = re.fullmatch(r"bytes \*/(\d+)", e.headers.get("Content-Range", ""))
        if said and int(said[1]) == have:  # the .part was already complete
            return have
        os.remove(part)  # longer than the file: it belongs to a different file
        return stream(url, part)
    with response:
        if response.status != 206:  # the server does not resume: it sends the file from its start
            have = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise OSError(
                f"asked for the bytes from {have:,} on, the server sent other bytes; delete"
                f" {part} and run again"
            )
        length = response.headers.get("Content-Length")
        total = have + int(length) if length is not None else None
        os.makedirs(os.path.dirname(part) or ".", exist_ok=True)
        with (
            open(part, "ab" if have else "wb") as f,
            tqdm(
                total=total,
                initial=have,
                unit="B",
                unit_scale=True,
                desc=os.path.basename(url),
                leave=False,
                disable=None,
            ) as bar,
        ):
            while chunk := response.read(1 << 18):
                f.write(chunk)
                bar.update(len(chunk))
    return total
