"""How a replica that serves goes back to a better pool: a successor there first, and when the old one goes.

With `--prefer-return`, `core.roster` asks at every step of a deployment that is whole and that nobody is changing. One
replica at a time, new before old: the successor waits in the better pool as any replica does (`core.pools`), and when
it leaves that pool, or fails, it is given up, which costs the clients nothing. Attempts are far between
(`return_after`), since a move costs an engine's start and capacity that has just come back is often gone again at once,
and farther after each failure. Anything else that happens to the deployment ends the attempt. Pure.
"""

from collections.abc import Sequence
from dataclasses import replace

from elastic_deploy.core.rollout import SURPLUS, going, staying
from elastic_deploy.model.event import EventDraft
from elastic_deploy.model.memory import DeploymentMemory, ReplicaMemory, Returning
from elastic_deploy.model.pool import Pool
from elastic_deploy.model.spec import DeploymentSpec

RETURNED = "another serves in its place, in a better pool"

LONGEST_QUIET = 6 * 3600.0
"""Seconds between attempts at the most, after some that failed in a row."""

ATTEMPT = 3600.0
"""Seconds after which an attempt is given up at the latest: the pool's own deadlines end most of them sooner."""

ENGINE_FAILURES = 2
"""Engines of the successor that fail, after which the attempt is given up: the old one serves well meanwhile."""


def is_returning(memory: DeploymentMemory) -> bool:
    """Whether a successor is on its way in a better pool, beside the replicas that are wanted."""
    return memory.returning is not None and memory.returning.successor != ""


def begun(spec: DeploymentSpec, memory: DeploymentMemory, version: str, now: float) -> DeploymentMemory:
    """The memory of a deployment that is whole, with a successor in a better pool where it is time for one."""
    last = memory.returning
    if last is not None and last.successor:  # the old one is gone
        return replace(memory, returning=Returning(until=now + spec.return_after))
    if not spec.prefer_return or not spec.surge or spec.full is not None or len(spec.pools) < 2:
        return memory
    if last is not None and now < last.until:
        return memory
    if any(not r.serves or r.proven_at is None or now - r.proven_at < spec.return_after for r in memory.replicas):
        return memory
    order = {pool.name: place for place, pool in enumerate(spec.pools)}
    old = max(memory.replicas, key=lambda r: (order.get(r.pool or "", len(order)), r.id), default=None)
    better = None if old is None else _better(spec, memory, order.get(old.pool or "", len(order)), now)
    if old is None or better is None:
        return memory
    taken = {replica.id for replica in memory.replicas}
    number = next(n for n in range(len(taken) + 1) if f"r{n}" not in taken)
    successor = ReplicaMemory(
        f"r{number}",
        generation=memory.generations,
        engine_ended=memory.generations > 0,
        version=version,
        pool=better.name,
        pool_since=now,
    )
    attempt = Returning(old.id, successor.id, better.name, now, last.failures if last else 0)
    return replace(memory, replicas=(*memory.replicas, successor), returning=attempt)


def _better(spec: DeploymentSpec, memory: DeploymentMemory, place: int, now: float) -> Pool | None:
    """The best pool before that place that does not rest and has room for one more."""
    size = spec.shape.gpus_per_replica
    resting = {rest.pool for rest in memory.rests if rest.until > now}
    for pool in spec.pools[:place]:
        inside = sum(1 for replica in memory.replicas if replica.pool == pool.name)
        if pool.name not in resting and (pool.gpus is None or pool.gpus - inside * size >= size):
            return pool
    return None


def returned(
    spec: DeploymentSpec, memory: DeploymentMemory, version: str, replicas: Sequence[ReplicaMemory], now: float
) -> tuple[list[ReplicaMemory], Returning | None]:
    """Who stays and who goes until the successor serves and the old one is gone, and how the attempt stands then."""
    attempt = memory.returning or Returning()
    known = {replica.id: replica for replica in replicas}
    old, successor = known.get(attempt.old), known.get(attempt.successor)
    if successor is None or successor.leaving:
        return [staying(r, version) if not r.leaving else r for r in replicas], _failed(spec, attempt, now)
    if old is None:  # and the successor does not serve at the moment
        return [staying(r, version) for r in replicas], Returning(until=now + spec.return_after)
    if successor.serves or (old.leaving and not old.serves):
        return [going(r, RETURNED) if r.id == old.id else staying(r, version) for r in replicas], attempt
    if not _is_over(spec, successor, attempt, now):
        return [staying(r, version) for r in replicas], attempt
    chosen = [going(r, SURPLUS) if r.id == successor.id else staying(r, version) for r in replicas]
    return chosen, _failed(spec, attempt, now)


def _failed(spec: DeploymentSpec, attempt: Returning, now: float) -> Returning:
    failures = attempt.failures + 1
    quiet = min(max(LONGEST_QUIET, spec.return_after), spec.return_after * 2 ** min(failures - 1, 10))
    return Returning(failures=failures, until=now + quiet)


def _is_over(spec: DeploymentSpec, successor: ReplicaMemory, attempt: Returning, now: float) -> bool:
    """Whether the attempt is to be given up: nothing comes of it, or it is wanted no more.

    A loss of the old one is no reason: whichever of the two serves first is as well.
    """
    return (
        not spec.prefer_return
        or successor.pool != attempt.pool
        or successor.failures >= ENGINE_FAILURES
        or successor.refused
        or now - attempt.since >= ATTEMPT
    )


def told(spec: DeploymentSpec, before: DeploymentMemory, after: DeploymentMemory) -> list[EventDraft]:
    """What has become of the attempt, once each."""
    former, present = before.returning or Returning(), after.returning or Returning()
    attempt = present if present.successor else former
    if not attempt.successor:
        return []
    name = f"{spec.name}/{attempt.old}"
    if _goes(after, attempt.old) and not _goes(before, attempt.old):
        message = f"{name} goes back to pool {attempt.pool}, as {attempt.successor}, which has generated there."
        return [_event(spec, "replica.returned", attempt, message)]
    if present.successor and not former.successor:
        message = (
            f"{name} may go back to pool {attempt.pool}: {attempt.successor} is asked for there, and takes its place"
            " when it has generated."
        )
        return [_event(spec, "replica.returning", attempt, message)]
    if not present.successor and not any(r.id == attempt.successor and not r.leaving for r in after.replicas):
        message = (
            f"{name} stays where it is: {attempt.successor} is given up, which was to come to pool {attempt.pool}."
        )
        return [_event(spec, "return.given_up", attempt, message)]
    return []


def _goes(memory: DeploymentMemory, replica: str) -> bool:
    return any(each.id == replica and each.leaving == RETURNED for each in memory.replicas)


def _event(spec: DeploymentSpec, kind: str, attempt: Returning, message: str) -> EventDraft:
    subject, data = f"{spec.name}/{attempt.old}", {"pool": attempt.pool, "successor": attempt.successor}
    return EventDraft(kind, message, spec.name, attempt.old, subject=subject, because=subject, data=data)
