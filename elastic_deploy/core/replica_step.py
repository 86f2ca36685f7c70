"""What one step of one replica comes to, and the parts that the handlers of its conditions share.

Used by `core.gang`, `core.engine` and `core.replica`; knows nothing of deployments.
"""

from typing import NamedTuple

from elastic_deploy.core.classify import Condition
from elastic_deploy.core.facts import ReplicaFacts, is_gone
from elastic_deploy.model.action import Action, Backend, EndEngine
from elastic_deploy.model.event import EventDraft
from elastic_deploy.model.memory import Outage, Recovery, ReplicaMemory


class ReplicaStep(NamedTuple):
    """What one step of a replica came to. `memory` is None once nothing of it is left; `backend` serves."""

    condition: Condition
    memory: ReplicaMemory | None
    actions: tuple[Action, ...] = ()
    events: tuple[EventDraft, ...] = ()
    recovery: Recovery | None = None
    wake_at: float | None = None
    backend: Backend | None = None


def group_event(facts: ReplicaFacts, kind: str, message: str, because: str = "") -> EventDraft:
    """An event about the replica's placement group."""
    return EventDraft(kind, message, facts.spec.name, facts.memory.id, subject=str(facts.group_name), because=because)


def engine_event(facts: ReplicaFacts, kind: str, message: str, because: str = "", **data: object) -> EventDraft:
    """An event about the replica's latest engine."""
    return EventDraft(
        kind, message, facts.spec.name, facts.memory.id, subject=str(facts.name), because=because, data=data
    )


def ending(facts: ReplicaFacts, why: str) -> tuple[Action, ...]:
    """End every engine of the replica of which something is or may be left.

    An engine that is not seen, be it not yet or no more, has had no end that anyone knows of: it is ended by its name.
    """
    names = [engine.name for engine in facts.older]
    if facts.has_engine if facts.engine is None else not is_gone(facts.engine):
        names.append(facts.name)
    return tuple(EndEngine(name, facts.nodes, why) for name in names)


def outage_of(facts: ReplicaFacts, cause: str, because: str) -> Outage | None:
    """The outage that a replica is in from now on; none if it has never served."""
    memory = facts.memory
    return memory.outage or (Outage(facts.now, cause, because) if memory.ever_ready else None)
