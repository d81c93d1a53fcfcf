"""A redis-server that tests start, kill and start again."""

import contextlib
import signal
import socket
import subprocess
import time


def free_port():
    with contextlib.closing(socket.socket()) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class RedisServer:
    """A redis-server on a port of its own, with an append-only file."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self):
        flags = ["--port", str(self.port), "--dir", str(self.folder), "--save", ""]
        flags += ["--appendonly", "yes", "--appendfsync", "always", "--bind", "127.0.0.1"]
        self.process = subprocess.Popen(["redis-server", *flags], stdout=subprocess.DEVNULL)
        until = time.time() + 20
        while time.time() < until:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            time.sleep(0.05)
        raise AssertionError("redis-server did not start")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
