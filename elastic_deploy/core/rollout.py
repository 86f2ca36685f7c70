"""Which replicas stay, go or change while a change is rolled out, and how many new ones are to come.

`core.roster` asks at every step, for one of three ways. With a surge, a replica of the new version is made beside the
others, and one of the old is let go for each that has generated. In place, where the cluster has no room for that, one
replica at a time is changed, the next when it has generated. Without a former version there is nothing to be careful
with: as many as are wanted stay.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from elastic_deploy.model.memory import ReplicaMemory
from elastic_deploy.model.spec import DeploymentSpec

SURPLUS = "fewer replicas are wanted"
REPLACED = "a new version serves in its place"
STRAY = "it serves a version that is not wanted any more"


@dataclass(frozen=True, slots=True)
class Change:
    """A change that is being rolled out: to `spec`, whose fingerprint is `version`, from `former`.

    `versions` has the spec of every version of which an engine may still serve, by fingerprint. `room` is how many GPUs
    there may be at once.
    """

    spec: DeploymentSpec
    version: str
    former: DeploymentSpec
    former_version: str
    versions: dict[str, DeploymentSpec]
    room: int

    def olds(self, replicas: Iterable[ReplicaMemory]) -> list[ReplicaMemory]:
        """The replicas that are worth sparing, the best first; among those that serve, the former version's.

        One of a version between the two is spared as long as it serves.
        """
        ranked = best_first(replica for replica in replicas if self._is_spared(replica))
        return sorted(ranked, key=lambda replica: (not replica.serves, replica.version != self.former_version))

    def _is_spared(self, replica: ReplicaMemory) -> bool:
        if replica.version in (self.version, self.former_version):
            return replica.version != self.version
        return replica.serves and replica.version in self.versions

    def within_room(self, olds: Iterable[ReplicaMemory], news: Sequence[ReplicaMemory]) -> list[ReplicaMemory]:
        """Those of the old replicas beside which the new ones have room. The former version's have it by the plan."""
        within: list[ReplicaMemory] = []
        for replica in olds:
            held = held_gpus(self.spec, self.versions, (*news, *within, replica))
            if replica.version == self.former_version or held <= self.room:
                within.append(replica)
        return within


def serves(replica: ReplicaMemory, version: str) -> bool:
    """Whether it serves this version; one that is drained to be changed still serves another."""
    return replica.serves and replica.fingerprint == version


def held_gpus(spec: DeploymentSpec, versions: dict[str, DeploymentSpec], replicas: Iterable[ReplicaMemory]) -> int:
    """GPUs of these replicas, each in the shape of its version."""
    return sum(versions.get(replica.version, spec).shape.gpus_per_replica for replica in replicas)


def by_number(replica: ReplicaMemory) -> tuple[int, str]:
    """Replicas in the order of their numbers: r2 before r10."""
    return len(replica.id), replica.id


def best_first(replicas: Iterable[ReplicaMemory]) -> list[ReplicaMemory]:
    """Those that serve first, then those that served, then those that start, each in the order of their numbers.

    One that was to go, and whose engine has been ended for that, comes last.
    """

    def key(r: ReplicaMemory) -> tuple[bool, bool, bool, bool, tuple[int, str]]:
        ended = r.engine_ended or not r.generation
        return not r.serves, bool(r.leaving) and r.engine_ended, not r.ever_ready, ended, by_number(r)

    return sorted(replicas, key=key)


def plain(spec: DeploymentSpec, version: str, replicas: Sequence[ReplicaMemory]) -> tuple[list[ReplicaMemory], int]:
    """No former version is to be spared: as many as are wanted stay, whatever they have served so far."""
    stays = {replica.id for replica in best_first(replicas)[: spec.shape.replicas]}
    chosen = [staying(r, version) if r.id in stays else going(r, SURPLUS) for r in replicas]
    return chosen, spec.shape.replicas - len(stays)


def surge(change: Change, replicas: Sequence[ReplicaMemory]) -> tuple[list[ReplicaMemory], int]:
    """One replica of the new version beside the others at a time; returns them, and how many are missing."""
    spec, version, wanted = change.spec, change.version, change.spec.shape.replicas
    news = best_first(replica for replica in replicas if replica.version == version)
    serving = sum(1 for replica in news[:wanted] if serves(replica, version))
    spared = 0 if serving >= wanted else max(0, change.former.shape.replicas - serving)
    olds = change.olds(replicas)
    if spec.restoring:  # a version that did not come up is not tried again
        olds = [replica for replica in olds if replica.serves]
    coming = [ReplicaMemory("", version=version)] if len(news) <= serving < wanted else []
    spare = change.within_room(olds[:spared], [*news[:wanted], *coming])
    stays = {replica.id for replica in (*news[:wanted], *spare)}
    why = {replica.id: REPLACED for replica in olds} | {replica.id: SURPLUS for replica in news}
    chosen = [staying(r, r.version) if r.id in stays else going(r, why.get(r.id, STRAY)) for r in replicas]
    if any(replica.leaving for replica in chosen):
        return chosen, 0  # its GPUs are wanted for the next
    enough = min(wanted, serving + 1) if any(r.version != version for r in chosen) else wanted
    return chosen, max(0, enough - len(news))


def in_place(change: Change, replicas: Sequence[ReplicaMemory]) -> tuple[list[ReplicaMemory], int]:
    """One replica at a time changed where it stands; returns them, and how many are missing.

    Where fewer replicas are there than are wanted, and there is room, a new one is made instead.
    """
    spec, version, wanted = change.spec, change.version, change.spec.shape.replicas
    news = best_first(replica for replica in replicas if replica.version == version)
    olds = [replica for replica in change.olds(replicas) if not replica.leaving]
    chosen = {r.id: going(r, STRAY) for r in replicas}
    chosen |= {r.id: going(r, SURPLUS) for r in news[wanted:]}
    chosen |= {r.id: staying(r, version) for r in news[:wanted]}
    chosen |= {r.id: r for r in olds}
    if spec.restoring:  # a version that did not come up is not tried again
        for replica in [r for r in olds if not r.serves]:
            room = sum(1 for r in chosen.values() if r.version == version and not r.leaving) < wanted
            chosen[replica.id] = staying(replica, version) if room else going(replica, SURPLUS)
    if any(r.leaving or (r.version == version and not serves(r, version)) for r in chosen.values()):
        return list(chosen.values()), 0  # one at a time
    olds = [r for r in olds if chosen[r.id].version != version]
    missing = max(0, wanted - len(chosen))
    if not olds:
        return list(chosen.values()), missing
    held = held_gpus(spec, change.versions, chosen.values())
    if missing and held + spec.shape.gpus_per_replica <= max(spec.shape.gpus, change.former.shape.gpus):
        return list(chosen.values()), 1
    worst = olds[-1]
    chosen[worst.id] = going(worst, SURPLUS) if len(chosen) > wanted else staying(worst, version)
    return list(chosen.values()), 0


def staying(replica: ReplicaMemory, version: str) -> ReplicaMemory:
    """The replica as one that stays, to serve this version."""
    if not replica.leaving and replica.version == version:
        return replica
    if replica.version != version and replica.engine_ended:
        # What failed was another version: it counts neither as a failure nor as an outage of this one.
        replica = replace(replica.forgiven, ever_ready=False, proven_at=None, outage=None, suspected_at=None)
    return replace(replica, version=version, leaving="")


def going(replica: ReplicaMemory, why: str) -> ReplicaMemory:
    """The replica as one that goes; what it was to go for first stands."""
    return replica if replica.leaving else replace(replica, leaving=why)
