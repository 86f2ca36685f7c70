"""Keeps the gateway process running on the head: started by the supervisor, outliving it, adopted by the next one.

The gateway itself is `elastic_deploy.gateway`; this knows only its process and the file in which it says who it is.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

RESTART_PERIOD = 2.0
"""Seconds between attempts to start it."""


class FrontDoor:
    """One gateway process."""

    def __init__(self, directory: Path, host: str) -> None:
        self._directory = directory
        self._host = host
        self._tried_at = 0.0

    async def keep(self, port: int, *, wanted: bool) -> None:
        """Start the gateway if it should run and does not; end it when nothing is wanted, or on another port."""
        running = self._running()
        if running is not None and (not wanted or running[1] != port):
            running[0].terminate()
            return
        if running is None and wanted and time.time() - self._tried_at >= RESTART_PERIOD:
            self._tried_at = time.time()
            self._start(port)

    def _running(self) -> tuple[psutil.Process, int] | None:
        try:
            told = json.loads((self._directory / "gateway.json").read_text())
            process = psutil.Process(int(told["pid"]))
            if "elastic_deploy.gateway" not in process.cmdline() or process.status() == psutil.STATUS_ZOMBIE:
                return None
            return process, int(told["port"])
        except (OSError, ValueError, KeyError, psutil.Error):
            return None

    def _start(self, port: int) -> None:
        command = [sys.executable, "-m", "elastic_deploy.gateway", "--dir", str(self._directory)]
        command += ["--host", self._host, "--port", str(port)]
        # By way of a shell that ends at once: Ray ends the children of a worker together with it.
        subprocess.run(
            [
                "/bin/sh",
                "-c",
                'log="$1"; shift; setsid "$@" </dev/null >>"$log" 2>&1 &',
                "sh",
                str(self._directory / "gateway.log"),
                *command,
            ],
            check=True,
            timeout=10,
            env={name: value for name, value in os.environ.items() if not name.startswith("RAY_JOB")},
        )
