"""The journal as it grows: a thread that listens, and starts listening again where the head falls silent.

Used by `follow` and `events --follow`, which wait for events and for the clock at once.
"""

import queue
import threading
from types import TracebackType
from typing import Any

from elastic_deploy.cluster.head import Conversation, Head
from elastic_deploy.model.errors import UserError

_RETRY_S = 1.0
_JOIN_S = 15.0  # ending a conversation takes the time that an agent process may take to end, twice at most


class EventTail:
    """Events after a known one. To be used as a context; nothing of it is left at its end."""

    def __init__(self, head: Head, after: str | None) -> None:
        self._head = head
        self._last = after
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._stopped = threading.Event()
        self._conversation: Conversation | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._listen, name="event-tail", daemon=True)
        self.trouble = ""
        """Why no events come at present, a sentence; "" while they do."""

    def __enter__(self) -> "EventTail":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        with self._lock:
            if self._conversation:
                self._conversation.end()
        self._thread.join(_JOIN_S)

    def wait(self, seconds: float) -> list[dict[str, Any]]:
        """The events that came; waits up to `seconds` for the first."""
        found = []
        try:
            found.append(self._events.get(timeout=seconds))
            while True:
                found.append(self._events.get_nowait())
        except queue.Empty:
            return found

    def _listen(self) -> None:
        while not self._stopped.is_set():
            try:
                self._converse()
            except UserError as error:
                self.trouble = error.message
            self._stopped.wait(_RETRY_S)

    def _converse(self) -> None:
        with self._lock:
            if self._stopped.is_set():
                return
            self._conversation = self._head.open("events", {"after": self._last, "follow": True})
        with self._conversation as conversation:
            # No limit on silence: nothing happens on a cluster that is well. `follow` asks for the status as well.
            for event in conversation.answers(None, None):
                self.trouble = ""
                self._last = event.get("id", self._last)
                self._events.put(event)
