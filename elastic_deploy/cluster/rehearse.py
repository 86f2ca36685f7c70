"""From anybody's cluster YAML to one whose nodes are processes on this machine, with the same types of nodes.

Called by `smoke`, which rehearses a cluster before it costs anything. Pure: the commands that start local nodes come
from the local template alone, which the caller reads; the user's own commands, images and mounts are for machines
that are not here, and are left out.
"""

import copy
from typing import Any

from elastic_deploy.cluster.config import ClusterConfig
from elastic_deploy.model.errors import InvalidConfigError
from elastic_deploy.model.shape import NodeType

_KEPT = ("labels", "priority", "idle_timeout_s")
"""What a node type keeps as it is written, beside its GPUs and limits: what Ray's scheduling goes by."""


def rehearsal_of(config: ClusterConfig, template: ClusterConfig, name: str) -> dict[str, Any]:
    """A cluster YAML, as a mapping, named `name`, with the node types of `config` on the provider of `template`.

    `template` is cluster-templates/local.yaml. Names of types, GPUs, custom resources, limits and labels are those of
    `config`. A node's CPUs are one for each GPU and one more, whatever the machine would have: Ray starts processes by
    that number, and they are real here. Raises InvalidConfigError where a type's GPUs are not known.
    """
    local = copy.deepcopy(template.raw)
    local.pop("metadata", None)
    written = config.raw["available_node_types"]
    store = _object_store(template)
    types = {each.name: _local_type(config, each, written[each.name], store) for each in config.capacity.node_types}
    head = next(each.name for each in config.capacity.node_types if each.is_head)
    return local | {
        "cluster_name": name,
        "max_workers": config.capacity.max_workers,
        "available_node_types": types,
        "head_node_type": head,
    }


def _local_type(config: ClusterConfig, node_type: NodeType, written: dict[str, Any], store: int) -> dict[str, Any]:
    if node_type.gpus_unknown:
        raise InvalidConfigError(
            f"{config.path}, available_node_types.{node_type.name}: how many GPUs it has is not known here, so it"
            " cannot be rehearsed. Write `resources: {GPU: n}` for it."
        )
    machine = ("CPU", "memory", "object_store_memory")
    custom = {key: int(amount) for key, amount in node_type.resources.items() if key not in machine}
    kept = {key: copy.deepcopy(written[key]) for key in _KEPT if key in written}
    return kept | {
        "resources": {**custom, "CPU": node_type.gpus + 1, "object_store_memory": store},
        "node_config": {},
        "min_workers": node_type.min_workers,
        "max_workers": node_type.max_workers,
    }


def _object_store(template: ClusterConfig) -> int:
    """Bytes of shared memory for each node: the most that a type of the template takes."""
    sizes = [int(each.resources.get("object_store_memory", 0)) for each in template.capacity.node_types]
    return max(sizes) or 100_000_000
