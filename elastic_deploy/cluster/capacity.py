"""From a cluster YAML to what planning needs of it: the node types, their GPUs and the limits on their numbers.

Called by `cluster.config` after Ray's schema has passed. The defaults are those of ray 2.60 (`autoscaler/_private/
util.py`: `fillout_defaults`, `fill_node_type_min_max_workers`, `validate_config`), so that a plan counts as Ray will.
"""

from typing import Any

from elastic_deploy.cluster.aws.prices import usd_per_hour
from elastic_deploy.cluster.aws_gpus import instance_gpus
from elastic_deploy.cluster.config_schema import ray_defaults
from elastic_deploy.cluster.yaml_source import Source
from elastic_deploy.model.shape import Capacity, NodeType

_TYPES = "available_node_types"
_DEFAULT_HEAD_TYPE = "ray.head.default"


def read_capacity(source: Source, provider_type: str) -> Capacity:
    """The capacity that `source` allows. Raises InvalidConfigError with the key's path and line."""
    written: dict[str, dict[str, Any]] = source.raw.get(_TYPES) or {}
    if not written:
        raise source.error(
            (_TYPES,),
            "there are no node types",
            "Describe the head and at least one type with GPUs, as the cluster-templates do",
        )
    head = _head_type(source, written)
    max_workers = _max_workers(source, provider_type)
    types = tuple(_node_type(source, name, name == head, max_workers, aws=provider_type == "aws") for name in written)
    least = sum(each.min_workers for each in types)
    if least > max_workers:
        raise source.error(
            ("max_workers",),
            f"is {max_workers}, less than the min_workers of all node types together ({least})",
            f"Raise it to {least} or lower some min_workers",
        )
    _require_gpus(source, types)
    return Capacity(str(source.raw["cluster_name"]), types, max_workers)


def _head_type(source: Source, written: dict[str, dict[str, Any]]) -> str:
    head = source.raw.get("head_node_type")
    if head is None and _DEFAULT_HEAD_TYPE not in written:
        raise source.error(("head_node_type",), "is missing", f"Name one of {', '.join(written)}")
    if head is not None and head not in written:
        raise source.error(
            ("head_node_type",), f"names {head!r}, which is no node type here", f"Name one of {', '.join(written)}"
        )
    return head or _DEFAULT_HEAD_TYPE


def _max_workers(source: Source, provider_type: str) -> int:
    written = source.raw.get("max_workers", ray_defaults(provider_type).get("max_workers"))
    if written is None:
        raise source.error(("max_workers",), "is missing, and Ray has no default for it here", "Write `max_workers: 4`")
    return int(written)


def _node_type(source: Source, name: str, is_head: bool, cluster_max: int, *, aws: bool) -> NodeType:
    written = source.raw[_TYPES][name]
    minimum = int(written.get("min_workers", 0))
    maximum = int(written.get("max_workers", 0 if is_head else cluster_max))
    for key, number in (("min_workers", minimum), ("max_workers", maximum)):
        if number < 0:
            raise source.error((_TYPES, name, key), f"must be 0 or more, not {number}", "Mend the value")
    if minimum > maximum:
        said = f"is {minimum}, more than its max_workers, which is {maximum}"
        default = "" if "max_workers" in written else " by default"
        raise source.error((_TYPES, name, "min_workers"), said + default, "Lower it, or raise max_workers")
    resources = {key: int(amount) for key, amount in (written.get("resources") or {}).items()}
    detected: tuple[str, ...] = ()
    memory = None
    if aws:
        detected, memory = _complete_from_ec2(source, name, is_head, resources)
    return NodeType(
        name=name,
        resources=dict(resources),
        min_workers=minimum,
        max_workers=maximum,
        is_head=is_head,
        detected=detected,
        gpu_memory_bytes=memory,
        priority=int(written.get("priority", 0)),
        labels=tuple(sorted((written.get("labels") or {}).items())),
        usd_per_hour=_price(written) if aws else None,
    )


def _price(written: dict[str, Any]) -> float | None:
    """What an instance of this type costs on demand, for an order of magnitude; spot costs less."""
    instance_type = written["node_config"].get("InstanceType")
    return usd_per_hour(instance_type) if isinstance(instance_type, str) else None


def _complete_from_ec2(
    source: Source, name: str, is_head: bool, resources: dict[str, int]
) -> tuple[tuple[str, ...], int | None]:
    """Add the GPUs that Ray will detect, as far as they are known; return what else it detects, and a GPU's memory."""
    instance_type = source.raw[_TYPES][name]["node_config"].get("InstanceType")
    if not isinstance(instance_type, str):
        raise source.error(
            (_TYPES, name, "node_config"),
            "InstanceType is missing",
            "Write an EC2 type such as InstanceType: g6.xlarge",
        )
    gpus = instance_gpus(instance_type)
    # Ray leaves the head's memory out (`fillout_available_node_types_resources` of its AWS provider).
    detected = ["CPU"] if is_head else ["CPU", "memory"]
    if gpus is None:
        detected += ["accelerator_type"] if "GPU" in resources else ["GPU", "accelerator_type"]
        return tuple(detected), None
    if gpus.count:
        resources.setdefault("GPU", gpus.count)
        detected.append("accelerator_type")
    return tuple(detected), gpus.memory_bytes or None


def _require_gpus(source: Source, types: tuple[NodeType, ...]) -> None:
    if any(each.gpus or each.gpus_unknown for each in types):
        return
    for each in types:
        for key in each.resources:
            if key.upper() in ("GPU", "GPUS"):
                raise source.error(
                    (_TYPES, each.name, "resources", key), "is no resource that Ray knows", "Call it GPU, in capitals"
                )
    raise source.error(
        (_TYPES,),
        f"no node type has GPUs ({', '.join(each.name for each in types)})",
        "Give one `resources: {GPU: n}` with n of 1 or more",
    )
