"""One step of one deployment: its replicas, its phase, its route, and whether it is given up.

`core.decide` calls `step` for every deployment that is wanted or of which something is left.
"""

from dataclasses import dataclass, replace

from elastic_deploy.core import returning
from elastic_deploy.core.adoption import take_up, with_found
from elastic_deploy.core.exhausted import with_exhaustion
from elastic_deploy.core.facts import Index, facts_of
from elastic_deploy.core.giving_up import failure_of, refusal_of, rolls_out
from elastic_deploy.core.moving import noted, told
from elastic_deploy.core.phase import phase_of, replica_phase
from elastic_deploy.core.pools import Pooled, pooled
from elastic_deploy.core.replica import leave
from elastic_deploy.core.replica import step as step_replica
from elastic_deploy.core.replica_step import ReplicaStep
from elastic_deploy.core.roster import asked_bundles, is_done, rostered, versions_of
from elastic_deploy.core.step_limits import Limited, limited
from elastic_deploy.model.action import Action, Backend, RouteEntry
from elastic_deploy.model.event import EventDraft
from elastic_deploy.model.memory import DeploymentMemory, Failure, ReplicaMemory
from elastic_deploy.model.phase import Phase
from elastic_deploy.model.shape import Bundle
from elastic_deploy.model.spec import DeploymentSpec, OnFailure

RECOVERIES_KEPT = 100
"""Recoveries remembered for `status`; the journal keeps all of them."""


@dataclass(frozen=True, slots=True)
class DeploymentStep:
    """What one step of a deployment came to. `bundles` is what it asks the autoscaler for; `routes` its clients' ways.

    `spec` is what is wanted from here on: another one where a change is done, or was given up.
    """

    spec: DeploymentSpec
    memory: DeploymentMemory
    bundles: tuple[Bundle, ...]
    routes: tuple[RouteEntry, ...]
    actions: tuple[Action, ...] = ()
    events: tuple[EventDraft, ...] = ()
    wake_at: float | None = None

    @property
    def gpus(self) -> int:
        """GPUs that it asks the autoscaler for."""
        return sum(int(bundle.resources.get("GPU", 0)) * bundle.count for bundle in self.bundles)


def step(spec: DeploymentSpec, memory: DeploymentMemory | None, index: Index, now: float) -> DeploymentStep:
    """One step of a deployment; `spec.wanted` False winds it up."""
    fingerprint = spec.fingerprint
    before = take_up(spec, memory, now, fingerprint)
    goes_on = spec.wanted and before.failure is None
    found, adopted = with_found(spec, before, index, now, fingerprint)
    found = noted(spec, found, index)
    peopled = rostered(spec, found, fingerprint, now, blind=bool(index.blind)) if goes_on else found
    timed = limited(spec, peopled, index, now) if goes_on else Limited(peopled)
    placed = pooled(spec, timed.memory, index, now) if goes_on else Pooled(peopled)
    placed = _after(timed, placed)
    peopled = placed.memory
    steps = _replica_steps(spec, peopled, index, now, fingerprint)

    said = (*told(spec, before, peopled), *returning.told(spec, before, peopled))
    events = [*adopted, *said, *placed.events, *(event for s in steps for event in s.events)]
    after = _remembered(peopled, steps)
    if _waits(after) and not _waits(before):
        # GPUs that had come are lost, or more are wanted: this is another wait, with a deadline of its own.
        after = replace(after, waiting_since=now)
    if goes_on and not index.blind:
        after, hopeless = with_exhaustion(spec, after, now)
        events += hopeless
    subject = f"deployment:{spec.name}"
    if goes_on and (refused := refusal_of(spec, after, steps, index, now, fingerprint)) is not None:
        message = f"The change of {spec.name} is given up, and what was before goes on. {refused.message}"
        events.append(EventDraft("rollout.failed", message, spec.name, subject=subject))
        after = _turned_back(after, refused, fingerprint, now)
        return _step(_restored(spec), before, after, steps, events, now, placed)
    if goes_on and spec.former is not None and is_done(spec, after, fingerprint):
        what = "what was before its change again" if spec.restoring else "nothing but its new version"
        events.append(EventDraft("rollout.done", f"{spec.name} serves {what}.", spec.name, subject=subject))
        spec = replace(spec, former=None, restoring=False)
    failure = failure_of(spec, after, steps, index, now) if goes_on else None
    if failure is not None:
        after = replace(after, failure=failure)
        events.append(EventDraft("deployment.failed", failure.message, spec.name, subject=subject))
    return _step(spec, before, after, steps, events, now, placed)


def _after(timed: Limited, placed: Pooled) -> Pooled:
    """Both steps as one: what hangs, and where its replica waits then."""
    wakes = [at for at in (timed.wake_at, placed.wake_at) if at is not None]
    actions, events = (*timed.actions, *placed.actions), (*timed.events, *placed.events)
    return Pooled(placed.memory, actions, events, min(wakes, default=None))


def _step(
    spec: DeploymentSpec,
    before: DeploymentMemory,
    after: DeploymentMemory,
    steps: list[ReplicaStep],
    events: list[EventDraft],
    now: float,
    placed: Pooled,
) -> DeploymentStep:
    """The step, with what follows from the memory that it came to."""
    after, turned = _with_phase(spec, before, after, now, events)

    asks = spec.wanted and (after.failure is None or spec.on_failure is OnFailure.KEEP)
    wakes = [at for at in (placed.wake_at, *(s.wake_at for s in steps)) if at is not None and at > now]
    deadline = None if spec.wait_timeout is None else after.waiting_since + spec.wait_timeout
    waits = after.phase == Phase.WAITING or (rolls_out(spec) and _waits(after))
    if waits and deadline is not None and deadline > now:
        wakes.append(deadline)
    return DeploymentStep(
        spec,
        after,
        asked_bundles(spec, after) if asks else (),
        _routes(spec, after, steps) if spec.wanted else (),
        (*placed.actions, *(action for s in steps for action in s.actions)),
        (*events, *turned),
        min(wakes, default=None),
    )


def _replica_steps(
    spec: DeploymentSpec, memory: DeploymentMemory, index: Index, now: float, fingerprint: str
) -> list[ReplicaStep]:
    some_serve = any(replica.serves for replica in memory.staying)
    all_leave = ""
    if not spec.wanted:
        all_leave = "it is no longer wanted"
    elif memory.failure is not None:
        all_leave = "its deployment has failed"
    keep_groups = memory.failure is not None and spec.wanted and spec.on_failure is OnFailure.KEEP
    versions = {} if spec.former is None else versions_of(spec)
    steps = []
    for replica in memory.replicas:
        own, version, others_serve = spec, fingerprint, some_serve
        if spec.former is not None:
            own = versions.get(replica.version, spec)
            version = fingerprint if own is spec else replica.version
            # Where others serve, a failing engine is tried for ever; but not that of a change which can be given up.
            others_serve = some_serve and not (rolls_out(spec) and own is spec)
        facts = facts_of(own, replica, index, now, fingerprint=version, others_serve=others_serve)
        why = replica.leaving or all_leave
        steps.append(leave(facts, why, keep_group=keep_groups and not replica.leaving) if why else step_replica(facts))
    return steps


def _restored(spec: DeploymentSpec) -> DeploymentSpec:
    """What was before a change, with the change as what it takes the place of."""
    if spec.former is None:
        return spec
    given_up = replace(spec, former=spec.former.former)
    return replace(spec.former, revision=spec.revision, surge=spec.surge, former=given_up, restoring=True)


def _turned_back(memory: DeploymentMemory, refused: Failure, version: str, now: float) -> DeploymentMemory:
    """The memory from which what was before is restored: failures of the change do not count against it."""
    replicas = tuple(replica.forgiven if replica.version == version else replica for replica in memory.replicas)
    return replace(memory, refused=refused, replicas=replicas, waiting_since=now)


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


def _waits(memory: DeploymentMemory) -> bool:
    missing = [replica for replica in memory.staying if replica.whole_since is None]
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


def _routes(spec: DeploymentSpec, memory: DeploymentMemory, steps: list[ReplicaStep]) -> tuple[RouteEntry, ...]:
    """A way for each name that clients may send: the former one's too, until the change is done."""
    reason = f"{spec.name} is {memory.phase}"
    backends = tuple([s.backend for s in steps if s.backend is not None])
    if spec.former is None:
        return (RouteEntry(spec.served_model_name, spec.name, backends, reason),)
    versions = versions_of(spec)
    ways: dict[str, list[Backend]] = {each.served_model_name: [] for each in versions.values()}
    for backend in backends:
        ways[versions.get(backend.version, spec).served_model_name].append(backend)
    return tuple(RouteEntry(model, spec.name, tuple(ways[model]), reason) for model in ways)
