"""Whether a change can be rolled out with one replica more than there are: the room for it under `max_workers`.

Pure. `up` asks before it hands a deployment over; `core.invariants` holds decisions to the same bound.
"""

from collections.abc import Iterable

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


def has_room(capacity: Capacity, before: Shape, after: Shape, taken: Iterable[Bundle] = ()) -> bool:
    """Whether the cluster, beside what is `taken`, may grow by the one replica that a change needs."""
    return fits(capacity, [*taken, Bundle(dict(GPU_BUNDLE), most_gpus_changing(before, after))])
