"""The check that the subnets have addresses for all nodes that are to start in them. Pure."""

from collections.abc import Mapping
from itertools import combinations

from elastic_deploy.cluster.aws.preflight.facts import SubnetFact
from elastic_deploy.cluster.aws.preflight.verdicts import failure, warning
from elastic_deploy.cluster.aws.preflight.wanted import Wanted, WantedNode
from elastic_deploy.model.check import Check

_MOST_SETS = 10
"""So many different sets of subnets are tried in all combinations, a thousand; of more, each alone and all together."""


def addresses_left(wanted: Wanted, known: Mapping[str, SubnetFact]) -> list[Check]:
    """The subnets, of those that node types share, that have fewer addresses than nodes may start there.

    Nodes find room exactly if, for every choice of node types' subnets, those have room for the nodes that can only
    start among them (Hall's theorem); the smallest choice without is told.
    """
    nodes = [each for each in wanted.nodes if any(subnet in known for subnet in each.subnets)]
    places = [frozenset(each.subnets).intersection(known) for each in nodes]
    sets = list(dict.fromkeys(places))
    sizes = range(1, len(sets) + 1) if len(sets) <= _MOST_SETS else (1, len(sets))
    tried = {frozenset[str]().union(*chosen): None for size in sizes for chosen in combinations(sets, size)}
    for subnets in sorted(tried, key=len):
        inside = [each for each, place in zip(nodes, places, strict=True) if place <= subnets]
        free, needed = sum(known[each].free_addresses for each in subnets), _most(wanted, inside)
        if needed > free:
            return [_short(inside, sorted(subnets), free, needed, insisted=wanted.insisted)]
    return []


def _most(wanted: Wanted, nodes: list[WantedNode]) -> int:
    """How many nodes of these types there may be at once; the cluster's own limit holds for the workers of all."""
    heads = sum(each.is_head for each in nodes)
    workers = sum(each.count for each in nodes) - heads
    return heads + (workers if wanted.max_workers is None else min(workers, wanted.max_workers))


def _short(nodes: list[WantedNode], subnets: list[str], free: int, needed: int, *, insisted: bool) -> Check:
    names = " and ".join(each.name for each in nodes)
    types = f"node types {names}" if len(nodes) > 1 else f"node type {names}"
    number = "1 free address" if free == 1 else f"{free} free addresses together"
    said = f"{', '.join(subnets)} of {types} have {number}, and {needed} nodes are to start there."
    mend = "Name a larger subnet, or free addresses in these."
    return failure("subnets", said, mend) if insisted or not free else warning("subnets", said, mend)
