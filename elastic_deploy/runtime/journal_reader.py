"""What the journal tells, read as it grows: a supervisor of weeks must not read all of it again at every step."""

from elastic_deploy.core.past import Past, PastFold
from elastic_deploy.core.steps import Fold, Track
from elastic_deploy.runtime.journal import Journal


class JournalReader:
    """Keeps what the events tell of the past, and every node's and replica's steps."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._past, self._past_read = PastFold(), 0
        self._steps, self._steps_read = Fold(), 0

    def past(self) -> Past:
        """How long waits and starts took, and since when each phase lasts."""
        events = self._journal.events
        self._past.read(events[self._past_read :])
        self._past_read = len(events)
        return self._past.past

    def tracks(self) -> tuple[Track, ...]:
        """What became of every node and replica, oldest first."""
        events = self._journal.events
        self._steps.read(events[self._steps_read :])
        self._steps_read = len(events)
        return self._steps.tracks()
