"""What can never be had by the limits that the cluster has now: said when that changes, and asked for no more."""

from dataclasses import replace

import pytest

from elastic_deploy.core.decide import decide
from elastic_deploy.core.explain import reason
from elastic_deploy.core.never_fits import never_fits, with_never_fits, within_limits
from elastic_deploy.model.action import RequestResources
from elastic_deploy.model.memory import Failure, FailureKind
from elastic_deploy.model.pool import Pool
from elastic_deploy.model.shape import Bundle, Capacity, NodeType, Shape
from elastic_deploy.model.snapshot import LaunchFailure
from elastic_deploy.model.spec import ClusterSpec, DeploymentSpec

from .scenes import NODES, NOW, SPEC, deployment, fresh, memory, serving, snapshot

A, B = Pool("a", ("gpu-a",), 4), Pool("b", ("gpu-b",), 4)
POOLED = replace(SPEC, pools=(A, B), wait_timeout=None)


def cluster(a: int, b: int = 0, most: int = 100) -> Capacity:
    """A cluster that may have so many one-GPU nodes of the two pools' types."""
    types = tuple(
        NodeType(f"gpu-{pool}", {"GPU": 1.0}, 0, workers, labels=(("pool", pool),))
        for pool, workers in (("a", a), ("b", b))
        if workers
    )
    return Capacity("c", (NodeType("head", {"CPU": 4.0}, 0, 0, is_head=True), *types), most)


FITTING: dict[str, tuple[DeploymentSpec, int, Capacity, str]] = {
    "as much as there can be": (SPEC, 0, cluster(2), ""),
    "more than a type may have": (SPEC, 0, cluster(1), "raise available_node_types.gpu-a.max_workers from 1 to 2"),
    "more than the cluster may have": (SPEC, 0, cluster(2, 2, most=1), "the cluster's max_workers from 1 to 2"),
    "the type is gone": (SPEC, 0, cluster(0), "none of its node types has GPUs"),
    "beside others": (SPEC, 1, cluster(2), "2 GPUs beside the 1 of other deployments"),
    "one pool is too small, another is not": (POOLED, 0, cluster(1, 2), ""),
    "two pools have enough together, and neither does": (POOLED, 0, cluster(1, 1), "a 1 GPU, b 1 GPU at the most"),
    "a pool's type is gone": (POOLED, 0, cluster(0, 2), ""),
    "two replicas, and room for one": (
        replace(POOLED, shape=Shape(2, 1, 2)),
        0,
        cluster(2, 1, 9),
        "raise available_node_types.gpu-a.max_workers from 2 to 3",
    ),
    "two replicas, and room for them in no two places": (
        replace(POOLED, shape=Shape(2, 1, 2)),
        0,
        cluster(3, 1),
        "2 replicas of 2 GPUs can never be had in c",
    ),
}


@pytest.mark.parametrize("name", FITTING)
def test_what_never_fits(name: str) -> None:
    spec, others, capacity, expected = FITTING[name]
    why = never_fits(spec, others, capacity)
    assert expected in why
    assert bool(why) is bool(expected)


def test_it_is_said_once_when_it_changes_and_once_when_it_changes_back() -> None:
    known = deployment(serving())
    assert with_never_fits(SPEC, known, 0, cluster(2)) == (known, ())
    assert with_never_fits(SPEC, known, 0, None) == (known, ()), "what cannot be read says nothing"
    less, (event,) = with_never_fits(SPEC, known, 0, cluster(1))
    assert (event.kind, event.data) == ("wait.never_fits", {"gpus": 2, "most": 1})
    assert with_never_fits(SPEC, less, 0, cluster(1)) == (less, ())
    assert with_never_fits(SPEC, less, 0, None) == (less, ())
    again, (event,) = with_never_fits(SPEC, less, 0, cluster(2))
    assert (event.kind, again) == ("wait.fits", known)


def test_nothing_is_said_of_what_has_failed_or_is_to_go() -> None:
    failed = deployment(fresh(), failure=Failure(FailureKind.WAIT_TIMEOUT, "It waited.", NOW))
    assert with_never_fits(SPEC, failed, 0, cluster(1)) == (failed, ())
    known = deployment(fresh())
    assert with_never_fits(replace(SPEC, wanted=False), known, 0, cluster(1)) == (known, ())


def gpus(count: int, pool: str = "") -> Bundle:
    """So many one-GPU bundles, in a pool or anywhere."""
    return Bundle({"GPU": 1.0}, count, {"pool": pool} if pool else {})


REQUESTS: dict[str, tuple[tuple[Bundle, ...], Capacity | None, tuple[Bundle, ...]]] = {
    "all of it fits": ((gpus(2),), cluster(2), (gpus(2),)),
    "less can be had": ((gpus(4),), cluster(2), (gpus(2),)),
    "nothing can be had": ((gpus(4),), cluster(0), ()),
    "nobody knows": ((gpus(4),), None, (gpus(4),)),
    "each pool by its own": ((gpus(3, "a"), gpus(1, "b")), cluster(2, 2), (gpus(2, "a"), gpus(1, "b"))),
    "both by the cluster's": ((gpus(2, "a"), gpus(2, "b")), cluster(2, 2, most=3), (gpus(2, "a"), gpus(1, "b"))),
    "a pool without types": ((gpus(2, "a"), gpus(1, "b")), cluster(2), (gpus(2, "a"),)),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_no_more_is_asked_for_than_can_come(name: str) -> None:
    bundles, capacity, expected = REQUESTS[name]
    assert within_limits(bundles, capacity) == expected


def test_limits_that_are_lowered_are_said_and_what_can_be_had_is_asked_for() -> None:
    known = memory(deployment(fresh()), request=(gpus(2),), request_sent_at=NOW - 1)
    seen = snapshot(nodes=(), capacity=cluster(1))
    done = decide(ClusterSpec((SPEC,)), seen, known, NOW)
    assert RequestResources((gpus(1),)) in done.actions
    assert [event.kind for event in done.why if event.kind.startswith("wait.")] == ["wait.never_fits"]
    (after,) = done.memory.deployments
    assert "2 GPUs can never be had in c" in reason(SPEC, after, seen, NOW)
    raised = decide(ClusterSpec((SPEC,)), snapshot(nodes=(), capacity=cluster(2)), done.memory, NOW + 1)
    assert RequestResources((gpus(2),)) in raised.actions
    assert [event.kind for event in raised.why if event.kind.startswith("wait.")] == ["wait.fits"]


def test_a_deployment_beside_another_counts_what_that_has() -> None:
    other = replace(SPEC, name="other")
    both = ClusterSpec((SPEC, other))
    done = decide(both, snapshot(nodes=(), capacity=cluster(3)), memory(), NOW)
    said = [event for event in done.why if event.kind == "wait.never_fits"]
    assert [event.deployment for event in said] == ["chat", "other"]
    assert decide(both, snapshot(nodes=(), capacity=cluster(4)), memory(), NOW).memory.deployments[0].never_fits == ""


def test_a_pool_that_can_hold_it_no_more_is_left_for_one_that_can() -> None:
    waits = fresh(pool="a", pool_since=NOW - 60)
    seen = snapshot(nodes=NODES[:0], capacity=cluster(1, 2))
    (after,) = decide(ClusterSpec((POOLED,)), seen, memory(deployment(waits)), NOW).memory.deployments
    assert [(rest.pool, rest.why) for rest in after.rests] == [
        ("a", "by the limits that the cluster has now it can never have more than 1 GPU")
    ]
    (later,) = decide(ClusterSpec((POOLED,)), seen, memory(after), NOW + 1).memory.deployments
    assert [replica.pool for replica in later.replicas] == ["b"]


def test_a_pool_that_can_hold_it_no_more_is_not_chosen() -> None:
    refusal = (LaunchFailure("gpu-b", 2, "InsufficientInstanceCapacity", "None left.", NOW - 1),)
    waits = fresh(pool="b", pool_since=NOW - 60)
    seen = snapshot(nodes=(), capacity=cluster(1, 2), launch_failures=refusal)
    done = decide(ClusterSpec((POOLED,)), seen, memory(deployment(waits)), NOW)
    again = decide(ClusterSpec((POOLED,)), seen, done.memory, NOW + 1)
    assert [replica.pool for replica in again.memory.deployments[0].replicas] == [None]


def test_where_no_pool_can_hold_it_it_waits_on_where_it_is() -> None:
    waits = fresh(pool="a", pool_since=NOW - 60)
    done = decide(ClusterSpec((POOLED,)), snapshot(nodes=(), capacity=cluster(1, 1)), memory(deployment(waits)), NOW)
    (after,) = done.memory.deployments
    assert ([replica.pool for replica in after.replicas], after.rests) == (["a"], ())
    assert "a 1 GPU, b 1 GPU at the most" in after.never_fits
