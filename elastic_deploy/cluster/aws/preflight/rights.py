"""Which rights the head's role needs, each on its own resource, as questions for IAM's simulation. Pure.

The calls are those of Ray's autoscaler (`cluster.aws.policy` says where from), which launches the workers. What a
launch makes (the instance, its network interfaces and volumes) has no id yet: its ARN ends in one that is made up.
What the YAML leaves to Ray (a subnet, a group) is not asked for: a policy that names the right one would seem to refuse
it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from elastic_deploy.cluster.aws.images import RESOLVE
from elastic_deploy.cluster.aws.preflight.facts import ImageFact
from elastic_deploy.cluster.aws.preflight.standing import is_placeholder
from elastic_deploy.cluster.aws.preflight.wanted import Wanted, WantedNode

_TAG = "ray-cluster-name"
_OWN_TAG_KEYS = (f"aws:resourcetag/{_TAG}", f"ec2:resourcetag/{_TAG}")
_ID = "0123456789abcdef0"


@dataclass(frozen=True, slots=True)
class Question:
    """May the role do `action` on `resource`, an ARN; `what` names the resource for a person.

    `context` are the keys and values of the request that policies may ask for.
    """

    action: str
    resource: str
    what: str
    context: tuple[tuple[str, str], ...] = ()

    @property
    def in_words(self) -> str:
        """The right, for a person."""
        return f"{self.action} on {self.what}" if self.what else self.action


def questions(
    wanted: Wanted, role: str, roles: Mapping[str, tuple[str, ...]], images: Mapping[str, ImageFact]
) -> tuple[Question, ...]:
    """All rights that the autoscaler needs, each once. `role` is the head's, `roles` are ARNs by instance profile."""
    partition, account = role.split(":")[1], role.split(":")[4]
    region = ("aws:RequestedRegion", wanted.region)
    launch = (("aws:RequestTag/" + _TAG, wanted.cluster), region)
    tag = (*launch, ("ec2:CreateAction", "RunInstances"))
    of_cluster = (("aws:ResourceTag/" + _TAG, wanted.cluster), ("ec2:ResourceTag/" + _TAG, wanted.cluster), region)

    def arn(kind: str, name: str, owner: str = account) -> str:
        return f"arn:{partition}:ec2:{wanted.region}:{owner}:{kind}/{name}"

    instance = arn("instance", f"i-{_ID}")
    asked = [
        Question("ec2:DescribeInstances", "*", "", (region,)),
        Question("ec2:RunInstances", instance, "instances", launch),
        Question("ec2:RunInstances", arn("network-interface", f"eni-{_ID}"), "network interfaces", launch),
        Question("ec2:RunInstances", arn("volume", f"vol-{_ID}"), "volumes", launch),
        Question("ec2:CreateTags", instance, "instances", (*tag, *of_cluster[:2])),
        Question("ec2:TerminateInstances", instance, "instances", of_cluster),
    ]
    for node in wanted.nodes:
        if node.is_head:
            continue
        for kind, name in _used(node, images):
            owner = "" if kind == "image" else account
            asked.append(Question("ec2:RunInstances", arn(kind, name, owner), f"{kind} {name}", launch))
        if node.image.startswith(RESOLVE):
            parameter = node.image.removeprefix(RESOLVE)
            resource = f"arn:{partition}:ssm:{wanted.region}::parameter{parameter}"
            asked.append(Question("ssm:GetParameters", resource, f"parameter {parameter}", (region,)))
        for passed in roles.get(node.profile, ()):
            service = "ec2.amazonaws.com.cn" if partition == "aws-cn" else "ec2.amazonaws.com"
            to_ec2 = (("iam:PassedToService", service),)
            asked.append(Question("iam:PassRole", passed, f"role {passed.rpartition('/')[2]}", to_ec2))
    return tuple(dict.fromkeys(asked))


def undecided_by(missing: list[str]) -> list[str]:
    """Of the context keys that a policy asked for and the simulation did not have, those that a real call would have.

    A subnet, an image or a key pair does not carry the cluster's tag: a policy that wants it there refuses indeed.
    """
    return [each for each in missing if each.lower() not in _OWN_TAG_KEYS]


def _used(node: WantedNode, images: Mapping[str, ImageFact]) -> list[tuple[str, str]]:
    image = images[node.image].id if node.image in images else ""
    used = [
        ("image", image),
        *(("subnet", each) for each in node.subnets),
        *(("security-group", each) for each in node.groups if each.startswith("sg-")),
        ("key-pair", node.key_name),
        ("placement-group", node.placement_group),
        ("spot-instances-request", f"sir-{_ID[:8]}" if node.spot else ""),
    ]
    return [(kind, name) for kind, name in used if name and not is_placeholder(name)]
