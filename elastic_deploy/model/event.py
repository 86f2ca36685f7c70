"""What goes into the journal.

An event's `subject` names what it is about (`node:i-0abc`, `engine:chat/r0/g2`, ...); `because` names the subject
whose latest event led to it. The journal turns that into the contract's `cause`, the id of an event.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class EventDraft:
    """An event before the journal gives it its id, time and cause."""

    kind: str
    message: str
    deployment: str = ""
    replica: str = ""
    node: str = ""
    subject: str = ""
    because: str = ""
    data: dict[str, Any] = field(default_factory=dict)
