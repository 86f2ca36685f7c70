"""Short ways to write down a replica, a snapshot and a spec, for the tables of these tests."""

from dataclasses import replace
from typing import Any

from elastic_deploy.core.facts import Index, ReplicaFacts, facts_of
from elastic_deploy.model.memory import DeploymentMemory, Memory, ReplicaMemory
from elastic_deploy.model.names import EngineName, GroupName
from elastic_deploy.model.shape import Shape
from elastic_deploy.model.snapshot import (
    EngineSeen,
    EngineState,
    GroupSeen,
    GroupState,
    NodeSeen,
    NodeState,
    ProbeSeen,
    Reading,
    Snapshot,
)
from elastic_deploy.model.spec import DeploymentSpec

NOW = 1000.0
SPEC = DeploymentSpec("chat", "tiny", "tiny", Shape(2, 1, 1), wait_timeout=300.0, engine_start_timeout=120.0)
GROUP = GroupName("chat", "r0")
NODES = (
    NodeSeen("i-a", "gpu", NodeState.JOINED, 1, "a"),
    NodeSeen("i-b", "gpu", NodeState.JOINED, 1, "b"),
)


def engine_name(generation: int) -> EngineName:
    """The name of an engine of the one replica."""
    return EngineName("chat", "r0", generation)


def group(state: GroupState = GroupState.CREATED, nodes: tuple[str, ...] = ("a", "b")) -> GroupSeen:
    """The replica's group."""
    return GroupSeen(GROUP, "pg1", state, nodes)


def engine(generation: int = 1, state: EngineState = EngineState.RUNNING, **more: Any) -> EngineSeen:
    """One of the replica's engines."""
    return EngineSeen(engine_name(generation), state, "a", "http://a:1", **more)


def ended(generation: int = 1, *, swept: bool = True, **more: Any) -> EngineSeen:
    """One of the replica's engines that has ended."""
    return engine(generation, EngineState.ENDED, swept=swept, **more)


def probe(generation: int = 1, proven_at: float | None = NOW - 5, **more: Any) -> ProbeSeen:
    """What the canaries of an engine have shown."""
    return ProbeSeen(engine_name(generation), proven_at, **more)


def snapshot(
    groups: tuple[GroupSeen, ...] = (),
    engines: tuple[EngineSeen, ...] = (),
    probes: tuple[ProbeSeen, ...] = (),
    nodes: tuple[NodeSeen, ...] = NODES,
    **more: Any,
) -> Snapshot:
    """A snapshot in which everything was seen."""
    return Snapshot(NOW, Reading(NOW, nodes), Reading(NOW, groups), Reading(NOW, engines), probes, **more)


def blind(seen: Snapshot, part: str = "groups") -> Snapshot:
    """The snapshot with one reading failed."""
    unknown: dict[str, Any] = {part: Reading(NOW, error="no answer within 15 s")}
    return replace(seen, **unknown)


def fresh(**more: Any) -> ReplicaMemory:
    """A replica that has never had an engine."""
    return replace(ReplicaMemory("r0"), **more)


def running(**more: Any) -> ReplicaMemory:
    """A replica whose engine of generation 1 was started 20 s ago in a whole group and has not generated."""
    memory = ReplicaMemory(
        "r0",
        generation=1,
        revision=1,
        started_at=NOW - 20,
        whole_since=NOW - 20,
        members=("a", "b"),
        fingerprint=SPEC.fingerprint,
        version=SPEC.fingerprint,
    )
    return replace(memory, **more)


def serving(**more: Any) -> ReplicaMemory:
    """A replica whose engine of generation 1 serves since 10 s."""
    return replace(running(proven_at=NOW - 10, ever_ready=True), **more)


def failed(**more: Any) -> ReplicaMemory:
    """A replica whose engine of generation 1 failed once, 3 s ago, and may be started again."""
    return replace(running(engine_ended=True, failures=1, retry_at=NOW - 2, suspected_at=NOW - 3), **more)


def facts(memory: ReplicaMemory, seen: Snapshot, spec: DeploymentSpec = SPEC, **more: Any) -> ReplicaFacts:
    """The replica's facts in a snapshot."""
    return facts_of(spec, memory, Index.of(seen), NOW, **more)


def deployment(*replicas: ReplicaMemory, **more: Any) -> DeploymentMemory:
    """The deployment with these replicas, waiting since 30 s."""
    return replace(DeploymentMemory("chat", 1, waiting_since=NOW - 30, replicas=replicas), **more)


def memory(*deployments: DeploymentMemory, **more: Any) -> Memory:
    """All memory."""
    return Memory(deployments, **more)


WHOLE = snapshot((group(),))
STARTING = snapshot((group(),), (engine(),))
SERVING = snapshot((group(),), (engine(),), (probe(),))
