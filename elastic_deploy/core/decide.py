"""The one decision: from what is wanted, observed and remembered, to what to do now.

Pure: no clock, Ray, cloud, file or environment. `runtime.supervisor` calls it at every tick and whenever something
changed, and so do the simulation and the journal's replay. The same input gives the same decision.
"""

from dataclasses import dataclass, replace

from elastic_deploy.core.deployment import DeploymentStep, step
from elastic_deploy.core.distrust import drains
from elastic_deploy.core.facts import Index
from elastic_deploy.core.ladder import at_rung, laddered, stepped
from elastic_deploy.core.never_fits import wanted_gpus, with_never_fits, within_limits
from elastic_deploy.core.scaling import at_full, at_scale, scaled_memory
from elastic_deploy.model.action import Action, DrainNode, RequestResources, Route, RouteEntry
from elastic_deploy.model.event import EventDraft
from elastic_deploy.model.memory import DeploymentMemory, Memory
from elastic_deploy.model.shape import Bundle, Shape, bundle_document
from elastic_deploy.model.snapshot import NodeState, NoticeKind, Snapshot
from elastic_deploy.model.spec import ClusterSpec, DeploymentSpec, merged

RESEND_PERIOD = 15.0
"""Seconds after which the standing request is sent again: Ray's GCS keeps it in memory only, and others may write to
the same slot. Less than the autoscaler needs to let a node idle out (a minute at the least)."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, what to remember, when to decide again at the latest (None: when something changes), and why."""

    actions: tuple[Action, ...]
    memory: Memory
    wake_at: float | None
    why: tuple[EventDraft, ...]
    spec: ClusterSpec
    """What is wanted from here on: another than was given where a change was rolled out, or given up."""


def resumed(memory: Memory) -> Memory:
    """The memory of a supervisor that has come back: what it sent last may never have arrived, so it is sent again."""
    return replace(memory, request=None, routes=None)


def decide(spec: ClusterSpec, snapshot: Snapshot, memory: Memory, now: float) -> Decision:
    """What is to be done now. Times are seconds since the epoch; `now` is not before any time in the snapshot."""
    index = Index.of(snapshot)
    unsent = frozenset(failure.action for failure in snapshot.action_failures)
    steps = _steps(spec, memory, index, now)
    request, sending, said = _request(steps, snapshot, memory, RequestResources.__name__ in unsent, now)
    routes, routing = _routes(steps, memory, index, Route.__name__ in unsent)
    sent_at = now if sending else memory.request_sent_at
    after = Memory(tuple(s.memory for s in steps), request, sent_at, routes)
    failed = tuple(
        EventDraft("action.failed", f"{failure.action} failed: {failure.message}", subject=failure.subject)
        for failure in snapshot.action_failures
    )
    wakes = [s.wake_at for s in steps if s.wake_at is not None]
    if request:
        wakes.append(sent_at + RESEND_PERIOD)
    # The draining goes first, so that nothing more is placed there. Then the request: nodes take minutes to come,
    # everything else waits for them.
    return Decision(
        (
            *_draining(snapshot),
            *drains(after, snapshot),
            *sending,
            *(action for s in steps for action in s.actions),
            *routing,
        ),
        after,
        min(wakes, default=None),
        (*said, *(event for s in steps for event in s.events), *failed),
        _settled(spec, steps),
    )


def _draining(snapshot: Snapshot) -> tuple[Action, ...]:
    """Have Ray drain the nodes that the cloud is about to take, until it is seen to."""
    joined = {n.ray_id: n for n in snapshot.nodes.value or () if n.state is NodeState.JOINED and not n.is_head}
    return tuple(
        DrainNode(notice.node, notice.deadline, f"the cloud takes the node ({notice.kind.value})")
        for notice in snapshot.notices
        if notice.kind is NoticeKind.INTERRUPTION and notice.deadline is not None and notice.node in joined
    )


def _settled(spec: ClusterSpec, steps: list[DeploymentStep]) -> ClusterSpec:
    after = {s.spec.name: s.spec for s in steps}
    if all(after[d.name] is d for d in spec.deployments):
        return spec
    return ClusterSpec(tuple(after[d.name] for d in spec.deployments))


def _steps(spec: ClusterSpec, memory: Memory, index: Index, now: float) -> list[DeploymentStep]:
    """A step of every deployment that is wanted, remembered, or of which something runs, in the order of names."""
    specs = {d.name: d for d in spec.deployments}
    remembered = {d.name: d for d in memory.deployments}
    steps = []
    others = _others(specs, remembered) if index.snapshot.capacity is not None else {}
    for name in sorted({*specs, *remembered, *_running(index)}):
        if name in specs:
            steps.append(_scaled_step(specs[name], remembered.get(name), index, others.get(name, 0), now))
            continue
        orphan = remembered.get(name) or DeploymentMemory(name, 0, waiting_since=now)
        wound_up = step(_unwanted(orphan), orphan, index, now)
        if wound_up.memory.replicas:
            steps.append(wound_up)
    return steps


def _others(specs: dict[str, DeploymentSpec], remembered: dict[str, DeploymentMemory]) -> dict[str, int]:
    """For each deployment the GPUs that the others are to have now."""
    gpus = {name: wanted_gpus(spec, remembered.get(name)) for name, spec in specs.items()}
    return {name: sum(gpus.values()) - own for name, own in gpus.items()}


def _scaled_step(
    spec: DeploymentSpec, memory: DeploymentMemory | None, index: Index, others: int, now: float
) -> DeploymentStep:
    """A step with as many replicas as the load wants now, in the shape that can be had beside `others`' GPUs."""
    memory, said, wake_at = scaled_memory(spec, memory, index.snapshot, now)
    scaled = at_scale(spec, memory)
    footing = laddered(scaled, memory, index, now)
    lowered = at_rung(scaled, footing.memory, holds_partial=footing.holds_partial)
    done = step(lowered, footing.memory, index, now)
    raised, after, told = stepped(scaled, lowered, done.spec, done.memory, now)
    after, limits = with_never_fits(raised, after, others, index.snapshot.capacity)
    wakes = [at for at in (done.wake_at, wake_at, footing.wake_at) if at is not None and at > now]
    return replace(
        done,
        spec=at_full(spec, scaled, raised),
        memory=after,
        events=(*said, *footing.events, *done.events, *told, *limits),
        wake_at=min(wakes, default=None),
    )


def _running(index: Index) -> list[str]:
    """Deployments of which a group or an engine is left."""
    return [name for name, parts in index.deployments.items() if parts.running]


def _unwanted(memory: DeploymentMemory) -> DeploymentSpec:
    """A spec that winds up a deployment nobody wants any more."""
    return DeploymentSpec(memory.name, "", memory.name, Shape(1, 1, 1), revision=memory.revision, wanted=False)


def _request(
    steps: list[DeploymentStep], snapshot: Snapshot, memory: Memory, failed: bool, now: float
) -> tuple[tuple[Bundle, ...], tuple[Action, ...], tuple[EventDraft, ...]]:
    """The one request that covers all deployments, sent when it has changed, and again on a period; cleared once."""
    bundles = within_limits(merged(bundle for s in steps for bundle in s.bundles), snapshot.capacity)
    changed = bundles != memory.request
    overdue = bool(bundles) and now - memory.request_sent_at >= RESEND_PERIOD
    sending = (RequestResources(bundles),) if changed or overdue or failed else ()
    if not changed or (not bundles and memory.request is None):
        return bundles, sending, ()
    message = f"Asked the autoscaler for {_told(bundles)}." if bundles else "Cleared the request to the autoscaler."
    data = {"bundles": [bundle_document(bundle) for bundle in bundles]}
    return bundles, sending, (EventDraft("request", message, subject="request", data=data),)


def _told(bundles: tuple[Bundle, ...]) -> str:
    """The GPUs of a request, as people say it."""
    parts = []
    for bundle in bundles:
        where = ", ".join(f"{key} {value}" for key, value in bundle.labels.items())
        parts.append(f"{bundle.count} GPUs{f' in {where}' if where else ''}")
    return " and ".join(parts)


def _routes(
    steps: list[DeploymentStep], memory: Memory, index: Index, failed: bool
) -> tuple[tuple[RouteEntry, ...] | None, tuple[Action, ...]]:
    """The routing table, sent when it has changed. What is unknown is not lost: the blind change no route."""
    routes = memory.routes if index.blind else tuple(route for s in steps for route in s.routes)
    if routes is None or (routes == memory.routes and not failed):
        return routes, ()
    return routes, (Route(routes),)
