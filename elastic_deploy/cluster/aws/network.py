"""Where the nodes stand in the network: security group, subnets, and interfaces for EFA. Pure.

What several nodes share is written once, at the head, under an anchor.
"""

from typing import Any

from elastic_deploy.cluster.aws.choose import Choice, Pool
from elastic_deploy.cluster.aws.steps import CALLER, placeholder_group, placeholder_subnet, ssh_range
from elastic_deploy.cluster.generate.commented import Again, Note


def head_network(choice: Choice) -> dict[str, Any]:
    """The head's part of RunInstances: in the first pool's zone, near the GPU nodes."""
    order, account, pool = choice.order, choice.account, choice.pools[0]
    known = order.security_group or account.security_group
    group = security_group(choice)
    address = " (with your own address in them)" if ssh_range(choice) == CALLER else ""
    question = "" if known else f"write the security group's id here, which the commands above make{address}."
    if account.open_to_world:
        question = f"{group} lets the whole world try SSH: narrow its rule for port 22."
    comment = "Named, because a group that Ray makes by itself lets the whole world try SSH."
    note = Note([group], comment, question, anchor="group")
    if order.efa:
        subnet = Note([Note(_subnet(pool), anchor="subnet")], question="" if pool.subnets else _which_subnet(pool))
        return {"SubnetIds": subnet, "SecurityGroupIds": note}
    return {**_subnets(choice, pool, head=True), "SecurityGroupIds": note}


def gpu_network(choice: Choice, pool: Pool) -> dict[str, Any]:
    """The part of RunInstances for the GPU nodes of a pool."""
    if choice.order.efa:
        return {"NetworkInterfaces": _interfaces(choice, pool)}
    group = Again("group", [security_group(choice)])
    return {**_subnets(choice, pool, head=False), "SecurityGroupIds": group}


def security_group(choice: Choice) -> str:
    """The id of the nodes' security group, or what stands for it."""
    order = choice.order
    return order.security_group or choice.account.security_group or placeholder_group(order.cluster_name)


def _subnets(choice: Choice, pool: Pool, *, head: bool) -> dict[str, Any]:
    if pool.subnets:
        return {"SubnetIds": list(pool.subnets)}
    if len(choice.pools) == 1:
        # Ray takes the subnets of `provider.availability_zone` by itself.
        return {}
    # Spot and on-demand nodes of one zone stand in the same subnet.
    zone = pool.zones[0] if pool.zones else ""
    anchor, subnets = f"subnet_of_{zone or 'all'}", [_subnet(pool)]
    owner = next(each for each in choice.pools if each.zones == pool.zones)
    asked = head or (pool == owner and pool.zones != choice.pools[0].zones)
    return {
        "SubnetIds": Note(subnets, question=_which_subnet(pool), anchor=anchor) if asked else Again(anchor, subnets)
    }


def _subnet(pool: Pool) -> str:
    return pool.subnets[0] if pool.subnets else placeholder_subnet(pool.zones[0] if pool.zones else "")


def _which_subnet(pool: Pool) -> str:
    where = f"in {pool.zones[0]}" if pool.zones else "in the zone where all GPU nodes shall stand"
    return f"write the id of a subnet {where} here (`aws ec2 describe-subnets` lists them)."


def _interfaces(choice: Choice, pool: Pool) -> Note:
    """The network interfaces, as EC2's user guide recommends for EFA (`efa-acc-inst-types`).

    On one card: one interface that speaks both IP and EFA. On several: IP on the first card alone, and EFA without an
    address on every card that has it, so that a node has one address.
    """
    instance = choice.instance

    def interface(card: int, device: int, kind: str) -> dict[str, Any]:
        return {
            "NetworkCardIndex": card,
            "DeviceIndex": device,
            "InterfaceType": kind,
            "SubnetId": Again("subnet", _subnet(pool)),
            "Groups": Again("group", [security_group(choice)]),
            "DeleteOnTermination": True,
        }

    if instance.network_cards == 1:
        interfaces = [interface(0, 0, "efa")]
    else:
        interfaces = [interface(0, 0, "interface")]
        if instance.efa == instance.network_cards:
            interfaces.append(interface(0, 1, "efa-only"))
        interfaces += [interface(card, 0, "efa-only") for card in range(1, instance.network_cards)]
    comment = (
        f"EFA on {instance.efa} of {instance.network_cards} network cards, all in one subnet: Ray tries no other zone"
        " where interfaces are named."
    )
    if instance.network_cards > 1 and not choice.order.internal_ips:
        comment += (
            " A node has one private address; should EC2 give it no public one, because it has several interfaces,"
            " then it needs a NAT gateway for its way out: see --internal-ips."
        )
    return Note(interfaces, comment)
