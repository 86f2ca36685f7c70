"""Checks on subnets, addresses and security groups. Pure."""

from elastic_deploy.cluster.aws.preflight.facts import Facts, GroupFact, Unknown
from elastic_deploy.cluster.aws.preflight.room import addresses_left
from elastic_deploy.cluster.aws.preflight.standing import is_placeholder
from elastic_deploy.cluster.aws.preflight.verdicts import failure, found, passed, unknown, warning
from elastic_deploy.cluster.aws.preflight.wanted import Wanted, WantedNode
from elastic_deploy.model.check import Check

_WORLD = ("0.0.0.0/0", "::/0")
_SSH = 22


def subnets(wanted: Wanted, facts: Facts) -> tuple[Check, ...]:
    """The subnets exist, lie in one VPC, and have addresses enough."""
    named = [each for each in wanted.subnets if not is_placeholder(each)]
    if not named:
        return ()
    if isinstance(facts.subnets, Unknown):
        return (unknown("subnets", "Whether the subnets are there", facts.subnets),)
    known, checks = facts.subnets, []
    for each in named:
        if each not in known:
            said = f"There is no subnet {each} in {wanted.region}."
            checks.append(failure("subnets", said, "Write the id of one that `aws ec2 describe-subnets` shows."))
    vpcs = sorted({known[each].vpc for each in named if each in known})
    if len(vpcs) > 1:
        said = f"The subnets are in several VPCs: {', '.join(vpcs)}."
        checks.append(failure("subnets", said, "Nodes must reach each other: name subnets of one VPC."))
    checks += addresses_left(wanted, known)
    return found("subnets", checks, "The subnets are there, in one VPC, with addresses enough.")


def addresses(wanted: Wanted, facts: Facts) -> tuple[Check, ...]:
    """There is a way in to the nodes: a public address, or the YAML says that private ones are reached."""
    if wanted.internal_ips:
        return (passed("addresses", "The nodes are reached at their private addresses, from inside the VPC."),)
    asked = [each for each in wanted.nodes if each.is_head and each.subnets]
    if not asked:
        return ()
    if isinstance(facts.subnets, Unknown):
        return (unknown("addresses", "Whether the head gets a public address", facts.subnets),)
    known, checks = facts.subnets, []
    for node in asked:
        here = [each for each in node.subnets if each in known]
        public = node.public if node.public is not None else all(known[each].public for each in here)
        if here and not public:
            said = f"The head gets no public address in {', '.join(here)}, and `ray up` reaches it at one."
            mend = "Name a public subnet, or write provider.use_internal_ips: true and run this inside the VPC."
            checks.append(failure("addresses", said, mend))
    return found("addresses", checks, "The head gets a public address.")


def security_groups(wanted: Wanted, facts: Facts) -> tuple[Check, ...]:
    """SSH comes in from somewhere and not from everywhere, nothing else from the world, all from inside."""
    if not [each for each in wanted.groups if not is_placeholder(each)]:
        return ()
    if isinstance(facts.groups, Unknown):
        return (unknown("security group", "What the security groups let in", facts.groups),)
    known, checks = facts.groups, []
    for each in wanted.groups:
        if not is_placeholder(each) and each not in known:
            said = f"There is no security group {each} in {wanted.region}."
            checks.append(failure("security group", said, "Write the id of one; `generate aws` says how to make it."))
    checks += [check for name in wanted.groups if name in known for check in _open_to_world(name, known[name])]
    checks += _vpcs(wanted, facts)
    for node in wanted.nodes:
        if node.groups and all(each in known for each in node.groups):
            checks += _ways_in(node, {each: known[each] for each in node.groups}, wanted)
    checks = list(dict.fromkeys(checks))
    return found(
        "security group", checks, "SSH from a range of its own, all traffic inside, nothing else from outside."
    )


def _open_to_world(name: str, group: GroupFact) -> list[Check]:
    checks: list[Check] = []
    name += ", to which Ray gives its rules," if group.made else ""
    for rule in group.rules:
        worlds = [each for each in rule.sources if each in _WORLD]
        if not worlds or rule.protocol in ("icmp", "icmpv6", "58", "1"):
            continue
        only_ssh = rule.protocol == "tcp" and rule.first_port == rule.last_port == _SSH
        ports = "every port" if rule.protocol == "-1" else f"{rule.protocol} {rule.first_port}-{rule.last_port}"
        if only_ssh:
            said = f"Security group {name} lets anybody try SSH ({', '.join(worlds)})."
            mend = "Make it yourself, and let" if group.made else "Let"
            checks.append(warning("security group", said, f"{mend} port 22 in from your own range only."))
        else:
            said = f"Security group {name} opens {ports} to {', '.join(worlds)}."
            mend = "Take that rule out: whoever reaches Ray's ports can run programs on the nodes."
            checks.append(failure("security group", said, mend))
    return checks


def _vpcs(wanted: Wanted, facts: Facts) -> list[Check]:
    if isinstance(facts.subnets, Unknown) or isinstance(facts.groups, Unknown):
        return []
    checks = []
    for node in wanted.nodes:
        of_subnets = {facts.subnets[each].vpc for each in node.subnets if each in facts.subnets}
        for name in node.groups:
            group = facts.groups.get(name)
            if of_subnets and group and group.vpc and group.vpc not in of_subnets:
                said = f"Security group {name} is in {group.vpc}, the subnets in {', '.join(of_subnets)}."
                checks.append(failure("security group", said, "Name a group and subnets of the same VPC."))
    return checks


def _ways_in(node: WantedNode, groups: dict[str, GroupFact], wanted: Wanted) -> list[Check]:
    checks = []
    rules = [rule for group in groups.values() for rule in group.rules]
    names = ", ".join(groups)
    others = {each for other in wanted.nodes for each in other.groups}
    sources = {source for rule in rules if rule.admits_all for source in rule.sources}
    # Every other node must be let in by one of the groups that it carries; the head is one, and needs no way to itself.
    inside = all(
        not other.groups or sources & set(other.groups)
        for other in wanted.nodes
        if other is not node or not node.is_head
    )
    ranges = [each for each in sources if "/" in each]
    if not inside and not ranges:
        said = f"Security group {names} does not let all traffic of the cluster's own nodes in (node type {node.name})."
        first = next(iter(groups))
        mend = (
            "Ray and NCCL use many ports: `aws ec2 authorize-security-group-ingress --group-id"
            f" {first} --protocol=-1 --source-group {first} --region {wanted.region}`."
        )
        checks.append(failure("security group", said, mend))
    # From inside the VPC the launcher may come with a group of the nodes, or with another one.
    from_outside = not wanted.internal_ips
    if node.is_head and not any(
        rule.admits(_SSH) and any(not from_outside or source not in others for source in rule.sources) for rule in rules
    ):
        said = f"Security group {names} lets SSH in from no address, and `ray up` comes by SSH."
        checks.append(failure("security group", said, "Let port 22 in from your own address range."))
    return checks
