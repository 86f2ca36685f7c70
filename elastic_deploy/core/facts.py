"""What one replica's condition is judged by: the snapshot's readings joined with the spec and the memory.

`core.decide` makes one index a step, so that a step costs time in proportion to what was observed; `core.deployment`
joins it with each replica.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from elastic_deploy.model.memory import ReplicaMemory
from elastic_deploy.model.names import EngineName, GroupName
from elastic_deploy.model.pool import ANYWHERE, Pool
from elastic_deploy.model.snapshot import (
    EngineSeen,
    EngineState,
    GroupSeen,
    GroupState,
    NodeNotice,
    NodeSeen,
    NodeState,
    NoticeKind,
    PathsSeen,
    ProbeSeen,
    Snapshot,
)
from elastic_deploy.model.spec import DeploymentSpec
from elastic_deploy.planning.pools import most_in

# Python 3.11 takes four times as long to find an enum's member by its class, and here it counts: see bench-decide.
_DEAD, _CREATED, _REMOVED, _ENDED = NodeState.DEAD, GroupState.CREATED, GroupState.REMOVED, EngineState.ENDED
_DRAINING = NodeState.DRAINING


HANDOVER = 20.0
"""Seconds before the cloud takes a node at which an engine on it is given no more requests, if no other serves in its
place by then: what it was asked may be finished meanwhile. EC2 announces an interruption two minutes ahead."""


def is_gone(engine: EngineSeen | None) -> bool:
    """Whether nothing of an engine is left: it ended, and its nodes were searched for what it left behind."""
    return engine is None or (engine.state is _ENDED and engine.swept)


@dataclass(frozen=True, slots=True)
class Parts:
    """What was seen of one deployment, by replica. `running` names those of which a group or engine is left."""

    groups: dict[str, GroupSeen] = field(default_factory=dict)
    engines: dict[str, list[EngineSeen]] = field(default_factory=dict)
    probes: dict[str, list[ProbeSeen]] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)


NOTHING = Parts()
"""What was seen of a deployment of which there is nothing."""


@dataclass(frozen=True, slots=True)
class Index:
    """The snapshot by deployment and replica.

    `blind` says which reading failed, if one did. `dead` and `suspect` hold the nodes that are not well, by Ray's id:
    the only ones that a replica has to know of. `draining` holds those on which Ray places nothing any more, `notices`
    what the cloud has said of when it takes a node. `paths` is what the nodes of a failed engine say of each other.
    """

    snapshot: Snapshot
    blind: str
    dead: dict[str, NodeSeen]
    suspect: dict[str, NodeSeen]
    deployments: dict[str, Parts]
    draining: dict[str, NodeSeen] = field(default_factory=dict)
    notices: dict[str, NodeNotice] = field(default_factory=dict)
    paths: dict[EngineName, PathsSeen] = field(default_factory=dict)

    def room(self, pool: Pool) -> int | None:
        """The most GPUs that a pool can ever have, by the limits that the cluster has now; None is not known."""
        capacity = self.snapshot.capacity
        return pool.gpus if capacity is None or not pool.name else most_in(capacity, pool)

    def of_deployment(self, name: str) -> Parts:
        """What was seen of one deployment."""
        return self.deployments.get(name, NOTHING)

    @staticmethod
    def of(snapshot: Snapshot) -> "Index":
        """The index of a snapshot."""
        nodes = snapshot.nodes.value or ()
        # A launch that was given up has no Ray id, and has never been a member of anything.
        dead = {node.ray_id: node for node in nodes if node.state is _DEAD and node.ray_id}
        suspect = {node.ray_id: node for node in nodes if node.suspect and node.state is not _DEAD}
        draining = {node.ray_id: node for node in nodes if node.state is _DRAINING}
        notices = {one.node: one for one in snapshot.notices if one.kind is NoticeKind.INTERRUPTION}
        deployments: defaultdict[str, Parts] = defaultdict(Parts)
        for group in snapshot.groups.value or ():
            if group.state is not _REMOVED:
                parts = deployments[group.name.deployment]
                parts.groups[group.name.replica] = group
                parts.running.add(group.name.replica)
        for engine in snapshot.engines.value or ():
            parts = deployments[engine.name.deployment]
            parts.engines.setdefault(engine.name.replica, []).append(engine)
            if not is_gone(engine):
                parts.running.add(engine.name.replica)
        for probe in snapshot.probes:
            deployments[probe.name.deployment].probes.setdefault(probe.name.replica, []).append(probe)
        paths = {one.engine: one for one in snapshot.paths}
        return Index(snapshot, _blindness(snapshot), dead, suspect, dict(deployments), draining, notices, paths)


def _blindness(snapshot: Snapshot) -> str:
    readings = (("nodes", snapshot.nodes), ("placement groups", snapshot.groups), ("engines", snapshot.engines))
    return "; ".join(f"{what}: {reading.error or 'unknown'}" for what, reading in readings if not reading.known)


class ReplicaFacts(NamedTuple):
    """One replica as it is now. A named tuple, because one is made for every replica at every step.

    `lost_nodes` are dead nodes that the group still counts on; `dead_members`, dead nodes that it was last whole on,
    which are the reason of a loss even after Ray has taken its bundles off them. `others_serve`: another replica of
    the deployment serves, so that this one may go on failing without the deployment's being given up.
    """

    now: float
    spec: DeploymentSpec
    fingerprint: str
    memory: ReplicaMemory
    view: Index
    others_serve: bool = False
    group: GroupSeen | None = None
    engine: EngineSeen | None = None
    older: tuple[EngineSeen, ...] = ()
    probe: ProbeSeen | None = None
    lost_nodes: tuple[NodeSeen, ...] = ()
    dead_members: tuple[NodeSeen, ...] = ()
    suspect_nodes: tuple[NodeSeen, ...] = ()

    @property
    def blind(self) -> str:
        """Which reading failed, if one did."""
        return self.view.blind

    @property
    def name(self) -> EngineName:
        """The latest engine's name."""
        return EngineName(self.spec.name, self.memory.id, self.memory.generation)

    @property
    def paths(self) -> PathsSeen | None:
        """What the nodes of the latest engine say of each other; None where they were not asked."""
        return self.view.paths.get(self.name) if self.view.paths else None

    @property
    def group_name(self) -> GroupName:
        """The placement group's name."""
        return GroupName(self.spec.name, self.memory.id)

    @property
    def pool(self) -> Pool | None:
        """Where the replica lives or waits; None as long as there is no place for it."""
        return self.spec.place(self.memory.pool) if self.spec.pools or self.memory.pool != "" else ANYWHERE

    @property
    def has_engine(self) -> bool:
        """Whether an engine was started or adopted and has not been given up."""
        return self.memory.generation > 0 and not self.memory.engine_ended

    @property
    def nodes(self) -> tuple[str, ...]:
        """Ray's ids of the nodes on which something of this replica may run: all, where nobody knows where it was."""
        if self.group is None and not self.memory.members:
            return tuple(sorted(node.ray_id for node in self.view.snapshot.nodes.value or () if node.ray_id))
        placed = set(self.group.bundle_nodes) if self.group else set()
        placed |= {engine.node for engine in (self.engine, *self.older) if engine}
        placed |= set(self.memory.members) - {node.ray_id for node in self.dead_members}
        return tuple(sorted(placed - {""}))

    @property
    def proven(self) -> bool:
        """Whether this generation's engine has generated: seen now, or remembered."""
        return self.memory.proven_at is not None or (self.probe is not None and self.probe.proven_at is not None)

    @property
    def is_whole(self) -> bool:
        """Whether every bundle of the group is placed on a living node."""
        return self.group is not None and self.group.state is _CREATED and not self.lost_nodes

    @property
    def fits(self) -> bool:
        """Whether the group has the number of bundles that the spec asks for, in a pool of its."""
        size = self.spec.shape.gpus_per_replica
        return self.group is not None and len(self.group.bundle_nodes) == size and self.pool is not None

    @property
    def is_on_draining_node(self) -> bool:
        """Whether a bundle of the group is on a node that Ray drains: what is started there is lost with it."""
        draining, group = self.view.draining, self.group
        return bool(draining) and group is not None and any(ray_id in draining for ray_id in group.bundle_nodes)

    @property
    def is_due(self) -> bool:
        """Whether the cloud takes a node of it so soon that what it was asked has to be finished now."""
        move = self.memory.move
        return move is not None and self.now >= move.at - HANDOVER

    @property
    def is_intact(self) -> bool:
        """Whether the gang is whole, and where it was: a bundle that is elsewhere was lost and placed again unseen."""
        memory, group = self.memory, self.group
        return (
            group is not None
            and group.state is _CREATED
            and not self.lost_nodes
            and (memory.whole_since is None or group.bundle_nodes == memory.members)
        )


def facts_of(
    spec: DeploymentSpec,
    memory: ReplicaMemory,
    index: Index,
    now: float,
    *,
    fingerprint: str | None = None,
    others_serve: bool = False,
) -> ReplicaFacts:
    """Join what is known of one replica. `fingerprint` is the spec's, made once for all of its replicas."""
    parts = index.of_deployment(spec.name)
    group = parts.groups.get(memory.id)
    current, older = None, []
    for engine in parts.engines.get(memory.id, ()):
        if engine.name.generation == memory.generation:
            current = engine
        elif not is_gone(engine):
            older.append(engine)
    probe = None
    for candidate in parts.probes.get(memory.id, ()):
        if candidate.name.generation == memory.generation:
            probe = candidate
    placed = group.bundle_nodes if group else ()
    return ReplicaFacts(
        now,
        spec,
        spec.fingerprint if fingerprint is None else fingerprint,
        memory,
        index,
        others_serve,
        group,
        current,
        tuple(older) if older else (),
        probe,
        _among(placed, index.dead) if index.dead else (),
        _among(memory.members, index.dead) if index.dead else (),
        _among(placed, index.suspect) if index.suspect else (),
    )


def _among(ray_ids: tuple[str, ...], unwell: dict[str, NodeSeen]) -> tuple[NodeSeen, ...]:
    """The nodes with these ids that are not well, each once."""
    return tuple(unwell[ray_id] for ray_id in dict.fromkeys(ray_ids) if ray_id in unwell)
