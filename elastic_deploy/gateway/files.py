"""What the supervisor and the operator write for the gateway, read again whenever it changes.

`server` polls it; `door` and `forward` read what it found. A routing table that is missing or broken leaves the last
good one in force, so the gateway outlives its supervisor. A key that is gone is revoked at once.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

from elastic_deploy.gateway import keys
from elastic_deploy.gateway.keys import Digest
from elastic_deploy.gateway.log import Log
from elastic_deploy.gateway.table import BrokenTableError, RoutingTable, load_table

PERIOD = 0.2
"""Seconds between two looks: a few stat calls each, cheaper than any way of being told."""

Signature = tuple[int, int, int] | None


def signature(path: Path) -> Signature:
    """What changes whenever the file does, None if it cannot be looked at."""
    try:
        seen = path.stat()
    except OSError:
        return None
    return (seen.st_mtime_ns, seen.st_ino, seen.st_size)


@dataclass(slots=True)
class _KeyFile:
    path: Path
    signature: Signature = None
    text: str = ""

    def poll(self) -> bool:
        """Whether what it says may have changed."""
        seen = signature(self.path)
        if seen == self.signature:
            return False
        self.signature = seen
        try:
            self.text = self.path.read_text("utf-8", "surrogateescape") if seen else ""
        except OSError:
            self.signature, self.text = None, ""
        return True


@dataclass(slots=True)
class _DeploymentKeys:
    clients: _KeyFile
    engine: _KeyFile
    accepted: tuple[Digest, ...] = field(default=())

    def poll(self) -> None:
        if self.clients.poll():
            self.accepted = keys.digests(self.clients.text)
        self.engine.poll()


class Files:
    """`routes.json`, `keys/<deployment>` (clients' keys, one a line) and `keys/<deployment>.engine` in a directory.

    `table` is None until one could be read.
    """

    def __init__(self, directory: Path, log: Log) -> None:
        self._directory = directory
        self._log = log
        self._routes: Signature = None
        self._keys: dict[str, _DeploymentKeys] = {}
        self.table: RoutingTable | None = None

    def poll(self) -> bool:
        """Look once; whether the table is another one now."""
        changed = self._poll_table()
        for deployment in self.table.deployments if self.table else ():
            if deployment not in self._keys:
                path = self._directory / "keys" / deployment
                self._keys[deployment] = _DeploymentKeys(
                    _KeyFile(path), _KeyFile(path.with_name(f"{deployment}.engine"))
                )
        for each in self._keys.values():
            each.poll()
        return changed

    def accepted(self) -> dict[str, tuple[Digest, ...]]:
        """The clients' keys of every deployment in the table."""
        return {name: each.accepted for name, each in self._keys.items()}

    def engine_key(self, deployment: str) -> str:
        """The key that a deployment's engines demand, "" where there is none."""
        known = self._keys.get(deployment)
        return known.engine.text.strip() if known else ""

    def _poll_table(self) -> bool:
        path = self._directory / "routes.json"
        seen = signature(path)
        if seen is None or seen == self._routes:
            return False
        self._routes = seen
        try:
            table = load_table(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, BrokenTableError) as error:
            self._log.event("table_refused", error=f"{os.fspath(path)}: {error}", kept=self.table is not None)
            return False
        if table == self.table:
            return False
        self.table = table
        self._keys = {name: each for name, each in self._keys.items() if name in table.deployments}
        self._log.event("table", backends={entry.model: len(entry.backends) for entry in table.entries})
        return True
