"""Files and directories that appear whole or not at all."""
import contextlib
import os
import shutil
import tempfile


@contextlib.contextmanager
def whole_directory(path, overwrite=False):
    """Yield a new directory beside `path`; rename it to `path` on success, remove it on any failure.

    Ctrl-C, a full disk and a bug alike leave `path` as it was.
    """
    path = os.path.abspath(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    made = tempfile.mkdtemp(prefix=os.path.basename(path) + ".part-", dir=os.path.dirname(path))
    os.chmod(made, 0o777 & ~_umask())  # mkdtemp makes it private; a dataset is meant to be shared
    try:
        yield made
        if overwrite and os.path.isdir(path):
            _exchange(made, path)
        else:
            os.rename(made, path)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


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


def _exchange(new, path):
    """Put directory `new` in the place of directory `path`, or leave `path` as it was."""
    folder = tempfile.mkdtemp(prefix=os.path.basename(path) + ".old-", dir=os.path.dirname(path))
    old = os.path.join(folder, "x")
    try:
        os.rename(path, old)
        os.rename(new, path)
    except BaseException:
        if os.path.isdir(old) and not os.path.exists(path):
            os.rename(old, path)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
