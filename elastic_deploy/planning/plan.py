"""The plan: from a cluster's node types and a request to the shape, the bundles and the nodes that they mean.

Pure. `elastic-deploy plan` prints it, `up` carries it out; both learn from here, before anything is started, what can
never be had. What the nodes cost, and whether the cloud has them today, is not known here.
"""

import shlex
from collections.abc import Iterable, Iterator

from elastic_deploy.model.errors import NeverFitsError
from elastic_deploy.model.plan import NodeCount, Plan
from elastic_deploy.model.pool import Pool
from elastic_deploy.model.rung import Rung
from elastic_deploy.model.shape import Bundle, Capacity, ModelFacts, NodeType, Shape
from elastic_deploy.model.spec import GPU_BUNDLE
from elastic_deploy.planning.autoscaler import Foreseen, foresee
from elastic_deploy.planning.fit import gpus_in, require_fit
from elastic_deploy.planning.pools import pools_of, require_room, spread, within
from elastic_deploy.planning.request import DeploymentRequest
from elastic_deploy.planning.rungs import rungs
from elastic_deploy.planning.sizes import Ground, Sizes, divide

_OTHERS = "{} GPUs are other deployments'; what their nodes have left is used first."


def plan(
    capacity: Capacity,
    request: DeploymentRequest,
    facts: ModelFacts | None = None,
    taken: Iterable[Bundle] = (),
) -> Plan:
    """What `up` would do for `request` in a cluster where other deployments have asked for `taken`.

    Raises NeverFitsError (exit 4) for what can never be had, and InvalidConfigError (exit 3) where the YAML must say
    how many GPUs a node type has.
    """
    others = gpus_in(taken)
    require_fit(capacity, request.gpus, others)
    if request.pools:
        return _in_pools(capacity, request, facts or ModelFacts(), others)
    before = foresee(capacity, others)
    after = foresee(capacity, others + request.gpus, before.nodes)
    if after.unplaced:
        raise NeverFitsError(_greedy(capacity, request.gpus, after))
    in_use = tuple(each for each in capacity.node_types if after.used.get(each.name))
    ground = Ground(in_use, sum(after.used.values()))
    given = Sizes(request.tensor_parallel_size, request.pipeline_parallel_size, request.replicas)
    shape, why_shape = divide(request.gpus, given, ground, facts or ModelFacts())
    smaller = rungs(shape, request.min_gpus, ground, facts or ModelFacts(), request.rungs)
    return Plan(
        shape=shape,
        rungs=smaller,
        bundles=(Bundle(GPU_BUNDLE, request.gpus),),
        nodes=tuple(_nodes(capacity, before if others else Foreseen({}, {}, 0), after)),
        why=(*why_shape, *_why_rungs(shape, smaller), *_why_nodes(capacity, in_use, others)),
    )


def _in_pools(capacity: Capacity, request: DeploymentRequest, facts: ModelFacts, others: int) -> Plan:
    """The plan for replicas of which each lives in one pool: a shape that every pool can hold."""
    pools = pools_of(capacity, request.pools)
    types = tuple(each for each in capacity.node_types if each.gpus and any(pool.has(each.name) for pool in pools))
    given = Sizes(request.tensor_parallel_size, request.pipeline_parallel_size, request.replicas)
    ground = Ground(types, max(2, len(types)))
    shape, why_shape = divide(request.gpus, given, ground, facts)
    smaller = rungs(shape, request.min_gpus, ground, facts, request.rungs)
    require_room(capacity, pools, shape)
    counts = spread(pools, shape)
    nodes: list[NodeCount] = []
    bundles = []
    for pool in pools:
        gpus = counts[pool.name] * shape.gpus_per_replica
        if gpus:
            bundles.append(Bundle(GPU_BUNDLE, gpus, pool.labels))
            nodes += _nodes(capacity, Foreseen({}, {}, 0), foresee(within(capacity, pool), gpus))
    why = (*why_shape, *_why_rungs(shape, smaller), *_why_pools(pools), *([_OTHERS.format(others)] if others else []))
    return Plan(shape=shape, bundles=tuple(bundles), nodes=tuple(nodes), why=why, pools=pools, rungs=smaller)


def _why_rungs(shape: Shape, smaller: tuple[Rung, ...]) -> Iterator[str]:
    if smaller:
        told = ", then ".join(_rung(each) for each in smaller)
        yield f"While fewer than {shape.gpus_per_replica} GPUs can be had, it serves on {told}."


def _rung(rung: Rung) -> str:
    beside = f", with {shlex.join(rung.arguments)}" if rung.arguments else ""
    return f"{rung.gpus} ({rung.shape.tensor_parallel} x {rung.shape.pipeline_parallel}{beside})"


def _why_pools(pools: tuple[Pool, ...]) -> Iterator[str]:
    named = ", then ".join(f"{pool.name} ({', '.join(pool.node_types)})" for pool in pools)
    yield f"A replica's nodes are all of one pool, the first that gives them: {named}."


def _nodes(capacity: Capacity, before: Foreseen, after: Foreseen) -> Iterator[NodeCount]:
    """The nodes that this deployment's GPUs fall on, without those that other deployments already filled."""
    for each in capacity.node_types:
        count = after.used.get(each.name, 0) - before.used.get(each.name, 0)
        if count > 0:
            yield NodeCount(each.name, count, _why_node(each, count))


def _why_node(node_type: NodeType, count: int) -> str:
    gpus = f"{node_type.gpus} GPU" if node_type.gpus == 1 else f"{node_type.gpus} GPUs"
    reasons = [f"{gpus} each" if count > 1 else gpus]
    if node_type.is_head:
        reasons.append("the head's own are used first" if count == 1 else "the head itself among them")
    standing = min(count, node_type.standing_workers)
    if standing:
        reasons.append(f"{standing} up in any case (min_workers)")
    return ", ".join(reasons)


def _why_nodes(capacity: Capacity, in_use: tuple[NodeType, ...], others: int) -> Iterator[str]:
    names = " and ".join(each.name for each in in_use)
    rivals = [each.name for each in capacity.node_types if each.gpus and (each.max_workers or each.is_head)]
    if len(rivals) > len(in_use):
        yield f"Ray's autoscaler takes the node type that the request fills best: {names} of {', '.join(rivals)}."
    if len(in_use) > 1:
        yield (
            f"The GPUs lie on nodes of types {names}, as Ray's autoscaler fills them: a replica may lie on several"
            " types. To keep to one, set max_workers: 0 for the others."
        )
    if others:
        yield _OTHERS.format(others)
    unknown = [each.name for each in capacity.node_types if each.gpus_unknown]
    if unknown:
        yield (
            f"How many GPUs {' and '.join(unknown)} has is not known here, so the plan leaves it out though Ray may"
            " use it: write its resources: {GPU: n}."
        )


def _greedy(capacity: Capacity, gpus: int, after: Foreseen) -> str:
    launched = " and ".join(f"{count} of {name}" for name, count in after.used.items())
    return (
        f"{gpus} GPUs would fit in {capacity.cluster_name}, but Ray's autoscaler takes the node type that a request"
        f" fills best, here {launched}, is then at max_workers {capacity.max_workers} with {after.unplaced} GPUs"
        " missing, and launches nothing: set max_workers: 0 for the small node types, or raise the cluster's"
        " max_workers."
    )
