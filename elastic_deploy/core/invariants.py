"""What must hold of every decision, whatever was observed. The loop checks it, and so do the properties in tests.

A violation is a bug of ours: the supervisor journals it and carries out nothing of that decision.
"""

from elastic_deploy.core.decide import Decision
from elastic_deploy.core.facts import HANDOVER, Index, is_gone
from elastic_deploy.core.moving import MOVED, TAKEN
from elastic_deploy.core.returning import RETURNED, is_returning
from elastic_deploy.core.roster import is_moving, most_gpus
from elastic_deploy.core.scaling import at_scale
from elastic_deploy.model.action import (
    CreatePlacementGroup,
    EndEngine,
    RemovePlacementGroup,
    RequestResources,
    StartEngine,
)
from elastic_deploy.model.memory import DeploymentMemory, Memory, ReplicaMemory
from elastic_deploy.model.names import EngineName, GroupName
from elastic_deploy.model.phase import TRANSITIONS, Phase
from elastic_deploy.model.snapshot import EngineSeen, EngineState, GroupState, Snapshot
from elastic_deploy.model.spec import ClusterSpec

ACTS = (CreatePlacementGroup, RemovePlacementGroup, StartEngine, EndEngine)
"""The actions that make or end something; the others only tell others what is wanted."""


def violations(spec: ClusterSpec, snapshot: Snapshot, memory: Memory, now: float, decision: Decision) -> list[str]:
    """Every invariant that a decision breaks, a sentence each; none is what is expected."""
    broken = [*_asks_no_more_than_the_spec(spec, decision), *_every_wait_ends(now, decision)]
    if not any(isinstance(action, ACTS) for action in decision.actions):
        return broken
    index = Index.of(snapshot)
    return [
        *broken,
        *_acts_on_nothing_unseen(index, decision),
        *_ends_no_healthy_engine(spec, index, memory, decision, now),
        *_starts_one_engine_in_a_whole_group(index, decision),
        *_removes_no_group_in_use(index, decision),
    ]


def illegal_turns(memory: Memory, decision: Decision) -> list[str]:
    """Every change of a phase that is not among the legal ones: a gap in the state diagram, no danger to anything."""
    before = {d.name: d.phase for d in memory.deployments}
    turns = [(d.name, before.get(d.name, ""), d.phase) for d in decision.memory.deployments]
    return [
        f"{name} went from {old} to {new}"
        for name, old, new in turns
        if old and new != old and (Phase(old), Phase(new)) not in TRANSITIONS
    ]


def _asks_no_more_than_the_spec(spec: ClusterSpec, decision: Decision) -> list[str]:
    moving = {d.name for d in decision.memory.deployments if is_moving(d) or is_returning(d)}
    allowed = sum(most_gpus(d, moving=d.name in moving) for d in spec.deployments if d.wanted)
    broken = []
    for action in decision.actions:
        if isinstance(action, RequestResources):
            asked = sum(int(b.resources.get("GPU", 0)) * b.count for b in action.bundles)
            if asked > allowed:
                broken.append(f"asks for {asked} GPUs where the specs allow {allowed}")
    return broken


def _every_wait_ends(now: float, decision: Decision) -> list[str]:
    if decision.wake_at is None or decision.wake_at > now:
        return []
    return [f"asks to be woken in the past ({decision.wake_at})"]


def _acts_on_nothing_unseen(index: Index, decision: Decision) -> list[str]:
    if not index.blind:
        return []
    return [f"{action} though not everything is known ({index.blind})" for action in decision.actions if _acts(action)]


def _acts(action: object) -> bool:
    return isinstance(action, ACTS)


def _ends_no_healthy_engine(
    spec: ClusterSpec, index: Index, memory: Memory, decision: Decision, now: float
) -> list[str]:
    """An engine that runs, is proven, answers and whose group is whole is ended only by the user's own change.

    Or because the cloud takes a node of it: when that is near, or when enough others serve. And then it has first been
    taken out of the routing table, and has nothing to do or has had its time to finish.
    """
    scales = {d.name: d for d in decision.memory.deployments}
    specs = {d.name: at_scale(d, scales.get(d.name)) for d in spec.deployments if d.wanted}
    remembered = {(d.name, r.id): (d, r) for d in memory.deployments for r in d.replicas}
    after = {(d.name, r.id): r for d in decision.memory.deployments for r in d.replicas}
    broken = []
    for action in decision.actions:
        if not isinstance(action, EndEngine):
            continue
        name = action.name
        wanted, found = specs.get(name.deployment), remembered.get((name.deployment, name.replica))
        if wanted is None or found is None:
            continue
        owner, replica = found
        given_up = owner.failure is not None and owner.revision == wanted.revision
        if given_up or replica.generation != name.generation or not replica.serves:
            continue
        moved = replica.whole_since is not None and _bundle_nodes(index, name) != replica.members
        if moved or not _is_well(index, name, wanted.canary.failures):
            continue
        next_up = after.get((name.deployment, name.replica), replica)
        is_near = next_up.move is not None and now >= next_up.move.at - HANDOVER
        goes = next_up.leaving in (MOVED, TAKEN, RETURNED) and not is_near
        if goes and _others(owner, replica) < wanted.shape.replicas:
            broken.append(f"ends {name}, in whose place no other serves yet")
        elif not next_up.leaving and is_near and replica.draining_since is not None:
            continue
        elif not next_up.leaving and replica.fingerprint == (next_up.version or wanted.fingerprint):
            broken.append(f"ends {name}, which is well and whose group is whole")
        elif replica.draining_since is None:
            broken.append(f"ends {name}, which serves, before it could finish")
    return broken


def _others(owner: DeploymentMemory, replica: ReplicaMemory) -> int:
    """How many other replicas of the deployment serve."""
    return sum(1 for other in owner.replicas if other.serves and other.id != replica.id)


def _engines(index: Index, name: GroupName) -> list[EngineSeen]:
    return index.of_deployment(name.deployment).engines.get(name.replica, [])


def _bundle_nodes(index: Index, name: EngineName) -> tuple[str, ...]:
    group = index.of_deployment(name.deployment).groups.get(name.replica)
    return group.bundle_nodes if group else ()


def _is_well(index: Index, name: EngineName, canary_failures: int) -> bool:
    group = index.of_deployment(name.deployment).groups.get(name.replica)
    whole = (
        group is not None
        and group.state is GroupState.CREATED
        and not any(ray_id in index.dead for ray_id in group.bundle_nodes)
    )
    engine = next((e for e in _engines(index, name.group) if e.name == name), None)
    probes = index.of_deployment(name.deployment).probes.get(name.replica, ())
    probe = next((p for p in probes if p.name == name), None)
    answers = probe is None or probe.failures < canary_failures or probe.progressing
    runs = engine is not None and engine.state is EngineState.RUNNING and not engine.lost_workers
    return whole and runs and answers


def _starts_one_engine_in_a_whole_group(index: Index, decision: Decision) -> list[str]:
    broken = []
    started = [action.name for action in decision.actions if isinstance(action, StartEngine)]
    for name in started:
        group = index.of_deployment(name.deployment).groups.get(name.replica)
        if group is None or group.state is not GroupState.CREATED:
            broken.append(f"starts {name} though its group is not whole")
        if any(not is_gone(engine) for engine in _engines(index, name.group)):
            broken.append(f"starts {name} though an older engine may still run")
    if len({name.group for name in started}) < len(started):
        broken.append("starts two engines in one group")
    return broken


def _removes_no_group_in_use(index: Index, decision: Decision) -> list[str]:
    return [
        f"removes {action.name} though an engine may still run in it"
        for action in decision.actions
        if isinstance(action, RemovePlacementGroup) and any(not is_gone(e) for e in _engines(index, action.name))
    ]
