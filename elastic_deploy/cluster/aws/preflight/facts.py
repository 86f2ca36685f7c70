"""What AWS and this machine answered before a launch, as values. Made by `gather` and `files`, read by the checks."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Unknown:
    """An answer that did not come, and why, in AWS's own words where there are any."""

    reason: str


NOT_ASKED = Unknown("it was not asked")


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose credentials these are."""

    account: str
    arn: str


@dataclass(frozen=True, slots=True)
class TypeFact:
    """What EC2 says of an instance type."""

    vcpus: int
    architectures: tuple[str, ...]
    efa: bool


@dataclass(frozen=True, slots=True)
class ImageFact:
    """A machine image; `root_gib` is the size of its root disk, 0 where EC2 does not say."""

    id: str
    state: str
    architecture: str
    root_gib: int


@dataclass(frozen=True, slots=True)
class SubnetFact:
    """A subnet; `public`: what starts there gets a public address by itself."""

    vpc: str
    zone: str
    free_addresses: int
    public: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """One way in. Ports are inclusive; protocol -1 is everything. `sources` are ranges and groups."""

    protocol: str
    first_port: int
    last_port: int
    sources: tuple[str, ...]

    @property
    def admits_all(self) -> bool:
        """Whether every port is open by it; those of TCP alone are enough for Ray, gloo and NCCL without EFA."""
        return self.protocol == "-1" or (self.protocol == "tcp" and self.first_port <= 1 and self.last_port == 65535)

    def admits(self, port: int) -> bool:
        """Whether TCP to `port` gets in by this rule."""
        return self.protocol == "-1" or (self.protocol == "tcp" and self.first_port <= port <= self.last_port)


@dataclass(frozen=True, slots=True)
class GroupFact:
    """A security group: what may come in. `made`: it is Ray's to make or to fill, `vpc` is then "" if not known."""

    vpc: str
    rules: tuple[Rule, ...]
    made: bool = False


@dataclass(frozen=True, slots=True)
class PlacementFact:
    """A placement group."""

    strategy: str
    state: str


@dataclass(frozen=True, slots=True)
class FileFact:
    """A file of this machine; `mode` is its permission bits."""

    exists: bool
    mode: int = 0


@dataclass(frozen=True, slots=True)
class RightsFact:
    """What IAM says of a role: the rights that it refuses, and those that hang on conditions it was not told."""

    refused: tuple[str, ...] = ()
    undecided: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All answers. A name that was asked for and is not in its mapping does not exist.

    `enabled_regions` are those that the account may use. `offered` are zones by type. `quotas` are vCPUs by quota code,
    `in_use` what runs now by the same code. `images` are keyed by what the YAML writes. `key_pairs` are public keys by
    name, empty where EC2 does not show one; `public_key` is that of the private key here. `roles` are the roles' ARNs
    by instance profile, `rights` are by role's ARN.
    """

    identity: Identity | Unknown = NOT_ASKED
    enabled_regions: tuple[str, ...] | Unknown = NOT_ASKED
    types: Mapping[str, TypeFact] | Unknown = NOT_ASKED
    offered: Mapping[str, tuple[str, ...]] | Unknown = NOT_ASKED
    quotas: Mapping[str, float] | Unknown = NOT_ASKED
    in_use: Mapping[str, int] | Unknown = NOT_ASKED
    images: Mapping[str, ImageFact] | Unknown = NOT_ASKED
    key_pairs: Mapping[str, str] | Unknown = NOT_ASKED
    subnets: Mapping[str, SubnetFact] | Unknown = NOT_ASKED
    groups: Mapping[str, GroupFact] | Unknown = NOT_ASKED
    placement_groups: Mapping[str, PlacementFact] | Unknown = NOT_ASKED
    roles: Mapping[str, tuple[str, ...]] | Unknown = NOT_ASKED
    rights: Mapping[str, RightsFact] | Unknown = NOT_ASKED
    private_key: FileFact | None = None
    public_key: str | Unknown = NOT_ASKED
    mounts: Mapping[str, FileFact] = field(default_factory=dict)
