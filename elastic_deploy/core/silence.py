"""Which node of a replica is trusted no more when its engines start there one after the other and never speak.

Ray sees nothing wrong with such a node (a GPU or its driver hangs), and a new engine on it is silent as the last one
was. So it is counted on which nodes engines stayed silent, and the node that has seen most of that is drained, one at a
time, in the way of `core.distrust`. Pure.
"""

from collections import Counter
from dataclasses import replace

from elastic_deploy.core.facts import ReplicaFacts, is_gone
from elastic_deploy.model.duration import format_duration
from elastic_deploy.model.event import EventDraft
from elastic_deploy.model.memory import Distrust, ReplicaMemory
from elastic_deploy.model.snapshot import NodeSeen, NodeState

SILENT_STARTS = 2
"""Engines in a row that have to be silent on a node until it is given up. One alone may have been slow: a node that
reads the weights from far for the first time."""


def with_silence(memory: ReplicaMemory) -> ReplicaMemory:
    """The replica after one more engine that never spoke on the nodes that it has."""
    return replace(memory, silent=memory.silent + tuple(dict.fromkeys(memory.members)))


def spoken(memory: ReplicaMemory) -> ReplicaMemory:
    """The replica once an engine has spoken: its nodes are well."""
    known = memory.silent or memory.given_up or memory.strikes
    return replace(memory, silent=(), given_up=0, strikes=0) if known else memory


def note_silent_nodes(facts: ReplicaFacts) -> tuple[ReplicaFacts, tuple[EventDraft, ...]]:
    """Remember which node is trusted no more, and say so once.

    As many nodes as the replica has are given up at the most: where engines are silent on all others too, it is not
    the nodes, and the failures count.
    """
    memory, paths = facts.memory, facts.paths
    if not memory.silent or facts.blind or facts.has_engine or memory.distrust is not None:
        return facts, ()
    if not is_gone(facts.engine) or facts.older or (paths is not None and paths.at is None):
        return facts, ()  # Ray runs no task on a node that it drains, so what is left of an engine is swept before
    node = _most_silent(facts)
    if node is None or memory.given_up >= len(set(memory.members)):
        return facts, ()
    starts, limit = memory.silent.count(node.ray_id), format_duration(facts.spec.engine_start_timeout)
    why = f"{starts} engines in a row that were started on it did not generate within {limit}"
    message = f"Node {node.id} is trusted no more: {why}. Ray drains it, so that another comes in its place."
    data = {"step": "engine", "starts": starts, "seconds": facts.spec.engine_start_timeout}
    because = f"node:{node.id}"
    event = EventDraft("node.distrusted", message, node=node.id, subject=because, because=str(facts.name), data=data)
    outage = memory.outage and replace(memory.outage, cause=f"node {node.id} let no engine start", because=because)
    remembered = replace(
        memory.forgiven,
        silent=tuple(ray_id for ray_id in memory.silent if ray_id != node.ray_id),
        given_up=memory.given_up + 1,
        strikes=memory.strikes + 1,
        suspected_at=None,
        outage=outage,
        distrust=Distrust(node.ray_id, node.id, why, facts.now),
    )
    return facts._replace(memory=remembered), (event,)


def _most_silent(facts: ReplicaFacts) -> NodeSeen | None:
    """The node that saw most of the silent engines, if enough; among equals the newest one, never the head."""
    counts = Counter(facts.memory.silent)
    members = set(facts.memory.members)
    nodes = [
        node
        for node in facts.view.snapshot.nodes.value or ()
        if node.ray_id in members and node.state is NodeState.JOINED and not node.is_head and not node.suspect
        if counts[node.ray_id] >= SILENT_STARTS
    ]
    return max(nodes, key=lambda node: (counts[node.ray_id], node.joined_at, node.id), default=None)
