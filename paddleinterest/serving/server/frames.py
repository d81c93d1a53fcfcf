"""Messages between the server's processes: a JSON head and a body of bytes."""

import asyncio
import json
import socket
import struct
from typing import Any

_SIZES = struct.Struct(">II")  # bytes of head and body

Head = dict[str, Any]


def pack(head: Head, body: bytes = b"") -> bytes:
    """A message as bytes."""
    text = json.dumps(head).encode()
    return b"".join((_SIZES.pack(len(text), len(body)), text, body))


def receive(connection: socket.socket) -> tuple[Head, bytes] | None:
    """The next message of a blocking socket; None if the other side has closed it."""
    sizes = _exactly(connection, _SIZES.size)
    if sizes is None:
        return None
    of_head, of_body = _SIZES.unpack(sizes)
    head = _exactly(connection, of_head)
    body = _exactly(connection, of_body)
    if head is None or body is None:
        return None
    return json.loads(head), body


def _exactly(connection: socket.socket, n: int) -> bytes | None:
    """`n` bytes; None if the connection ends before."""
    made = bytearray(n)
    view = memoryview(made)
    done = 0
    while done < n:
        got = connection.recv_into(view[done:])
        if not got:
            return None
        done += got
    return bytes(made)


async def read(reader: asyncio.StreamReader) -> tuple[Head, bytes]:
    """The next message of a stream.

    Raises:
        asyncio.IncompleteReadError: the other side has closed it.
    """
    of_head, of_body = _SIZES.unpack(await reader.readexactly(_SIZES.size))
    text = await reader.readexactly(of_head)
    body = await reader.readexactly(of_body) if of_body else b""
    return json.loads(text), body
