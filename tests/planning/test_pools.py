"""Pools as the cluster YAML has them, and the plan for replicas of which each lives in one."""

from dataclasses import replace

import pytest

from elastic_deploy.model.errors import InvalidConfigError, NeverFitsError
from elastic_deploy.model.plan import NodeCount
from elastic_deploy.model.pool import Pool
from elastic_deploy.model.shape import Bundle, Capacity, NodeType, Shape
from elastic_deploy.planning.plan import plan
from elastic_deploy.planning.pools import pools_of, spread
from elastic_deploy.planning.request import DeploymentRequest

HEAD = NodeType("head", {"CPU": 2}, 0, 0, is_head=True)


def typed(name: str, pool: str, gpus: int = 1, most: int = 4) -> NodeType:
    """A worker's node type in a pool."""
    return NodeType(name, {"CPU": 2, "GPU": gpus}, 0, most, labels=(("pool", pool),))


CAPACITY = Capacity("lab", (HEAD, typed("spot-a", "a"), typed("spot-b", "b"), NodeType("other", {"GPU": 8}, 0, 8)), 8)


def request(gpus: int, *pools: str, replicas: int | None = None) -> DeploymentRequest:
    """A request for GPUs in pools."""
    return DeploymentRequest(
        name="chat", model="m", served_model_name="m", gpus=gpus, min_gpus=gpus, pools=pools, replicas=replicas
    )


def test_a_pool_is_all_node_types_with_its_label_and_knows_its_most() -> None:
    wide = replace(CAPACITY, node_types=(*CAPACITY.node_types, typed("big-a", "a", gpus=2, most=1)))
    assert pools_of(wide, ("b", "a")) == (Pool("b", ("spot-b",), 4), Pool("a", ("spot-a", "big-a"), 6))


def test_the_cluster_s_max_workers_holds_for_a_pool() -> None:
    assert pools_of(replace(CAPACITY, max_workers=3), ("a",))[0].gpus == 3


def test_a_pool_with_nodes_that_are_there_in_any_case_is_known_as_such() -> None:
    kept = replace(typed("spot-a", "a"), min_workers=1)
    wide = replace(CAPACITY, node_types=(HEAD, kept, typed("spot-b", "b")))
    assert [pool.standing for pool in pools_of(wide, ("a", "b"))] == [True, False]


def test_a_pool_whose_gpus_nobody_knows_has_no_bound() -> None:
    unknown = replace(CAPACITY, node_types=(HEAD, NodeType("p9", {}, 0, 4, detected=("GPU",), labels=(("pool", "a"),))))
    assert pools_of(unknown, ("a",)) == (Pool("a", ("p9",), None),)


def test_a_pool_without_node_types_is_named_with_those_there_are() -> None:
    with pytest.raises(InvalidConfigError, match=r"no pool c: .*those there are: a, b\)"):
        pools_of(CAPACITY, ("a", "c"))


def test_the_plan_asks_in_the_first_pool() -> None:
    made = plan(CAPACITY, request(2, "b", "a"))
    assert made.bundles == (Bundle({"GPU": 1.0}, 2, {"pool": "b"}),)
    assert [(each.node_type, each.count) for each in made.nodes] == [("spot-b", 2)]
    assert "b (spot-b), then a (spot-a)" in " ".join(made.why)


def test_replicas_beyond_the_first_pool_are_planned_in_the_next() -> None:
    made = plan(CAPACITY, request(6, "a", "b", replicas=3))
    assert [(bundle.labels["pool"], bundle.count) for bundle in made.bundles] == [("a", 4), ("b", 2)]
    assert [(each.node_type, each.count) for each in made.nodes] == [("spot-a", 4), ("spot-b", 2)]
    assert all(isinstance(each, NodeCount) for each in made.nodes)


def test_a_pool_too_small_for_a_replica_never_fits() -> None:
    small = replace(CAPACITY, node_types=(HEAD, typed("spot-a", "a", most=1), typed("spot-b", "b")))
    with pytest.raises(NeverFitsError, match=r"pool a \(spot-a\) can never have more than 1"):
        plan(small, request(2, "b", "a"))


def test_more_replicas_than_all_pools_hold_never_fit() -> None:
    with pytest.raises(NeverFitsError, match="3 replicas of 3 GPUs never fit: pools a, b hold 2"):
        plan(replace(CAPACITY, max_workers=20), request(9, "a", "b", replicas=3))


def test_tensor_parallel_must_fit_the_nodes_of_every_pool() -> None:
    uneven = replace(CAPACITY, node_types=(HEAD, typed("big", "a", gpus=4), typed("small", "b", gpus=2)))
    assert plan(uneven, request(4, "a", "b")).shape == Shape(2, 2, 1)


def test_the_best_pool_is_filled_first() -> None:
    assert spread((Pool("a", gpus=5), Pool("b", gpus=None)), Shape(2, 1, 4)) == {"a": 2, "b": 2}
