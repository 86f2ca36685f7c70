"""From what was asked and what was found to what the file says: instance type, zones, subnets, pools. Pure.

A pool is where a replica may live as a whole: one zone, bought one way. Each is a node type of its own, so that Ray's
labels and priorities can tell them apart.
"""

from dataclasses import dataclass

from elastic_deploy.cluster.aws.account import Account, Subnet
from elastic_deploy.cluster.aws.instances import (
    Instance,
    counts_of,
    known_instance,
    known_instances,
    smallest_with,
)
from elastic_deploy.cluster.aws.order import DEFAULT_GPU, DEFAULT_REGION, Market, Order
from elastic_deploy.cluster.aws_gpus import instance_gpus
from elastic_deploy.model.errors import InvalidConfigError, UsageError

_MOST_ZONES = 3
"""Of the zones that offer the type, so many are written where the user named none."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A node type with GPUs. `zones` is empty where none was named and none could be looked up."""

    name: str
    market: Market
    zones: tuple[str, ...]
    subnets: tuple[str, ...]
    priority: int


@dataclass(frozen=True, slots=True)
class Choice:
    """What the file says of the nodes."""

    order: Order
    account: Account
    region: str
    instance: Instance
    head: Instance
    pools: tuple[Pool, ...]

    @property
    def zones(self) -> tuple[str, ...]:
        """The zones of all pools, in the order of preference."""
        return tuple(dict.fromkeys(zone for pool in self.pools for zone in pool.zones))


def choose(order: Order, account: Account) -> Choice:
    """Decide. Raises InvalidConfigError (exit 3) for what cannot be had, UsageError (2) for what contradicts itself."""
    region = account.region or order.region or DEFAULT_REGION
    instance = account.instance or wanted_instance(order)
    _check_instance(order, instance)
    zones = _zones(order, account, region, instance)
    return Choice(order, account, region, instance, _head(order, account, instance), _pools(order, account, zones))


def wanted_instance(order: Order, among: list[Instance] | None = None) -> Instance:
    """The instance type that was asked for, from `among` (default: the table).

    One that is named and not listed is made up from --gpus-per-node, with nothing known of the rest.
    """
    if order.instance_type is None:
        return _by_gpu(order.gpu or DEFAULT_GPU, order.gpus_per_node or 1, among or known_instances())
    known = known_instance(order.instance_type)
    if known is not None:
        return known
    counted = instance_gpus(order.instance_type)
    gpus = order.gpus_per_node if counted is None else counted.count
    if gpus is None:
        raise InvalidConfigError(
            f"How many GPUs {order.instance_type} has is not known here: add --gpus-per-node, or leave --offline out"
            " and have credentials, so that EC2 can be asked."
        )
    return Instance(order.instance_type, "", gpus, 0, 0, 0, 0, "x86_64", 0, 1)


def _by_gpu(gpu: str, count: int, among: list[Instance]) -> Instance:
    found = smallest_with(gpu, count, among)
    if found is not None:
        return found
    counts = counts_of(gpu, among)
    if not counts:
        kinds = ", ".join(sorted({each.gpu for each in among if each.gpus}))
        raise InvalidConfigError(f"No EC2 instance type with a GPU {gpu!r} is known here: the kinds are {kinds}.")
    raise InvalidConfigError(
        f"No EC2 instance type has {count} x {gpu}: they have {', '.join(map(str, counts))}. Change --gpus-per-node."
    )


def _check_instance(order: Order, instance: Instance) -> None:
    if instance.gpus < 1:
        part = " but a part of one, which neither EC2 nor Ray counts" if instance.gpu else ""
        raise InvalidConfigError(
            f"{instance.type} has no GPU{part}: name a type that has, such as g6.2xlarge, or say --gpu and"
            " --gpus-per-node."
        )
    if order.gpus_per_node not in (None, instance.gpus):
        raise UsageError(
            f"--gpus-per-node {order.gpus_per_node}, but {instance.type} has {instance.gpus}: leave it out."
        )
    if order.efa and instance.efa < 1:
        why = "does not support EFA" if instance.vcpus else "is not known here, nor whether it supports EFA"
        raise InvalidConfigError(f"{instance.type} {why}: leave --efa out, or name a type such as p5.48xlarge.")


def _zones(order: Order, account: Account, region: str, instance: Instance) -> tuple[str, ...]:
    named, offered = order.zone_names(region), account.offered_in
    for zone in named:
        if not zone.startswith(region):
            raise InvalidConfigError(f"The zone {zone} is not in {region}: name zones of that region.")
    if offered is not None:
        if not offered:
            raise InvalidConfigError(f"{region} does not offer {instance.type} in any zone: choose another region.")
        for zone in named:
            if zone not in offered:
                raise InvalidConfigError(
                    f"The zone {zone} does not offer {instance.type}: {', '.join(offered)} do. Change --zones."
                )
    if named:
        return named
    usable = {each.zone for each in account.subnets} if account.subnets else None
    found = [zone for zone in offered or () if usable is None or zone in usable]
    if order.subnets and usable and not found and offered is not None:
        raise InvalidConfigError(
            f"The subnets lie in {', '.join(sorted(usable))}, and {instance.type} is offered in {', '.join(offered)}"
            " alone: name others."
        )
    return tuple(found[: 1 if order.one_zone else _MOST_ZONES])


def _head(order: Order, account: Account, instance: Instance) -> Instance:
    """The head's type: of the workers' architecture, so that one image and one set of packages serve both."""
    if account.head is not None:
        return account.head
    default = "m7g.xlarge" if instance.arch == "arm64" else "m7i.xlarge"
    name = order.head_instance_type or default
    known = known_instance(name)
    if known is not None:
        return known
    vcpus, memory = (4, 16) if name == default else (0, 0)
    return Instance(name, "", 0, 0, vcpus, memory, 0, instance.arch, 0, 1)


def _pools(order: Order, account: Account, zones: tuple[str, ...]) -> tuple[Pool, ...]:
    fallback = order.market is Market.SPOT_FALLBACK
    markets = (Market.SPOT, Market.ON_DEMAND) if fallback else (order.market,)
    subnets = _subnets(order, account, zones)
    groups = [zones] if order.mix_zones or len(zones) < 2 else [(zone,) for zone in zones]
    pools: list[Pool] = []
    for market in markets:
        for group in groups:
            parts = ["gpu"]
            parts += [str(market)] if fallback else []
            parts += [*group] if len(groups) > 1 else []
            found = tuple(each for zone in group for each in subnets.get(zone, ())) if group else subnets.get("", ())
            priority = len(markets) * len(groups) - len(pools)
            pools.append(Pool("-".join(parts), market, group, found, priority))
    return tuple(pools)


def _subnets(order: Order, account: Account, zones: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The subnets of each zone; under "" where no zone is known."""
    if account.subnets is None:
        return _unseen_subnets(order, zones)
    found: dict[str, tuple[str, ...]] = {}
    for zone in zones:
        here = [each.id for each in account.subnets if each.zone == zone and _usable(order, each)]
        if order.subnets and not here:
            raise InvalidConfigError(
                f"None of the subnets {', '.join(order.subnets)} can serve {zone}: they lie in"
                f" {', '.join(sorted({each.zone for each in account.subnets}))}, and must give public addresses unless"
                " --internal-ips is set."
            )
        found[zone] = tuple(here if order.subnets else here[:1])
    return found


def _usable(order: Order, subnet: Subnet) -> bool:
    """Ray refuses subnets without public addresses, unless it is told to use the private ones."""
    return subnet.public or order.internal_ips


def _unseen_subnets(order: Order, zones: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    if not order.subnets:
        return {}
    if len(zones) < 2:
        return {zones[0] if zones else "": order.subnets}
    if len(zones) != len(order.subnets):
        raise UsageError(
            f"--subnets names {len(order.subnets)} and --zones {len(zones)}: offline, name one subnet for each zone, in"
            " the same order."
        )
    return {zone: (subnet,) for zone, subnet in zip(zones, order.subnets, strict=True)}
