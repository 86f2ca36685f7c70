"""What is told of the pools of a deployment: where its replicas wait, which pools rest and why, what waiting has cost.

Pure; called by `core.explain` for `status`'s reason and by `core.status` for its document.
"""

from typing import Any

from elastic_deploy.core.exhausted import exhausted
from elastic_deploy.core.step_limits import STEP_WORDS
from elastic_deploy.core.tally import counted
from elastic_deploy.model.duration import clock, format_duration
from elastic_deploy.model.memory import DeploymentMemory, ReplicaMemory
from elastic_deploy.model.spec import DeploymentSpec


def pool_sentences(spec: DeploymentSpec, memory: DeploymentMemory, now: float) -> list[str]:
    """A sentence for each replica that waits in a pool or for one, for each pool that rests, and for the cost."""
    rests = [rest for rest in memory.rests if rest.until > now and spec.place(rest.pool) is not None]
    sentences = []
    for replica in memory.staying:
        if replica.pool_since is not None and replica.pool:
            ago = format_duration(max(0.0, now - replica.pool_since))
            sentences.append(f"{replica.id} waits in pool {replica.pool} for {ago}.")
        elif replica.pool is None and rests:
            first = min(rests, key=lambda rest: rest.until)
            where = f"pool {first.pool}" if first.pool else "the cluster"
            sentences.append(f"{replica.id} asks for nothing now; {where} is asked again at {clock(first.until)}.")
        sentences += _partial(spec, replica, now)
    for stay in memory.stays:
        if stay.overdue and stay.step in STEP_WORDS:
            told = format_duration(max(0.0, now - stay.since))
            sentences.append(
                f"Node {stay.node} ({stay.node_type}) hangs for {told}: {STEP_WORDS[stay.step]}; only Ray's autoscaler"
                " can end a node that has not joined, and does so by its own limits."
            )
    for rest in rests:
        where = f"Pool {rest.pool}" if rest.pool else "The cluster"
        row = f", after {rest.failures} failures in a row" if rest.failures > 1 else ""
        sentences.append(f"{where} rests until {clock(rest.until)}{row}: {rest.why}.")
    if why := exhausted(spec, memory, now):
        sentences.append(f"{why[:1].upper()}{why[1:]}; another pool, or fewer GPUs, may be had sooner.")
    if memory.wasted:
        sentences.append(f"Nodes that waited in vain for others have cost {memory.wasted:.2f} USD.")
    return sentences


def _partial(spec: DeploymentSpec, replica: ReplicaMemory, now: float) -> list[str]:
    partial = replica.partial
    if partial is None:
        return []
    size = counted(spec.shape.gpus_per_replica, "GPU")
    cost = f", which has cost {partial.cost:.2f} USD" if partial.cost else ""
    told = f"{partial.gpus} of {replica.id}'s {size} wait for the others since {clock(partial.since)}{cost}"
    if spec.partial_timeout is None:
        return [f"{told}."]
    left = format_duration(max(0.0, partial.since + spec.partial_timeout - now))
    return [f"{told}; they are released in {left}."]


def pool_documents(spec: DeploymentSpec, memory: DeploymentMemory | None) -> list[dict[str, Any]]:
    """The pools, the best first, each with how it fares: `rests_until`, `why` and `failures` where it rests."""
    rests = {rest.pool: rest for rest in memory.rests} if memory else {}
    return [
        {
            "name": pool.name,
            "node_types": list(pool.node_types),
            "replicas": [r.id for r in (memory.staying if memory else ()) if r.pool == pool.name],
            "rests_until": rests[pool.name].until if pool.name in rests else None,
            "why": rests[pool.name].why if pool.name in rests else "",
            "failures": rests[pool.name].failures if pool.name in rests else 0,
        }
        for pool in spec.pools
    ]
