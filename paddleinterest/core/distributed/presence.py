"""Noticing that another process of the run has ended, however it ended.

Every process keeps a connection to the first one. The system closes it when the process ends, also
by SIGKILL; if a machine is lost, TCP's keepalive does within about a minute. The first process
reports it to the others.
"""

import contextlib
import selectors
import socket
import threading

KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}  # seconds, seconds, probes
PATIENCE = 60  # seconds that a connection may take


class Presence:
    """Which other process has ended.

    Attributes:
        lost: the number of the first one that has; None = all are there.
    """

    def __init__(self) -> None:
        self.lost: int | None = None
        self._over = threading.Event()

    def lost_within(self, seconds: float) -> int | None:
        """`lost`, after waiting for it so long at most."""
        self._over.wait(seconds)
        return self.lost

    def _watch(self, connections: dict[socket.socket, int]) -> None:
        """Wait in a thread of its own for the end of one of them: {connection: its process}."""
        selector = selectors.DefaultSelector()
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ)

        def work() -> None:
            while self.lost is None:
                for key, _ in selector.select():
                    self._heard(connections, key.fileobj)  # type: ignore[arg-type]

        threading.Thread(target=work, name="presence", daemon=True).start()

    def _heard(self, connections: dict[socket.socket, int], connection: socket.socket) -> None:
        """Read a connection: it gives the number of a process that has ended, or the end of its
        sender."""
        number = b""
        with contextlib.suppress(OSError):
            number = connection.recv(16)
        lost = int(number) if number.isdigit() else connections[connection]
        for other in connections:
            if other is not connection:
                with contextlib.suppress(OSError):
                    other.sendall(str(lost).encode())
        self.lost = lost  # after the others know: the main thread may end this process at once
        self._over.set()


class First(Presence):
    """The presence that the first process keeps for all.

    Args:
        count: of the processes.

    Attributes:
        port: where the others connect.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self._server = socket.create_server(("", 0), backlog=count)
        self._count = count
        self.port = int(self._server.getsockname()[1])

    def accept(self) -> None:
        """Wait for the connections of the others, then watch them."""
        connections: dict[socket.socket, int] = {}
        self._server.settimeout(PATIENCE)
        with self._server:
            while len(connections) < self._count - 1:
                connection, _ = self._server.accept()
                connection.settimeout(PATIENCE)
                number = connection.recv(16)
                if not number.isdigit() or int(number) not in range(1, self._count):
                    connection.close()  # not a process of this run
                    continue
                connection.settimeout(None)
                _keep_alive(connection)
                connections[connection] = int(number)
        self._watch(connections)


class Other(Presence):
    """The presence of another process.

    Args:
        host, port: where the first process waits.
        index: the number of this process.
    """

    def __init__(self, host: str, port: int, index: int) -> None:
        super().__init__()
        connection = socket.create_connection((host, port), PATIENCE)
        connection.settimeout(None)
        _keep_alive(connection)
        connection.sendall(str(index).encode())
        self._watch({connection: 0})


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):  # Linux
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
