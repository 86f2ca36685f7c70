"""Security groups as facts: what a permission of EC2's lets in, and the group that Ray makes by itself. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from elastic_deploy.cluster.aws.preflight.facts import GroupFact, Rule

_SSH = 22


def rule(permission: Mapping[str, Any]) -> Rule:
    """One of EC2's `IpPermissions`, as its answers and a YAML's `provider.security_group` write them."""
    sources = [found["CidrIp"] for found in permission.get("IpRanges", [])]
    sources += [found["CidrIpv6"] for found in permission.get("Ipv6Ranges", [])]
    sources += [found.get("GroupId", "") for found in permission.get("UserIdGroupPairs", [])]
    sources += [found["PrefixListId"] for found in permission.get("PrefixListIds", [])]
    protocol = str(permission["IpProtocol"])
    return Rule(protocol, permission.get("FromPort", 0), permission.get("ToPort", 65535), tuple(sources))


def called(name: str, group: GroupFact, own_id: str) -> GroupFact:
    """The group under its name, also where it lets itself in."""
    rules = (
        Rule(
            each.protocol,
            each.first_port,
            each.last_port,
            tuple(name if source == own_id else source for source in each.sources),
        )
        for each in group.rules
    )
    return GroupFact(group.vpc, tuple(rules))


def made_by_ray(name: str, vpc: str, permissions: Iterable[Mapping[str, Any]]) -> GroupFact:
    """What Ray gives a group that has no rules yet (ray 2.60's `_create_default_inbound_rules`), and the YAML's own."""
    inside, ssh = Rule("-1", -1, -1, (name,)), Rule("tcp", _SSH, _SSH, ("0.0.0.0/0",))
    return GroupFact(vpc, (inside, ssh, *map(rule, permissions)), made=True)
