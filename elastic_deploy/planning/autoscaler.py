"""Which nodes Ray's autoscaler will launch for a request of one-GPU bundles.

The node types are the autoscaler's to choose, not ours, so `planning.plan` foretells its choice instead of making
one. The rule is that of ray 2.60, `autoscaler/v2/scheduler.py` (`_try_schedule`, `_sched_best_node`,
`_compute_score`), reduced to bundles of one GPU; a test compares the two. It is greedy: it takes the node that the
bundles fill best and never goes back, so it can fail where another choice would fit.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from elastic_deploy.model.shape import Capacity, NodeType


@dataclass(frozen=True, slots=True)
class Foreseen:
    """The cluster that a request leads to. `nodes` counts workers by type, those of `min_workers` among them;
    `used` counts the nodes, the head among them, that the bundles fall on; `unplaced` is how many GPUs find no room.
    """

    nodes: Mapping[str, int]
    used: Mapping[str, int]
    unplaced: int


def foresee(capacity: Capacity, gpus: int, standing: Mapping[str, int] | None = None) -> Foreseen:
    """What the autoscaler makes of a request of `gpus` one-GPU bundles where `standing` workers (by type) are up."""
    workers = Counter(standing or {})
    for each in capacity.node_types:
        workers[each.name] = max(workers[each.name], each.standing_workers)
    used: Counter[str] = Counter()
    left = gpus

    existing = [each for each in capacity.node_types for _ in range(workers[each.name] + each.is_head) if each.gpus]
    while left and existing:
        place, filled = _best(existing, left)
        left -= filled
        used[existing.pop(place).name] += 1

    pool = [each for each in capacity.node_types if each.gpus and workers[each.name] < each.max_workers]
    while left and pool and workers.total() < capacity.max_workers:
        place, filled = _best(pool, left)
        taken = pool.pop(place)
        left -= filled
        used[taken.name] += 1
        workers[taken.name] += 1
        if workers[taken.name] < taken.max_workers:
            # Ray puts the type back at the end, which is why equally good types take turns.
            pool.append(taken)
    return Foreseen(+workers, used, left)


def _best(nodes: list[NodeType], gpus: int) -> tuple[int, int]:
    """The place in `nodes` of the node that `gpus` bundles fill best, the first among equals, and how many it takes."""
    place = max(range(len(nodes)), key=lambda each: (*_score(nodes[each], gpus), -each))
    return place, min(nodes[place].gpus, gpus)


def _score(node: NodeType, gpus: int) -> tuple[float, float, int]:
    """Ray's utilization score: the least and the mean of each resource's amount times its cubed utilization."""
    resources = {name for name, amount in node.resources.items() if amount} | set(node.detected)
    filled = node.gpus * (min(node.gpus, gpus) / node.gpus) ** 3
    return (filled if len(resources) == 1 else 0.0, filled / len(resources), node.priority)
