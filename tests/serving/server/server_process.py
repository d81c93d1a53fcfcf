"""tools/serve.py as a process, and clients of it."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

from helpers import ROOT


class Server:
    """tools/serve.py on a free port of this machine.

    Attributes:
        said: what it said on standard error until it served.
    """

    def __init__(self, bundle, *flags, wait=True, port=0, env=None):
        tool = os.path.join(ROOT, "tools", "serve.py")
        command = [sys.executable, tool, "--bundle", str(bundle), "--port", str(port)]
        self.process = subprocess.Popen(
            [*command, "--threads", "1", *map(str, flags)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )
        self.port = port
        self.said = []
        if wait:
            self.wait()

    def wait(self):
        """Until it serves."""
        self.until(r"serving .* at http://127\.0\.0\.1:(\d+)")

    def until(self, words):
        """Read what it says until a line has `words`; a number in them is the port."""
        for line in self.process.stderr:
            self.said.append(line)
            if found := re.search(words, line):
                if found.groups():
                    self.port = int(found[1])
                return
        raise AssertionError("".join(self.said))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def answer(self, method, path, body=None, headers=None):
        """The whole response: (status, headers, bytes)."""
        connection = self.connect()
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, response.headers, content

    def ask(self, method, path, body=None, headers=None):
        """Status and the answer's JSON."""
        status, _, content = self.answer(method, path, body, headers)
        return status, json.loads(content)

    def metric(self, name):
        """The value of a line of /metrics; 0 if it is missing."""
        _, _, text = self.answer("GET", "/metrics")
        for line in text.decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[-1])
        return 0.0

    def raw(self, data, wait=True):
        """A connection that has sent `data`; with wait, all that comes back."""
        connection = socket.create_connection(("127.0.0.1", self.port), 60)
        connection.sendall(data)
        if not wait:
            return connection
        with connection:
            return read_all(connection)

    def kill(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def end(self, number=signal.SIGTERM):
        """Exit status, standard output, what was said after the start, seconds until the end."""
        started = time.monotonic()
        self.kill(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err, time.monotonic() - started

    def descendants(self):
        """Ids of the processes that it started, and of theirs."""
        found = []
        todo = [self.process.pid]
        while todo:
            path = f"/proc/{todo.pop()}/task"
            for task in os.listdir(path) if os.path.isdir(path) else []:
                try:
                    with open(f"{path}/{task}/children") as f:
                        children = [int(pid) for pid in f.read().split()]
                except FileNotFoundError:  # it has just ended
                    continue
                found += children
                todo += children
        return found

    def scorers(self):
        """Ids of the processes that score."""
        pids = self.descendants()
        (loader,) = (pid for pid in pids if parent(pid) == self.process.pid)
        return [pid for pid in pids if parent(pid) == loader]


def parent(pid):
    """Id of the process that started it; None if it has just ended."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return int(f.read().rpartition(")")[2].split()[1])
    except FileNotFoundError:
        return None


def lives(pid):
    """Whether a process runs; a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def read_all(connection):
    """What comes until the other side closes."""
    pieces = []
    while piece := connection.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def post(body, path="/rank", **headers):
    """A request as bytes."""
    fields = {"Host": "localhost", "Content-Length": len(body), **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def example(directory):
    with open(os.path.join(directory, "request.example.json"), encoding="utf-8") as f:
        return json.load(f)
