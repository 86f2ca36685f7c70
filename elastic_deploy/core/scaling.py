"""How many replicas a deployment is to have now: what its load needs, and none while nobody asks anything of it.

`core.decide` calls `scaled_memory` before each step of a deployment and hands the step `at_scale`'s spec: from there
on it is a deployment of so many replicas, which come, and go drained, like those that the user adds or takes away.
Pure. What is not known of the load is no reason for anything: the number stands, and every count begins anew.
"""

import math
from dataclasses import replace

from elastic_deploy.model.duration import format_duration
from elastic_deploy.model.event import EventDraft
from elastic_deploy.model.memory import DeploymentMemory, Scale
from elastic_deploy.model.snapshot import GroupState, LoadSeen, Snapshot
from elastic_deploy.model.spec import DeploymentSpec

LOAD_HOLDS = 10.0
"""Seconds for which what the front door said of the load is the load; it says it every second."""

SHRINK_MARGIN = 0.75
"""The part of the load that fewer replicas are meant for which they must not exceed to be enough: between this and the
whole neither more nor fewer are wanted, so that a load at a border does not move them to and fro."""

JUST_NOW = 5.0
"""Seconds after a request for which it still wakes a deployment that sleeps: it may have been refused at once."""


def is_scaled(spec: DeploymentSpec) -> bool:
    """Whether the load decides anything over this deployment."""
    return spec.scaling is not None or spec.idle_timeout is not None


def is_asleep(spec: DeploymentSpec, memory: DeploymentMemory | None) -> bool:
    """Whether it has released its GPUs until the next request."""
    return is_scaled(spec) and memory is not None and memory.scale is not None and memory.scale.replicas == 0


def at_scale(spec: DeploymentSpec, memory: DeploymentMemory | None) -> DeploymentSpec:
    """The spec with as many replicas as are wanted now; its former ones have no more than that either."""
    if not is_scaled(spec):
        return spec
    if memory is None or memory.scale is None:
        return _limited(spec, _floor(spec))
    limited = _limited(spec, min(memory.scale.replicas, spec.shape.replicas))
    # It has served before: its GPUs are awaited for as long as somebody asks, as those of a recovery are.
    return replace(limited, wait_timeout=None) if memory.scale.woken and spec.former is None else limited


def _limited(spec: DeploymentSpec, most: int) -> DeploymentSpec:
    former = None if spec.former is None else _limited(spec.former, most)
    if spec.shape.replicas <= most and former is spec.former:
        return spec
    return replace(spec, shape=replace(spec.shape, replicas=min(most, spec.shape.replicas)), former=former)


def at_full(spec: DeploymentSpec, scaled: DeploymentSpec, after: DeploymentSpec) -> DeploymentSpec:
    """The spec that a step has come to (`after`, from `scaled`), with the replicas that the user allows at the most."""
    if after is scaled:
        return spec
    known = {each.fingerprint: each for each in _versions(spec)}
    return replace(
        _widened(after, known), wait_timeout=spec.wait_timeout if after.former is None else after.wait_timeout
    )


def _versions(spec: DeploymentSpec) -> tuple[DeploymentSpec, ...]:
    return (spec,) if spec.former is None else (spec, *_versions(spec.former))


def _widened(spec: DeploymentSpec, known: dict[str, DeploymentSpec]) -> DeploymentSpec:
    former = None if spec.former is None else _widened(spec.former, known)
    most = known[spec.fingerprint].shape.replicas if spec.fingerprint in known else spec.shape.replicas
    return replace(spec, shape=replace(spec.shape, replicas=most), former=former)


def scaled_memory(
    spec: DeploymentSpec, memory: DeploymentMemory | None, snapshot: Snapshot, now: float
) -> tuple[DeploymentMemory | None, tuple[EventDraft, ...], float | None]:
    """The memory with how many replicas are wanted now, what there is to say of it, and when to look again."""
    if not is_scaled(spec):
        return (memory if memory is None or memory.scale is None else replace(memory, scale=None)), (), None
    if memory is None or memory.scale is None:
        if not snapshot.groups.known:
            return memory, (), None  # what runs is not known, and what runs is what it begins with
        memory = memory or DeploymentMemory(spec.name, spec.revision, waiting_since=now)
    scale = memory.scale or Scale(_first(spec, memory, snapshot), now)
    least, most = _floor(spec), spec.shape.replicas
    if scale.replicas:
        scale = replace(scale, replicas=min(max(scale.replicas, least), most))
    if not spec.wanted or memory.failure is not None:
        return replace(memory, scale=replace(Scale(least, now), replicas=max(least, scale.replicas))), (), None
    load = _load_of(spec, snapshot, now)
    if load is None or spec.former is not None:
        # Nothing is known, or a change is rolled out, which has its own count of replicas: unknown is never idle.
        return _kept(memory, replace(scale, over_since=None, under_since=None, peak=0)), (), None
    if scale.replicas == 0:
        return _asleep(spec, memory, scale, load, now)
    if spec.idle_timeout is not None and _is_idle(spec.idle_timeout, memory, scale, load, now):
        message = f"{spec.name} sleeps: no request for {format_duration(spec.idle_timeout)}. Its GPUs are released."
        return replace(memory, scale=Scale(0, now)), (_event(spec, "sleeping", message, load),), None
    return _moved(spec, memory, scale, load, now)


def _first(spec: DeploymentSpec, memory: DeploymentMemory, snapshot: Snapshot) -> int:
    """What a deployment begins with: the least, or as many as it has, where that is not remembered."""
    groups = [g for g in snapshot.groups.value or () if g.name.deployment == spec.name]
    found = {group.name.replica for group in groups if group.state is not GroupState.REMOVED}
    return min(max(_floor(spec), len(found | {replica.id for replica in memory.staying})), spec.shape.replicas)


def _floor(spec: DeploymentSpec) -> int:
    """The fewest replicas while it is awake."""
    return spec.shape.replicas if spec.scaling is None else max(1, spec.scaling.least)


def _load_of(spec: DeploymentSpec, snapshot: Snapshot, now: float) -> LoadSeen | None:
    load = next((each for each in snapshot.loads if each.deployment == spec.name), None)
    return load if load is not None and abs(now - load.at) <= LOAD_HOLDS else None


def _kept(memory: DeploymentMemory, scale: Scale) -> DeploymentMemory:
    """The very same object where nothing has changed."""
    return memory if scale == memory.scale else replace(memory, scale=scale)


def _asleep(
    spec: DeploymentSpec, memory: DeploymentMemory, scale: Scale, load: LoadSeen, now: float
) -> tuple[DeploymentMemory, tuple[EventDraft, ...], float | None]:
    asked = load.last_request_ago is not None and load.last_request_ago <= min(JUST_NOW, now - scale.since)
    if not load.waiting and not asked:
        return _kept(memory, scale), (), None
    message = f"{spec.name} wakes: a request has come. Its GPUs are asked for."
    woken = replace(memory, scale=Scale(_floor(spec), now, woken=True), waiting_since=now)
    return woken, (_event(spec, "woken", message, load),), None


def _is_idle(timeout: float, memory: DeploymentMemory, scale: Scale, load: LoadSeen, now: float) -> bool:
    """Whether nobody has asked for so long, and it has served for so long: what still comes up was asked for."""
    served = scale.woken or any(replica.ever_ready for replica in memory.staying)
    if load.waiting or load.running or not served:
        return False
    since = max([scale.since, *(replica.proven_at or 0.0 for replica in memory.staying)])
    return min(load.quiet_for, now - since) >= timeout


def _moved(
    spec: DeploymentSpec, memory: DeploymentMemory, scale: Scale, load: LoadSeen, now: float
) -> tuple[DeploymentMemory, tuple[EventDraft, ...], float | None]:
    """More replicas where there has been too much to do for long enough, fewer where fewer would have done."""
    rule = spec.scaling
    if rule is None:
        return _kept(memory, scale), (), None
    least, most = _floor(spec), spec.shape.replicas
    work = load.waiting + load.running
    needed = min(max(math.ceil(work / rule.requests_per_replica), least), most)
    enough = min(max(math.ceil(work / (rule.requests_per_replica * SHRINK_MARGIN)), least), most)
    over_since = (scale.over_since or now) if needed > scale.replicas else None
    under_since = (scale.under_since or now) if enough < scale.replicas else None
    peak = max(scale.peak, enough) if under_since is not None else 0
    scale = replace(scale, over_since=over_since, under_since=under_since, peak=peak)
    if over_since is not None and now - over_since >= rule.grow_after:
        why = f"{work} requests for {format_duration(now - over_since)}"
        return _turned(spec, memory, scale, needed, why, load, now)
    if under_since is not None and now - under_since >= rule.shrink_after:
        why = f"{peak} would have been enough for {format_duration(now - under_since)}"
        return _turned(spec, memory, scale, peak, why, load, now)
    ends = [over_since + rule.grow_after] if over_since is not None else []
    ends += [under_since + rule.shrink_after] if under_since is not None else []
    return _kept(memory, scale), (), min(ends, default=None)


def _turned(
    spec: DeploymentSpec, memory: DeploymentMemory, scale: Scale, to: int, why: str, load: LoadSeen, now: float
) -> tuple[DeploymentMemory, tuple[EventDraft, ...], float | None]:
    message = f"{spec.name} goes from {scale.replicas} to {to} replicas: {why}."
    event = _event(spec, "scaled", message, load, {"from": scale.replicas, "to": to})
    return replace(memory, scale=Scale(to, now, woken=scale.woken)), (event,), None


def _event(
    spec: DeploymentSpec, kind: str, message: str, load: LoadSeen, data: dict[str, int] | None = None
) -> EventDraft:
    told = {"running": load.running, "waiting": load.waiting, **(data or {})}
    return EventDraft(f"deployment.{kind}", message, spec.name, subject=f"scale:{spec.name}", data=told)
