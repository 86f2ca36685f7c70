"""The node types of an EC2 cluster: what Ray counts of them, and what RunInstances is given for them. Pure.

The head comes first and carries the anchors of what all nodes have alike, so that it is filled in once.
"""

from typing import Any

from elastic_deploy.cluster.aws.choose import Choice, Pool
from elastic_deploy.cluster.aws.images import NO_IMAGE, RESOLVE, gpu_image, head_image
from elastic_deploy.cluster.aws.network import gpu_network, head_network
from elastic_deploy.cluster.aws.order import Market
from elastic_deploy.cluster.aws.policy import role_name
from elastic_deploy.cluster.generate.commented import Again, Note, plain

CLUSTER_TAG = "elastic-deploy:cluster"
"""On everything that a launch makes, so that what is left of a cluster can be found without Ray."""

_HEAD_DISK_GIB = 60
_GPU_DISK_GIB = 150
_METADATA = {"HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": 2}
_ROOT = "/dev/sda1"
"""The root device of Ubuntu's and the deep-learning images."""


def node_types(choice: Choice) -> dict[str, Any]:
    """`available_node_types`: the head, and one type for each pool."""
    types: dict[str, Any] = {"head": _head(choice)}
    for place, pool in enumerate(choice.pools):
        types[pool.name] = _gpu_type(choice, pool, first=place == 0)
    return types


def disk_gib(choice: Choice) -> int:
    """The root disk of a GPU node in GiB. Without own NVMe the weights go there too: twice what the GPUs hold."""
    if choice.order.disk:
        return choice.order.disk
    return _GPU_DISK_GIB + (0 if choice.instance.nvme_gb else 2 * choice.instance.all_gpu_memory_gib)


def _head(choice: Choice) -> Note:
    order, vcpus = choice.order, choice.head.vcpus
    role = role_name(order.cluster_name)
    config: dict[str, Any] = {
        "InstanceType": choice.head.type,
        "ImageId": _head_image(choice),
        **_key(choice),
        "IamInstanceProfile": Note(
            {"Name": role},
            "Only the head has a role; Ray's default one may do everything with EC2 and S3.",
            "" if choice.account.has_role else f"make the role {role}, with the first commands above.",
        ),
        **head_network(choice),
        "BlockDeviceMappings": [_disk(_HEAD_DISK_GIB)],
        "MetadataOptions": Note(
            _METADATA,
            "IMDSv2 only, so that a forged request cannot fetch the role's keys; 2 hops, so that containers reach it.",
            anchor="metadata",
        ),
        "TagSpecifications": Note(
            _tags(choice, spot=False), "Everything that a launch makes can be found by this tag.", anchor="tags"
        ),
    }
    return Note(
        {"resources": {"CPU": vcpus, "GPU": 0} if vcpus else {}, "max_workers": 0, "node_config": config},
        "Ray's head, its autoscaler, elastic-deploy's supervisor and the endpoint. It has no GPU: it lives as long as"
        " the cluster does, and GPUs come and go.",
    )


def _gpu_type(choice: Choice, pool: Pool, *, first: bool) -> Note:
    order, instance = choice.order, choice.instance
    config: dict[str, Any] = {
        "InstanceType": instance.type,
        "ImageId": _gpu_image(choice) if first else Again("image", gpu_image(choice)),
        **_key(choice),
        **gpu_network(choice, pool),
    }
    if order.placement_group:
        missing = not choice.account.placement_strategy
        config["Placement"] = Note(
            {"GroupName": order.placement_group},
            question=f"make the placement group {order.placement_group}, with the commands above." if missing else "",
        )
    if pool.market is Market.SPOT:
        config["InstanceMarketOptions"] = {
            "MarketType": "spot",
            "SpotOptions": {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"},
        }
    config |= {
        "BlockDeviceMappings": _gpu_disk(choice) if first else Again("disk", plain(_gpu_disk(choice))),
        "MetadataOptions": Again("metadata", _METADATA),
        "TagSpecifications": _gpu_tags(choice, pool),
    }
    resources: Any = {"CPU": instance.vcpus, "GPU": instance.gpus} if instance.vcpus else {"GPU": instance.gpus}
    body: dict[str, Any] = {
        "resources": resources,
        "labels": labels(pool),
        "min_workers": 0,
        "max_workers": order.nodes,
        **({"priority": pool.priority} if len(choice.pools) > 1 else {}),
        "node_config": config,
    }
    return Note(body, _about(choice, pool, first=first))


def labels(pool: Pool) -> dict[str, str]:
    """What Ray's label selectors can ask for: the pool, how it is bought and, where it is one, the zone.

    Ray keeps keys that start with `ray.io/` to itself.
    """
    zone = {"zone": pool.zones[0]} if len(pool.zones) == 1 else {}
    return {"pool": pool.name, "market": str(pool.market), **zone}


def _about(choice: Choice, pool: Pool, *, first: bool) -> str:
    instance = choice.instance
    if not first:
        return ""
    what = f"{instance.gpus} x {instance.gpu}" if instance.gpu else f"{instance.gpus} GPUs"
    memory = f" with {instance.gpu_memory_bytes // 2**20} MiB each" if instance.gpu_memory_bytes else ""
    host = f", {instance.vcpus} vCPUs, {instance.memory_gib} GiB" if instance.vcpus else ""
    nvme = f", {instance.nvme_gb} GB of NVMe" if instance.nvme_gb else ""
    text = f"{instance.type}: {what}{memory}{host}{nvme}. Ray needs the numbers to know what a node would bring."
    if len(choice.pools) > 1:
        text += (
            " One type for each pool, in the order of preference: a replica's nodes should stand in one zone, since"
            " traffic between zones is slow and billed. `elastic-deploy up` chooses a pool by its label. `ray up` alone"
            " takes the highest priority, and never moves to the next type when EC2 has no capacity."
        )
    elif len(pool.zones) > 1:
        text += " EC2 having no capacity in one zone, Ray tries the next, so that a replica may be spread over zones."
    return text


def _head_image(choice: Choice) -> Note | str:
    image = head_image(choice)
    if choice.order.image:
        return image
    return Note(image, "Ubuntu 24.04: by Canonical's parameter always the current one." if RESOLVE in image else "")


def _gpu_image(choice: Choice) -> Note:
    image = gpu_image(choice)
    if choice.order.image:
        return Note(image, anchor="image")
    if image == NO_IMAGE:
        why = f"NVIDIA's open driver does not know the {choice.instance.gpu}: name an image with the other one."
        return Note(image, question=why, anchor="image")
    comment = "AWS's deep-learning base image (Ubuntu 24.04): NVIDIA's driver, EFA's library, NCCL's plugin for it."
    if not image.startswith(RESOLVE):
        return Note(image, f"{comment} The current one when this file was written.", anchor="image")
    return Note(
        image,
        f"{comment} By this parameter always the current one: EC2 resolves it at each launch.",
        "write the image's own id here, so that a node launched next month is like the others:\n"
        f"  aws ssm get-parameter --region {choice.region} --query Parameter.Value --output text \\\n"
        f"    --name {image.removeprefix(RESOLVE)}",
        anchor="image",
    )


def _key(choice: Choice) -> dict[str, Any]:
    return {"KeyName": choice.order.key_name} if choice.order.key_name else {}


def _disk(gib: int) -> dict[str, Any]:
    return {
        "DeviceName": _ROOT,
        "Ebs": {"VolumeSize": gib, "VolumeType": "gp3", "DeleteOnTermination": True},
    }


def _gpu_disk(choice: Choice) -> Note:
    gib, nvme = disk_gib(choice), choice.instance.nvme_gb
    disk = _disk(gib)
    if choice.order.disk:
        comment = ""
    elif nvme:
        comment = f"{gib} GiB hold the image, PyTorch, vLLM and logs; weights and caches lie on the instance's NVMe."
    else:
        comment = (
            f"{gib} GiB: {_GPU_DISK_GIB} for the image, PyTorch, vLLM and logs, and for want of NVMe twice what the"
            " GPUs hold, for weights and caches; they are read at 500 MB/s, not gp3's 125."
        )
    if not nvme:
        disk["Ebs"] |= {"Throughput": 500}
    return Note([disk], comment, anchor="disk")


def _gpu_tags(choice: Choice, pool: Pool) -> Note | Again:
    if pool.market is not Market.SPOT:
        return Again("tags", _tags(choice, spot=False))
    tags = _tags(choice, spot=True)
    first = next(each for each in choice.pools if each.market is Market.SPOT)
    return Note(tags, anchor="spot_tags") if pool == first else Again("spot_tags", tags)


def _tags(choice: Choice, *, spot: bool) -> list[dict[str, Any]]:
    kinds = ["instance", "volume", "network-interface", *(["spot-instances-request"] if spot else [])]
    tags = [{"Key": CLUSTER_TAG, "Value": choice.order.cluster_name}]
    return [{"ResourceType": kind, "Tags": tags} for kind in kinds]
