"""The least rights that Ray's autoscaler needs on the head, as an IAM policy.

The calls are those of ray 2.60's `autoscaler/_private/aws/node_provider.py`, which is all that the v2 monitor uses of
AWS (a test records them): DescribeInstances (`non_terminated_nodes`), RunInstances with tags (`_create_node`),
CreateTags (`_create_tags`), TerminateInstances (`terminate_node`, `terminate_nodes`). StartInstances and StopInstances
belong to `cache_stopped_nodes: true`, which we turn off. Everything in `config.py` (roles, keys, subnets, security
groups) runs at `ray up`, with the rights of whoever calls it. Pure.
"""

from typing import Any

from elastic_deploy.cluster.aws.choose import Choice
from elastic_deploy.cluster.aws.images import image_parameters
from elastic_deploy.cluster.aws.order import Market

CLUSTER_TAG = "ray-cluster-name"
"""Ray's own tag on every instance (`ray.autoscaler.tags.TAG_RAY_CLUSTER_NAME`)."""


def autoscaler_policy(choice: Choice) -> dict[str, Any]:
    """Rights to launch, tag and end instances that carry the cluster's tag, and to touch no others."""
    name, region = choice.order.cluster_name, choice.region
    partition, account = _partition(region), choice.account.id or "*"

    def arns(*kinds: str) -> list[str]:
        return [f"arn:{partition}:ec2:{region}:{'' if kind == 'image' else account}:{kind}/*" for kind in kinds]

    spot = ["spot-instances-request"] if choice.order.market is not Market.ON_DEMAND else []
    close = choice.order.placement_group
    group = [f"arn:{partition}:ec2:{region}:{account}:placement-group/{close}"] if close else []
    ours = {"StringEquals": {f"aws:ResourceTag/{CLUSTER_TAG}": name}}
    statements = [
        # DescribeInstances knows no resources and no conditions.
        _allow("SeeNodes", ["ec2:DescribeInstances"], ["*"]),
        _allow(
            "LaunchNodesOfThisCluster",
            ["ec2:RunInstances"],
            arns("instance"),
            {"StringEquals": {f"aws:RequestTag/{CLUSTER_TAG}": name}},
        ),
        _allow(
            "WhatALaunchUses",
            ["ec2:RunInstances"],
            arns("image", "key-pair", "network-interface", "security-group", "subnet", "volume", *spot) + group,
        ),
        _allow(
            "TagAtLaunch",
            ["ec2:CreateTags"],
            arns("instance", "network-interface", "volume", *spot),
            {"StringEquals": {"ec2:CreateAction": "RunInstances"}},
        ),
        _allow("TagNodesOfThisCluster", ["ec2:CreateTags"], arns("instance"), ours),
        _allow("EndNodesOfThisCluster", ["ec2:TerminateInstances"], arns("instance"), ours),
    ]
    parameters = image_parameters(choice)
    if parameters:
        resources = [f"arn:{partition}:ssm:{region}::parameter{each}" for each in parameters]
        statements.append(_allow("FindTheImage", ["ssm:GetParameters"], resources))
    return {"Version": "2012-10-17", "Statement": statements}


def role_name(cluster_name: str) -> str:
    """The role, and the instance profile of the same name, that the head gets."""
    return f"elastic-deploy-{cluster_name}"


def _allow(
    name: str, actions: list[str], resources: list[str], condition: dict[str, Any] | None = None
) -> dict[str, Any]:
    statement: dict[str, Any] = {"Sid": name, "Effect": "Allow", "Action": actions, "Resource": resources}
    return statement | ({"Condition": condition} if condition else {})


def _partition(region: str) -> str:
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"
