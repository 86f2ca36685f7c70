"""How an engine that serves is let finish before it is ended by a change, and when that is over.

`core.replica` and `core.engine` call `drain` before they end an engine with which nothing is wrong. From the first
such step on the engine is out of the routing table; its own count of requests says when it is idle.
"""

from dataclasses import replace

from elastic_deploy.core.classify import Condition
from elastic_deploy.core.facts import ReplicaFacts
from elastic_deploy.core.replica_step import ReplicaStep, engine_event
from elastic_deploy.core.tally import counted
from elastic_deploy.model.duration import format_duration
from elastic_deploy.model.event import EventDraft
from elastic_deploy.model.snapshot import EngineState

GRACE = 2.0
"""Seconds after the routing table's change for which an engine that is idle is not taken for drained: the front door
reads the table every 0.2 s, and what it sent just before may still be on its way."""

STOPPED_LIMIT = 30.0
"""Seconds at the most for a deployment that the user stops: who stops it does not want to wait for its clients."""

LAST_SECONDS = 5.0
"""Seconds before the cloud takes a node at which an engine on it is ended, whatever it is still doing: the streams that
are left go on elsewhere, where they can, rather than hang on a host that vanishes."""

UNCOUNTED_LIMIT = 30.0
"""Seconds at the most for an engine that does not say how busy it is (vLLM's `--disable-log-stats`)."""


def drain(facts: ReplicaFacts, condition: Condition, why: str) -> ReplicaStep | None:
    """The step of a replica whose engine still drains; None where it may be ended: idle, overdue, or not well."""
    memory = facts.memory
    if not _serves(facts):
        return None
    if memory.draining_since is None:
        remembered = replace(memory, draining_since=facts.now)
        message = f"{facts.name} finishes what it was asked, for {format_duration(_allowed(facts))} at the most: {why}."
        event = engine_event(facts, "engine.draining", message, _because(facts))
        return ReplicaStep(condition, remembered, events=(event,), wake_at=facts.now + GRACE)
    idle_from, ends_at = memory.draining_since + GRACE, memory.draining_since + _limit(facts)
    probe = facts.probe
    if facts.now >= ends_at or (probe is not None and probe.busy == 0 and probe.busy_at >= idle_from):
        return None
    return ReplicaStep(condition, memory, wake_at=idle_from if facts.now < idle_from else ends_at)


def ending_event(facts: ReplicaFacts, why: str) -> EventDraft:
    """That the engine is ended now, and how much it leaves unfinished, as far as it has said."""
    busy = facts.probe.busy if facts.probe and facts.memory.draining_since is not None and _serves(facts) else None
    left = f" It leaves {counted(busy, 'request')} unfinished." if busy else ""
    message = f"{facts.name} is ended: {why}.{left}"
    return engine_event(facts, "engine.ending", message, _because(facts), unfinished=busy or 0)


def _because(facts: ReplicaFacts) -> str:
    """The subject that the end comes of: the node that the cloud takes, if it is that."""
    return f"node:{facts.memory.move.node}" if facts.memory.move else ""


def _serves(facts: ReplicaFacts) -> bool:
    engine = facts.engine
    runs = engine is not None and engine.state is not EngineState.ENDED and not engine.lost_workers
    return runs and facts.memory.serves and facts.is_intact


def _allowed(facts: ReplicaFacts) -> float:
    limit, memory = facts.spec.drain_timeout, facts.memory
    if not facts.spec.wanted:
        limit = min(limit, STOPPED_LIMIT)
    if memory.move is None:
        return limit
    since = facts.now if memory.draining_since is None else memory.draining_since
    return min(limit, max(0.0, memory.move.at - LAST_SECONDS - since))


def _limit(facts: ReplicaFacts) -> float:
    counted = facts.probe is not None and facts.probe.busy is not None
    return _allowed(facts) if counted else min(_allowed(facts), UNCOUNTED_LIMIT)
