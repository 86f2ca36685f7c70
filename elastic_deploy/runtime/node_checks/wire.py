"""A listener that each node opens for the length of the checks, and what others measure on it.

A connection begins with the listener's secret, so that the port serves nobody else. Then `T` is answered with the
node's time, and `B` with a count of the bytes that follow until the sender closes its side.
"""

import hmac
import secrets
import socket
import struct
import threading
import time
from contextlib import suppress

CONNECT_LIMIT = 3.0
"""Seconds for a connection inside a cluster: milliseconds are normal, a black hole never answers."""
STREAM_BYTES = 32 << 20
STREAM_SECONDS = 1.0
ROUNDS = 5
_SECRET_BYTES = 16
_IDLE = 10.0
_CHUNK = bytes(1 << 20)
_TIME = struct.Struct("!d")
_COUNT = struct.Struct("!Q")


class Listening:
    """A listener on an ephemeral port of every address, served by threads until it is closed."""

    def __init__(self) -> None:
        self.secret = secrets.token_bytes(_SECRET_BYTES)
        self._socket = socket.create_server(("", 0), backlog=128)
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, EOFError):
            connection.settimeout(_IDLE)
            if not hmac.compare_digest(_exactly(connection, _SECRET_BYTES), self.secret):
                return
            while verb := connection.recv(1):
                if verb == b"T":
                    connection.sendall(_TIME.pack(time.time()))
                elif verb == b"B":
                    count = 0
                    while chunk := connection.recv(1 << 20):
                        count += len(chunk)
                    connection.sendall(_COUNT.pack(count))
                    return


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            raise EOFError("the connection ended early")
        data += chunk
    return data


def reach(host: str, port: int) -> str:
    """Why a port cannot be connected to, "" where it can."""
    try:
        with socket.create_connection((host, port), CONNECT_LIMIT):
            return ""
    except TimeoutError:
        return f"no answer within {CONNECT_LIMIT:g} s"
    except OSError as error:
        return error.strerror or str(error)


def _enter(host: str, port: int, secret: bytes) -> socket.socket:
    connection = socket.create_connection((host, port), CONNECT_LIMIT)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(_IDLE)
    connection.sendall(secret)
    return connection


def look_at_clock(host: str, port: int, secret: bytes) -> tuple[float, float]:
    """The shortest time there and back in seconds, and how far the other clock is ahead, of `ROUNDS` questions.

    Raises OSError or EOFError where it cannot be asked.
    """
    found: list[tuple[float, float]] = []
    with _enter(host, port, secret) as connection:
        for _ in range(ROUNDS):
            asked, began = time.time(), time.monotonic()
            connection.sendall(b"T")
            (there,) = _TIME.unpack(_exactly(connection, _TIME.size))
            took = time.monotonic() - began
            found.append((took, there - (asked + took / 2)))
    return min(found)


def stream(host: str, port: int, secret: bytes) -> float:
    """Bytes a second to the other node, of `STREAM_BYTES` or `STREAM_SECONDS`, whichever ends first.

    Raises OSError or EOFError where it breaks.
    """
    with _enter(host, port, secret) as connection:
        connection.sendall(b"B")
        began, sent = time.monotonic(), 0
        while sent < STREAM_BYTES and time.monotonic() - began < STREAM_SECONDS:
            connection.sendall(_CHUNK)
            sent += len(_CHUNK)
        connection.shutdown(socket.SHUT_WR)
        (arrived,) = _COUNT.unpack(_exactly(connection, _COUNT.size))
        return float(arrived / max(time.monotonic() - began, 1e-6))
