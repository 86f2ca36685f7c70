"""The machines of a history of capacity: an autoscaler that gets what the pools have, for worlds whose clock jumps.

What `machines` is for seconds, this is for days: the life of a node is known when it is launched, so that `next_change`
says when there is anything to look at. `changed` says whether there was.
"""

import heapq
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

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

from .capacity_histories import LOOK, History, PoolHistory
from .machines import Group, Machines, Node

IDLE_OUT = 300.0
"""Seconds: Ray's own default of `idle_timeout_minutes`."""

DEAD_SEEN = 60.0
"""Seconds for which a node that died is still listed."""


@dataclass
class Bought(Node):
    """A node of a history; `slot` is its place in its pool, `launched` when it was asked for."""

    slot: int = 0
    launched: float = 0.0
    usd_per_hour: float = 0.0

    @property
    def hangs(self) -> bool:
        """Whether its set-up never ends."""
        return math.isinf(self.joins_at)


@dataclass
class Market(Machines):
    """The cluster below the engines, in a history that began at `began`."""

    history: History = field(default_factory=lambda: History(0, 0.0, ()))
    began: float = 0.0
    changed: bool = True
    alarms: list[float] = field(default_factory=list)
    short: set[str] = field(default_factory=set)
    """The pools that have less than is asked of them."""
    _asked: dict[str, int] = field(default_factory=dict)
    _nodes_seen: tuple[NodeSeen, ...] | None = None

    def level(self, pool: str, now: float) -> int:
        """How many slots of a pool are open."""
        return self.history.by_name[pool].level(now - self.began)

    def obtainable(self, pool: str, now: float, until: float) -> int:
        """How many nodes could be had from a pool for a gang all the time between the two: new, coming or unused.

        None while one of its nodes hangs: Ray keeps it for as long as a part of a gang is kept.
        """
        busy = {ray_id for group in self.groups.values() for ray_id in group.nodes}
        living = [node for node in self.nodes.values() if node.pool == pool and now < node.declared_at]
        if any(math.isinf(node.joins_at) for node in living):
            return 0
        unused = [
            node
            for node in living
            if node.id not in busy and not node.draining and until < min(node.dies_at, node.taken_at or math.inf)
        ]
        taken = {getattr(node, "slot", -1) for node in living}
        level = self.history.by_name[pool].least(now - self.began, until - self.began)
        return len(unused) + sum(1 for slot in range(level) if slot not in taken)

    def next_change(self, now: float) -> float:
        """When something happens next, if nobody does anything."""
        while self.alarms and self.alarms[0] <= now:
            heapq.heappop(self.alarms)
        following = [self.history.by_name[pool].next_change(now - self.began) + self.began for pool in self.short]
        return min([*self.alarms[:1], *following], default=math.inf)

    def advance(self, now: float) -> None:
        """What has happened until now."""
        while self.alarms and self.alarms[0] <= now:
            heapq.heappop(self.alarms)
            self._is_seen_anew()
        for name in [name for name, node in self.nodes.items() if now >= node.declared_at + DEAD_SEEN]:
            del self.nodes[name]
            self._nodes_seen = None
        busy = self._lose(now)
        self._place_all(now, busy)
        self._scale(now)

    def _is_seen_anew(self) -> None:
        self._nodes_seen, self.changed = None, True

    def _lose(self, now: float) -> set[str]:
        """Take the dead out of their groups; the nodes that are in one."""
        busy: set[str] = set()
        for group in self.groups.values():
            for i, ray_id in enumerate(group.nodes):
                if not ray_id:
                    continue
                node = self.nodes.get(ray_id)
                if node is None or not node.believed(now):
                    group.nodes[i], group.state, self.changed = "", GroupState.RESCHEDULING, True
                else:
                    busy.add(ray_id)
        return busy

    def _place_all(self, now: float, busy: set[str]) -> None:
        pending = [group for group in self.groups.values() if group.state is not GroupState.CREATED]
        if not pending:
            return
        free = [n for n in self.nodes.values() if n.id not in busy and not n.draining and n.runs(now)]
        for group in pending:
            missing = [i for i, ray_id in enumerate(group.nodes) if not ray_id]
            here = [node for node in free if group.pool in ("", node.pool)][: len(missing)]
            if len(here) < len(missing):
                continue
            for i, node in zip(missing, here, strict=True):
                group.nodes[i] = node.id
                busy.add(node.id)
                node.idle_since = None
                free.remove(node)
            group.state, self.changed = GroupState.CREATED, True

    def _scale(self, now: float) -> None:
        busy = {ray_id for group in self.groups.values() for ray_id in group.nodes}
        by_pool: dict[str, list[Bought]] = {pool: [] for pool in self.history.by_name}
        for node in self.nodes.values():
            assert isinstance(node, Bought)
            if now >= node.declared_at:
                continue
            if node.draining and node.id not in busy and node.runs(now):
                node.dies_at = node.declared_at = now  # Ray ends it, there is nothing to wait for
                self._is_seen_anew()
            else:
                by_pool[node.pool].append(node)
        if self.requests != self._asked:
            heapq.heappush(
                self.alarms, now - now % LOOK + LOOK
            )  # what is refused already is refused to the new as well
            self._asked = dict(self.requests)
        for pool, living in by_pool.items():
            standing = [node for node in living if not node.draining]
            wanted = self.requests.get(pool, 0)
            self._idle_out(standing, wanted, busy, now)
            self._launch(pool, living, wanted - len(standing), now)

    def _idle_out(self, standing: Iterable[Bought], wanted: int, busy: set[str], now: float) -> None:
        here = list(standing)
        spare = len(here) - wanted
        for node in here:
            if node.id in busy or spare <= 0 or now < node.joins_at:
                node.idle_since = None
                continue
            spare -= 1
            if node.idle_since is None:
                node.idle_since = now
                heapq.heappush(self.alarms, now + IDLE_OUT)
            elif now - node.idle_since >= IDLE_OUT and now < node.dies_at:
                node.dies_at = node.declared_at = now
                self._is_seen_anew()

    def _launch(self, pool: str, living: Iterable[Bought], missing: int, now: float) -> None:
        was_short = pool in self.short
        self.short.discard(pool)
        if missing <= 0:
            return
        here = self.history.by_name[pool]
        taken = {node.slot for node in living}
        free = [slot for slot in range(here.level(now - self.began)) if slot not in taken]
        for slot in free[:missing]:
            self._bought(here, slot, now)
        if len(free) < missing:
            self.short.add(pool)
            if free or not was_short:
                self._refuse(here, missing - len(free), now)

    def _bought(self, pool: PoolHistory, slot: int, now: float) -> None:
        life, kind = pool.life(slot, now - self.began), pool.kind
        self.counter += 1
        node = Bought(
            f"n{self.counter}",
            self.gpus_per_node,
            life.joins + self.began,
            life.dies + self.began,
            life.declared + self.began,
            pool=kind.name,
            slot=slot,
            launched=now,
            usd_per_hour=kind.usd_per_hour,
        )
        if not math.isinf(life.noticed):
            node.noticed_at, node.taken_at = life.noticed + self.began, node.dies_at
        self.nodes[node.id] = node
        for at in (node.joins_at, node.noticed_at, node.dies_at, node.dies_at + 1.0, node.declared_at):
            if now < at < math.inf:
                heapq.heappush(self.alarms, at)
        self._is_seen_anew()

    def _refuse(self, pool: PoolHistory, count: int, now: float) -> None:
        kind = f"gpu-{pool.kind.name}"
        refusal = LaunchFailure(kind, count, pool.kind.code, "We currently do not have sufficient capacity.", now)
        self.refusals = [*(one for one in self.refusals if one.node_type != kind), refusal]
        self.changed = True

    def ask_again(self, now: float) -> None:
        """The autoscaler tries at every look what it was refused, and is refused again."""
        kinds = {f"gpu-{pool}" for pool in self.short}
        looked = now - now % LOOK
        self.refusals = [replace(one, at=looked) if one.node_type in kinds else one for one in self.refusals]

    def is_cut(self, _: Iterable[str]) -> bool:
        """No paths break here."""
        return False

    def create(self, name: GroupName, bundles: int, pool: str = "") -> None:
        """Make a group, unless there is one of this name."""
        if name not in self.groups:
            self.group_counter += 1
            self.groups[name] = Group(f"pg{self.group_counter}", [""] * bundles, pool=pool)
            self.changed = True

    def notices(self, now: float) -> tuple[NodeNotice, ...]:
        """What the cloud has said."""
        return tuple(
            NodeNotice(node.id, NoticeKind.INTERRUPTION, node.taken_at, node.noticed_at)
            for node in self.nodes.values()
            if node.taken_at is not None and node.noticed_at <= now < node.declared_at
        )

    def seen_nodes(self, now: float, notices: Callable[[Node], bool]) -> tuple[NodeSeen, ...]:
        """The nodes as an observer sees them; made anew only where one has changed."""
        if self._nodes_seen is None:
            self._nodes_seen = tuple(self._seen(node, now, notices) for node in self.nodes.values())
        return self._nodes_seen

    def _seen(self, node: Node, now: float, notices: Callable[[Node], bool]) -> NodeSeen:
        state = NodeState.DRAINING if node.draining else NodeState.JOINED
        if now >= node.declared_at:
            state = NodeState.DEAD
        elif now < node.joins_at:
            state = NodeState.LAUNCHING
        return NodeSeen(
            f"i-{node.id}",
            f"gpu-{node.pool}",
            state,
            node.gpus,
            "" if now < node.joins_at else node.id,
            suspect=node.dies_at <= now < node.declared_at and notices(node),
            joined_at=0.0 if math.isinf(node.joins_at) else node.joins_at,
        )

    def drained(self, node: str) -> None:
        """Ray drains a node."""
        if node in self.nodes:
            self.nodes[node].draining = True
            self._is_seen_anew()

    def seen_groups(self) -> tuple[GroupSeen, ...]:
        """The groups as Ray's table has them."""
        return tuple(GroupSeen(name, g.id, g.state, tuple(g.nodes)) for name, g in self.groups.items())
