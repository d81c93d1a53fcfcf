"""The pages that people look at: files of our own, nothing from elsewhere."""

import functools
import importlib.resources

KINDS = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@functools.cache
def names() -> frozenset[str]:
    """The files that there are."""
    folder = importlib.resources.files(__name__)
    found = (entry.name for entry in folder.iterdir())
    return frozenset(name for name in found if name.rpartition(".")[2] in KINDS)


@functools.cache
def read(name: str) -> tuple[bytes, str]:
    """Content and media type of a file."""
    content = importlib.resources.files(__name__).joinpath(name).read_bytes()
    return content, KINDS[name.rpartition(".")[2]]
