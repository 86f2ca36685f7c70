"""What a cluster in EC2 leaves on purpose, because the next start wants it or other clusters share it: `down --all`.

What bears the cluster's own name is its alone, and is removed: the role and the instance profile that the generated
file's first commands make, the security groups of theirs and of Ray's. Key pairs, and what Ray makes once for a whole
account (`ray-autoscaler-v1`) or a region, are kept and named: others may use them.
"""

import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

from elastic_deploy.cluster.aws.policy import role_name
from elastic_deploy.cluster.aws.session import client, code_of, region_of, unreached, words
from elastic_deploy.cluster.aws.steps import group_name, placeholder_group
from elastic_deploy.cluster.config import ClusterConfig
from elastic_deploy.model.errors import RefusedError

RAY = "ray-autoscaler"
"""The beginning of all names that Ray gives (`autoscaler/_private/aws/config.py`)."""

_IN_USE = ("DependencyViolation", "DeleteConflict", "InvalidGroup.InUse")
_GONE = ("NoSuchEntity", "InvalidGroup.NotFound", "InvalidGroupId.NotFound")
_IN_USE_LIMIT_S = 30.0
"""A security group counts as used for some seconds after the last instance has gone."""
_BETWEEN_S = 3.0


def remove_shared(config: ClusterConfig, say: Callable[[str], None]) -> None:
    """Remove what is this cluster's alone, and say what is kept and why.

    Raises RefusedError (exit 7) with everything that AWS refused to remove, after the rest has been.
    """
    from botocore.exceptions import ClientError

    ec2, refusals, groups = client(config, "ec2"), [], []
    names = [group_name(config.name), f"{RAY}-{config.name}"]
    try:
        groups = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": names}])["SecurityGroups"]
    except (ClientError, *unreached()) as error:
        refusals.append(f"Security groups {' and '.join(names)}: {_mended(error)}")
    refusals += [*_remove_groups(ec2, groups, region_of(config), say), *_remove_role(config, say)]
    for kept in kept_in_words(config.raw, {each["GroupId"] for each in groups}):
        say(kept)
    if refusals:
        raise RefusedError(
            f"{config.name} does not run any more, but not all that was made for it could be removed."
            f" {' '.join(refusals)}"
        )


def kept_in_words(raw: dict[str, Any], own_groups: Collection[str]) -> list[str]:
    """What the YAML's nodes use and others may use too, a sentence each. Pure."""
    types = raw.get("available_node_types") or {}
    nodes = [each.get("node_config") or {} for each in types.values()]
    head = (types.get(raw.get("head_node_type")) or {}).get("node_config") or {}
    keys = sorted({each["KeyName"] for each in nodes if each.get("KeyName")})
    kept = [f"Key pair {each}" for each in keys or [f"{RAY}_{raw['provider']['region']} (if Ray has made it)"]]
    if "IamInstanceProfile" not in head:
        kept.append(f"Role and instance profile {RAY}-v1 (if Ray has made them)")
    placement = {(each.get("Placement") or {}).get("GroupName") for each in nodes}
    kept += [f"Placement group {each}" for each in sorted(filter(None, placement))]
    groups = {str(each) for node in nodes for each in node.get("SecurityGroupIds") or []}
    # What `generate` writes where there is no group yet is no group's id.
    groups = {each for each in groups if not each.startswith(placeholder_group(""))}
    kept += [f"Security group {each}" for each in sorted(groups.difference(own_groups))]
    return [f"{each}: kept, other clusters may use it." for each in kept]


def _remove_groups(ec2: Any, groups: list[Any], region: str, say: Callable[[str], None]) -> Iterator[str]:
    for group in groups:
        name = f"Security group {group['GroupName']} ({group['GroupId']})"
        if refusal := _removed(name, say, _delete_group, ec2, group["GroupId"]):
            yield (
                f"{name}: {refusal} To remove it: aws ec2 delete-security-group --region {region} --group-id"
                f" {group['GroupId']}"
            )


def _delete_group(ec2: Any, group: str) -> None:
    from botocore.exceptions import ClientError

    deadline = time.monotonic() + _IN_USE_LIMIT_S
    while True:
        try:
            ec2.delete_security_group(GroupId=group)
            return
        except ClientError as error:
            if code_of(error) not in _IN_USE or time.monotonic() > deadline:
                raise
        time.sleep(_BETWEEN_S)


def _remove_role(config: ClusterConfig, say: Callable[[str], None]) -> Iterator[str]:
    iam, name = client(config, "iam"), role_name(config.name)
    if refusal := _removed(f"Instance profile {name}", say, _delete_profile, iam, name):
        yield (
            f"Instance profile {name}: {refusal} To remove it: aws iam remove-role-from-instance-profile"
            f" --instance-profile-name {name} --role-name {name} && aws iam delete-instance-profile"
            f" --instance-profile-name {name}"
        )
    if refusal := _removed(f"Role {name}", say, _delete_role, iam, name):
        yield (
            f"Role {name}: {refusal} To remove it: aws iam delete-role-policy --role-name {name} --policy-name"
            f" autoscaler && aws iam delete-role --role-name {name}"
        )


def _delete_profile(iam: Any, name: str) -> None:
    for role in iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Roles"]:
        iam.remove_role_from_instance_profile(InstanceProfileName=name, RoleName=role["RoleName"])
    iam.delete_instance_profile(InstanceProfileName=name)


def _delete_role(iam: Any, name: str) -> None:
    for policy in iam.get_paginator("list_role_policies").paginate(RoleName=name).search("PolicyNames[]"):
        iam.delete_role_policy(RoleName=name, PolicyName=policy)
    attached = iam.get_paginator("list_attached_role_policies").paginate(RoleName=name)
    for policy in attached.search("AttachedPolicies[]"):
        iam.detach_role_policy(RoleName=name, PolicyArn=policy["PolicyArn"])
    iam.delete_role(RoleName=name)


def _removed(name: str, say: Callable[[str], None], remove: Callable[[Any, str], None], asked: Any, which: str) -> str:
    """Remove it and say so; nothing where there is none. Otherwise AWS's words, with the mend."""
    from botocore.exceptions import ClientError

    try:
        remove(asked, which)
    except ClientError as error:
        return "" if code_of(error) in _GONE else _mended(error)
    except unreached() as error:
        return words(error)
    say(f"{name} is removed.")
    return ""


def _mended(error: Exception) -> str:
    if code_of(error) in _IN_USE:
        return f"{words(error)} Something else still uses it: take that away, or leave it."
    return words(error)
