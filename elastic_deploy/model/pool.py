"""Pools: the places where a replica's nodes may come from, in order of preference. One replica lives in one of them.

A pool is all node types of the cluster YAML with the label `pool: NAME`: a zone, an instance type, spot or on-demand.
"""

from dataclasses import dataclass

POOL_LABEL = "pool"
"""The label of a node type that says which pool it belongs to. Ray puts it on the nodes, and the autoscaler knows it
before there are any."""


@dataclass(frozen=True, slots=True)
class Pool:
    """One pool. `node_types` are those of its label, `gpus` the most that it can ever have; None is not known.

    `standing`: the cluster keeps nodes of it in any case (`min_workers`), so that to end one only brings another.
    """

    name: str
    node_types: tuple[str, ...] = ()
    gpus: int | None = None
    standing: bool = False

    @property
    def labels(self) -> dict[str, str]:
        """The selector that a bundle is asked for with."""
        return {POOL_LABEL: self.name} if self.name else {}

    def has(self, node_type: str) -> bool:
        """Whether nodes of a type belong to it."""
        return not self.name or node_type in self.node_types


ANYWHERE = Pool("")
"""Where a deployment without pools lives: on any node."""
