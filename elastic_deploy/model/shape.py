"""The shape of a deployment, and what a cluster could give it: values that `planning` turns into one another."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class NodeType:
    """One entry of a cluster YAML's `available_node_types`, reduced to what planning needs.

    `resources` holds the logical resources of one node as Ray counts them (GPUs as whole numbers).
    `min_workers` and `max_workers` count nodes of this type, the head not among them.
    `detected` names resources that Ray adds by asking the cloud and whose amount is not known here; where "GPU" is
    among them, nobody can say before the launch how many GPUs such a node has.
    `gpu_memory_bytes` is the memory of one GPU, None where it is not known. `priority` and `labels` are the YAML's own.
    `usd_per_hour` is what a node costs as far as is known.
    """

    name: str
    resources: dict[str, float]
    min_workers: int
    max_workers: int
    is_head: bool = False
    detected: tuple[str, ...] = ()
    gpu_memory_bytes: int | None = None
    priority: int = 0
    labels: tuple[tuple[str, str], ...] = ()
    usd_per_hour: float | None = None

    @property
    def gpus(self) -> int:
        """GPUs of one node, 0 where they are not known."""
        return int(self.resources.get("GPU", 0))

    @property
    def standing_workers(self) -> int:
        """Workers of this type that are up in any case. Ray counts the head towards `min_workers` of its own type."""
        return max(0, self.min_workers - self.is_head)

    @property
    def gpus_unknown(self) -> bool:
        """Whether Ray will learn from the cloud how many GPUs a node has, and we do not know."""
        return "GPU" in self.detected


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a cluster YAML allows: its node types, and `max_workers` over all of them (the head not counted)."""

    cluster_name: str
    node_types: tuple[NodeType, ...]
    max_workers: int


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a model before it is loaded; None where it is not.

    `weight_bytes` is the size of the weights as stored. Tensor parallelism must divide `attention_heads`, and
    pipeline parallelism cannot have more stages than `layers`.
    """

    weight_bytes: int | None = None
    attention_heads: int | None = None
    key_value_heads: int | None = None
    layers: int | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """How the GPUs of a deployment are divided. GPUs in all: the product of the three."""

    tensor_parallel: int
    pipeline_parallel: int
    replicas: int

    @property
    def gpus_per_replica(self) -> int:
        """World size of one engine: the number of one-GPU bundles in its placement group."""
        return self.tensor_parallel * self.pipeline_parallel

    @property
    def gpus(self) -> int:
        """GPUs of the whole deployment."""
        return self.gpus_per_replica * self.replicas


@dataclass(frozen=True, slots=True)
class Bundle:
    """One kind of resource bundle and how many of it: the unit of both the autoscaler request and the group.

    `labels` are those that its node must have.
    """

    resources: dict[str, float]
    count: int
    labels: dict[str, str] = field(default_factory=dict)


def bundle_document(bundle: Bundle) -> dict[str, Any]:
    """A bundle as it stands in documents and events; labels only where there are any."""
    labels = {"labels": dict(bundle.labels)} if bundle.labels else {}
    return {"resources": dict(bundle.resources), "count": bundle.count, **labels}
