"""Keeps the gateway process running on the head: started by the supervisor, outliving it, adopted by the next one.

The gateway itself is `elastic_deploy.gateway`; this knows only its process and the file in which it says who it is.
"""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from elastic_deploy.model.errors import InvalidConfigError

RESTART_PERIOD = 2.0
"""Seconds between attempts to start it."""

STARTS_WITHIN = 30.0
"""Seconds from a gateway's start to its announcement: imports, on a head that is busy. One that takes longer hangs."""


class FrontDoor:
    """One gateway process."""

    def __init__(self, directory: Path, host: str) -> None:
        self._directory = directory
        self._host = host
        self._tried_at = float("-inf")  # on the monotonic clock
        self._started: psutil.Process | None = None

    async def keep(self, port: int, *, wanted: bool) -> None:
        """Start the gateway if it should run and does not; end it when nothing is wanted, or on another port.

        A gateway that is being ended finishes its answers first; only then is the next one started.
        """
        running = self._running()
        if running is not None:
            process, its_port = running
            if not wanted or its_port != port:
                with suppress(psutil.NoSuchProcess):
                    process.terminate()
        elif wanted and not self._is_coming():
            self._tried_at = time.monotonic()
            self._started = self._start(port)

    def require_port(self, port: int) -> None:
        """Raise InvalidConfigError where the gateway could not listen on a port that it does not have yet."""
        running = self._running()
        if (running is not None and running[1] == port) or self._is_coming():
            return
        with socket.socket(socket.AF_INET6 if ":" in self._host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self._host, port))
            except OSError as error:
                raise InvalidConfigError(
                    f"Port {port} of the head ({self._host}) cannot be had ({error.strerror}): name a free one with "
                    "--port, or end what listens there."
                ) from error

    def _running(self) -> tuple[psutil.Process, int] | None:
        try:
            told = json.loads((self._directory / "gateway.json").read_text())
            process = psutil.Process(int(told["pid"]))
            return (process, int(told["port"])) if self._is_ours(process) else None
        except (OSError, TypeError, ValueError, KeyError, psutil.Error):
            return None

    def _is_ours(self, process: psutil.Process) -> bool:
        """Whether it is this directory's gateway: the pid in an old announcement may be anybody's by now."""
        command = process.cmdline()
        return "elastic_deploy.gateway" in command and str(self._directory) in command

    def _is_coming(self) -> bool:
        """Whether one was started of late and may still announce itself."""
        since = time.monotonic() - self._tried_at
        with suppress(psutil.NoSuchProcess):
            if self._started is not None and self._is_ours(self._started):
                if since < STARTS_WITHIN:
                    return True
                self._started.kill()
        return since < RESTART_PERIOD

    def _start(self, port: int) -> psutil.Process | None:
        command = [sys.executable, "-m", "elastic_deploy.gateway", "--dir", str(self._directory)]
        command += ["--host", self._host, "--port", str(port)]
        # By way of a shell that ends at once: Ray ends the children of a worker together with it.
        shell = 'log="$1"; shift; setsid "$@" </dev/null >>"$log" 2>&1 & echo $!'
        done = subprocess.run(
            ["/bin/sh", "-c", shell, "sh", str(self._directory / "gateway.log"), *command],
            check=True,
            timeout=10,
            stdout=subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if not name.startswith("RAY_JOB")},
        )
        try:
            return psutil.Process(int(done.stdout))
        except psutil.NoSuchProcess:
            return None
