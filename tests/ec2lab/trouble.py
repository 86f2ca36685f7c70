"""What the lab's EC2 has been told to refuse or to do badly, and the decisions that follow. Values and pure functions.

The front of the API asks `first_failure` and `grant`; the daemon asks `boot_faults` when a host boots.
Nothing here knows of moto, of HTTP or of namespaces.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from tests.ec2lab import words
from tests.ec2lab.words import Refusal

# The first letters of an instance type decide which limit on vCPUs it counts against (EC2 User Guide, "Amazon EC2
# instance type quotas").
BUCKETS = {"g": "g", "vt": "g", "p": "p", "trn": "trn", "inf": "inf", "dl": "dl", "f": "f", "x": "x"}


@dataclass(frozen=True)
class Failure:
    """The next `times` calls of operations like `operation` (`Describe*`) are refused; None: until forgiven."""

    operation: str
    refusal: Refusal
    times: int | None = 1


@dataclass(frozen=True)
class Running:
    """An instance that takes up capacity: pending or running."""

    instance_type: str
    zone: str
    spot: bool
    vcpus: int


@dataclass(frozen=True)
class Launch:
    """What a RunInstances asks for."""

    instance_type: str
    zone: str
    subnet: str
    spot: bool
    vcpus: int
    minimum: int
    maximum: int


@dataclass(frozen=True)
class Limits:
    """How much there is. What is not named is unlimited; each number counts what runs at the same time.

    `capacity` is instances by (zone, type), `quota` vCPUs by (`on-demand` or `spot`, bucket of the type), and
    `addresses` instances by zone.
    """

    capacity: Mapping[tuple[str, str], int] = field(default_factory=dict)
    quota: Mapping[tuple[str, str], int] = field(default_factory=dict)
    addresses: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class BootFault:
    """The next `hosts` hosts of types like `instance_type` boot with a fault.

    `mute_ssh`: nothing ever answers on port 22. `slow`: sshd starts so many seconds late. `broken`: this command fails
    on the host, with `message` and `status`.
    """

    hosts: int = 1
    instance_type: str = "*"
    mute_ssh: bool = False
    slow: float = 0.0
    broken: str = ""
    message: str = "No space left on device"
    status: int = 1


def bucket(instance_type: str) -> str:
    """The limit on vCPUs that a type counts against: `g`, `p`, ..., or `standard`."""
    leading = re.match(r"[a-z]*", instance_type)
    return BUCKETS.get(leading.group() if leading else "", "standard")


def first_failure(operation: str, failures: Sequence[Failure]) -> tuple[Refusal | None, list[Failure]]:
    """The refusal for a call of `operation`, if one is due, and what is left of the failures."""
    for at, failure in enumerate(failures):
        if fnmatchcase(operation, failure.operation):
            left = None if failure.times is None else failure.times - 1
            rest = [replace(failure, times=left)] if left is None or left > 0 else []
            return failure.refusal, [*failures[:at], *rest, *failures[at + 1 :]]
    return None, list(failures)


def grant(launch: Launch, running: Iterable[Running], limits: Limits, zones: Sequence[str]) -> int | Refusal:
    """How many instances a launch gets: as many as there is room for, up to its maximum, or else a refusal.

    EC2 launches the largest number above MinCount that it can. That it does so under a quota as well is our reading.
    """
    running = list(running)
    market = "spot" if launch.spot else "on-demand"
    room = launch.maximum
    if (limit := limits.quota.get((market, bucket(launch.instance_type)))) is not None:
        same = (one for one in running if one.spot == launch.spot)
        used = sum(one.vcpus for one in same if bucket(one.instance_type) == bucket(launch.instance_type))
        room = min(room, (limit - used) // launch.vcpus)
        if room < launch.minimum:
            return words.over_spot_quota() if launch.spot else words.over_quota(limit)
    if (limit := limits.addresses.get(launch.zone)) is not None:
        room = min(room, limit - sum(one.zone == launch.zone for one in running))
        if room < launch.minimum:
            return words.no_addresses(launch.subnet)
    if (left := _left(launch.instance_type, launch.zone, running, limits)) is not None:
        room = min(room, left)
        if room < launch.minimum:
            if launch.spot:
                return words.no_spot_capacity()
            others = [zone for zone in zones if zone != launch.zone]
            free = [zone for zone in others if _left(launch.instance_type, zone, running, limits) != 0]
            return words.no_capacity(launch.instance_type, launch.zone, free)
    return room


def _left(instance_type: str, zone: str, running: Sequence[Running], limits: Limits) -> int | None:
    limit = limits.capacity.get((zone, instance_type))
    if limit is None:
        return None
    return max(0, limit - sum((one.zone, one.instance_type) == (zone, instance_type) for one in running))


def boot_faults(instance_type: str, faults: Sequence[BootFault]) -> tuple[list[BootFault], list[BootFault]]:
    """The faults that a host of this type boots with, and the faults left for those that follow."""
    due = [fault for fault in faults if fnmatchcase(instance_type, fault.instance_type)]
    left = [replace(fault, hosts=fault.hosts - 1) if fault in due else fault for fault in faults]
    return due, [fault for fault in left if fault.hosts > 0]
