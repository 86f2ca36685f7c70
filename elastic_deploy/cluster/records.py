"""The local copy of what a cluster's head has recorded: its journal and its engines' logs, kept after `down`.

Written by `down` before the head goes; read by `events` and `logs` where there is no head to ask. Secrets are in
neither.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from elastic_deploy.cluster.head import Head
from elastic_deploy.model.home import cluster_dir, private_dir

LOG_LINES_KEPT = 2000
"""Lines of each engine's log that are kept."""

_LIMIT_S = 30.0


def journal_path(cluster_name: str) -> Path:
    """The journal's local copy: one event a line, those of the cluster's earlier lives first."""
    return cluster_dir(cluster_name) / "journal.jsonl"


def engine_log_path(cluster_name: str) -> Path:
    """The engines' last log lines, one JSON object {"replica", "engine", "line"} a line."""
    return cluster_dir(cluster_name) / "logs" / "engines.jsonl"


def keep_records(head: Head) -> None:
    """Fetch the journal and the engines' last lines. Raises UserError where the head does not give them."""
    path = journal_path(head.cluster)
    known = {_identity(event) for event in read_records(path)}
    events = head.stream("events", {"after": None, "follow": False}, _LIMIT_S)
    _append(path, (event for event in events if _identity(event) not in known))
    lines = head.stream(
        "logs", {"deployment": None, "replica": None, "follow": False, "lines": LOG_LINES_KEPT}, _LIMIT_S
    )
    engine_log_path(head.cluster).unlink(missing_ok=True)
    _append(engine_log_path(head.cluster), lines)


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a local copy, none where there is none. A line that was cut off is left out."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record


def _identity(event: dict[str, Any]) -> tuple[object, object]:
    # A cluster that is launched again counts its events anew: the id alone does not tell them apart.
    return event.get("id"), event.get("time")


def _append(path: Path, records: Iterable[dict[str, Any]]) -> None:
    private_dir(path.parent)
    with path.open("a") as file:
        path.chmod(0o600)
        for record in records:
            file.write(json.dumps(record) + "\n")
