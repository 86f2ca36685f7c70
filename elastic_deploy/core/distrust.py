"""Which node of a replica is trusted no more when its nodes do not reach each other, though the head reaches all.

Ray sees nothing of such a cut, and an engine started on the same nodes fails as the last one did. So the nodes are
asked after an engine has failed (`paths_wanted`), and one of them is drained: nothing is placed on it again, and the
autoscaler ends it once it is idle and brings another.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from elastic_deploy.core.classify import DRAIN_WAIT, Rule
from elastic_deploy.core.facts import ReplicaFacts, is_gone
from elastic_deploy.core.replica_step import ReplicaStep, engine_event
from elastic_deploy.model.action import DrainNode
from elastic_deploy.model.event import EventDraft
from elastic_deploy.model.memory import Distrust, Memory
from elastic_deploy.model.names import EngineName
from elastic_deploy.model.snapshot import BrokenPath, NodeSeen, NodeState, Snapshot


def paths_wanted(memory: Memory) -> dict[EngineName, tuple[str, ...]]:
    """The engines that failed with all their nodes well, as far as is known, and the nodes to ask, by Ray's id."""
    wanted = {}
    for deployment in memory.deployments:
        for replica in deployment.replicas:
            nodes = tuple(dict.fromkeys(replica.members))
            if replica.engine_ended and replica.suspected_at is not None and len(nodes) > 1 and not replica.leaving:
                wanted[EngineName(deployment.name, replica.id, replica.generation)] = nodes
    return wanted


def note_broken_paths(facts: ReplicaFacts) -> tuple[ReplicaFacts, tuple[EventDraft, ...]]:
    """Remember which node is trusted no more, and say so once; the engine's failure is then explained by the cut."""
    memory, paths = facts.memory, facts.paths
    if facts.blind or facts.has_engine or memory.suspected_at is None or paths is None or paths.at is None:
        return facts, ()
    if not is_gone(facts.engine) or facts.older:
        return facts, ()  # Ray runs no task on a node that it drains, so what is left of an engine is swept before
    well = {
        node.ray_id: node
        for node in facts.view.snapshot.nodes.value or ()
        if node.state is NodeState.JOINED and not node.suspect and node.ray_id in memory.members
    }
    # A node that the head does not reach either is a dead one in the making: that is Ray's to judge.
    broken = _pairs(paths.broken, well)
    node = distrusted(broken, well)
    if node is None:
        return facts, ()
    ends = [(well[path.one], well[path.other]) for path in broken]
    cause = "; ".join(f"nodes {one.id} and {other.id} do not reach each other" for one, other in ends)
    subject, because = f"network:{facts.group_name}", f"node:{node.id}"
    told = [
        _broken_event(facts, one, other, path.why, subject) for (one, other), path in zip(ends, broken, strict=True)
    ]
    message = f"Node {node.id} is trusted no more: {cause}. Ray drains it, so that another comes in its place."
    why = "it does not reach the other nodes of a replica"
    told.append(EventDraft("node.distrusted", message, node=node.id, subject=because, because=subject))
    outage = replace(memory.outage, cause=cause, because=because) if memory.outage else None
    # The cut explains the engine's failure: the row of failures with all nodes well ends here.
    remembered = replace(
        memory.forgiven, suspected_at=None, outage=outage, distrust=Distrust(node.ray_id, node.id, why, facts.now)
    )
    return facts._replace(memory=remembered), tuple(told)


def _pairs(broken: Sequence[BrokenPath], well: dict[str, NodeSeen]) -> list[BrokenPath]:
    """Each pair of nodes that are well otherwise once, whoever of the two said it."""
    pairs: dict[frozenset[str], BrokenPath] = {}
    for path in broken:
        if path.one in well and path.other in well and path.one != path.other:
            pairs.setdefault(frozenset((path.one, path.other)), path)
    return list(pairs.values())


def distrusted(broken: Sequence[BrokenPath], well: dict[str, NodeSeen]) -> NodeSeen | None:
    """The node that most of the broken paths have in common, among equals the one that joined last; never the head."""
    counts = Counter(end for path in broken for end in (path.one, path.other))
    ends = [well[ray_id] for ray_id in counts if not well[ray_id].is_head]
    return max(ends, key=lambda node: (counts[node.ray_id], node.joined_at, node.id), default=None)


def least_trusted(nodes: Sequence[NodeSeen]) -> NodeSeen | None:
    """Of nodes that nothing tells apart, the one that joined last: what came before it was well. Never the head."""
    return max((n for n in nodes if not n.is_head), key=lambda n: (n.joined_at, n.id), default=None)


def _broken_event(facts: ReplicaFacts, one: NodeSeen, other: NodeSeen, why: str, subject: str) -> EventDraft:
    message = (
        f"Nodes {one.id} ({one.address}) and {other.id} ({other.address}) of {facts.spec.name}/{facts.memory.id} do "
        f"not reach each other, though the head reaches both: {why}."
    )
    data = {"nodes": [one.id, other.id], "addresses": [one.address, other.address]}
    event = engine_event(facts, "network.broken", message, str(facts.name), **data)
    return replace(event, subject=subject)


def drains(memory: Memory, snapshot: Snapshot) -> tuple[DrainNode, ...]:
    """Have Ray drain the nodes that are trusted no more, until each is seen to be drained, or gone."""
    joined = {n.ray_id for n in snapshot.nodes.value or () if n.state is NodeState.JOINED and not n.is_head}
    found = {r.distrust.node: r.distrust for d in memory.deployments for r in d.replicas if r.distrust}
    return tuple(DrainNode(one.node, one.at, one.why) for one in found.values() if one.node in joined)


def await_drain(facts: ReplicaFacts, rule: Rule) -> ReplicaStep:
    """Wait until Ray drains the node, or for as long as that can take."""
    distrust = facts.memory.distrust
    return ReplicaStep(rule.condition, facts.memory, wake_at=None if distrust is None else distrust.at + DRAIN_WAIT)
