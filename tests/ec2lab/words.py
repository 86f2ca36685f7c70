"""EC2's refusals in EC2's own words: status, code and text as users of the real service have reported them.

Each function makes one refusal. The front of the lab's API answers with it; nothing here knows how.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    """An error that an AWS service answers: HTTP status, code, message."""

    status: int
    code: str
    message: str


def no_capacity(instance_type: str, zone: str, other_zones: list[str]) -> Refusal:
    """On-demand instances of the type are sold out in the zone. The status is 500: SDKs retry it by themselves."""
    text = (
        f"We currently do not have sufficient {instance_type} capacity in the Availability Zone you requested ({zone})."
    )
    text += " Our system will be working on provisioning additional capacity."
    if other_zones:
        text += f" You can currently get {instance_type} capacity by not specifying an Availability Zone in your"
        text += f" request or choosing {', '.join(other_zones)}."
    return Refusal(500, "InsufficientInstanceCapacity", text)


def no_spot_capacity() -> Refusal:
    """Spot instances of the type are sold out in the zone."""
    return Refusal(
        500, "InsufficientInstanceCapacity", "There is no Spot capacity available that matches your request."
    )


def over_quota(limit: int) -> Refusal:
    """More vCPUs than the account may run of a family on demand."""
    return Refusal(
        400,
        "VcpuLimitExceeded",
        f"You have requested more vCPU capacity than your current vCPU limit of {limit} allows for the instance bucket"
        " that the specified instance type belongs to. Please visit http://aws.amazon.com/contact-us/ec2-request to"
        " request an adjustment to this limit.",
    )


def over_spot_quota() -> Refusal:
    """More vCPUs than the account may run of a family as spot."""
    return Refusal(400, "MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")


def no_addresses(subnet: str) -> Refusal:
    """The subnet has no address left."""
    return Refusal(
        400,
        "InsufficientFreeAddressesInSubnet",
        f"There are not enough free addresses in subnet '{subnet}' to satisfy the requested number of instances.",
    )


def no_image(image: str) -> Refusal:
    """No such image, or not one that the account may use."""
    return Refusal(400, "InvalidAMIID.NotFound", f"The image id '[{image}]' does not exist")


def no_key_pair(name: str) -> Refusal:
    """No such key pair in the region."""
    return Refusal(400, "InvalidKeyPair.NotFound", f"The key pair '{name}' does not exist")


def throttled() -> Refusal:
    """Too many requests of this kind in a short time. The status is 503: SDKs retry it by themselves."""
    return Refusal(503, "RequestLimitExceeded", "Request limit exceeded.")


def not_allowed(operation: str, account: str = "123456789012") -> Refusal:
    """The caller's policies do not allow an operation of EC2."""
    return Refusal(
        403,
        "UnauthorizedOperation",
        f"You are not authorized to perform this operation. User: arn:aws:iam::{account}:user/lab is not authorized to"
        f" perform: ec2:{operation} on resource: * because no identity-based policy allows the ec2:{operation} action.",
    )


def not_in_a_state(instance: str, verb: str) -> Refusal:
    """The instance cannot be started or stopped from where it is; `verb` is `started` or `stopped`."""
    return Refusal(
        400,
        "IncorrectInstanceState",
        f"The instance '{instance}' is not in a state from which it can be {verb}.",
    )
