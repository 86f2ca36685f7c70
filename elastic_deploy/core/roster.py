"""Which replicas a deployment should have, and what each is to serve: how a change is rolled out, one by one.

`core.deployment` calls `rostered` at every step; it says who is to come, to be changed or to go, and does nothing
about it. Pure, and made anew from what is remembered each time: a replica that fails in the middle of a change changes
what comes next.

A change is rolled out in one of two ways. With a surge, a replica of the new version is made beside the others, and
one of the old is let go for each that has generated. In place, where the cluster has no room for that, one replica at
a time is changed, the next when it has generated.
"""

from collections.abc import Iterable
from dataclasses import replace

from elastic_deploy.model.memory import DeploymentMemory, ReplicaMemory
from elastic_deploy.model.spec import DeploymentSpec
from elastic_deploy.planning.surge import most_gpus_changing

SURPLUS = "fewer replicas are wanted"
REPLACED = "a new version serves in its place"
STRAY = "it serves a version that is not wanted any more"


def spec_for(spec: DeploymentSpec, version: str) -> DeploymentSpec:
    """The spec of a version: the former one where it is that, else the present one."""
    former = spec.former
    return former if former is not None and former.fingerprint == version else spec


def asked_gpus(spec: DeploymentSpec, memory: DeploymentMemory) -> int:
    """GPUs that are to be there: while a change is rolled out, those of all replicas that are to stay.

    The blind may remember no replica, or more of them than are wanted: the spec says what they ask for.
    """
    former = spec.former
    if former is None:
        return spec.shape.gpus
    if not memory.replicas:
        return max(former.shape.gpus, spec.shape.gpus)
    staying = sum(spec_for(spec, replica.version).shape.gpus_per_replica for replica in memory.staying)
    return min(staying, most_gpus(spec))


def most_gpus(spec: DeploymentSpec) -> int:
    """The most that a deployment may ask for: its shape; while it changes, the larger one, or with the surge."""
    if spec.former is None:
        return spec.shape.gpus
    larger = max(spec.former.shape.gpus, spec.shape.gpus)
    return max(larger, most_gpus_changing(spec.former.shape, spec.shape)) if spec.surge else larger


def proven(spec: DeploymentSpec, memory: DeploymentMemory, fingerprint: str | None = None) -> int:
    """How many replicas serve the present version."""
    version = spec.fingerprint if fingerprint is None else fingerprint
    return sum(
        1 for replica in memory.replicas if replica.version == version and replica.serves and not replica.leaving
    )


def is_done(spec: DeploymentSpec, memory: DeploymentMemory, fingerprint: str) -> bool:
    """Whether nothing of a former version is left, and all replicas of the present one have generated."""
    if any(replica.version != fingerprint or replica.leaving for replica in memory.replicas):
        return False
    return proven(spec, memory, fingerprint) >= spec.shape.replicas


def rostered(spec: DeploymentSpec, memory: DeploymentMemory, fingerprint: str, *, blind: bool) -> DeploymentMemory:
    """The memory with every replica that should be, each with its version, and a reason with each that should go.

    The blind leave it as it is: what they do not see may be just what is missing.
    """
    if blind:
        return memory
    if spec.former is None and _is_complete(spec, memory, fingerprint):
        return memory
    replicas = [_versioned(replica, fingerprint) for replica in memory.replicas]
    if spec.former is None:
        chosen = _plain(spec, replicas, fingerprint)
        missing = spec.shape.replicas - sum(1 for replica in chosen if not replica.leaving)
    elif spec.surge:
        chosen, missing = _surge(spec, spec.former, replicas, fingerprint)
    else:
        chosen, missing = _in_place(spec, spec.former, replicas, fingerprint)
    ids = {replica.id for replica in chosen}
    for _ in range(missing):
        new = _new(memory, ids, fingerprint)
        ids.add(new.id)
        chosen.append(new)
    return replace(memory, replicas=tuple(sorted(chosen, key=_number)))


def _is_complete(spec: DeploymentSpec, memory: DeploymentMemory, fingerprint: str) -> bool:
    replicas = memory.replicas
    return len(replicas) == spec.shape.replicas and all(
        replica.version == fingerprint and not replica.leaving for replica in replicas
    )


def _number(replica: ReplicaMemory) -> tuple[int, str]:
    """Replicas in the order of their numbers: r2 before r10."""
    return len(replica.id), replica.id


def _best_first(replicas: Iterable[ReplicaMemory]) -> list[ReplicaMemory]:
    """Those that serve first, then those that served, then those that start, each in the order of their numbers."""
    return sorted(
        replicas, key=lambda r: (not r.serves, not r.ever_ready, r.engine_ended or not r.generation, _number(r))
    )


def _versioned(replica: ReplicaMemory, fingerprint: str) -> ReplicaMemory:
    if replica.version:
        return replica
    return replace(replica, version=replica.fingerprint or fingerprint)


def _staying(replica: ReplicaMemory, version: str) -> ReplicaMemory:
    if not replica.leaving and replica.version == version:
        return replica
    return replace(replica, version=version, leaving="")


def _going(replica: ReplicaMemory, why: str) -> ReplicaMemory:
    return replica if replica.leaving else replace(replica, leaving=why)


def _new(memory: DeploymentMemory, taken: set[str], version: str) -> ReplicaMemory:
    number = next(n for n in range(len(taken) + 1) if f"r{n}" not in taken)
    return ReplicaMemory(
        f"r{number}", generation=memory.generations, engine_ended=memory.generations > 0, version=version
    )


def _plain(spec: DeploymentSpec, replicas: list[ReplicaMemory], version: str) -> list[ReplicaMemory]:
    """No former version is to be spared: as many as are wanted stay, whatever they have served so far."""
    ranked = _best_first(replicas)
    stays = {replica.id for replica in ranked[: spec.shape.replicas]}
    return [_staying(r, version) if r.id in stays else _going(r, SURPLUS) for r in replicas]


def _surge(
    spec: DeploymentSpec, former: DeploymentSpec, replicas: list[ReplicaMemory], version: str
) -> tuple[list[ReplicaMemory], int]:
    """One replica of the new version beside the others at a time; returns them, and how many are missing."""
    wanted, old_version = spec.shape.replicas, former.fingerprint
    news = _best_first(replica for replica in replicas if replica.version == version)
    serving = sum(1 for replica in news[:wanted] if replica.serves)
    spared = 0 if serving >= wanted else max(0, former.shape.replicas - serving)
    olds = _best_first(replica for replica in replicas if replica.version == old_version)
    if spec.restoring:  # a version that did not come up is not tried again
        olds = [replica for replica in olds if replica.serves]
    stays = {replica.id for replica in (*news[:wanted], *olds[:spared])}
    chosen = [
        _staying(r, r.version)
        if r.id in stays
        else _going(r, SURPLUS if r.version == version else REPLACED if r.version == old_version else STRAY)
        for r in replicas
    ]
    if any(replica.leaving for replica in chosen):
        return chosen, 0  # its GPUs are wanted for the next
    enough = min(wanted, serving + 1) if any(r.version != version for r in chosen) else wanted
    return chosen, max(0, enough - len(news))


def _in_place(
    spec: DeploymentSpec, former: DeploymentSpec, replicas: list[ReplicaMemory], version: str
) -> tuple[list[ReplicaMemory], int]:
    """One replica at a time changed where it stands; returns them, and how many are missing."""
    wanted, old_version = spec.shape.replicas, former.fingerprint
    news = _best_first(replica for replica in replicas if replica.version == version)
    olds = _best_first(r for r in replicas if r.version == old_version and not r.leaving)
    chosen = {r.id: _going(r, STRAY if r.version != old_version else r.leaving or REPLACED) for r in replicas}
    chosen |= {r.id: _going(r, SURPLUS) for r in news[wanted:]}
    chosen |= {r.id: _staying(r, version) for r in news[:wanted]}
    chosen |= {r.id: r for r in olds}
    if spec.restoring:  # a version that did not come up is not tried again
        for replica in [r for r in olds if not r.serves]:
            room = sum(1 for r in chosen.values() if r.version == version and not r.leaving) < wanted
            chosen[replica.id] = _staying(replica, version) if room else _going(replica, SURPLUS)
    settled = not any(r.leaving or (r.version == version and not r.serves) for r in chosen.values())
    olds = [r for r in olds if chosen[r.id].version == old_version and not chosen[r.id].leaving]
    if not settled:
        return list(chosen.values()), 0
    if not olds:
        return list(chosen.values()), max(0, wanted - len(chosen))
    worst = olds[-1]
    chosen[worst.id] = _going(worst, SURPLUS) if len(chosen) > wanted else _staying(worst, version)
    return list(chosen.values()), 0
