"""The journal: one JSON line an event, only ever appended, on the head's disk. It survives the supervisor.

Written by the supervisor alone; read by `events`, and from it come recovery times and the ETA of a next wait.
"""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from elastic_deploy.model.event import EventDraft

Event = dict[str, Any]


class Journal:
    """An append-only file of events, held in memory as well: some hundred bytes an event, a few events a failure."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: list[Event] = list(read(path))
        self._latest: dict[str, str] = {e["subject"]: e["id"] for e in self.events if e.get("subject")}
        self._next = 1 + max((int(e["id"]) for e in self.events), default=0)
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a")
        if path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            self._file.write("\n")  # the last writer was killed in the middle of a line

    def append(self, drafts: Iterable[EventDraft], now: float) -> list[Event]:
        """Give each event its id, time and cause, and write it; on disk when this returns."""
        added = []
        for draft in drafts:
            event: Event = {
                "id": f"{self._next:06d}",
                "time": now,
                "kind": draft.kind,
                "deployment": draft.deployment or None,
                "replica": draft.replica or None,
                "node": draft.node or None,
                "cause": self._latest.get(draft.because) if draft.because else None,
                "message": draft.message,
                "subject": draft.subject,
                **draft.data,
            }
            self._next += 1
            if draft.subject:
                self._latest[draft.subject] = event["id"]
            added.append(event)
        if added:
            self._file.write("".join(json.dumps(event) + "\n" for event in added))
            self._file.flush()
            os.fsync(self._file.fileno())
            self.events += added
        return added

    def after(self, event_id: str | None) -> list[Event]:
        """The events that came after one, all of them for None."""
        if event_id is None:
            return list(self.events)
        return [event for event in self.events if event["id"] > event_id]

    @property
    def last_id(self) -> str | None:
        """The id of the latest event."""
        return self.events[-1]["id"] if self.events else None


def read(path: Path) -> Iterator[Event]:
    """The events of a journal file; a line that was cut short by a crash is passed over."""
    if not path.exists():
        return
    with path.open() as lines:
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and "id" in event:
                yield event
