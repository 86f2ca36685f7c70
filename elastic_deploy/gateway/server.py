"""The gateway as a whole: its parts, put together; its start, its watch over the files, and its end.

Made by `__main__`, and by tests, which run it in their own event loop.
"""

import asyncio
import contextlib
import errno
import json
import os
import ssl
import time
from typing import Self

from aiohttp import web

from elastic_deploy.gateway import files
from elastic_deploy.gateway.balance import Load
from elastic_deploy.gateway.demand import Demand
from elastic_deploy.gateway.door import Door
from elastic_deploy.gateway.engine_pages import EnginePages
from elastic_deploy.gateway.files import Files
from elastic_deploy.gateway.forward import Forwarder
from elastic_deploy.gateway.hold import WaitingRoom
from elastic_deploy.gateway.listen import Listener
from elastic_deploy.gateway.log import Log
from elastic_deploy.gateway.metrics import Metrics
from elastic_deploy.gateway.protocol import DoorServer
from elastic_deploy.gateway.settings import Settings
from elastic_deploy.gateway.tls import Certificate
from elastic_deploy.gateway.upstream import Engines
from elastic_deploy.model.errors import InvalidConfigError
from elastic_deploy.model.home import write_private

LAST_MOMENT = 1.0
"""Seconds for what is still held after the drain to be told so, and then for connections that are still busy."""
DRAIN_STEP = 0.05


class Gateway:
    """One front door. An async context manager: within it, it listens."""

    def __init__(self, settings: Settings, log: Log) -> None:
        self._settings = settings
        self._log = log
        self._files = Files(settings.directory, log)
        self._room = WaitingRoom(settings.hold)
        self._load = Load()
        self._metrics = Metrics()
        self._demand = Demand(settings.directory)
        self._announcement = settings.directory / "gateway.json"
        self._port = settings.port
        self._certificate: Certificate | None = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._port

    async def __aenter__(self) -> Self:
        """Listen. Raises InvalidConfigError if the address cannot be had, or the certificate cannot be used."""
        self._certificate = Certificate(self._settings.tls, self._log) if self._settings.tls else None
        self._files.poll()
        self._engines = Engines(self._settings.engine)
        forwarder = Forwarder(self._settings, self._files, self._engines, self._load, self._room, self._metrics)
        pages = EnginePages(self._engines, self._files)
        self._door = Door(
            self._settings.client,
            self._files,
            forwarder,
            pages,
            self._load,
            self._room,
            self._metrics,
            self._demand,
            self._log,
        )
        self._server = DoorServer(self._door.handle, self._log, self._settings.client)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=LAST_MOMENT)
        await self._runner.setup()
        most = self._settings.client.connections
        self._listener = Listener(self._server, most, self._context, self._metrics, self._log)
        self._metrics.count_connections(lambda: self._listener.open)
        try:
            await self._listener.start(self._settings.host, self._settings.port)
        except OSError as error:
            await self._close()
            raise InvalidConfigError(self._why_not(error)) from error
        self._port = self._listener.port
        self._announce()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Take no more, finish what was taken within the drain's limit, and end.

        Requests that are held are no exception: an engine may come while other answers are finished.
        """
        self._log.event("stopping", busy=self._door.busy)
        await self._listener.stop()
        # Connections that are idle end now; the others after the answer that they are in.
        self._server.pre_shutdown()
        await self._while_busy(self._settings.drain)
        self._room.close()
        await self._while_busy(LAST_MOMENT)
        cut_off = self._door.busy
        self._door.cutting_off = True
        await self._close()
        self._demand.withdraw()
        self._withdraw()
        self._log.event("stopped", cut_off=cut_off)

    async def _while_busy(self, seconds: float) -> None:
        """Wait until all that was taken has been answered, so many seconds at the most."""
        deadline = time.monotonic() + seconds
        while self._door.busy and time.monotonic() < deadline:
            self._look()
            await asyncio.sleep(DRAIN_STEP)

    def _look(self) -> None:
        """Take up what the supervisor has written."""
        if self._files.poll() and self._files.table:
            self._load.keep({backend.engine for backend in self._files.table.backends})
            self._room.wake(self._files.table)
        self._demand.tell(self._files.table, self._room)

    async def watch(self) -> None:
        """Follow the files for ever."""
        while True:
            self._look()
            if self._certificate is not None:
                self._certificate.poll()
            await asyncio.sleep(files.PERIOD)

    def _context(self) -> ssl.SSLContext | None:
        return self._certificate.context if self._certificate is not None else None

    async def _close(self) -> None:
        await self._runner.cleanup()
        await self._engines.close()

    def _announce(self) -> None:
        where = {
            "pid": os.getpid(),
            "host": self._settings.host,
            "port": self._port,
            "tls": self._certificate is not None,
            "started_at": time.time(),
        }
        write_private(self._announcement, json.dumps(where) + "\n")
        self._log.event("listening", **where)

    def _withdraw(self) -> None:
        """Remove the announcement, unless another gateway has taken over since."""
        with contextlib.suppress(OSError, ValueError):
            if json.loads(self._announcement.read_text())["pid"] == os.getpid():
                self._announcement.unlink()

    def _why_not(self, error: OSError) -> str:
        address = f"{self._settings.host}:{self._settings.port}"
        if error.errno == errno.EADDRINUSE:
            return f"The gateway cannot listen on {address}: the port is in use. Choose another with --port."
        if error.errno == errno.EACCES:
            return f"The gateway cannot listen on {address}: ports below 1024 need a privilege. Choose another."
        return f"The gateway cannot listen on {address}: {error.strerror or error}. Give an address of this machine."
