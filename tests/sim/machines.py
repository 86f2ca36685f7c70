"""The machines of the scripted world: an autoscaler, nodes that come late or not at all, and placement groups.

Ray's semantics as FINDINGS has them: a request is one slot; a group is placed whole or not at all; a node's death is
known only some seconds after it happened, and then takes its bundles out of their groups. A node that is drained is
counted and used no more, but keeps what it has (seen in a real Ray).
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from elastic_deploy.model.names import GroupName
from elastic_deploy.model.snapshot import (
    GroupSeen,
    GroupState,
    LaunchFailure,
    NodeNotice,
    NodeSeen,
    NodeState,
    NoticeKind,
)

IDLE_TIMEOUT = 30.0


@dataclass
class Node:
    """One node; `dies_at` is when its processes ended, `declared_at` when Ray says so.

    `taken_at` is when the cloud takes it, known from `noticed_at` on; `draining` once Ray was told.
    """

    id: str
    gpus: int
    joins_at: float
    dies_at: float = float("inf")
    declared_at: float = float("inf")
    idle_since: float | None = None
    taken_at: float | None = None
    noticed_at: float = 0.0
    draining: bool = False
    pool: str = ""

    def runs(self, now: float) -> bool:
        """Whether its processes run, whatever Ray believes."""
        return self.joins_at <= now < self.dies_at

    def believed(self, now: float) -> bool:
        """Whether Ray believes it alive."""
        return self.joins_at <= now < self.declared_at


@dataclass
class Group:
    """One placement group; a bundle is on a node's id, or on "" ."""

    id: str
    nodes: list[str]
    state: GroupState = GroupState.PENDING
    pool: str = ""


@dataclass
class Machines:
    """The cluster below the engines."""

    gpus_per_node: int = 1
    max_nodes: int = 8
    launch_delay: float = 3.0
    nodes: dict[str, Node] = field(default_factory=dict)
    groups: dict[GroupName, Group] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    stock: dict[str, int] = field(default_factory=dict)
    refusing_until: float = 0.0
    monitor_dead_until: float = 0.0
    refusals: list[LaunchFailure] = field(default_factory=list)
    counter: int = 0
    group_counter: int = 0
    cuts: set[frozenset[str]] = field(default_factory=set)

    @property
    def requested(self) -> int:
        """GPUs that are asked for, in all pools together."""
        return sum(self.requests.values())

    @requested.setter
    def requested(self, gpus: int) -> None:
        self.requests = {"": gpus} if gpus else {}

    def advance(self, now: float) -> None:
        """One second of the autoscaler and of the GCS."""
        for node in self.nodes.values():
            if node.taken_at is not None and now >= node.taken_at and node.runs(now):
                node.dies_at, node.declared_at = now, min(node.declared_at, now + 2.0)
        if now >= self.monitor_dead_until:
            self._scale(now)
        for group in self.groups.values():
            lost = [i for i, ray_id in enumerate(group.nodes) if ray_id and not self.nodes[ray_id].believed(now)]
            for i in lost:
                group.nodes[i] = ""
            if lost:
                group.state = GroupState.RESCHEDULING
        for group in self.groups.values():
            if group.state in (GroupState.PENDING, GroupState.RESCHEDULING):
                self._place(group, now)

    def _scale(self, now: float) -> None:
        fits = self.requested <= self.max_nodes * self.gpus_per_node
        busy = {ray_id for group in self.groups.values() for ray_id in group.nodes}
        for pool in sorted({*self.requests, *(node.pool for node in self.nodes.values())}):
            self._scale_pool(pool, self.requests.get(pool, 0) if fits else 0, busy, now)
        for node in self.nodes.values():
            if node.draining and node.runs(now) and node.id not in busy:  # Ray ends it, there is nothing to wait for
                node.dies_at = node.declared_at = now

    def _scale_pool(self, pool: str, gpus: int, busy: set[str], now: float) -> None:
        standing = [node for node in self.nodes.values() if now < node.declared_at and not node.draining]
        here = [node for node in standing if node.pool == pool]
        wanted = min(self.max_nodes, -(-gpus // self.gpus_per_node))
        kind = f"gpu-{pool}" if pool else "gpu"
        for more in range(min(wanted - len(here), self.max_nodes - len(standing))):
            if now < self.refusing_until or len(here) + more >= self.stock.get(pool, self.max_nodes):
                words = "We currently do not have sufficient capacity."
                refusal = LaunchFailure(kind, 1, "InsufficientInstanceCapacity", words, now)
                self.refusals = [*(one for one in self.refusals if one.node_type != kind), refusal]
                break
            self.counter += 1
            node = Node(f"n{self.counter}", self.gpus_per_node, now + self.launch_delay, pool=pool)
            self.nodes[node.id] = node
        spare = len(here) - wanted
        for node in here:
            if node.id in busy or spare <= 0 or node.joins_at > now:
                node.idle_since = None
                continue
            spare -= 1
            node.idle_since = now if node.idle_since is None else node.idle_since
            if now - node.idle_since >= IDLE_TIMEOUT:
                node.dies_at = node.declared_at = min(node.dies_at, now)

    def _place(self, group: Group, now: float) -> None:
        taken = Counter(ray_id for other in self.groups.values() for ray_id in other.nodes if ray_id)
        free = [
            n.id
            for n in self.nodes.values()
            if n.runs(now) and not n.draining and group.pool in ("", n.pool)
            for _ in range(n.gpus - taken[n.id])
        ]
        missing = [i for i, ray_id in enumerate(group.nodes) if not ray_id]
        if len(free) >= len(missing):
            for i, ray_id in zip(missing, free, strict=False):
                group.nodes[i] = ray_id
            group.state = GroupState.CREATED

    def create(self, name: GroupName, bundles: int, pool: str = "") -> None:
        """Make a group, unless there is one of this name."""
        if name not in self.groups:
            self.group_counter += 1
            self.groups[name] = Group(f"pg{self.group_counter}", [""] * bundles, pool=pool)

    def kill(self, which: int, now: float, detected_after: float) -> None:
        """A node that runs dies now; Ray says so later."""
        alive = [node for node in self.nodes.values() if node.runs(now)]
        if alive:
            node = alive[which % len(alive)]
            node.dies_at, node.declared_at = now, now + detected_after

    def cut(self, which: int, now: float) -> None:
        """Two nodes that run do not reach each other any more; nobody else notices."""
        alive = [node.id for node in self.nodes.values() if node.runs(now)]
        if len(alive) > 1:
            self.cuts.add(frozenset((alive[which % len(alive)], alive[(which + 1) % len(alive)])))

    def is_cut(self, nodes: Iterable[str]) -> bool:
        """Whether two of these nodes do not reach each other."""
        among = set(nodes)
        return any(pair <= among for pair in self.cuts)

    def take(self, which: int, now: float, within: float) -> None:
        """The cloud says of a node that runs that it takes it after so many seconds, and does."""
        alive = [node for node in self.nodes.values() if node.runs(now) and node.taken_at is None]
        if alive:
            node = alive[which % len(alive)]
            node.noticed_at, node.taken_at = now, now + within

    def notices(self, now: float) -> tuple[NodeNotice, ...]:
        """What the cloud has said."""
        return tuple(
            NodeNotice(node.id, NoticeKind.INTERRUPTION, node.taken_at, node.noticed_at)
            for node in self.nodes.values()
            if node.taken_at is not None and now < node.declared_at
        )

    def seen_nodes(self, now: float, notices: Callable[[Node], bool]) -> tuple[NodeSeen, ...]:
        """The nodes as an observer sees them; `notices` says whether it knocks at a node."""
        return tuple(
            NodeSeen(
                f"i-{node.id}",
                f"gpu-{node.pool}" if node.pool else "gpu",
                NodeState.LAUNCHING
                if now < node.joins_at
                else NodeState.DEAD
                if now >= node.declared_at
                else NodeState.DRAINING
                if node.draining
                else NodeState.JOINED,
                node.gpus,
                "" if now < node.joins_at else node.id,
                suspect=node.dies_at <= now < node.declared_at and notices(node),
                joined_at=node.joins_at,
            )
            for node in self.nodes.values()
            if now < node.declared_at + 60.0
        )

    def seen_groups(self) -> tuple[GroupSeen, ...]:
        """The groups as Ray's table has them."""
        return tuple(GroupSeen(name, g.id, g.state, tuple(g.nodes)) for name, g in self.groups.items())
