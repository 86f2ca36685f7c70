"""Serving smaller while all GPUs cannot be had, and growing back: down the ladder of shapes, and up again.

`core.decide` calls `laddered` before each step of a deployment and hands the step `at_rung`'s spec, which is a
deployment of that shape. Replicas need no rung: those that have their GPUs serve while the others wait. So a rung is
taken only where no replica has all of its own. The request for all GPUs stands meanwhile; when they have come, the full
shape is rolled out like any change (`core.rollout`), and given up for the rung again where it does not come up. Pure.
"""

import shlex
from collections import Counter
from dataclasses import dataclass, replace

from elastic_deploy.core.facts import Index
from elastic_deploy.core.gathering import is_waiting
from elastic_deploy.core.partial import gathered
from elastic_deploy.core.tally import counted, tally
from elastic_deploy.model.duration import format_duration
from elastic_deploy.model.event import EventDraft
from elastic_deploy.model.memory import DeploymentMemory, Lowered
from elastic_deploy.model.rung import Rung
from elastic_deploy.model.shape import Shape
from elastic_deploy.model.snapshot import GroupState, NodeState, Usual
from elastic_deploy.model.spec import DeploymentSpec

UP_PATIENCE = 120.0
"""Seconds within which the group of the full shape has to be whole once its GPUs had come: else one was lost again,
and the rung is better than nothing."""

FIRST_RETRY = 300.0
"""Seconds after an attempt at the full shape that failed until the next: each costs the clients an engine's start."""

LONGEST_RETRY = 3600.0
"""Seconds at the most."""


@dataclass(frozen=True, slots=True)
class Footing:
    """Where a deployment stands on its ladder: its memory, what there is to say, when to look again.

    `holds_partial`: what has come is kept though the rest has not, since a rung can be served on it.
    """

    memory: DeploymentMemory | None
    events: tuple[EventDraft, ...] = ()
    wake_at: float | None = None
    holds_partial: bool = False


def at_rung(spec: DeploymentSpec, memory: DeploymentMemory | None, *, holds_partial: bool = False) -> DeploymentSpec:
    """The spec in the shape that is to be served now, with the one that it takes the place of."""
    if holds_partial:
        spec = replace(spec, partial_timeout=None, partial_budget=None)
    low = memory.lowered if memory else None
    if low is None:
        return spec
    if low.former is None:
        return _narrowed(spec, Rung(low.shape, low.arguments))
    former = _in(spec, low.former, low)
    limit = UP_PATIENCE if spec.wait_timeout is None else min(UP_PATIENCE, spec.wait_timeout)
    return replace(
        _in(spec, low.shape, low),
        former=former,
        restoring=low.restoring,
        wait_timeout=spec.wait_timeout if low.restoring else limit,
        surge=False,
    )


def _narrowed(spec: DeploymentSpec, rung: Rung) -> DeploymentSpec:
    """The spec on a rung; while the user changes it there, what was before stands on the same."""
    former = None if spec.former is None else _narrowed(spec.former, rung)
    return replace(spec.on(rung), former=former)


def _in(spec: DeploymentSpec, shape: Shape, low: Lowered) -> DeploymentSpec:
    """The spec in one of the two shapes of a change between them."""
    return spec if shape == spec.shape else spec.on(Rung(shape, low.arguments))


def widened(spec: DeploymentSpec) -> DeploymentSpec:
    """The spec as the user wants it, with what was before it as well."""
    former = None if spec.former is None else widened(spec.former)
    return replace(spec, shape=spec.full or spec.shape, full=None, rung_arguments=(), former=former)


def laddered(spec: DeploymentSpec, memory: DeploymentMemory | None, index: Index, now: float) -> Footing:
    """One step on the ladder. The blind stay where they are, and so do deployments that the user is changing."""
    if index.blind:
        return Footing(memory)
    if memory is None or not memory.replicas:
        low = _found(spec, index, now) if spec.wanted and spec.degrade_after is not None else None
        if low is None:
            return Footing(memory)
        memory = memory or DeploymentMemory(spec.name, spec.revision, waiting_since=now)
        return Footing(replace(memory, lowered=low))
    low = memory.lowered
    if not spec.wanted or memory.failure is not None:
        return Footing(memory if low is None else replace(memory, lowered=None))
    if spec.former is not None:
        # The user changes it: that is rolled out where it stands, and the ladder is gone on when it is done.
        stays = low is None or (low.former is None and _is_allowed(spec, low))
        return Footing(memory if stays else replace(memory, lowered=None))
    if low is not None and (spec.degrade_after is None or not _is_allowed(spec, low)):
        return _without(spec, memory, index, now, low)
    if not spec.rungs or spec.degrade_after is None:
        return Footing(memory)
    if low is None:
        return _down(spec, memory, index, now)
    if low.former is not None:
        return Footing(memory)  # a change between two shapes goes on until it is done, or given up
    if _have_come(spec, memory, index):
        return _up(spec, memory, low, now)
    return _down(spec, memory, index, now, low)


def _is_allowed(spec: DeploymentSpec, low: Lowered) -> bool:
    """Whether the rung that it stands on is still one that the user allows, with the arguments that it has there."""
    rung = low.shape if low.former is None or low.restoring else low.former
    return Rung(rung, low.arguments) in spec.rungs


def _without(spec: DeploymentSpec, memory: DeploymentMemory, index: Index, now: float, low: Lowered) -> Footing:
    """The user allows its rung no more: what serves does so until all GPUs have come, and is not started again."""
    if not any(replica.serves for replica in memory.replicas):
        return Footing(replace(memory, lowered=None))
    if low.former is None and _have_come(spec, memory, index):
        return _up(spec, memory, low, now)
    return Footing(memory)


def _found(spec: DeploymentSpec, index: Index, now: float) -> Lowered | None:
    """The rung of an engine that nobody remembers: a supervisor that lost its memory goes on where it was."""
    versions = {spec.on(rung).fingerprint: rung for rung in spec.rungs}
    versions.pop(spec.fingerprint, None)
    engines = (engine for each in index.of_deployment(spec.name).engines.values() for engine in each)
    rung = next((versions[engine.version] for engine in engines if engine.version in versions), None)
    return None if rung is None else Lowered(rung.shape, now, arguments=rung.arguments)


def _down(
    spec: DeploymentSpec, memory: DeploymentMemory, index: Index, now: float, low: Lowered | None = None
) -> Footing:
    """A rung, or a lower one, where no replica has its GPUs and it has been waited for long enough."""
    staying = memory.staying
    waiting = [replica for replica in staying if is_waiting(replica, index, spec.name)]
    if not staying or len(waiting) < len(staying) or spec.degrade_after is None:
        return Footing(memory)
    there = _there(spec, memory, index)
    if there >= (low.shape.gpus if low else spec.shape.gpus_per_replica):
        return Footing(memory)  # they are about to be placed
    below = [each for each in spec.rungs if low is None or each.gpus < low.shape.gpus]
    rung = next((each for each in below if each.gpus <= there), None)
    if rung is None:
        return Footing(memory)
    lost_at = min((replica.outage.since for replica in waiting if replica.outage), default=None)
    since = max(memory.waiting_since if lost_at is None else lost_at, low.since if low else 0.0)
    end = since + spec.degrade_after
    sooner = None if lost_at is None else _sooner(index.snapshot.usual, lost_at, now)
    if now < end and sooner is None:
        return Footing(memory, wake_at=end, holds_partial=True)
    why = sooner or f"the others did not come within {format_duration(now - since)}"
    wanted = counted(spec.shape.gpus, "GPU")
    beside = f" with {shlex.join(rung.arguments)}" if rung.arguments else ""
    message = f"{spec.name} is to serve on {rung.gpus} of its {wanted}{beside}: {why}. They are asked for further."
    data = {"gpus": rung.gpus, "wanted": spec.shape.gpus, "shape": _named(rung.shape), "arguments": [*rung.arguments]}
    event = EventDraft("deployment.lowered", message, spec.name, subject=f"ladder:{spec.name}", data=data)
    failures, retry_at = (low.failures, low.retry_at) if low else (0, 0.0)
    lowered = Lowered(rung.shape, now, failures=failures, retry_at=retry_at, arguments=rung.arguments)
    return Footing(replace(memory, lowered=lowered), (event,))


def _sooner(usual: Usual, lost_at: float, now: float) -> str | None:
    """Why a replica that lost a node serves sooner smaller, by what such waits and starts took here; None if not.

    The rung costs an engine's start now, and another one when all GPUs have come back: it is worth that where the
    nodes take longer than a start.
    """
    if usual.gang is None or usual.start is None:
        return None
    left = lost_at + usual.gang - now
    if left <= usual.start:
        return None
    here = f"by what such waits took here, and a start takes {format_duration(usual.start)}"
    return f"the others are not expected for {format_duration(left)}, {here}"


def _there(spec: DeploymentSpec, memory: DeploymentMemory, index: Index) -> int:
    """GPUs that one smaller replica could be placed on now: those of one pool, where there are pools."""
    if not spec.pools:
        return tally(spec, spec.shape.gpus, index.snapshot).come
    found = (gathered(spec, [replica], index) for replica in memory.staying)
    return max((each.gpus for there in found for each in there.values()), default=0)


def _have_come(spec: DeploymentSpec, memory: DeploymentMemory, index: Index) -> bool:
    """Whether the full shape could be placed on what is there: each replica in one pool, where there are pools.

    Only in those in which it lives or waits: what has come in another was asked for by others.
    """
    if not spec.pools:
        return tally(spec, spec.shape.gpus, index.snapshot).come >= spec.shape.gpus
    theirs: Counter[str] = Counter()
    for group in index.snapshot.groups.value or ():
        if group.state is not GroupState.REMOVED and group.name.deployment != spec.name:
            theirs.update(group.bundle_nodes)
    joined = [node for node in index.snapshot.nodes.value or () if node.state is NodeState.JOINED]
    pools = [pool for pool in spec.pools if any(replica.pool == pool.name for replica in memory.staying)]
    held = (sum(max(0, n.gpus - theirs[n.ray_id]) for n in joined if pool.has(n.type)) for pool in pools)
    return sum(gpus // spec.shape.gpus_per_replica for gpus in held) >= spec.shape.replicas


def _up(spec: DeploymentSpec, memory: DeploymentMemory, low: Lowered, now: float) -> Footing:
    """The full shape: all of its GPUs have come."""
    serves = any(replica.serves for replica in memory.staying)
    starts = any(replica.whole_since is not None for replica in memory.staying)
    if not serves and starts:
        return Footing(memory)  # what starts will serve sooner than what has not begun
    if serves and now < low.retry_at:
        return Footing(memory, wake_at=low.retry_at)
    message = f"All {counted(spec.shape.gpus, 'GPU')} of {spec.name} have come: its full shape takes over."
    event = EventDraft("deployment.raising", message, spec.name, subject=f"ladder:{spec.name}")
    former = low.shape if serves else None
    raised = replace(low, shape=spec.shape, since=now, former=former) if former else None
    return Footing(replace(memory, lowered=raised, waiting_since=now), (event,))


def stepped(
    spec: DeploymentSpec, given: DeploymentSpec, after: DeploymentSpec, memory: DeploymentMemory, now: float
) -> tuple[DeploymentSpec, DeploymentMemory, tuple[EventDraft, ...]]:
    """What the user wants, and the footing that a step with `given` has come to, which made `after` of it."""
    low = memory.lowered
    if low is None:
        return (spec if after is given else after), memory, ()
    if after is given:
        return spec, memory, ()
    if spec.former is not None:
        return widened(after), memory, ()
    if after.former is None:
        if after.shape != spec.shape:
            return spec, replace(memory, lowered=replace(low, shape=after.shape, former=None, restoring=False)), ()
        message = f"{spec.name} serves on all of its {counted(spec.shape.gpus, 'GPU')}."
        event = EventDraft("deployment.raised", message, spec.name, subject=f"ladder:{spec.name}")
        return spec, replace(memory, lowered=None, refused=None), (event,)
    failures = low.failures + (after.restoring and not low.restoring)
    retry = min(LONGEST_RETRY, FIRST_RETRY * 2 ** min(failures - 1, 10)) if failures else 0.0
    turned = Lowered(
        after.shape, now, after.former.shape, after.restoring, failures, now + retry, arguments=low.arguments
    )
    return spec, replace(memory, lowered=turned), ()


def _named(shape: Shape) -> dict[str, int]:
    return {
        "tensor_parallel": shape.tensor_parallel,
        "pipeline_parallel": shape.pipeline_parallel,
        "replicas": shape.replicas,
    }
