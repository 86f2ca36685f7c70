"""One step of one deployment: its replicas, its phase, its route, and whether it is given up.

`core.decide` calls `step` for every deployment that is wanted or of which something is left.
"""

from dataclasses import dataclass, replace

from elastic_deploy.core.adoption import take_up, with_replicas
from elastic_deploy.core.facts import Index, facts_of
from elastic_deploy.core.giving_up import failure_of
from elastic_deploy.core.phase import phase_of, replica_phase
from elastic_deploy.core.replica import leave
from elastic_deploy.core.replica import step as step_replica
from elastic_deploy.core.replica_step import ReplicaStep
from elastic_deploy.model.action import Action, RouteEntry
from elastic_deploy.model.event import EventDraft
from elastic_deploy.model.memory import DeploymentMemory, ReplicaMemory
from elastic_deploy.model.phase import Phase
from elastic_deploy.model.spec import DeploymentSpec, OnFailure

RECOVERIES_KEPT = 100
"""Recoveries remembered for `status`; the journal keeps all of them."""


@dataclass(frozen=True, slots=True)
class DeploymentStep:
    """What one step of a deployment came to. `gpus` is what it asks the autoscaler for; `route` its clients' way."""

    memory: DeploymentMemory
    gpus: int
    route: RouteEntry | None
    actions: tuple[Action, ...] = ()
    events: tuple[EventDraft, ...] = ()
    wake_at: float | None = None


def step(spec: DeploymentSpec, memory: DeploymentMemory | None, index: Index, now: float) -> DeploymentStep:
    """One step of a deployment; `spec.wanted` False winds it up."""
    fingerprint = spec.fingerprint
    before = take_up(spec, memory, now, fingerprint)
    given_up = before.failure is not None
    wanted = frozenset() if given_up else frozenset(spec.replica_ids)
    peopled, adopted = with_replicas(spec, wanted, before, index, now, fingerprint)
    steps = _replica_steps(spec, wanted, peopled, index, now, fingerprint)

    events = [*adopted, *(event for s in steps for event in s.events)]
    after = _remembered(peopled, steps)
    if _waits(after, wanted) and not _waits(before, wanted):
        # GPUs that had come are lost, or more are wanted: this is another wait, with a deadline of its own.
        after = replace(after, waiting_since=now)
    failure = failure_of(spec, after, steps, index, now) if spec.wanted and not given_up else None
    if failure is not None:
        after = replace(after, failure=failure)
        events.append(EventDraft("deployment.failed", failure.message, spec.name, subject=f"deployment:{spec.name}"))
    after, turned = _with_phase(spec, before, after, now, events)

    asks = spec.wanted and (after.failure is None or spec.on_failure is OnFailure.KEEP)
    wakes = [s.wake_at for s in steps if s.wake_at is not None and s.wake_at > now]
    deadline = None if spec.wait_timeout is None else after.waiting_since + spec.wait_timeout
    if after.phase == Phase.WAITING and deadline is not None and deadline > now:
        wakes.append(deadline)
    return DeploymentStep(
        after,
        spec.shape.gpus if asks else 0,
        _route(spec, after, steps) if spec.wanted else None,
        tuple(action for s in steps for action in s.actions),
        (*events, *turned),
        min(wakes, default=None),
    )


def _replica_steps(
    spec: DeploymentSpec, wanted: frozenset[str], memory: DeploymentMemory, index: Index, now: float, fingerprint: str
) -> list[ReplicaStep]:
    some_serve = any(replica.serves for replica in memory.replicas if replica.id in wanted)
    keep_groups = memory.failure is not None and spec.wanted and spec.on_failure is OnFailure.KEEP
    why = "its deployment has failed" if memory.failure is not None and spec.wanted else "it is no longer wanted"
    kept = frozenset(spec.replica_ids) if keep_groups else frozenset()
    steps = []
    for replica in memory.replicas:
        facts = facts_of(spec, replica, index, now, fingerprint=fingerprint, others_serve=some_serve)
        if replica.id in wanted:
            steps.append(step_replica(facts))
        else:
            steps.append(leave(facts, why, keep_group=replica.id in kept))
    return steps


def _remembered(memory: DeploymentMemory, steps: list[ReplicaStep]) -> DeploymentMemory:
    """The memory after the replicas' steps; the very same object where nothing has changed."""
    replicas = tuple([s.memory for s in steps if s.memory is not None])
    if any(s.recovery for s in steps):
        recoveries = (*memory.recoveries, *(s.recovery for s in steps if s.recovery))[-RECOVERIES_KEPT:]
        memory = replace(memory, recoveries=recoveries)
    if _same(replicas, memory.replicas):
        return memory
    gone = {replica.id for replica in memory.replicas} - {replica.id for replica in replicas}
    generations = max((r.generation for r in memory.replicas if r.id in gone), default=0)
    return replace(memory, replicas=replicas, generations=max(memory.generations, generations))


def _waits(memory: DeploymentMemory, wanted: frozenset[str]) -> bool:
    missing = [replica for replica in memory.replicas if replica.whole_since is None and replica.id in wanted]
    return any(replica_phase(replica) is Phase.WAITING for replica in missing)


def _same(one: tuple[ReplicaMemory, ...], other: tuple[ReplicaMemory, ...]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


def _with_phase(
    spec: DeploymentSpec,
    before: DeploymentMemory,
    after: DeploymentMemory,
    now: float,
    events: list[EventDraft],
) -> tuple[DeploymentMemory, tuple[EventDraft, ...]]:
    """The memory with the phase that it has come to, and the event that says so where that is another one."""
    phase = phase_of(spec, after, now)
    if phase == before.phase:
        return after, ()
    because = events[-1].subject if events else f"deployment:{spec.name}"
    message = f"{spec.name} is {phase}" + (f" (was {before.phase})." if before.phase else ".")
    data = {"from": before.phase, "to": phase.value}
    event = EventDraft("phase", message, spec.name, subject=f"phase:{spec.name}", because=because, data=data)
    return replace(after, phase=phase.value), (event,)


def _route(spec: DeploymentSpec, memory: DeploymentMemory, steps: list[ReplicaStep]) -> RouteEntry:
    backends = tuple([s.backend for s in steps if s.backend is not None])
    return RouteEntry(spec.served_model_name, spec.name, backends, f"{spec.name} is {memory.phase}")
