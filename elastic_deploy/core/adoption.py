"""What a deployment is remembered as before a step: its spec's news taken up, engines that run taken over.

`core.deployment` calls both at the beginning of a step. This is where a restarted supervisor finds its own again.
"""

from dataclasses import replace

from elastic_deploy.core.facts import Index
from elastic_deploy.core.roster import versions_of
from elastic_deploy.model.event import EventDraft
from elastic_deploy.model.memory import DeploymentMemory, ReplicaMemory
from elastic_deploy.model.names import EngineName
from elastic_deploy.model.phase import Phase
from elastic_deploy.model.snapshot import EngineSeen, EngineState
from elastic_deploy.model.spec import DeploymentSpec


def take_up(spec: DeploymentSpec, memory: DeploymentMemory | None, now: float, fingerprint: str) -> DeploymentMemory:
    """The memory of a deployment, with a new revision of its spec taken up and former failures forgiven."""
    if memory is None:
        return DeploymentMemory(spec.name, spec.revision, waiting_since=now)
    revived = spec.wanted and memory.phase == Phase.STOPPED
    if memory.revision == spec.revision and not revived:
        return memory
    afresh = revived or memory.failure is not None
    versions = {fingerprint} if spec.former is None else set(versions_of(spec))
    replicas = tuple(_forgiven(replica, versions, afresh) for replica in memory.replicas)
    return replace(memory, revision=spec.revision, waiting_since=now, failure=None, refused=None, replicas=replicas)


def _forgiven(replica: ReplicaMemory, versions: set[str], afresh: bool) -> ReplicaMemory:
    """A replica without its row of failures; an outage goes on only if the same engine is to come back."""
    replica = replica.forgiven
    if replica.engine_ended and (afresh or replica.fingerprint not in versions):
        return replace(replica, ever_ready=False, proven_at=None, outage=None, suspected_at=None)
    return replica


def with_found(
    spec: DeploymentSpec, memory: DeploymentMemory, index: Index, now: float, fingerprint: str
) -> tuple[DeploymentMemory, list[EventDraft]]:
    """The memory with every replica of which something runs, engines of ours taken over."""
    parts = index.of_deployment(spec.name)
    known = {replica.id: replica for replica in memory.replicas}
    new = parts.running - known.keys()
    for replica_id in new:
        known[replica_id] = ReplicaMemory(
            replica_id, generation=memory.generations, engine_ended=memory.generations > 0
        )
    events = []
    adopted = False
    # The blind adopt nothing: what an engine was started for is judged by its group as well.
    for replica_id, engines in () if index.blind else parts.engines.items():
        replica = known.get(replica_id)
        newest = engines[0] if len(engines) == 1 else max(engines, key=lambda engine: engine.name.generation)
        if replica is not None and newest.name.generation > replica.generation:
            known[replica_id], adopted = _adopted(spec, replica, newest, index, now, fingerprint), True
            if newest.state is not EngineState.ENDED:
                events.append(_adoption(newest.name))
    if not new and not adopted:
        return memory, []
    in_order = sorted(known.values(), key=lambda replica: (len(replica.id), replica.id))
    return replace(memory, replicas=tuple(in_order)), events


def _adopted(
    spec: DeploymentSpec, replica: ReplicaMemory, engine: EngineSeen, index: Index, now: float, fingerprint: str
) -> ReplicaMemory:
    """A replica whose newest engine is one that nobody remembers. One that has ended is no failure of this life."""
    group = index.of_deployment(spec.name).groups.get(replica.id)
    fits = group is None or len(group.bundle_nodes) == spec.shape.gpus_per_replica
    version = engine.version or (fingerprint if fits else "")
    return replace(
        replica,
        generation=engine.name.generation,
        revision=spec.revision,
        fingerprint=version,
        version=version,
        adopted=True,
        started_at=now,
        engine_ended=engine.state is EngineState.ENDED,
        proven_at=None,
        whole_since=None,
        members=(),
    )


def _adoption(name: EngineName) -> EventDraft:
    message = f"{name} runs already and is taken over."
    return EventDraft("engine.adopted", message, name.deployment, name.replica, subject=str(name))
