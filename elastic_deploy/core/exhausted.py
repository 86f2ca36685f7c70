"""Pools that may never give what is waited for: all of them have failed, again and again, for long.

No cloud says that capacity is gone for good, so nothing is ended for it: it is said, with how often and for how long,
once in the journal and in `status` as long as it lasts. Pure.
"""

from dataclasses import replace

from elastic_deploy.core.tally import counted
from elastic_deploy.model.duration import format_duration
from elastic_deploy.model.event import EventDraft
from elastic_deploy.model.memory import DeploymentMemory
from elastic_deploy.model.spec import DeploymentSpec

LONG = 3600.0
"""Seconds of a wait in which every pool has failed, after which it is said: most capacity that comes back does so
within the hour, and by then a person would want to choose something else."""


def exhausted(spec: DeploymentSpec, memory: DeploymentMemory, now: float) -> str:
    """That no pool gives anything, as a clause; empty as long as one may."""
    waits = any(replica.pool is None or replica.pool_since is not None for replica in memory.staying)
    began = memory.waiting_since
    if not spec.pools or not waits or now - began < LONG:
        return ""
    failed = {rest.pool: rest.failures for rest in memory.rests if rest.since >= began}
    if any(pool.name not in failed for pool in spec.pools):
        return ""
    times = ", ".join(f"{pool.name} {counted(failed[pool.name], 'time')}" for pool in spec.pools)
    return (
        f"in {format_duration(now - began)} no pool has given all GPUs of a replica ({times} in a row): they may never"
        " be had there"
    )


def with_exhaustion(
    spec: DeploymentSpec, memory: DeploymentMemory, now: float
) -> tuple[DeploymentMemory, tuple[EventDraft, ...]]:
    """The memory that knows whether it has been said, and the event that says it, once until a pool gives again."""
    why = exhausted(spec, memory, now)
    if bool(why) == memory.exhausted:
        return memory, ()
    after = replace(memory, exhausted=bool(why))
    if not why:
        return after, ()
    message = f"{spec.name}: {why}. All of them are asked further; another pool, or fewer GPUs, may be had sooner."
    failures = {rest.pool: rest.failures for rest in memory.rests}
    data = {"seconds": round(now - memory.waiting_since, 1), "failures": failures}
    return after, (EventDraft("wait.exhausted", message, spec.name, subject=f"deployment:{spec.name}", data=data),)
