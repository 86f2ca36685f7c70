"""What a cluster YAML asks of AWS, node type by node type, with what Ray fills in left empty. Pure."""

from dataclasses import dataclass
from typing import Any

from elastic_deploy.cluster.config import ClusterConfig

_ROOT_DEVICES = ("/dev/sda1", "/dev/xvda")


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedNode:
    """One node type. Empty strings and tuples: not written. `count` nodes are asked for, the head included.

    `root_gib` is 0 where no size is written. `public` is what the network interfaces say; None where nothing is said.
    """

    name: str
    instance_type: str
    is_head: bool = False
    count: int = 0
    image: str = ""
    key_name: str = ""
    subnets: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    spot: bool = False
    root_gib: int = 0
    profile: str = ""
    placement_group: str = ""
    efa: bool = False
    public: bool | None = None
    user_data: bool = False
    """Whether it has UserData, which may let a key in that EC2 does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The whole YAML. `zones` are those of `provider.availability_zone`. `insisted`: the counts come from `--gpus`,
    not from the limits of the YAML."""

    cluster: str
    region: str
    zones: tuple[str, ...]
    nodes: tuple[WantedNode, ...]
    insisted: bool = False
    max_workers: int | None = None
    """The cluster's limit on the workers of all types together, None where the counts are to be had as they are."""
    private_key: str = ""
    internal_ips: bool = False
    named_group: str = ""
    """`provider.security_group.GroupName`: node types without groups get it, and Ray makes it if need be."""
    named_permissions: tuple[dict[str, Any], ...] = ()
    """What that group is to let in besides Ray's own rules, where Ray gives it any."""
    text: tuple[str, ...] = ()
    """Every string that stands somewhere in the node configurations and the provider."""

    @property
    def instance_types(self) -> tuple[str, ...]:
        """Each instance type once."""
        return tuple(dict.fromkeys(each.instance_type for each in self.nodes))

    @property
    def subnets(self) -> tuple[str, ...]:
        """Each subnet once."""
        return tuple(dict.fromkeys(subnet for each in self.nodes for subnet in each.subnets))

    @property
    def groups(self) -> tuple[str, ...]:
        """Each security group once."""
        return tuple(dict.fromkeys(group for each in self.nodes for group in each.groups))


def read_wanted(config: ClusterConfig, planned: dict[str, int] | None = None) -> Wanted:
    """What `config` asks; `planned` are the nodes by type that a deployment needs, None where none is asked for."""
    provider, auth = config.raw["provider"], config.raw.get("auth") or {}
    types = config.raw["available_node_types"]
    named = provider.get("security_group") or {}
    group = str(named.get("GroupName") or "")
    nodes = []
    for each in config.capacity.node_types:
        most = min(each.max_workers, config.capacity.max_workers)
        count = most if planned is None else planned.get(each.name, 0)
        nodes.append(_node(each.name, types[each.name]["node_config"], count, is_head=each.is_head, named_group=group))
    zones = provider.get("availability_zone") or ""
    return Wanted(
        cluster=config.name,
        region=str(provider["region"]),
        zones=tuple(zone.strip() for zone in str(zones).split(",") if zone.strip()),
        nodes=tuple(nodes),
        insisted=planned is not None,
        max_workers=config.capacity.max_workers if planned is None else None,
        private_key=str(auth.get("ssh_private_key") or ""),
        named_group=group,
        named_permissions=tuple(named.get("IpPermissions") or ()),
        internal_ips=bool(provider.get("use_internal_ips")),
        text=tuple(_strings([provider, *(types[name].get("node_config") for name in types)])),
    )


def _node(name: str, written: dict[str, Any], count: int, *, is_head: bool, named_group: str) -> WantedNode:
    cards = [each for each in written.get("NetworkInterfaces") or [] if isinstance(each, dict)]
    subnets = [*(written.get("SubnetIds") or []), written.get("SubnetId")]
    subnets += [each.get("SubnetId") for each in cards]
    groups = [
        *(written.get("SecurityGroupIds") or []),
        *(group for each in cards for group in each.get("Groups") or []),
    ]
    profile = written.get("IamInstanceProfile") or {}
    publics = [bool(each["AssociatePublicIpAddress"]) for each in cards if "AssociatePublicIpAddress" in each]
    return WantedNode(
        name=name,
        instance_type=str(written["InstanceType"]),
        is_head=is_head,
        count=count + is_head,
        image=str(written.get("ImageId") or ""),
        key_name=str(written.get("KeyName") or ""),
        subnets=tuple(dict.fromkeys(str(each) for each in subnets if each)),
        groups=tuple(dict.fromkeys(str(each) for each in groups)) or ((named_group,) if named_group else ()),
        spot=(written.get("InstanceMarketOptions") or {}).get("MarketType") == "spot",
        root_gib=_root_gib(written),
        profile=str(profile.get("Name") or str(profile.get("Arn") or "").rpartition("/")[2]),
        placement_group=str((written.get("Placement") or {}).get("GroupName") or ""),
        efa=any(str(each.get("InterfaceType", "")).startswith("efa") for each in cards),
        public=any(publics) if publics else None,
        user_data="UserData" in written,
    )


def _root_gib(written: dict[str, Any]) -> int:
    for each in written.get("BlockDeviceMappings") or []:
        if each.get("DeviceName") in _ROOT_DEVICES:
            return int((each.get("Ebs") or {}).get("VolumeSize") or 0)
    return 0


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for each in value.values() for text in _strings(each)]
    return [text for each in value for text in _strings(each)] if isinstance(value, list) else []
