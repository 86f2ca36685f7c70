"""Nodes that hang in one step of their way: how long each has been there, and which are given up.

Pure; `core.deployment` calls `limited` at every step, before `core.pools`. Timed are the nodes of a pool in which a
replica waits: those on their way (booting, SSH, files, set-up), and those that have joined with all the GPUs that the
replica needs, and yet its group is not placed. A node that has joined is drained through Ray, and replaced. One that
has not joined can be ended by Ray's autoscaler alone, which does so by limits of its own: it is said to hang, and its
replica leaves the pool where there is another (`core.pools`). A node that waits for others of its gang does not hang.
"""

from dataclasses import dataclass, replace

from elastic_deploy.core.distrust import least_trusted
from elastic_deploy.core.facts import Index
from elastic_deploy.core.gathering import is_waiting
from elastic_deploy.core.partial import Gathered, gathered
from elastic_deploy.model.action import DrainNode
from elastic_deploy.model.duration import format_duration
from elastic_deploy.model.event import EventDraft
from elastic_deploy.model.memory import DeploymentMemory, ReplicaMemory, Stay
from elastic_deploy.model.pool import Pool
from elastic_deploy.model.snapshot import NodeSeen, NodeState
from elastic_deploy.model.spec import DeploymentSpec

PLACING = "placing"
"""The step of a replica's nodes that are all there, until its group is placed. Its stay is under the replica's id."""

STEP_WORDS = {
    "launching": "it boots and has not been seen to be set up",
    "ssh": "it does not answer SSH",
    "files": "its files are being copied",
    "setup": "its set-up runs",
    PLACING: "it has joined, and Ray places nothing on it",
}
"""What a node does in each step, as a clause."""


@dataclass(frozen=True, slots=True)
class Limited:
    """The memory with the stays of the nodes that are waited for, what to do and say, and when to look again."""

    memory: DeploymentMemory
    actions: tuple[DrainNode, ...] = ()
    events: tuple[EventDraft, ...] = ()
    wake_at: float | None = None


def overdue_in(memory: DeploymentMemory, pool: Pool) -> Stay | None:
    """A node of a pool that has not joined, and hangs."""
    stays = (stay for stay in memory.stays if stay.overdue and stay.step != PLACING)
    return next((stay for stay in stays if pool.has(stay.node_type)), None)


def limited(spec: DeploymentSpec, memory: DeploymentMemory, index: Index, now: float) -> Limited:
    """One step of the nodes' deadlines. The blind judge nothing: what they do not see may have gone on."""
    if index.blind:
        return Limited(memory)
    waiting = [replica for replica in memory.staying if is_waiting(replica, index, spec.name)]
    if spec.step_timeout is None or not waiting:
        return Limited(replace(memory, stays=()) if memory.stays else memory)
    return _Step(spec, memory, index, now, spec.step_timeout).taken(waiting)


class _Step:
    """One step: every stay that goes on, or begins, and what is overdue."""

    def __init__(self, spec: DeploymentSpec, memory: DeploymentMemory, index: Index, now: float, limit: float) -> None:
        self._spec, self._memory, self._index, self._now, self._limit = spec, memory, index, now, limit
        self._former = {(stay.node, stay.step): stay for stay in memory.stays}
        self._stays: list[Stay] = []
        self._replicas = {replica.id: replica for replica in memory.replicas}
        self._actions: list[DrainNode] = []
        self._events: list[EventDraft] = []

    def taken(self, waiting: list[ReplicaMemory]) -> Limited:
        """The step's outcome."""
        there = gathered(self._spec, waiting, self._index)
        for replica in waiting:
            if replica.id in there:
                self._placing(replica, there[replica.id])
        first: dict[str, tuple[Pool, ReplicaMemory]] = {}
        for replica in waiting:
            if (pool := self._spec.place(replica.pool)) is not None:
                first.setdefault(pool.name, (pool, replica))
        for node in self._index.snapshot.nodes.value or ():
            if node.state is NodeState.LAUNCHING:
                self._on_its_way(node, next((one for pool, one in first.values() if pool.has(node.type)), None))
        stays, replicas = tuple(self._stays), tuple(self._replicas[one.id] for one in self._memory.replicas)
        memory = self._memory
        if stays != memory.stays or replicas != memory.replicas:
            memory = replace(memory, stays=stays, replicas=replicas)
        ends = [stay.since + self._limit for stay in stays if not stay.overdue]
        return Limited(memory, tuple(self._actions), tuple(self._events), min(ends, default=None))

    def _stay(self, node: str, node_type: str, step: str) -> Stay:
        return self._former.get((node, step)) or Stay(node, node_type, step, self._now)

    def _is_over(self, stay: Stay) -> bool:
        return self._now - stay.since >= self._limit

    def _on_its_way(self, node: NodeSeen, replica: ReplicaMemory | None) -> None:
        step = node.step.value if node.step else "launching"
        if replica is None:
            # Nobody waits for it any more; that it hangs is still known to whoever thinks of coming back.
            former = self._former.get((node.id, step))
            self._stays += [former] if former is not None and former.overdue else []
            return
        stay = self._stay(node.id, node.type, step)
        if self._is_over(stay) and not stay.overdue:
            stay = replace(stay, overdue=True)
            others = len(self._spec.places) > 1
            next_ = (
                "its replica tries another pool as soon as one can be asked"
                if others
                else "Ray's autoscaler ends it by its own limits"
            )
            self._say(replica, node, stay, next_ + self._usually())
        self._stays.append(stay)

    def _usually(self) -> str:
        usual = self._index.snapshot.usual.gang
        return "" if usual is None else f"; all nodes of a replica usually come within {format_duration(usual)}"

    def _placing(self, replica: ReplicaMemory, there: Gathered) -> None:
        if there.gpus < self._spec.shape.gpus_per_replica:
            return
        stay = self._stay(replica.id, "", PLACING)
        if not self._is_over(stay):
            self._stays.append(stay)
            return
        group = self._index.of_deployment(self._spec.name).groups.get(replica.id)
        placed = set(group.bundle_nodes) if group else set()
        node = least_trusted([each for each in there.nodes if each.ray_id not in placed])
        if node is None:
            return  # Ray has placed all of it on nodes that are well, and is about to say so
        why = (
            f"Ray has placed nothing on it for {format_duration(self._limit)}, though all nodes of a replica are there"
        )
        self._actions.append(DrainNode(node.ray_id, self._now, why))
        self._say(replica, node, stay, "Ray drains it, so that another comes in its place")
        self._replicas[replica.id] = replace(replica, strikes=replica.strikes + 1)
        # The next one is given a time of its own.
        self._stays.append(Stay(replica.id, "", PLACING, self._now))

    def _say(self, replica: ReplicaMemory, node: NodeSeen, stay: Stay, next_: str) -> None:
        seconds = self._now - stay.since
        message = (
            f"Node {node.id} ({node.type}) of {self._spec.name}/{replica.id} hangs since {format_duration(seconds)}: "
            f"{STEP_WORDS[stay.step]}. It is given up (--step-timeout): {next_}."
        )
        data = {
            "step": stay.step,
            "node_type": node.type,
            "seconds": round(seconds, 1),
            "why": STEP_WORDS[stay.step],
            "next": next_,
        }
        subject = f"node:{node.id}"
        self._events.append(
            EventDraft("node.overdue", message, self._spec.name, replica.id, node.id, subject, subject, data)
        )
