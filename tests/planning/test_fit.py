"""The most GPUs that a cluster can have, against trying every number of nodes."""

from itertools import product

from hypothesis import given, settings

from elastic_deploy.model.shape import Bundle, Capacity
from elastic_deploy.planning.fit import fits, gpus_in, most_gpus

from .strategies import capacities


def by_trying(capacity: Capacity) -> int:
    ranges = [range(each.standing_workers, each.max_workers + 1) for each in capacity.node_types]
    heads = sum(each.gpus for each in capacity.node_types if each.is_head)
    return heads + max(
        sum(each.gpus * count for each, count in zip(capacity.node_types, counts, strict=True))
        for counts in product(*ranges)
        if sum(counts) <= capacity.max_workers
    )


@settings(max_examples=150, deadline=None)
@given(capacities())
def test_the_most_is_what_trying_every_number_of_nodes_finds(capacity: Capacity) -> None:
    most = most_gpus(capacity)
    assert most == by_trying(capacity)
    assert fits(capacity, (Bundle({"GPU": 1}, most),))
    assert not fits(capacity, (Bundle({"GPU": 1}, most), Bundle({"GPU": 1}, 1)))


def test_gpus_are_counted_over_all_bundles() -> None:
    assert gpus_in((Bundle({"GPU": 1}, 3), Bundle({"GPU": 2, "CPU": 1}, 2), Bundle({"CPU": 4}, 9))) == 7
