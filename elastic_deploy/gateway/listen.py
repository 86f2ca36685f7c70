"""Takes connections: a bounded number, each with a limit for its TLS handshake.

Made by `server`. It accepts by itself rather than by `asyncio.Server`, which would neither count sockets that are still
in their handshake nor take another certificate for the next one.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable

from elastic_deploy.gateway.log import Log
from elastic_deploy.gateway.metrics import Metrics
from elastic_deploy.gateway.protocol import DoorProtocol, DoorServer

BACKLOG = 1024
"""Connections that may wait to be accepted: a thousand clients that come at once."""
HANDSHAKE = 10.0
"""Seconds for a TLS handshake: three round trips at most, of which none takes three seconds."""
GOODBYE = 2.0
"""Seconds in which a client may answer the end of a TLS connection."""
REFUSED_AT_ONCE = 128
"""Connections over the bound that are told so, in two seconds each. More are closed without a word."""
BREATH = 0.5
"""Seconds until the next try when the machine has no more sockets or memory."""

Context = Callable[[], ssl.SSLContext | None]


class Listener:
    """Listens from `start` to `stop`. `most` connections are served; `context` is asked before each of them."""

    def __init__(self, server: DoorServer, most: int, context: Context, metrics: Metrics, log: Log) -> None:
        self._server = server
        self._most = most
        self._context = context
        self._metrics = metrics
        self._log = log
        self._sockets: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._greeting: set[asyncio.Task[None]] = set()
        self._open: set[DoorProtocol] = set()
        self._full = False

    @property
    def open(self) -> int:
        """Connections that are open, those in their handshake included."""
        return len(self._open)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._sockets[0].getsockname()[1])

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises OSError if the address cannot be had."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, kind, protocol, _, address in dict.fromkeys(found):
                made = socket.socket(family, kind, protocol)
                self._sockets.append(made)
                made.setblocking(False)
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                made.bind((address[0], port, *address[2:]))
                made.listen(BACKLOG)
                # With port 0 the first address takes one, and all others take the same.
                port = self.port
        except OSError:
            await self.stop()
            raise
        self._accepting = [asyncio.create_task(self._accept(each)) for each in self._sockets]

    async def stop(self) -> None:
        """Take no more. What is open stays open."""
        tasks = [*self._accepting, *self._greeting]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for each in self._sockets:
            each.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError as error:
                if error.errno != errno.ECONNABORTED:
                    self._log.event("accept_failed", error=error.strerror, open=self.open)
                    await asyncio.sleep(BREATH)
                continue
            full = self.open >= self._most
            if full != self._full and (full or self.open < self._most * 0.9):
                self._full = full
                self._log.event("connections", open=self.open, full=full)
            if full:
                self._metrics.connection_refused()
            if self.open >= self._most + REFUSED_AT_ONCE:
                connection.close()
                continue
            protocol = self._server.protocol(full, self._open.discard)
            self._open.add(protocol)
            greeting = asyncio.create_task(self._greet(connection, protocol))
            self._greeting.add(greeting)
            greeting.add_done_callback(self._greeting.discard)

    async def _greet(self, connection: socket.socket, protocol: DoorProtocol) -> None:
        context = self._context()
        limits = {"ssl_handshake_timeout": HANDSHAKE, "ssl_shutdown_timeout": GOODBYE} if context else {}
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol, connection, ssl=context, **limits
            )
        except OSError:
            # A client that left, or spoke no TLS that we do: there are too many of these to log each.
            pass
        finally:
            if protocol.transport is None:
                self._open.discard(protocol)
