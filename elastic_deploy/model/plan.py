"""The plan that `planning.plan` makes and `up` carries out: shape, bundles, nodes, and why these."""

from dataclasses import dataclass, field

from elastic_deploy.model.pool import Pool
from elastic_deploy.model.rung import Rung
from elastic_deploy.model.shape import Bundle, Shape


@dataclass(frozen=True, slots=True)
class NodeCount:
    """So many nodes of one type, and the reason why these."""

    node_type: str
    count: int
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What `up` would do: the shape, the bundles it asks for, the nodes that means, and why, a sentence each.

    `pools` are those in which replicas may live, the best first; the nodes are what is asked for while they all do.
    `rungs` are the smaller shapes in which it may serve while all of its GPUs cannot be had.
    """

    shape: Shape
    bundles: tuple[Bundle, ...]
    nodes: tuple[NodeCount, ...]
    why: tuple[str, ...] = field(default=())
    pools: tuple[Pool, ...] = ()
    rungs: tuple[Rung, ...] = ()
