"""A process that opens a bundle and forks the scorers, which share its tables and weights.

    python -m paddleinterest.serving.server.loader OPTIONS DESCRIPTOR

OPTIONS is JSON. DESCRIPTOR is a socket of the server: over it come {"fork": n} and {"kill": pid};
back go {"ready": facts}, {"error": one line}, {"scorer": pid} with the scorer's socket, and
{"ended": pid}. The loader ends when the server closes the socket, and so do the scorers.

It never scores: an engine that has run may hold threads, which a fork does not copy.
"""

import contextlib
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from paddleinterest.core import environment
from paddleinterest.core.errors import InputError, one_line
from paddleinterest.core.log import say
from paddleinterest.serving.apart import in_fork
from paddleinterest.serving.server.limits import Limits

if TYPE_CHECKING:
    from paddleinterest.serving.bundle import Bundle
    from paddleinterest.serving.server.scorer import Scorer

LONGEST = 1 << 17  # bytes of a control message
LOOK = 0.1  # seconds between two looks for scorers that ended
PAUSE = 1.0  # seconds after which a scorer that cannot start ends
LAST = 1.0  # seconds that scorers have to end by themselves


@dataclass(frozen=True)
class Options:
    """How to open a bundle.

    Attributes:
        bundle: its directory.
        threads: CPU threads of one call; 0 = all cores, divided among the workers.
        workers: number of scorers.
        onednn, use_gpu: as in `Bundle`.
        cpu_tuning: set environment variables for speed before Paddle is imported.
        history: value of --history.
        engine: paddle, onnx or auto.
    """

    bundle: str
    threads: int = 1
    workers: int = 1
    onednn: bool = False
    use_gpu: bool = False
    cpu_tuning: bool = True
    history: str = "bundle"
    engine: str = "paddle"

    def pack(self, limits: Limits) -> str:
        """The loader's first argument."""
        return json.dumps({"options": asdict(self), "limits": asdict(limits)})


def main() -> None:
    """Open the bundle and serve the control socket."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are for the server, which ends this process
    given = json.loads(sys.argv[1])
    options = Options(**given["options"])
    control = socket.socket(fileno=int(sys.argv[2]))
    with contextlib.suppress(ConnectionError):  # the server has gone: no process is left to notify
        try:
            bundle = _open(options)
        except (InputError, OSError, MemoryError) as e:
            _send(control, {"error": one_line(e)})
            return
        Loader(control, options, Limits(**given["limits"]), bundle).run()


class Loader:
    """The bundle, and the scorers that were forked.

    Args:
        control: socket of the server.
        options: how to open the bundle.
        limits: for the scorers.
        bundle: opened with `options`.
    """

    def __init__(
        self, control: socket.socket, options: Options, limits: Limits, bundle: "Bundle"
    ) -> None:
        self.control = control
        self.options = options
        self.limits = limits
        self.scorers: set[int] = set()
        self.bundle = bundle

    def run(self) -> None:
        """Do what the server asks until it closes the socket or ends."""
        with contextlib.suppress(ConnectionError):  # the server has gone
            self._serve()
        self._end()

    def _serve(self) -> None:
        _send(self.control, {"ready": bundle_facts(self.bundle, self.options)})
        while True:
            readable, _, _ = select.select([self.control], [], [], LOOK)
            if readable:
                message = self.control.recv(LONGEST)
                if not message:
                    break
                self._obey(json.loads(message))
            self._reap()

    def _obey(self, order: dict[str, Any]) -> None:
        if "fork" in order:
            for _ in range(order["fork"]):
                self._start()
        elif order["kill"] == os.getpid():
            os._exit(1)
        elif order["kill"] in self.scorers:
            os.kill(order["kill"], signal.SIGKILL)

    def _start(self) -> None:
        """One more scorer: a fork, or a thread if a GPU is used, whose state no fork copies."""
        ours, theirs = socket.socketpair()
        if self.options.use_gpu:
            threading.Thread(target=self._score, args=(theirs,), daemon=True).start()
            pid = os.getpid()
        else:
            pid = os.fork()
            if not pid:
                self._be_scorer(ours, theirs)
            theirs.close()
            self.scorers.add(pid)
        message = json.dumps({"scorer": pid}).encode()
        socket.send_fds(self.control, [message], [ours.fileno()])
        ours.close()

    def _be_scorer(self, ours: socket.socket, theirs: socket.socket) -> None:
        """In the new process: score until the server closes the socket."""
        status = 1
        try:
            ours.close()
            self.control.close()
            self._score(theirs)
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)  # whatever Paddle would do at exit belongs to the loader

    def _score(self, connection: socket.socket) -> None:
        from paddleinterest.serving.server.scorer import serve

        try:
            serve(connection, self._scorer())
        except ConnectionError:
            pass  # the server has gone
        except InputError as e:  # the store cannot be opened now
            say(f"error: {e}")
            time.sleep(PAUSE)  # the server starts another scorer

    def _scorer(self) -> "Scorer":
        from paddleinterest.serving.history.source import Histories, open_store
        from paddleinterest.serving.server.scorer import Scorer

        own = self.bundle.histories.own if self.options.history != "none" else None
        store = open_store(self.options.history, check=False)
        known = self.bundle.histories
        self.bundle.histories = Histories(own, store, known.clock, list(known.fields.values()))
        return Scorer(self.bundle, self.limits)

    def _reap(self) -> None:
        for pid in list(self.scorers):
            found, _ = os.waitpid(pid, os.WNOHANG)
            if found:
                self.scorers.discard(pid)
                with contextlib.suppress(OSError):
                    _send(self.control, {"ended": pid})

    def _end(self) -> None:
        """Scorers see that their sockets are closed; those that do not are killed."""
        self.control.close()
        until = time.monotonic() + LAST
        while self.scorers and time.monotonic() < until:
            for pid in list(self.scorers):
                if os.waitpid(pid, os.WNOHANG)[0]:
                    self.scorers.discard(pid)
            time.sleep(0.01)
        for pid in self.scorers:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _open(options: Options) -> "Bundle":
    """The bundle, after the environment is set up for Paddle."""
    threads = options.threads or max(1, environment.cores() // options.workers)
    if options.engine != "onnx":  # which needs no Paddle
        environment.set_up(threads, options.cpu_tuning)
    from paddleinterest.serving.bundle import Bundle
    from paddleinterest.serving.history.source import open_store

    apart = not options.use_gpu  # a fork copies no state of a GPU
    bundle = Bundle(options.bundle, threads, options.onednn, options.use_gpu, options.engine, apart)
    if apart and not bundle.measured:  # else it was tried out as it was measured
        in_fork(bundle.try_out, f"{options.bundle}: scoring a request")
    store = open_store(options.history)  # now, so that a wrong one is refused at the start
    if store is not None:
        store.close()
    return bundle


def bundle_facts(bundle: "Bundle", options: Options) -> dict[str, Any]:
    """The facts of the bundle that the server reports."""
    schema = bundle.schema
    of: dict[str, dict[str, str]] = {"item": {}, "user": {}, "context": {}, "event": {}}
    for f in schema.fields:
        if f.name != "item" and f.name not in bundle.encoder.unread:
            of[f.of][f.name] = "several" if f.multiple else f.kind
    return {
        "version": bundle.version,
        "model": bundle.signature["model"],
        "engine": bundle.engine,
        "dataset": schema.name,
        "item_attributes": of["item"],
        "user_attributes": of["user"],
        "context": of["context"],
        "event_fields": of["event"],
        "history_cap": bundle.signature["history_cap"],
        "needs_times": bundle.encoder.needs_times,
        "time": schema.time,
        "items": len(bundle.encoder.item_row),
        "users": len(bundle.encoder.user_row),
        "history": options.history.partition(":")[0],
        "has_histories": bundle.histories.own is not None,
        "example": _example(bundle.directory),
        **({"calibration": bundle.calibration.kind} if bundle.calibration else {}),
    }


def _example(directory: str) -> Any:
    """The bundle's example request; None if it is missing or too long to show."""
    path = os.path.join(directory, "request.example.json")
    try:
        with open(path, encoding="utf-8") as f:
            text = f.read(LONGEST // 8)
        return json.loads(text)
    except (OSError, ValueError, RecursionError):
        return None


def _send(control: socket.socket, message: dict[str, Any]) -> None:
    control.send(json.dumps(message).encode())


if __name__ == "__main__":
    main()
