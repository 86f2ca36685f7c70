"""Whether a change can be rolled out with one replica more than there are: the room for it under `max_workers`.

Pure. `up` asks before it hands a deployment over; `core.invariants` holds decisions to the same bound.
"""

from collections.abc import Iterable

from elastic_deploy.model.pool import Pool
from elastic_deploy.model.shape import Bundle, Capacity, Shape
from elastic_deploy.model.spec import GPU_BUNDLE
from elastic_deploy.planning.fit import fits


def most_gpus_changing(before: Shape, after: Shape) -> int:
    """The most GPUs that are asked for at once while replicas of one shape take the place of another's, one by one.

    For each new replica that has generated an old one goes; one more new one is on its way.
    """
    return max(
        max(0, before.replicas - proven) * before.gpus_per_replica + (proven + 1) * after.gpus_per_replica
        for proven in range(after.replicas)
    )


def has_room(
    capacity: Capacity, before: Shape, after: Shape, taken: Iterable[Bundle] = (), pools: tuple[Pool, ...] = ()
) -> bool:
    """Whether the cluster, beside what is `taken`, may grow by the one replica that a change needs.

    With pools, each replica has to find all of its GPUs in one of them at every step of the change.
    """
    if not fits(capacity, [*taken, Bundle(dict(GPU_BUNDLE), most_gpus_changing(before, after))]):
        return False
    if not pools or any(pool.gpus is None for pool in pools):
        return True
    rooms = [pool.gpus or 0 for pool in pools]
    return all(
        _packs(
            rooms,
            [before.gpus_per_replica] * max(0, before.replicas - proven) + [after.gpus_per_replica] * (proven + 1),
        )
        for proven in range(after.replicas)
    )


def _packs(rooms: list[int], sizes: list[int]) -> bool:
    """Whether replicas of these sizes find a pool each, the largest first."""
    left = list(rooms)
    for size in sorted(sizes, reverse=True):
        place = next((number for number, room in enumerate(left) if room >= size), None)
        if place is None:
            return False
        left[place] -= size
    return True
