"""What the user asks `generate aws` for: the flags, checked as far as they speak of each other. Pure."""

import ipaddress
import re
import shlex
from dataclasses import dataclass
from enum import StrEnum

from elastic_deploy.model.errors import InvalidConfigError, UsageError

DEFAULT_REGION = "us-west-2"
DEFAULT_GPU = "L4"
DEFAULT_IDLE_TIMEOUT = 5
DEFAULT_USER = "ubuntu"

_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")


class Market(StrEnum):
    """How the GPU nodes are bought."""

    ON_DEMAND = "on-demand"
    SPOT = "spot"
    SPOT_FALLBACK = "spot-fallback"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the user said; None and empty where nothing was said. `disk` is in GiB, `idle_timeout` in minutes."""

    cluster_name: str = "elastic-aws"
    region: str | None = None
    zones: tuple[str, ...] = ()
    instance_type: str | None = None
    gpu: str | None = None
    gpus_per_node: int | None = None
    nodes: int = 2
    market: Market = Market.ON_DEMAND
    mix_zones: bool = False
    efa: bool = False
    placement_group: str | None = None
    image: str | None = None
    ssh_user: str = DEFAULT_USER
    key_name: str | None = None
    private_key: str | None = None
    subnets: tuple[str, ...] = ()
    security_group: str | None = None
    internal_ips: bool = False
    disk: int | None = None
    idle_timeout: int = DEFAULT_IDLE_TIMEOUT
    ssh_from: str | None = None
    head_instance_type: str | None = None
    offline: bool = False

    @property
    def one_zone(self) -> bool:
        """Whether all GPU nodes must stand in one zone: so a cluster placement group wants it, and EFA."""
        return self.efa or self.placement_group is not None

    def zone_names(self, region: str) -> tuple[str, ...]:
        """The zones in full: `a` means the region's zone a."""
        return tuple(region + zone if len(zone) == 1 else zone for zone in self.zones)


def check_order(order: Order) -> None:
    """Raise UsageError (exit 2) for flags that contradict each other, InvalidConfigError (3) for impossible names."""
    if order.instance_type and order.gpu:
        raise UsageError(
            f"--instance-type {order.instance_type} and --gpu {order.gpu} both say which nodes: give one of them."
        )
    if order.one_zone and len(order.zones) > 1:
        flag = "--efa" if order.efa else "--placement-group"
        raise UsageError(f"{flag} needs all GPU nodes in one zone, and --zones names {len(order.zones)}: name one.")
    if order.efa and len(order.subnets) > 1:
        raise UsageError(f"--efa needs one subnet, and --subnets names {len(order.subnets)}: name one.")
    if order.private_key and not order.key_name:
        raise UsageError("--private-key needs --key-name: the name of the key pair in EC2 that it belongs to.")
    if order.mix_zones and order.one_zone:
        raise UsageError("--mix-zones spreads nodes over zones, and --efa and --placement-group forbid that.")
    _check_names(order)


def _check_names(order: Order) -> None:
    if order.region is not None and not _REGION.fullmatch(order.region):
        raise InvalidConfigError(f"{order.region!r} is no AWS region: write it like us-west-2.")
    region = order.region or DEFAULT_REGION
    for zone in order.zone_names(region) if order.region else ():
        if not zone.startswith(region):
            raise InvalidConfigError(f"The zone {zone} is not in {region}: name zones of that region.")
    if len(set(order.zone_names(region))) < len(order.zones):
        raise UsageError(f"--zones {','.join(order.zones)} names a zone twice.")
    if order.ssh_from is not None:
        try:
            network = ipaddress.ip_network(order.ssh_from)
        except ValueError as error:
            raise UsageError(
                f"--ssh-from {order.ssh_from} is no address range ({error}): write it like 203.0.113.7/32."
            ) from error
        if network.prefixlen == 0:
            raise UsageError(f"--ssh-from {order.ssh_from} would open SSH to the whole world: name a narrower range.")


def arguments(order: Order) -> str:
    """The command line that says the same, for the file's header."""
    words = ["--cluster-name", order.cluster_name]
    said: list[tuple[str, object]] = [
        ("--region", order.region),
        ("--zones", ",".join(order.zones)),
        ("--instance-type", order.instance_type),
        ("--gpu", order.gpu),
        ("--gpus-per-node", order.gpus_per_node),
        ("--nodes", order.nodes),
        (f"--{order.market}", order.market is not Market.ON_DEMAND),
        ("--mix-zones", order.mix_zones),
        ("--efa", order.efa),
        ("--placement-group", order.placement_group),
        ("--image", order.image),
        ("--ssh-user", order.ssh_user if order.ssh_user != DEFAULT_USER else None),
        ("--key-name", order.key_name),
        ("--private-key", order.private_key),
        ("--subnets", ",".join(order.subnets)),
        ("--security-group", order.security_group),
        ("--internal-ips", order.internal_ips),
        ("--disk", order.disk),
        ("--idle-timeout", str(order.idle_timeout) if order.idle_timeout != DEFAULT_IDLE_TIMEOUT else None),
        ("--ssh-from", order.ssh_from),
        ("--head-instance-type", order.head_instance_type),
        ("--offline", order.offline),
    ]
    for flag, value in said:
        if value is True:
            words.append(flag)
        elif value:
            words += [flag, str(value)]
    return shlex.join(words)
