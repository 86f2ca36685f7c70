"""What clients ask of each deployment, told to the supervisor by a small file that is written again every second.

`door` counts each request from when it is let in until its end. Every gateway writes a file of its own
(`load/<pid>.json`): one that finishes its answers beside its successor still tells of them. The supervisor reads them
in `runtime.load_files`. A file that is old says nothing, so whatever keeps it from being written only delays.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from elastic_deploy.gateway.hold import WaitingRoom
from elastic_deploy.gateway.table import RoutingTable
from elastic_deploy.model.home import private_dir

PERIOD = 1.0
"""Seconds between two writings."""


class Demand:
    """What one gateway has been asked since it began. Times are monotonic seconds: no clock that is set matters."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "load" / f"{os.getpid()}.json"
        self._began = time.monotonic()
        self._written = float("-inf")
        self._under_way: Counter[str] = Counter()
        self._asked_at: dict[str, float] = {}
        self._ended_at: dict[str, float] = {}

    @contextmanager
    def one_more(self, deployment: str) -> Iterator[None]:
        """Count a request of a client who may ask, until its end."""
        self._under_way[deployment] += 1
        self._asked_at[deployment] = time.monotonic()
        try:
            yield
        finally:
            self._under_way[deployment] -= 1
            self._ended_at[deployment] = time.monotonic()

    def document(self, table: RoutingTable | None, room: WaitingRoom, now: float) -> dict[str, Any]:
        """What there is to tell, at the monotonic time `now`."""
        waiting: Counter[str] = Counter()
        for entry in table.entries if table else ():
            waiting[entry.deployment] += room.waiting(entry.model)
        told = {}
        for name in table.deployments if table else ():
            asked = self._asked_at.get(name)
            last = now if self._under_way[name] else self._ended_at.get(name, self._began)
            told[name] = {
                "running": max(0, self._under_way[name] - waiting[name]),
                "waiting": waiting[name],
                "quiet_for": now - last,
                "last_request_ago": None if asked is None else now - asked,
            }
        return {"at": time.time(), "deployments": told}

    def tell(self, table: RoutingTable | None, room: WaitingRoom) -> None:
        """Write the file if it is time to."""
        now = time.monotonic()
        if now - self._written < PERIOD:
            return
        self._written = now
        # Without fsync: after a power cut nobody wants it.
        draft = self._path.with_suffix(".new")
        with suppress(OSError):
            private_dir(self._path.parent)
            draft.write_text(json.dumps(self.document(table, room, now)))
            draft.replace(self._path)

    def withdraw(self) -> None:
        """Say nothing more."""
        with suppress(OSError):
            self._path.unlink()
