"""Keeps the gateway running on the head: started by the supervisor, outliving it, adopted by the next one.

The gateway itself is `elastic_deploy.gateway`; this knows only its process (`gateway_process`) and the file in which
it says who it is. One that runs with other settings than it should is replaced: the next one is started beside it,
and takes the port when it is ready to listen, while the old one finishes its answers.
"""

import asyncio
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from elastic_deploy.model.errors import InvalidConfigError
from elastic_deploy.model.front_door import FrontDoorOptions
from elastic_deploy.runtime import gateway_process
from elastic_deploy.runtime.port import why_taken

RESTART_PERIOD = 1.0
"""Seconds between attempts to start it: half of what clients may be without one, and more than an attempt costs."""

STARTS_WITHIN = 30.0
"""Seconds from a gateway's start to its announcement: imports, on a head that is busy. One that takes longer hangs."""


class FrontDoor:
    """One gateway process. `options` says how it should be now, `ended` is called at once when it has ended."""

    def __init__(
        self, directory: Path, host: str, options: Callable[[], FrontDoorOptions], ended: Callable[[], None]
    ) -> None:
        self._directory = directory
        self._host = host
        self._options = options
        self._ended = ended
        self._tried_at = float("-inf")  # on the monotonic clock
        self._started: psutil.Process | None = None
        self._watched: tuple[int, int] | None = None  # a process and the descriptor that tells its end

    async def keep(self, port: int, *, wanted: bool) -> None:
        """Start the gateway if it should run and does not, replace it if it should be another, end it if unwanted.

        One that is being ended or replaced stops listening and finishes its answers.
        """
        running = self._running()
        if running is None:
            if not self._is_coming():
                lost = gateway_process.unannounced(self._directory, self._host, port)
                if wanted:
                    self._start(self._arguments(port), lost.pid if lost else None)
                elif lost:
                    lost.terminate()
            return
        process, _ = running
        self._watch(process.pid)
        with suppress(psutil.NoSuchProcess):
            if not wanted:
                process.terminate()
            elif gateway_process.told(process) != self._arguments(port) and not self._is_coming():
                self._start(self._arguments(port), process.pid)

    def require_port(self, port: int) -> None:
        """Raise InvalidConfigError where the gateway could not listen on a port that it does not have yet."""
        running = self._running()
        if (running is not None and running[1] == port) or self._is_coming():
            return
        if why := why_taken(self._host, port):
            raise InvalidConfigError(
                f"Port {port} of the head ({self._host}) cannot be had ({why}): name a free one with --port, or end "
                "what listens there."
            )

    def _arguments(self, port: int) -> list[str]:
        return gateway_process.arguments(self._directory, self._host, port, self._options())

    def _running(self) -> tuple[psutil.Process, int] | None:
        try:
            told = json.loads((self._directory / "gateway.json").read_text())
            process = psutil.Process(int(told["pid"]))
            if not gateway_process.is_gateway(process, self._directory):
                return None
            if process == self._started:
                self._started = None  # it has come
            return process, int(told["port"])
        except (OSError, TypeError, ValueError, KeyError, psutil.Error):
            return None

    def _is_coming(self) -> bool:
        """Whether one was started of late and may still announce itself."""
        since = time.monotonic() - self._tried_at
        with suppress(psutil.NoSuchProcess):
            if self._started is not None and gateway_process.is_gateway(self._started, self._directory):
                if since < STARTS_WITHIN:
                    return True
                self._started.kill()
        return since < RESTART_PERIOD

    def _start(self, arguments: list[str], predecessor: int | None) -> None:
        self._tried_at = time.monotonic()
        self._started = gateway_process.start(self._directory, arguments, predecessor)

    def _watch(self, pid: int) -> None:
        """Have `ended` called when the process ends."""
        if self._watched and self._watched[0] == pid:
            return
        self._watch_no_more()
        with suppress(OSError):  # it has ended already: the next look sees it
            self._watched = pid, os.pidfd_open(pid)
            asyncio.get_running_loop().add_reader(self._watched[1], self._on_end)

    def _on_end(self) -> None:
        self._watch_no_more()
        self._ended()

    def _watch_no_more(self) -> None:
        if self._watched:
            descriptor = self._watched[1]
            self._watched = None
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)
