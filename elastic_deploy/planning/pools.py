"""Pools as a cluster YAML has them: their node types, the most that each can hold, and how replicas fill them.

Pure; asked by `planning.plan`. At run time `core.pools` decides where each replica lives.
"""

from dataclasses import replace

from elastic_deploy.model.errors import InvalidConfigError, NeverFitsError
from elastic_deploy.model.pool import POOL_LABEL, Pool
from elastic_deploy.model.shape import Capacity, NodeType, Shape
from elastic_deploy.planning.fit import most_gpus


def pools_of(capacity: Capacity, names: tuple[str, ...]) -> tuple[Pool, ...]:
    """The pools of these names, in their order. Raises InvalidConfigError for one that no node type belongs to."""
    pools = []
    for name in names:
        types = types_of(capacity, name)
        if not types:
            raise InvalidConfigError(_unknown(capacity, name))
        standing = any(each.standing_workers for each in capacity.node_types if each.name in types)
        pool = Pool(name, types, standing=standing)
        known = not any(each.gpus_unknown for each in capacity.node_types if pool.has(each.name))
        pools.append(replace(pool, gpus=most_in(capacity, pool) if known else None))
    return tuple(pools)


def types_of(capacity: Capacity, name: str) -> tuple[str, ...]:
    """The workers' node types that belong to a pool."""
    return tuple(each.name for each in capacity.node_types if (POOL_LABEL, name) in each.labels and not each.is_head)


def most_in(capacity: Capacity, pool: Pool) -> int:
    """The most GPUs that a pool can ever have, where those of its node types are known."""
    return most_gpus(within(capacity, pool))


def _unknown(capacity: Capacity, name: str) -> str:
    labels = (dict(each.labels).get(POOL_LABEL) for each in capacity.node_types)
    known = sorted({label for label in labels if label is not None})
    there = f"those there are: {', '.join(known)}" if known else "no node type has that label"
    return (
        f"{capacity.cluster_name} has no pool {name}: no worker's node type has `labels: {{{POOL_LABEL}: {name}}}`"
        f" ({there}). Write the label, or mend --pools."
    )


def within(capacity: Capacity, pool: Pool) -> Capacity:
    """The cluster as bundles of a pool see it: other node types are there, and have no GPUs for them."""
    types = tuple(each if pool.has(each.name) else _without_gpus(each) for each in capacity.node_types)
    return replace(capacity, node_types=types)


def _without_gpus(node_type: NodeType) -> NodeType:
    resources = {name: amount for name, amount in node_type.resources.items() if name != "GPU"}
    detected = tuple(name for name in node_type.detected if name != "GPU")
    return replace(node_type, resources=resources, detected=detected)


def require_room(capacity: Capacity, pools: tuple[Pool, ...], shape: Shape) -> None:
    """Raise NeverFitsError where a pool cannot hold one replica, or all of them together not all replicas."""
    size = shape.gpus_per_replica
    for pool in pools:
        if pool.gpus is not None and pool.gpus < size:
            raise NeverFitsError(
                f"A replica needs {size} GPUs, and pool {pool.name} ({', '.join(pool.node_types)}) can never have more"
                f" than {pool.gpus}: raise the max_workers of its node types or of {capacity.cluster_name}, leave the"
                " pool out of --pools, or ask for smaller replicas."
            )
    rooms = [pool.gpus // size for pool in pools if pool.gpus is not None]
    if len(rooms) == len(pools) and sum(rooms) < shape.replicas:
        raise NeverFitsError(
            f"{shape.replicas} replicas of {size} GPUs never fit: pools {', '.join(pool.name for pool in pools)} hold"
            f" {sum(rooms)} together. Raise max_workers, or ask for fewer replicas."
        )


def spread(pools: tuple[Pool, ...], shape: Shape) -> dict[str, int]:
    """How many replicas each pool holds while all of them give what they are asked for: the best is filled first."""
    left, counts = shape.replicas, {}
    for pool in pools:
        room = left if pool.gpus is None else pool.gpus // shape.gpus_per_replica
        counts[pool.name] = min(left, room)
        left -= counts[pool.name]
    return counts
