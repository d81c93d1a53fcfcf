"""The directory of a run: which files it holds, who may write into it, what may be removed from it.

    output/<model>/<name>/
        config.yaml  metrics.jsonl  result.json  log.txt  visualdl/
        checkpoints/latest.npz  checkpoints/best.npz

Later tools add predictions.parquet, test-scores.npz and the bundle export/.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

from paddleinterest.core import distributed, settings
from paddleinterest.core.atomic import remove_stale, whole_file
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.data.schema import Schema

SECTIONS = {"model", "runner", "hyper_parameters"}  # of every run's config.yaml
FILES = ("result.json", "metrics.jsonl", "log.txt", "predictions.parquet", "test-scores.npz")
CHECKPOINTS = ("latest.npz", "best.npz")
SCALARS = "vdlrecords."  # how VisualDL's files begin


@dataclass(frozen=True)
class RunDirectory:
    """The directory of one run, which may not exist yet.

    Attributes:
        path: of the directory.
    """

    path: str

    @property
    def config(self) -> str:
        """Path of the settings that the run was trained with."""
        return os.path.join(self.path, "config.yaml")

    @property
    def latest(self) -> str:
        """Path of the checkpoint to resume from."""
        return os.path.join(self.path, "checkpoints", "latest.npz")

    @property
    def best(self) -> str:
        """Path of the checkpoint of the best epoch."""
        return os.path.join(self.path, "checkpoints", "best.npz")

    @property
    def metrics(self) -> str:
        """Path of the file with a line per epoch."""
        return os.path.join(self.path, "metrics.jsonl")

    @property
    def result(self) -> str:
        """Path of what the trainer prints at the end."""
        return os.path.join(self.path, "result.json")

    @property
    def log(self) -> str:
        """Path of what the trainer says."""
        return os.path.join(self.path, "log.txt")

    @property
    def visualdl(self) -> str:
        """Folder of VisualDL's scalars."""
        return os.path.join(self.path, "visualdl")

    def has_run(self) -> bool:
        """True if a run has started here."""
        return os.path.isdir(os.path.dirname(self.latest))

    def is_ours(self, model: str) -> bool:
        """True if the directory holds a run of the model, by its config.yaml."""
        try:
            found = settings.read_yaml(self.config)
        except (InputError, OSError):
            return False
        return found.keys() == SECTIONS and found["model"] == model

    def check_free(self, config: settings.Settings) -> None:
        """Raise InputError if the directory holds something else than a run of the model, or a run
        that is to be neither resumed nor replaced."""
        runner = config.runner
        if not os.path.lexists(self.path):
            return
        if not os.path.isdir(self.path):
            raise InputError(f"{self.path} is not a folder; choose another runner.name")
        remove_stale(self.config)  # of a training that was killed before it had begun
        if os.listdir(self.path) and not self.is_ours(config.model):
            raise InputError(
                f"{self.path} is not empty and not a run of {config.model}, so nothing is written"
                " there; choose another runner.name"
            )
        if self.has_run() and not runner.resume and not runner.overwrite:
            raise InputError(
                f"{self.path} holds a run already; add -o runner.resume=true to resume it, "
                "runner.overwrite=true to replace it, or runner.name=NAME for a new one"
            )

    @contextlib.contextmanager
    def owned(self) -> Iterator[None]:
        """Hold the directory, made if it is missing: meanwhile no other training may write there.

        The system lets go of it when this process ends, however it ends. If this process fails
        before it has written anything, the directories that it made are gone again.

        Raises:
            InputError: another process holds it.
        """
        if distributed.process_index():  # the first process writes for all
            yield
            return
        made = _make(self.path)
        try:
            handle = self._lock()
            try:
                yield
            finally:
                os.close(handle)
        finally:
            for folder in made:
                with contextlib.suppress(OSError):  # not empty: something has been written
                    os.rmdir(folder)

    def begin(self, config: settings.Settings, metrics_bytes: int) -> None:
        """Write the run's settings, and keep the lines of metrics.jsonl that its latest checkpoint
        knows of. An older run goes if this one does not resume it.

        Args:
            config: the settings.
            metrics_bytes: length of these lines.
        """
        if distributed.process_index():
            return
        if self.has_run() and not config.runner.resume:
            self.remove_run(config.model)
        for path in (self.latest, self.best):
            remove_stale(path)  # of a run that was killed as it wrote
        if os.path.exists(self.metrics) and os.path.getsize(self.metrics) > metrics_bytes:
            os.truncate(self.metrics, metrics_bytes)
        with whole_file(self.config) as made:
            settings.save(config, made)

    def remove_run(self, model: str) -> None:
        """Remove the files that a run consists of; whatever else is in the directory stays."""
        if not self.is_ours(model):
            raise InputError(f"{self.path} is not a run of {model}, so it is not removed")
        checkpoints = os.path.dirname(self.latest)
        for name in CHECKPOINTS:  # first: killed half-way, it must not be resumed
            _remove_file(os.path.join(checkpoints, name))
        for name in FILES:
            _remove_file(os.path.join(self.path, name))
        self.remove_scalars()
        export = os.path.join(self.path, "export")
        if _is_bundle_alone(export):
            shutil.rmtree(export)
        with contextlib.suppress(OSError):
            os.rmdir(checkpoints)
        kept = sorted(set(os.listdir(self.path)) - {"config.yaml"})
        if kept:
            say(f"{self.path}: {', '.join(kept)} stays, as no run of ours writes that")

    def remove_scalars(self) -> None:
        """Remove VisualDL's files, and their folder if nothing else is in it."""
        if not os.path.isdir(self.visualdl):
            return
        for name in os.listdir(self.visualdl):
            if name.startswith(SCALARS):
                _remove_file(os.path.join(self.visualdl, name))
        with contextlib.suppress(OSError):
            os.rmdir(self.visualdl)

    def _lock(self) -> int:
        while True:
            handle = os.open(self.path, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                raise InputError(
                    f"another process trains in {self.path}; wait for it, or choose a different"
                    " runner.name"
                ) from None
            except OSError:
                return handle  # a file system without locks
            if _is_at(handle, self.path):
                return handle
            os.close(handle)  # its owner failed and removed it meanwhile
            os.makedirs(self.path, exist_ok=True)


def _make(path: str) -> list[str]:
    """Make a directory and those above it; returns the ones that were missing, the deepest
    first."""
    missing = []
    folder = os.path.abspath(path)
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    os.makedirs(path, exist_ok=True)
    return missing


def _is_at(handle: int, path: str) -> bool:
    """True if an open directory is the one at `path`."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _is_bundle_alone(path: str) -> bool:
    """True if a folder holds an export bundle and nothing else."""
    try:
        schema = Schema.load(path)
    except (InputError, OSError):
        return False
    return "signature.yaml" in schema.files and schema.foreign_file(path) is None


def _remove_file(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)
