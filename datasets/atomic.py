"""Files and directories that appear whole or not at all."""
import contextlib
import os
import secrets
import shutil


@contextlib.contextmanager
def whole_directory(path, overwrite=False):
    """Yield a new directory beside `path`; rename it to `path` on success, remove it on any failure.

    Ctrl-C, a full disk and a bug alike leave `path` as it was.
    """
    path = os.path.realpath(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    token = secrets.token_hex(4)
    made, old = f"{path}.part-{token}", f"{path}.old-{token}"
    try:
        os.mkdir(made)  # within the try: Ctrl-C may come as soon as it is there
        yield made
        if overwrite and os.path.isdir(path):
            os.rename(path, old)
        os.rename(made, path)
    except BaseException:
        if os.path.isdir(old) and not os.path.exists(path):
            os.rename(old, path)
        for leftover in (made, old):
            shutil.rmtree(leftover, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def whole_file(path):
    """Yield the name of a file to write beside `path`; move it onto `path` on success, remove it on failure."""
    path = os.path.abspath(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    made = f"{path}.part-{os.getpid()}"
    try:
        yield made
        with open(made, "rb") as f:
            os.fsync(f.fileno())
        os.replace(made, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(made)
        raise
