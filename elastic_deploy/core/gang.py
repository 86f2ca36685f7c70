"""What to do about a replica's placement group: ask for it, wait for it, notice that it broke.

The handlers of `core.replica`'s table for the conditions of the gang; they know nothing of how an engine fares.
"""

from dataclasses import replace

from elastic_deploy.core.classify import Rule
from elastic_deploy.core.facts import ReplicaFacts
from elastic_deploy.core.replica_step import ReplicaStep, ending, engine_event, group_event, outage_of
from elastic_deploy.model.action import CreatePlacementGroup, RemovePlacementGroup
from elastic_deploy.model.event import EventDraft

GROUP_ASK_PERIOD = 5.0
"""Seconds after which a group that was asked for and is still absent is asked for again."""


def note_whole(facts: ReplicaFacts) -> tuple[ReplicaFacts, tuple[EventDraft, ...]]:
    """Remember since when and where the gang is whole, and say so once."""
    memory, group = facts.memory, facts.group
    if memory.whole_since is not None or group is None or facts.blind or not facts.is_whole or not facts.fits:
        return facts, ()
    outage = replace(memory.outage, whole_at=facts.now) if memory.outage else None
    size = len(group.bundle_nodes)
    event = group_event(
        facts,
        "group.ready",
        f"The placement group of {facts.spec.name}/{memory.id} is ready: {size} of {size} GPU bundles are placed.",
        str(facts.group_name),
    )
    whole = replace(memory, whole_since=facts.now, members=group.bundle_nodes, outage=outage)
    return facts._replace(memory=whole), (event,)


def create_group(facts: ReplicaFacts, rule: Rule) -> ReplicaStep:
    """Ask Ray for the group, and again after a while as long as it is not there."""
    again_at = facts.memory.group_asked_at + GROUP_ASK_PERIOD
    if facts.now < again_at:
        return ReplicaStep(rule.condition, facts.memory, wake_at=again_at)
    name, size = facts.group_name, facts.spec.shape.gpus_per_replica
    event = group_event(
        facts,
        "group.asked",
        f"Asked Ray to place the {size} GPUs of {name.deployment}/{name.replica} together"
        + (f", in pool {facts.pool.name}." if facts.pool and facts.pool.name else "."),
    )
    memory = replace(facts.memory, group_asked_at=facts.now, whole_since=None)
    labels = tuple(facts.pool.labels.items()) if facts.pool else ()
    create = CreatePlacementGroup(name, facts.spec.bundles_per_replica, labels)
    return ReplicaStep(rule.condition, memory, (create,), (event,), wake_at=facts.now + GROUP_ASK_PERIOD)


def remove_unfit(facts: ReplicaFacts, rule: Rule) -> ReplicaStep:
    """Remove a group of another size or pool; nothing runs in it any more."""
    memory = facts.memory
    if memory.whole_since is not None or memory.group_asked_at:
        memory = replace(memory, whole_since=None, group_asked_at=0.0)
    return ReplicaStep(rule.condition, memory, (RemovePlacementGroup(facts.group_name),))


def loss_of(facts: ReplicaFacts) -> tuple[str, str]:
    """What broke the gang, as a clause, and the subject of the event that told of it."""
    dead = facts.dead_members or facts.lost_nodes
    if not dead:
        return "a node of its placement group was lost", ""
    nodes = ", ".join(node.id for node in dead)
    return f"node{'s' if len(dead) > 1 else ''} {nodes} {'were' if len(dead) > 1 else 'was'} lost", f"node:{dead[0].id}"


def break_gang(facts: ReplicaFacts, rule: Rule) -> ReplicaStep:
    """End the engine that has lost a node."""
    cause, because = loss_of(facts)
    event = engine_event(facts, "engine.ending", f"{facts.name} is ended: {cause}.", because)
    # The nodes' death explains the engine's: the row of failures with all nodes well ends here.
    memory = replace(
        facts.memory.forgiven,
        engine_ended=True,
        whole_since=None,
        suspected_at=None,
        outage=outage_of(facts, cause, because),
    )
    return ReplicaStep(rule.condition, memory, ending(facts, cause), (event,))


def await_gang(facts: ReplicaFacts, rule: Rule) -> ReplicaStep:
    """Wait for the rest of the gang; if an engine ended just before it broke, now it is known why."""
    memory = facts.memory
    if memory.suspected_at is not None:
        cause, because = loss_of(facts)
        outage = replace(memory.outage, cause=cause, because=because) if memory.outage else None
        memory = replace(memory.forgiven, whole_since=None, suspected_at=None, outage=outage)
        return ReplicaStep(rule.condition, memory, events=(group_event(facts, "gang.broken", f"{cause}.", because),))
    if memory.whole_since is not None:
        memory = replace(memory, whole_since=None)
    return ReplicaStep(rule.condition, memory)
