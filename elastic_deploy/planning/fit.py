"""Whether GPUs can ever be had: the most that a cluster's `max_workers` allow, and what to raise where they fall short.

Pure; `planning.plan` asks before anything is started, because Ray's autoscaler launches no node at all for a request
of which one bundle can never fit. Exact for bundles of one GPU, which pack into nodes without waste.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import replace

from elastic_deploy.model.errors import InvalidConfigError, NeverFitsError
from elastic_deploy.model.shape import Bundle, Capacity, NodeType


def gpus_in(bundles: Iterable[Bundle]) -> int:
    """GPUs that `bundles` ask for together."""
    return sum(int(bundle.resources.get("GPU", 0)) * bundle.count for bundle in bundles)


def most_gpus(capacity: Capacity) -> int:
    """The most GPUs that the cluster can ever have, the head's own among them.

    `min_workers` stand first, of types without GPUs too: they use up `max_workers` whether one wants them or not.
    """
    free_workers = capacity.max_workers
    gpus = 0
    for node_type in capacity.node_types:
        free_workers -= node_type.standing_workers
        gpus += node_type.gpus * (node_type.standing_workers + node_type.is_head)
    for node_type in sorted(capacity.node_types, key=lambda each: -each.gpus):
        more = max(0, min(free_workers, node_type.max_workers - node_type.standing_workers))
        free_workers -= more
        gpus += node_type.gpus * more
    return gpus


def fits(capacity: Capacity, bundles: Iterable[Bundle]) -> bool:
    """Whether these one-GPU bundles fit into the cluster at its largest."""
    return gpus_in(bundles) <= most_gpus(capacity)


def require_fit(capacity: Capacity, gpus: int, taken: int = 0) -> None:
    """Raise NeverFitsError if `gpus` more than the `taken` ones can never be had; InvalidConfigError if nobody can
    tell, because a node type's GPUs are known to the cloud alone.
    """
    most = most_gpus(capacity)
    if gpus + taken <= most:
        return
    unknown = [each.name for each in capacity.node_types if each.gpus_unknown and (each.max_workers or each.is_head)]
    if unknown:
        raise InvalidConfigError(
            f"{capacity.cluster_name}: how many GPUs a node of type {_listed(unknown)} has is not known here, and"
            f" without it {most} GPUs are the most: write `resources: {{GPU: n}}` for it in the cluster YAML."
        )
    beside = f" beside the {taken} of other deployments" if taken else ""
    raise NeverFitsError(
        f"{_gpus(gpus)}{beside} can never be had in {capacity.cluster_name}: {_limits(capacity, most)}."
        f" {_mend(capacity, gpus, taken, most)}"
    )


def _limits(capacity: Capacity, most: int) -> str:
    parts = []
    for each in capacity.node_types:
        if each.gpus and each.is_head:
            parts.append(f"the head's own {each.gpus}")
        if each.gpus and each.max_workers:
            parts.append(f"at most {_nodes(each.max_workers)} of type {each.name} with {_gpus(each.gpus)} each")
    if not parts:
        return "none of its node types has GPUs and may be launched"
    others = sum(each.standing_workers for each in capacity.node_types if not each.gpus)
    slots = f", of which min_workers give {others} to nodes without GPUs" if others else ""
    return f"it allows {most} ({', '.join(parts)}; {_nodes(capacity.max_workers, 'worker')} in all{slots})"


def _mend(capacity: Capacity, gpus: int, taken: int, most: int) -> str:
    fewer = f"Ask for --gpus {most - taken} or fewer, or raise" if most > taken else "Raise"
    raised = _raised(capacity, gpus + taken)
    if raised is None:
        return "Add a type of worker with GPUs (resources: {GPU: n}) to the cluster YAML."
    changes = [
        f"available_node_types.{new.name}.max_workers from {old.max_workers} to {new.max_workers}"
        for old, new in zip(capacity.node_types, raised.node_types, strict=True)
        if old != new
    ]
    if raised.max_workers != capacity.max_workers:
        changes.append(f"the cluster's max_workers from {capacity.max_workers} to {raised.max_workers}")
    return f"{fewer} {' and '.join(changes)}."


def _raised(capacity: Capacity, gpus: int) -> Capacity | None:
    """`capacity` with limits raised just so far that `gpus` fit: the cluster's alone if that is enough."""
    room = replace(capacity, max_workers=sum(each.max_workers for each in capacity.node_types))
    missing = gpus - most_gpus(room)
    if missing > 0:
        workers = [each for each in capacity.node_types if each.gpus and not each.is_head]
        if not workers:
            return None
        largest = max(workers, key=lambda each: each.gpus)
        grown = replace(largest, max_workers=largest.max_workers + -(-missing // largest.gpus))
        capacity = _with_type(capacity, grown)
    limits = range(capacity.max_workers, sum(each.max_workers for each in capacity.node_types) + 1)
    enough = bisect_left(limits, gpus, key=lambda limit: most_gpus(replace(capacity, max_workers=limit)))
    return replace(capacity, max_workers=limits[enough]) if enough < len(limits) else capacity


def _with_type(capacity: Capacity, grown: NodeType) -> Capacity:
    return replace(
        capacity, node_types=tuple(grown if each.name == grown.name else each for each in capacity.node_types)
    )


def _listed(names: list[str]) -> str:
    return " or ".join(names)


def _gpus(count: int) -> str:
    return f"{count} GPU" if count == 1 else f"{count} GPUs"


def _nodes(count: int, word: str = "node") -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
