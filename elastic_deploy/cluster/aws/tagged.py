"""Asks EC2 by tag what it has of a cluster. Reads only.

Two tags are asked for: Ray's, which every instance carries from its first moment (it is part of the launch itself),
and ours, which the YAMLs that `generate` writes put on all that a launch makes.
"""

from collections.abc import Callable, Iterator
from typing import Any

from elastic_deploy.cluster.aws.node_types import CLUSTER_TAG
from elastic_deploy.cluster.aws.policy import CLUSTER_TAG as RAY_TAG
from elastic_deploy.cluster.aws.remains import Instance, Kind, Remains, Thing
from elastic_deploy.cluster.aws.session import client, region_of, unreached, words
from elastic_deploy.cluster.config import ClusterConfig
from elastic_deploy.model.errors import RefusedError

_HEAD_TAG = "ray-node-type"
_STANDING = ["pending", "running", "shutting-down", "stopping", "stopped"]


def look(config: ClusterConfig, ec2: Any = None) -> Remains:
    """What EC2 lists of the cluster now. `ec2` saves making a client anew.

    Raises RefusedError where EC2 does not list the instances; what it does not say of the rest is in `unasked`.
    """
    from botocore.exceptions import ClientError

    asked = ec2 or client(config, "ec2")
    name, region = config.name, region_of(config)
    try:
        instances = tuple(_instances(asked, name))
    except (ClientError, *unreached()) as error:
        raise RefusedError(f"EC2 in {region} does not say which instances {name} has: {words(error)}") from error
    things: list[Thing] = []
    unasked: list[str] = []
    for kind, question in _QUESTIONS.items():
        if kind is Kind.PLACEMENT_GROUP and not _names_placement_group(config):
            continue
        try:
            things += question(asked, name)
        except (ClientError, *unreached()) as error:
            unasked.append(f"EC2 in {region} does not say which {kind}s {name} has: {words(error)}")
    return Remains(instances, tuple(things), tuple(unasked))


def _instances(ec2: Any, name: str) -> Iterator[Instance]:
    state = {"Name": "instance-state-name", "Values": _STANDING}
    for each in _both(ec2, "describe_instances", "Reservations[].Instances[]", "InstanceId", name, state):
        disks = [disk["Ebs"] for disk in each.get("BlockDeviceMappings", []) if "Ebs" in disk]
        yield Instance(
            id=each["InstanceId"],
            type=each["InstanceType"],
            state=each["State"]["Name"],
            is_head=any(tag["Key"] == _HEAD_TAG and tag["Value"] == "head" for tag in each.get("Tags", [])),
            spot_request=each.get("SpotInstanceRequestId") or "",
            stays=tuple(disk["VolumeId"] for disk in disks if not disk.get("DeleteOnTermination", True)),
        )


def _spot_requests(ec2: Any, name: str) -> Iterator[Thing]:
    state = {"Name": "state", "Values": ["open", "active"]}
    for each in _both(
        ec2, "describe_spot_instance_requests", "SpotInstanceRequests[]", "SpotInstanceRequestId", name, state
    ):
        yield Thing(Kind.SPOT_REQUEST, each["SpotInstanceRequestId"], each["State"])


def _volumes(ec2: Any, name: str) -> Iterator[Thing]:
    for each in _both(ec2, "describe_volumes", "Volumes[]", "VolumeId", name):
        if each["State"] not in ("deleting", "deleted"):
            yield Thing(Kind.VOLUME, each["VolumeId"], each["State"], f"{each['Size']} GiB")


def _interfaces(ec2: Any, name: str) -> Iterator[Thing]:
    for each in _both(ec2, "describe_network_interfaces", "NetworkInterfaces[]", "NetworkInterfaceId", name):
        yield Thing(Kind.INTERFACE, each["NetworkInterfaceId"], each["Status"])


def _placement_groups(ec2: Any, name: str) -> Iterator[Thing]:
    answer = ec2.describe_placement_groups(Filters=[{"Name": f"tag:{CLUSTER_TAG}", "Values": [name]}])
    for each in answer["PlacementGroups"]:
        if each["State"] not in ("deleting", "deleted"):
            yield Thing(Kind.PLACEMENT_GROUP, each["GroupName"], each["State"], each.get("Strategy", ""))


_QUESTIONS: dict[Kind, Callable[[Any, str], Iterator[Thing]]] = {
    Kind.SPOT_REQUEST: _spot_requests,
    Kind.VOLUME: _volumes,
    Kind.INTERFACE: _interfaces,
    Kind.PLACEMENT_GROUP: _placement_groups,
}


def _names_placement_group(config: ClusterConfig) -> bool:
    """Whether nodes stand in a placement group. One that no node may use is not asked for: it costs nothing."""
    types = (config.raw.get("available_node_types") or {}).values()
    return any("GroupName" in ((each.get("node_config") or {}).get("Placement") or {}) for each in types)


def _both(ec2: Any, question: str, path: str, identity: str, name: str, *filters: Any) -> list[dict[str, Any]]:
    """The answers for either tag, each once. Filters of one question must all hold, hence two questions."""
    found: dict[str, dict[str, Any]] = {}
    for tag in (RAY_TAG, CLUSTER_TAG):
        by_tag = {"Name": f"tag:{tag}", "Values": [name]}
        for each in ec2.get_paginator(question).paginate(Filters=[by_tag, *filters]).search(path):
            found.setdefault(each[identity], each)
    return list(found.values())
