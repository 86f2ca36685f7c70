"""What we foretell of the autoscaler against the autoscaler itself: Ray's own scheduler, run as a function."""

from collections import Counter

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ray.autoscaler.v2.instance_manager.config import NodeTypeConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.schema import AutoscalerInstance
from ray.core.generated.autoscaler_pb2 import ClusterResourceConstraint, ResourceRequest, ResourceRequestByCount
from ray.core.generated.instance_manager_pb2 import Instance, NodeKind

from elastic_deploy.model.shape import Capacity, NodeType
from elastic_deploy.planning.autoscaler import foresee
from elastic_deploy.planning.fit import most_gpus

from .strategies import capacities


def rays_choice(capacity: Capacity, gpus: int) -> tuple[Counter[str], bool]:
    """The workers that Ray 2.60 launches for `gpus` one-GPU bundles when only the head is up, and whether all fit."""
    head = next(each for each in capacity.node_types if each.is_head)
    bundle = ResourceRequest(resources_bundle={"GPU": 1.0})
    reply = ResourceDemandScheduler().schedule(
        SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs={each.name: rays_node_type(each) for each in capacity.node_types},
            max_num_nodes=capacity.max_workers + 1,
            cluster_resource_constraints=[
                ClusterResourceConstraint(resource_requests=[ResourceRequestByCount(request=bundle, count=gpus)])
            ],
            current_instances=[
                AutoscalerInstance(
                    im_instance=Instance(
                        instance_id="head", instance_type=head.name, status=Instance.ALLOCATED, node_kind=NodeKind.HEAD
                    ),
                    cloud_instance_id="head",
                )
            ],
        )
    )
    launched = Counter({each.instance_type: each.count for each in reply.to_launch})
    return launched, not reply.infeasible_cluster_resource_constraints


def rays_node_type(node_type: NodeType) -> NodeTypeConfig:
    return NodeTypeConfig(
        name=node_type.name,
        min_worker_nodes=node_type.min_workers,
        max_worker_nodes=node_type.max_workers + node_type.is_head,
        resources=dict(node_type.resources),
        priority=node_type.priority,
    )


@settings(max_examples=300, deadline=None)
@given(capacities(), st.integers(1, 40))
def test_the_nodes_foreseen_are_those_that_ray_launches(capacity: Capacity, gpus: int) -> None:
    launched, all_fit = rays_choice(capacity, gpus)
    foreseen = foresee(capacity, gpus)
    assert (foreseen.unplaced == 0) == all_fit
    if all_fit:
        assert foreseen.nodes == launched


@settings(max_examples=300, deadline=None)
@given(capacities(), st.integers(0, 30), st.integers(1, 30))
def test_a_second_request_keeps_the_nodes_of_the_first(capacity: Capacity, first: int, second: int) -> None:
    before = foresee(capacity, first)
    assume(not before.unplaced)
    after = foresee(capacity, first + second, before.nodes)
    assert all(after.nodes[name] >= count for name, count in before.nodes.items())


@settings(max_examples=300, deadline=None)
@given(capacities(), st.integers(1, 60))
def test_what_ray_places_fits_and_what_can_not_fit_ray_does_not_place(capacity: Capacity, gpus: int) -> None:
    foreseen = foresee(capacity, gpus)
    most = most_gpus(capacity)
    if foreseen.unplaced == 0:
        assert gpus <= most
    if gpus > most:
        assert foreseen.unplaced >= gpus - most
    assert sum(foreseen.nodes.values()) <= capacity.max_workers
    for each in capacity.node_types:
        assert foreseen.nodes.get(each.name, 0) <= each.max_workers
