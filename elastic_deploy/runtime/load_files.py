"""What the front door says of its load, as a part of the snapshot: read from the files of `gateway.demand`."""

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from elastic_deploy.model.snapshot import LoadSeen

FRESH = 5.0
"""Seconds for which a file counts; a gateway writes its own every second."""

FORGOTTEN = 60.0
"""Seconds after which the file of a gateway that did not withdraw it is removed."""


def read_loads(directory: Path) -> tuple[LoadSeen, ...]:
    """The load of every deployment, of all gateways together; nothing where the present one has said nothing of late.

    One that finishes its answers beside its successor counts as well, but does not know who asks now.
    """
    now = time.time()
    told: dict[int, dict[str, Any]] = {}
    for path in (directory / "load").glob("*.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            document = json.loads(path.read_text())
            age = abs(now - float(document["at"]))
            if age <= FRESH:
                told[int(path.stem)] = document
            elif age > FORGOTTEN and not _lives(int(path.stem)):
                path.unlink()
    try:
        present = int(json.loads((directory / "gateway.json").read_text())["pid"])
        return _summed(list(told.values())) if present in told else ()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ()


def _lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _summed(documents: list[dict[str, Any]]) -> tuple[LoadSeen, ...]:
    found = []
    for name in sorted({name for document in documents for name in document["deployments"]}):
        parts = [document["deployments"][name] for document in documents if name in document["deployments"]]
        agos = [float(part["last_request_ago"]) for part in parts if part["last_request_ago"] is not None]
        found.append(
            LoadSeen(
                name,
                at=min(float(document["at"]) for document in documents),
                running=sum(int(part["running"]) for part in parts),
                waiting=sum(int(part["waiting"]) for part in parts),
                quiet_for=min(float(part["quiet_for"]) for part in parts),
                last_request_ago=min(agos, default=None),
            )
        )
    return tuple(found)
