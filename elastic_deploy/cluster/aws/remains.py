"""What EC2 still has of a cluster, in values and in words: what it is, what it costs, which command removes it. Pure.

Made by `cluster.aws.tagged`; `cluster.aws.ending` decides from it, and the command line shows it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from elastic_deploy.cluster.aws.prices import CAPTURED, usd_per_hour

_COSTS = ("pending", "running")
"""The states in which EC2 bills an instance; a stopped one's disks are billed all the same."""

_HANGING = ("in-use", "associated", "attaching", "active")
"""EC2's words for volumes, interfaces and spot requests of an instance that stands."""

_NAMED = 5
"""Of one kind, so many are named with their ids before the rest is only counted."""


class Kind(StrEnum):
    """What else than an instance may be left. The values are words for a person."""

    SPOT_REQUEST = "spot request"
    VOLUME = "volume"
    INTERFACE = "network interface"
    PLACEMENT_GROUP = "placement group"


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance of the cluster in any state but terminated. `spot_request`: the one that it came from, or empty.

    `stays` are its volumes that were told to outlive it.
    """

    id: str
    type: str
    state: str
    is_head: bool = False
    spot_request: str = ""
    stays: tuple[str, ...] = ()

    @property
    def is_ending(self) -> bool:
        """Whether EC2 has been told to end it already."""
        return self.state == "shutting-down"


@dataclass(frozen=True, slots=True)
class Thing:
    """Anything of the cluster that is not an instance. `state` is EC2's word; `detail` is for a person."""

    kind: Kind
    id: str
    state: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Remains:
    """All that EC2 lists of a cluster at one moment. `unasked`: which questions EC2 did not answer, and why."""

    instances: tuple[Instance, ...] = ()
    things: tuple[Thing, ...] = ()
    unasked: tuple[str, ...] = ()

    @property
    def nothing(self) -> bool:
        """Whether EC2 has answered every question, and every answer was that there is nothing."""
        return not (self.instances or self.things or self.unasked)

    @property
    def loose(self) -> tuple[Thing, ...]:
        """The things that do not hang on one of the instances: what does goes with it, or is loose then."""
        return tuple(each for each in self.things if not self.instances or each.state not in _HANGING)

    def of(self, kind: Kind) -> tuple[Thing, ...]:
        """The loose things of one kind."""
        return tuple(thing for thing in self.loose if thing.kind is kind)


def instances_in_words(instances: Iterable[Instance]) -> str:
    """How many of what type, in which states: `2 instances (1 m7i.xlarge running, 1 g6.xlarge pending)`."""
    counted = Counter((each.type, each.state) for each in instances)
    number = sum(counted.values())
    parts = ", ".join(f"{count} {kind} {state}" for (kind, state), count in sorted(counted.items()))
    return f"{number} instance{'' if number == 1 else 's'} ({parts})" if number else "no instance"


def ids_in_words(ids: Iterable[str]) -> str:
    """The first few ids, and how many more there are."""
    every = list(ids)
    more = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return ", ".join(every[:_NAMED]) + more


def things_in_words(things: Iterable[Thing]) -> str:
    """What else there is, each with its id: `volume vol-1 (200 GiB, available), spot request sir-1 (open)`."""
    every = list(things)
    named = [f"{each.kind} {each.id} ({', '.join(filter(None, (each.detail, each.state)))})" for each in every[:_NAMED]]
    return ", ".join(named) + (f" and {len(every) - _NAMED} more" if len(every) > _NAMED else "")


def cost_in_words(instances: Iterable[Instance]) -> str | None:
    """What they cost while they stand; None where the price of one is not known here, and where nothing is billed."""
    billed = [each for each in instances if each.state in _COSTS]
    prices = [usd_per_hour(each.type) for each in billed]
    known = [price for price in prices if price is not None]
    if not billed or len(known) < len(prices):
        return None
    market = "; those bought as spot cost less" if any(each.spot_request for each in billed) else ""
    return (
        f"While they stand they cost {sum(known):.2f} USD an hour (on demand in US East, captured {CAPTURED}{market})."
    )


def sentences(remains: Remains, cluster: str, region: str) -> list[str]:
    """What stands, by the account's own answer; one sentence where there is nothing."""
    said = []
    if remains.instances:
        ids = ids_in_words(each.id for each in remains.instances)
        said.append(f"Of {cluster} there stand in {region}: {instances_in_words(remains.instances)}: {ids}.")
        if cost := cost_in_words(remains.instances):
            said.append(cost)
    if remains.loose:
        besides = "There is also" if remains.instances else f"Of {cluster} there is in {region}"
        said.append(f"{besides} {things_in_words(remains.loose)}.")
    said += remains.unasked
    return said or [f"Nothing of {cluster} stands in {region}."]


def left_in_words(remains: Remains, refusals: Mapping[str, str], region: str) -> str:
    """Everything that is left with the reason, where EC2 gave one, and the commands that remove it."""
    parts = []
    if remains.instances:
        ids = ids_in_words(each.id for each in remains.instances)
        parts.append(f"{instances_in_words(remains.instances)}: {ids}")
    if remains.loose:
        parts.append(things_in_words(remains.loose))
    said = [f"There is still {' and '.join(parts)}."] if parts else []
    here = {each.id for each in remains.instances} | {each.id for each in remains.loose}
    reasons = dict.fromkeys(f"{name}: {why}" for name, why in refusals.items() if name in here)
    if reasons:
        said.append(f"EC2 refused {ids_in_words(reasons)}.")
    said += remains.unasked
    commands = removal_commands(remains, refusals, region)
    if commands:
        said.append(f"To remove it: {' && '.join(commands)}")
    return " ".join(said)


def removal_commands(remains: Remains, refusals: Mapping[str, str], region: str) -> list[str]:
    """The commands that remove what is left, in an order in which they can succeed."""
    commands = []
    if requests := remains.of(Kind.SPOT_REQUEST):
        ids = " ".join(each.id for each in requests)
        commands.append(f"aws ec2 cancel-spot-instance-requests --region {region} --spot-instance-request-ids {ids}")
    if remains.instances:
        commands += [
            f"aws ec2 modify-instance-attribute --region {region} --instance-id {each.id} --no-disable-api-termination"
            for each in remains.instances
            if refusals.get(each.id, "").startswith("OperationNotPermitted")
        ]
        ids = " ".join(each.id for each in remains.instances)
        commands.append(f"aws ec2 terminate-instances --region {region} --instance-ids {ids}")
        if remains.of(Kind.PLACEMENT_GROUP):  # which cannot go before them
            commands.append(f"aws ec2 wait instance-terminated --region {region} --instance-ids {ids}")
    commands += [f"aws ec2 delete-volume --region {region} --volume-id {each.id}" for each in remains.of(Kind.VOLUME)]
    commands += [
        f"aws ec2 delete-network-interface --region {region} --network-interface-id {each.id}"
        for each in remains.of(Kind.INTERFACE)
    ]
    commands += [
        f"aws ec2 delete-placement-group --region {region} --group-name {each.id}"
        for each in remains.of(Kind.PLACEMENT_GROUP)
    ]
    return commands
