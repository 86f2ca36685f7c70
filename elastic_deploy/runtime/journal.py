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

    def append(self, drafts: Iterable[EventDraft], now: float) -> list[Event]:
        """Give each event its id, time and cause, and write it; on disk when this returns.

        Raises OSError where the disk does not take it; then none of them has happened.
        """
        added: list[Event] = []
        latest: dict[str, str] = {}
        for number, draft in enumerate(drafts, start=self._next):
            event: Event = {
                "id": f"{number:06d}",
                "time": now,
                "kind": draft.kind,
                "deployment": draft.deployment or None,
                "replica": draft.replica or None,
                "node": draft.node or None,
                "cause": latest.get(draft.because, self._latest.get(draft.because)) if draft.because else None,
                "message": draft.message,
                "subject": draft.subject,
            }
            if draft.subject:
                latest[draft.subject] = event["id"]
            # What an event carries beside the contract's keys never replaces one of them.
            added.append(event | draft.data | event)
        if added:
            self._write("".join(json.dumps(event) + "\n" for event in added).encode())
            self._next += len(added)
            self._latest |= latest
            self.events += added
        return added

    def _write(self, lines: bytes) -> None:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a+b") as file:
            if file.seek(0, os.SEEK_END) and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n":
                lines = b"\n" + lines  # the last writer was killed, or the disk was full, in the middle of a line
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())

    def after(self, event_id: str | None) -> list[Event]:
        """The events that came after one, all of them for None."""
        if event_id is None:
            return list(self.events)
        return [event for event in self.events if _order(event["id"]) > _order(event_id)]

    @property
    def last_id(self) -> str | None:
        """The id of the latest event."""
        return self.events[-1]["id"] if self.events else None


def _order(event_id: str) -> tuple[int, str]:
    """The order of ids: their numbers', also where these have outgrown the six digits."""
    return len(event_id), event_id


def read(path: Path) -> Iterator[Event]:
    """The events of a journal file; what a crash has cut short or spoilt is passed over."""
    if not path.exists():
        return
    with path.open("rb") as lines:
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and str(event.get("id", "")).isdecimal():
                yield event
