"""Checks on what is launched: instance types, their zones, the quota for them, images, EFA, placement. Pure."""

from elastic_deploy.cluster.aws.preflight.facts import Facts, Unknown
from elastic_deploy.cluster.aws.preflight.quota import NAMES, quota_code
from elastic_deploy.cluster.aws.preflight.standing import is_placeholder
from elastic_deploy.cluster.aws.preflight.verdicts import failure, found, unknown, warning
from elastic_deploy.cluster.aws.preflight.wanted import Wanted, WantedNode
from elastic_deploy.model.check import Check
from elastic_deploy.model.errors import ExitCode


def instance_types(wanted: Wanted, facts: Facts) -> tuple[Check, ...]:
    """EC2 knows each type."""
    if isinstance(facts.types, Unknown):
        return (unknown("instance types", "Whether EC2 has the types", facts.types),)
    known = facts.types
    faults = [
        failure(
            "instance types",
            f"EC2 has no instance type {each.instance_type} in {wanted.region} (node type {each.name}).",
            "Write another InstanceType, or another region.",
            ExitCode.NEVER_FITS,
        )
        for each in wanted.nodes
        if each.instance_type not in known
    ]
    return found("instance types", faults, f"EC2 has {', '.join(wanted.instance_types)} in {wanted.region}.")


def zones(wanted: Wanted, facts: Facts) -> tuple[Check, ...]:
    """Each type is offered in a zone where it may start; a zone without it costs a failed launch each time."""
    if isinstance(facts.offered, Unknown):
        return (unknown("zones", "Which zones offer the types", facts.offered),)
    faults = []
    for node in wanted.nodes:
        places = _zones_of(wanted, facts, node)
        if isinstance(places, Unknown):
            return (unknown("zones", "In which zones the subnets are", places),)
        has = facts.offered.get(node.instance_type, ())
        without = [zone for zone in places if zone not in has]
        mend = f"Use zones that have it: {', '.join(sorted(has)) or 'none in this region'}."
        if not has or (places and len(without) == len(places)):
            said = f"{node.instance_type} (node type {node.name}) is offered in none of its zones"
            faults.append(failure("zones", f"{said}: {', '.join(places) or 'any'}.", mend, ExitCode.NEVER_FITS))
        elif without:
            said = f"{node.instance_type} (node type {node.name}) is not offered in {', '.join(without)}."
            faults.append(warning("zones", said, mend))
    return found("zones", faults, "Every zone that is used offers its instance types.")


def _zones_of(wanted: Wanted, facts: Facts, node: WantedNode) -> tuple[str, ...] | Unknown:
    """Where the node may start: the zones of its subnets, else those of the provider; empty: anywhere."""
    if not node.subnets:
        return wanted.zones
    if isinstance(facts.subnets, Unknown):
        return facts.subnets
    known = facts.subnets
    return tuple(dict.fromkeys(known[each].zone for each in node.subnets if each in known))


def quota(wanted: Wanted, facts: Facts) -> tuple[Check, ...]:
    """The vCPUs that are asked for fit into the account's quota beside what runs."""
    for answer in (facts.types, facts.quotas, facts.in_use):
        if isinstance(answer, Unknown):
            return (unknown("quota", "Whether the quota suffices", answer),)
    assert not isinstance(facts.types, Unknown)
    checks: list[Check] = []
    asked: dict[str, list[tuple[WantedNode, int]]] = {}
    for node in wanted.nodes:
        fact = facts.types.get(node.instance_type)
        if not node.count or fact is None:
            continue
        code = quota_code(node.instance_type, spot=node.spot)
        if code is None:
            why = Unknown(f"which quota {'spot ' if node.spot else ''}{node.instance_type} counts against is not known")
            checks.append(unknown("quota", f"The quota for node type {node.name}", why))
        else:
            asked.setdefault(code, []).append((node, fact.vcpus))
    for code, nodes in asked.items():
        checks += _quota(code, nodes, wanted, facts)
    return found("quota", checks, "The quotas suffice for all that is asked.")


def _quota(code: str, nodes: list[tuple[WantedNode, int]], wanted: Wanted, facts: Facts) -> list[Check]:
    assert not isinstance(facts.quotas, Unknown)
    assert not isinstance(facts.in_use, Unknown)
    name = f"{NAMES[code]} ({code})"
    if code not in facts.quotas:
        return [unknown("quota", f"The quota {name}", Unknown("Service Quotas does not list it"))]
    limit, used = int(facts.quotas[code]), facts.in_use.get(code, 0)
    mend = f"Ask for more in Service Quotas ({name}, {wanted.region}), or use another region or smaller nodes."
    one = max(nodes, key=lambda each: each[1])
    if limit < one[1]:
        said = f"The quota {name} is {limit} vCPUs, and one {one[0].instance_type} has {one[1]}."
        return [failure("quota", said, mend, ExitCode.NEVER_FITS)]
    needed = sum(node.count * vcpus for node, vcpus in nodes)
    what = ", ".join(f"{node.count} x {node.instance_type}" for node, _ in nodes)
    if needed <= limit - used:
        return []
    runs = f", of which {used} are in use by others" if used else ""
    said = f"{what} need {needed} vCPUs, and the quota {name} is {limit}{runs}."
    if not wanted.insisted:
        return [warning("quota", said, f"{mend} Or lower max_workers.")]
    if needed > limit:
        return [failure("quota", said, mend, ExitCode.NEVER_FITS)]
    return [failure("quota", said, f"End what runs, or: {mend}")]


def images(wanted: Wanted, facts: Facts) -> tuple[Check, ...]:
    """Each image exists, is available, is of its type's architecture, and fits the root disk."""
    if isinstance(facts.images, Unknown):
        return (unknown("images", "Whether the images exist", facts.images),)
    checks: list[Check] = []
    for node in wanted.nodes:
        if is_placeholder(node.image):
            continue
        if not node.image:
            said = f"Node type {node.name} has no ImageId, and Ray would take an old image of its own list."
            checks.append(
                warning("images", said, "Write an ImageId; `elastic-deploy generate aws` shows a current one.")
            )
            continue
        checks += _image(node, wanted, facts)
    return found("images", checks, "The images exist, and fit their instance types and disks.")


def _image(node: WantedNode, wanted: Wanted, facts: Facts) -> list[Check]:
    assert not isinstance(facts.images, Unknown)
    image = facts.images.get(node.image)
    if image is None:
        said = f"There is no image {node.image} in {wanted.region} that you may use (node type {node.name})."
        return [failure("images", said, "Write an ImageId of this region: images have another id in each.")]
    called = f"Image {image.id} of node type {node.name}"
    if image.state != "available":
        return [failure("images", f"{called} is {image.state}.", "Wait until it is available, or write another.")]
    checks = []
    fact = None if isinstance(facts.types, Unknown) else facts.types.get(node.instance_type)
    if fact and image.architecture not in fact.architectures:
        said = f"{called} is {image.architecture}, and {node.instance_type} is {'/'.join(fact.architectures)}."
        checks.append(failure("images", said, f"Write an image for {fact.architectures[-1]}."))
    if node.root_gib and image.root_gib > node.root_gib:
        said = f"{called} needs a root disk of {image.root_gib} GiB, and VolumeSize is {node.root_gib}."
        checks.append(failure("images", said, f"Write VolumeSize: {image.root_gib} or more."))
    return checks


def efa(wanted: Wanted, facts: Facts) -> tuple[Check, ...]:
    """Types with EFA interfaces can have them."""
    asking = [each for each in wanted.nodes if each.efa]
    if not asking:
        return ()
    if isinstance(facts.types, Unknown):
        return (unknown("efa", "Whether the types have EFA", facts.types),)
    known = facts.types
    faults = [
        failure(
            "efa",
            f"{each.instance_type} (node type {each.name}) has no EFA, and a network interface asks for it.",
            "Take InterfaceType: efa out, or a type that has it, such as p5.48xlarge.",
        )
        for each in asking
        if each.instance_type in known and not known[each.instance_type].efa
    ]
    return found("efa", faults, "The types with EFA interfaces support them.")


def placement(wanted: Wanted, facts: Facts) -> tuple[Check, ...]:
    """Placement groups exist, are of strategy cluster, and their nodes start in one zone."""
    asking = [each for each in wanted.nodes if each.placement_group]
    if not asking:
        return ()
    if isinstance(facts.placement_groups, Unknown):
        return (unknown("placement group", "Whether the placement group is there", facts.placement_groups),)
    checks = []
    for node in asking:
        group = facts.placement_groups.get(node.placement_group)
        make = f"`aws ec2 create-placement-group --group-name {node.placement_group} --strategy cluster`"
        if group is None or group.state != "available":
            said = f"There is no placement group {node.placement_group} in {wanted.region} (node type {node.name})."
            checks.append(failure("placement group", said, f"Make it: {make} --region {wanted.region}."))
            continue
        if group.strategy != "cluster":
            said = f"Placement group {node.placement_group} has strategy {group.strategy}, which spreads the nodes."
            checks.append(warning("placement group", said, f"Make another, and name it: {make}."))
        places = _zones_of(wanted, facts, node)
        if group.strategy == "cluster" and not isinstance(places, Unknown) and len(places) > 1:
            said = f"Node type {node.name} is in a cluster placement group and may start in {', '.join(places)}."
            checks.append(failure("placement group", said, "A cluster group lies in one zone: name one zone's subnet."))
    return found("placement group", checks, "The placement group is there and fits.")
