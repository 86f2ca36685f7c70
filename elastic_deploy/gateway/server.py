"""The gateway as a whole: its parts, put together; its start, its watch over the files, and its end.

Made by `__main__`, and by tests, which run it in their own event loop.
"""

import asyncio
import contextlib
import errno
import json
import os
import time
from typing import Self

from aiohttp import web

from elastic_deploy.gateway import files
from elastic_deploy.gateway.balance import Load
from elastic_deploy.gateway.door import Door
from elastic_deploy.gateway.files import Files
from elastic_deploy.gateway.forward import Forwarder
from elastic_deploy.gateway.hold import WaitingRoom
from elastic_deploy.gateway.log import Log
from elastic_deploy.gateway.metrics import Metrics
from elastic_deploy.gateway.protocol import DoorServer
from elastic_deploy.gateway.settings import Settings
from elastic_deploy.gateway.upstream import Engines
from elastic_deploy.model.errors import InvalidConfigError
from elastic_deploy.model.home import write_private

BACKLOG = 1024
"""Connections that may wait to be accepted: a thousand clients that come at once."""
LAST_MOMENT = 1.0
"""Seconds for connections that are still busy after the drain."""
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
        self._announcement = settings.directory / "gateway.json"
        self._port = settings.port

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._port

    async def __aenter__(self) -> Self:
        """Listen. Raises InvalidConfigError if the address cannot be had."""
        self._files.poll()
        self._engines = Engines(self._settings.engine)
        forwarder = Forwarder(self._settings, self._files, self._engines, self._load, self._room, self._metrics)
        self._door = Door(
            self._settings.client, self._files, forwarder, self._load, self._room, self._metrics, self._log
        )
        self._server = DoorServer(self._door.handle, self._log, self._settings.client)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=LAST_MOMENT)
        await self._runner.setup()
        self._site = web.TCPSite(self._runner, self._settings.host, self._settings.port, backlog=BACKLOG)
        try:
            await self._site.start()
        except OSError as error:
            await self._close()
            raise InvalidConfigError(self._why_not(error)) from error
        self._port = self._site.port
        self._announce()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Take no more, finish what is being streamed within the drain's limit, and end."""
        self._log.event("stopping", busy=self._door.busy)
        self._room.close()
        await self._site.stop()
        # Connections that are idle end now; the others after the answer that they are in.
        self._server.pre_shutdown()
        deadline = time.monotonic() + self._settings.drain
        while self._door.busy and time.monotonic() < deadline:
            await asyncio.sleep(DRAIN_STEP)
        cut_off = self._door.busy
        self._door.cutting_off = True
        await self._close()
        self._withdraw()
        self._log.event("stopped", cut_off=cut_off)

    async def watch(self) -> None:
        """Follow the files for ever."""
        while True:
            if self._files.poll() and self._files.table:
                self._room.wake(self._files.table)
            await asyncio.sleep(files.PERIOD)

    async def _close(self) -> None:
        await self._runner.cleanup()
        await self._engines.close()

    def _announce(self) -> None:
        where = {
            "pid": os.getpid(),
            "host": self._settings.host,
            "port": self._port,
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
