"""Which replicas a deployment should have, what each is to serve, and how many GPUs that takes.

`core.deployment` calls `rostered` at every step; it says who is to come, to be changed or to go, and does nothing
about it. Pure, and made anew from what is remembered each time: a replica that fails in the middle of a change changes
what comes next. How a change is rolled out, one replica after the other, is `core.rollout`'s.
"""

from dataclasses import replace

from elastic_deploy.core.moving import gpus_to_stay, most_gpus_moving, moved
from elastic_deploy.core.returning import begun, is_returning, returned
from elastic_deploy.core.rollout import Change, by_number, held_gpus, in_place, plain, serves, surge
from elastic_deploy.model.memory import DeploymentMemory, ReplicaMemory
from elastic_deploy.model.pool import Pool
from elastic_deploy.model.shape import Bundle
from elastic_deploy.model.spec import GPU_BUNDLE, DeploymentSpec
from elastic_deploy.planning.surge import most_gpus_changing


def versions_of(spec: DeploymentSpec) -> dict[str, DeploymentSpec]:
    """The spec of every version of which an engine may still serve, by fingerprint: the present one first."""
    versions: dict[str, DeploymentSpec] = {}
    each: DeploymentSpec | None = spec
    while each is not None:
        versions.setdefault(each.fingerprint, each)
        each = each.former
    return versions


def spec_for(spec: DeploymentSpec, version: str) -> DeploymentSpec:
    """The spec of a version: a former one where it is that, a smaller shape's, else the present one."""
    if (spec.former is None and not spec.rungs) or version == spec.fingerprint:
        return spec
    versions = versions_of(spec)
    for rung in spec.rungs:
        lowered = replace(spec.on(rung), former=None)
        versions.setdefault(lowered.fingerprint, lowered)
    return versions.get(version, spec)


def asked_gpus(spec: DeploymentSpec, memory: DeploymentMemory) -> int:
    """GPUs that are to be there: while a change is rolled out, or replicas move, those of all that are to stay.

    Never more than there is room for: a replica that loses its group while it moves needs all of its GPUs again,
    beside those of a successor that is on its way. The blind may remember no replica, or more of them than are wanted:
    the spec says what they ask for.
    """
    former = spec.former
    if spec.full is not None:
        return spec.full.gpus  # what it serves on meanwhile is a part of that
    if former is not None and former.full is not None:
        return former.full.gpus  # what has come for the full shape is kept while it is brought up
    if former is None:
        if not is_moving(memory):
            return spec.shape.gpus + (spec.shape.gpus_per_replica if is_returning(memory) else 0)
        return min(max(spec.shape.gpus, gpus_to_stay(spec, memory.staying)), most_gpus_moving(spec))
    if not memory.replicas:
        return max(former.shape.gpus, spec.shape.gpus)
    return min(held_gpus(spec, versions_of(spec), memory.staying), most_gpus(spec))


def asked_bundles(spec: DeploymentSpec, memory: DeploymentMemory) -> tuple[Bundle, ...]:
    """The bundles of those GPUs, each replica's with the label of the pool that it lives or waits in.

    A replica for which no pool is to be asked at present asks for nothing, and neither does one that was never given
    any of the pools that are wanted, unless it lives outside them already.
    """
    gpus = asked_gpus(spec, memory)
    if not gpus or (not spec.pools and all(replica.pool == "" for replica in memory.staying)):
        return (Bundle(dict(GPU_BUNDLE), gpus),) if gpus else ()
    counts: dict[str, int] = {}
    sizes: dict[str, int] = {}  # by version, of which there are few: each costs a fingerprint for every rung
    for replica in memory.staying:
        if replica.version not in sizes:
            sizes[replica.version] = spec_for(spec, replica.version).shape.gpus_per_replica
        size = sizes[replica.version] - (replica.move.gpus if replica.move else 0)
        taken = min(size, gpus)
        gpus -= taken
        # Of a place that is wanted no more it asks for what it has there.
        if taken and replica.pool is not None and (spec.place(replica.pool) or replica.whole_since is not None):
            counts[replica.pool] = counts.get(replica.pool, 0) + taken
    grows = spec.full is not None or (spec.former is not None and spec.former.full is not None)
    if gpus and grows and counts:
        counts[next(iter(counts))] += gpus
    return tuple(Bundle(dict(GPU_BUNDLE), count, Pool(name).labels) for name, count in sorted(counts.items()))


def is_moving(memory: DeploymentMemory) -> bool:
    """Whether the cloud is about to take a node of one of its replicas."""
    return any(replica.move is not None for replica in memory.replicas)


def most_gpus(spec: DeploymentSpec, *, moving: bool = False) -> int:
    """The most that a deployment may ask for: its shape; while it changes, the larger one, or with the surge.

    `moving`: the cloud is about to take a node of it.
    """
    if spec.full is not None:
        return spec.full.gpus
    if spec.former is None:
        return most_gpus_moving(spec) if moving else spec.shape.gpus
    larger = max(spec.former.shape.gpus, spec.shape.gpus)
    return max(larger, most_gpus_changing(spec.former.shape, spec.shape)) if spec.surge else larger


def proven(spec: DeploymentSpec, memory: DeploymentMemory, fingerprint: str | None = None) -> int:
    """How many replicas that are to stay serve the present version."""
    version = spec.fingerprint if fingerprint is None else fingerprint
    return sum(1 for replica in memory.staying if serves(replica, version))


def is_done(spec: DeploymentSpec, memory: DeploymentMemory, fingerprint: str) -> bool:
    """Whether nothing of a former version is left, and all replicas of the present one have generated."""
    if any(replica.version != fingerprint or replica.leaving for replica in memory.replicas):
        return False
    return proven(spec, memory, fingerprint) >= spec.shape.replicas


def rostered(
    spec: DeploymentSpec, memory: DeploymentMemory, fingerprint: str, now: float, *, blind: bool
) -> DeploymentMemory:
    """The memory with every replica that should be, each with its version, and a reason with each that should go.

    The blind leave it as it is: what they do not see may be just what is missing.
    """
    if blind:
        return memory
    if spec.former is None and _is_complete(spec, memory, fingerprint):
        return begun(spec, memory, fingerprint, now)
    versions = versions_of(spec)
    replicas = [_versioned(replica, versions, fingerprint) for replica in memory.replicas]
    if spec.former is None and is_moving(memory):
        chosen, missing = moved(spec, fingerprint, replicas, now)
    elif _goes_on_returning(spec, memory):
        chosen, attempt = returned(spec, memory, fingerprint, replicas, now)
        return replace(memory, replicas=tuple(sorted(chosen, key=by_number)), returning=attempt)
    elif spec.former is None:
        chosen, missing = plain(spec, fingerprint, replicas)
    else:
        change = Change(spec, fingerprint, spec.former, spec.former.fingerprint, versions, most_gpus(spec))
        chosen, missing = (surge if spec.surge else in_place)(change, replicas)
    ids = {replica.id for replica in chosen}
    for _ in range(missing):
        new = _new(memory, ids, fingerprint)
        ids.add(new.id)
        chosen.append(new)
    # Whatever else is going on ends an attempt to go back to a better pool.
    attempt = replace(memory.returning, old="", successor="") if is_returning(memory) and memory.returning else None
    attempt = attempt or memory.returning
    return replace(memory, replicas=tuple(sorted(chosen, key=by_number)), returning=attempt)


def _goes_on_returning(spec: DeploymentSpec, memory: DeploymentMemory) -> bool:
    """Whether nothing but a successor in a better pool is on its way."""
    attempt = memory.returning
    if attempt is None or spec.former is not None or not is_returning(memory):
        return False
    others = [replica for replica in memory.replicas if replica.id not in (attempt.old, attempt.successor)]
    return len(others) == spec.shape.replicas - 1 and not any(replica.leaving for replica in others)


def _is_complete(spec: DeploymentSpec, memory: DeploymentMemory, fingerprint: str) -> bool:
    replicas = memory.replicas
    return len(replicas) == spec.shape.replicas and all(
        replica.version == fingerprint and not replica.leaving and replica.move is None for replica in replicas
    )


def _versioned(replica: ReplicaMemory, versions: dict[str, DeploymentSpec], present: str) -> ReplicaMemory:
    """The replica with the version that it is to serve: where that is not the present one, what it serves now."""
    version = replica.version or replica.fingerprint or present
    if version != present and replica.serves and replica.fingerprint in versions:
        version = replica.fingerprint
    return replica if version == replica.version else replace(replica, version=version)


def _new(memory: DeploymentMemory, taken: set[str], version: str) -> ReplicaMemory:
    number = next(n for n in range(len(taken) + 1) if f"r{n}" not in taken)
    return ReplicaMemory(
        f"r{number}", generation=memory.generations, engine_ended=memory.generations > 0, version=version
    )
