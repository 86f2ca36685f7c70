"""What a person, or a script, sees while `up` waits: plain lines, a live table, or JSON lines.

Given events and statuses by `follow`; knows nothing of where they come from.
"""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from elastic_deploy.cli.page import drawn
from elastic_deploy.cli.render import deployment_page, event_line, nodes_table, steps_table
from elastic_deploy.cli.terminal import note, print_json, say

if TYPE_CHECKING:
    from rich.live import Live

REASON_PERIOD_S = 15.0
"""How often the reason for the wait is repeated on plain lines."""

_EVENTS_SHOWN = 12


class PlainWatch:
    """Lines on stderr: each event, and the reason for the wait now and then."""

    pace = 5.0

    def __init__(self) -> None:
        self._said = time.monotonic()
        self._in_trouble = False

    def event(self, event: dict[str, Any]) -> None:
        """A line for the event."""
        note(event_line(event))
        self._said = time.monotonic()

    def status(self, document: dict[str, Any], deployment: dict[str, Any]) -> None:  # noqa: ARG002
        """The reason, if nothing was said for a while."""
        self._in_trouble = False
        if time.monotonic() - self._said >= REASON_PERIOD_S:
            say(f"{deployment['name']} is {deployment['phase']}: {deployment['reason']}")
            self._said = time.monotonic()

    def trouble(self, sentence: str) -> None:
        """A line at the beginning of the trouble."""
        if not self._in_trouble:
            say(sentence)
        self._in_trouble = True


class JsonWatch(PlainWatch):
    """Each event as a JSON line on stdout, and the reasons as lines on stderr."""

    def event(self, event: dict[str, Any]) -> None:
        """The event on stdout."""
        print_json(event, lines=True)


class LiveWatch:
    """A table on the terminal, drawn anew in place, the latest events below it."""

    pace = 1.0

    def __init__(self, live: "Live") -> None:
        self._live = live
        self._events: deque[str] = deque(maxlen=_EVENTS_SHOWN)
        self._nodes: list[dict[str, Any]] = []
        self._ledger: list[dict[str, Any]] = []
        self._deployment: dict[str, Any] | None = None
        self._trouble = ""

    def event(self, event: dict[str, Any]) -> None:
        """The event below the table."""
        self._events.append(event_line(event))
        self._draw()

    def status(self, document: dict[str, Any], deployment: dict[str, Any]) -> None:
        """The table."""
        self._nodes, self._deployment, self._trouble = document["cluster"]["nodes"], deployment, ""
        self._ledger = document.get("ledger", [])
        self._draw()

    def trouble(self, sentence: str) -> None:
        """The trouble below the table."""
        self._trouble = sentence
        self._draw()

    def _draw(self) -> None:
        from rich.console import Group
        from rich.text import Text

        now = time.time()
        described = deployment_page(self._deployment, now) if self._deployment else []
        page = [*described, nodes_table(self._nodes, now), steps_table(self._ledger, now)]
        tail = [Text(line, style="dim") for line in self._events]
        trouble = [Text(self._trouble, style="red")] if self._trouble else []
        self._live.update(Group(drawn(page), *tail, *trouble))


@contextmanager
def live_watch() -> Iterator[LiveWatch]:
    """A live table on stderr, which stays as it was last drawn."""
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), refresh_per_second=4, vertical_overflow="crop") as live:
        yield LiveWatch(live)
