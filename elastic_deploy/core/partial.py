"""The partial gang: some nodes of a replica are there, cost money and serve nothing, because the others do not come.

Pure; asked by `core.pools`, which decides when they are released.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from elastic_deploy.core.facts import Index
from elastic_deploy.model.memory import Partial, ReplicaMemory
from elastic_deploy.model.snapshot import GroupState, NodeSeen, NodeState
from elastic_deploy.model.spec import DeploymentSpec


@dataclass(frozen=True, slots=True)
class Gathered:
    """What is there for a replica that waits: GPUs, and the nodes that they are on, the head's not among them."""

    gpus: int = 0
    nodes: tuple[NodeSeen, ...] = ()


NOTHING_GATHERED = Gathered()


def gathered(spec: DeploymentSpec, waiting: Sequence[ReplicaMemory], index: Index) -> dict[str, Gathered]:
    """What is there for each of the replicas that wait, the first served first.

    Bundles of its own group count, and GPUs that nobody's group holds on nodes of its pool. The head's are left out:
    it is there in any case, and cannot be released.
    """
    free = _free(index)
    found = {}
    for replica in waiting:
        pool, group = spec.place(replica.pool), index.of_deployment(spec.name).groups.get(replica.id)
        if pool is None:
            continue
        held = Counter(ray_id for ray_id in (group.bundle_nodes if group else ()) if ray_id in free)
        missing = spec.shape.gpus_per_replica - held.total()
        for ray_id, (node, gpus) in free.items():
            take = min(gpus, missing) if pool.has(node.type) else 0
            if take > 0:
                held[ray_id] += take
                missing -= take
                free[ray_id] = (node, gpus - take)
        found[replica.id] = Gathered(held.total(), tuple(free[ray_id][0] for ray_id in held))
    return found


def _free(index: Index) -> dict[str, tuple[NodeSeen, int]]:
    """The GPUs on each node that Ray places bundles on, without those that a group holds."""
    snapshot = index.snapshot
    taken: Counter[str] = Counter()
    for group in snapshot.groups.value or ():
        if group.state is not GroupState.REMOVED:
            taken.update(group.bundle_nodes)
    return {
        node.ray_id: (node, max(0, node.gpus - taken[node.ray_id]))
        for node in snapshot.nodes.value or ()
        if node.state is NodeState.JOINED and node.gpus and not node.is_head
    }


def measured(spec: DeploymentSpec, replica: ReplicaMemory, there: Gathered, now: float) -> Partial | None:
    """How long the gang has been partial and what it has cost; None where all of it is there, or nothing."""
    if not 0 < there.gpus < spec.shape.gpus_per_replica:
        return None
    former = replica.partial
    if former is None:
        return Partial(now, now, there.gpus)
    rate = usd_per_hour(spec, there.nodes)
    return Partial(former.since, now, there.gpus, former.cost + rate * max(0.0, now - former.until) / 3600)


def usd_per_hour(spec: DeploymentSpec, nodes: Iterable[NodeSeen]) -> float:
    """What these nodes cost together, as far as their prices are known."""
    prices = {**dict(spec.found_prices), **dict(spec.prices)}
    return sum(prices.get(node.type, 0.0) for node in nodes)


def is_enough(spec: DeploymentSpec, partial: Partial, now: float) -> str:
    """Why a partial gang has lasted, or cost, long enough, as a clause; empty where it has not."""
    if spec.partial_timeout is not None and now - partial.since >= spec.partial_timeout:
        return "the others did not come within --partial-timeout"
    if spec.partial_budget is not None and partial.cost >= spec.partial_budget:
        return f"the others did not come before they had cost {partial.cost:.2f} USD (--partial-budget)"
    return ""


def ends_at(spec: DeploymentSpec, partial: Partial, rate: float) -> float | None:
    """When it will have been enough at the latest, seconds since the epoch; `rate` in USD an hour."""
    ends = []
    if spec.partial_timeout is not None:
        ends.append(partial.since + spec.partial_timeout)
    if spec.partial_budget is not None and rate > 0:
        ends.append(partial.until + max(0.0, spec.partial_budget - partial.cost) / rate * 3600)
    return min(ends, default=None)
