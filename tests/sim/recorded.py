"""A history in the scripted world that is written down as the supervisor does it: with a ledger and a journal."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elastic_deploy.core.decide import Decision
from elastic_deploy.core.ledger import Ledger, advance
from elastic_deploy.core.past import past_of
from elastic_deploy.core.status import ClusterFacts, status_document
from elastic_deploy.core.steps import tracks_of
from elastic_deploy.model.snapshot import Snapshot
from elastic_deploy.runtime.journal import Event, Journal

from .play import Play

FACTS = ClusterFacts("sim", "local", "head:6379", "http://head:8000/v1")


@dataclass
class Recorded(Play):
    """A play with its journal at `path`."""

    path: Path = Path()
    ledger: Ledger = field(default_factory=Ledger)
    seen: Snapshot | None = None

    def __post_init__(self) -> None:
        self.journal = Journal(self.path / "journal.jsonl")

    def decide(self) -> Decision:
        """What has changed is written down before what is decided, so that the one can be the other's cause."""
        self.seen = self.world.snapshot()
        self.ledger, changes = advance(self.ledger, self.seen)
        self.journal.append(changes, self.now)
        decision = super().decide()
        self.journal.append(decision.why, self.now)
        return decision

    @property
    def told(self) -> list[Event]:
        """The journal."""
        return self.journal.events

    def document(self) -> dict[str, Any]:
        """What `status -o json` would print."""
        assert self.seen is not None
        return status_document(
            self.spec, self.memory, self.ledger, self.seen, FACTS, self.now, past_of(self.told), tracks_of(self.told)
        )
