"""Checks on where a launch stands: credentials, region, and what the YAML leaves to be filled in. Pure."""

import re

from elastic_deploy.cluster.aws.images import NO_IMAGE
from elastic_deploy.cluster.aws.preflight.facts import Facts, Unknown
from elastic_deploy.cluster.aws.preflight.verdicts import failure, found, passed, unknown
from elastic_deploy.cluster.aws.preflight.wanted import Wanted
from elastic_deploy.model.check import Check

_PLACEHOLDER = re.compile(r"(sg|subnet)-of-.+|" + re.escape(NO_IMAGE))
_WHAT = {"sg": "a security group's id", "subnet": "a subnet's id", "ami": "an image's id"}


def credentials(wanted: Wanted, facts: Facts) -> tuple[Check, ...]:  # noqa: ARG001 (every check takes both)
    """Whose credentials are used."""
    who = facts.identity
    if isinstance(who, Unknown):
        mend = "Run `aws configure` or `aws sso login`, or set AWS_PROFILE, and try again."
        return (failure("credentials", f"AWS does not know who you are: {who.reason}.", mend),)
    return (passed("credentials", f"You are {who.arn} of account {who.account}."),)


def region(wanted: Wanted, facts: Facts) -> tuple[Check, ...]:
    """The region exists and the account may use it."""
    enabled = facts.enabled_regions
    if isinstance(enabled, Unknown):
        return (unknown("region", f"Whether {wanted.region} is enabled", enabled),)
    if wanted.region not in enabled:
        mend = f"Enable it in the account's settings, or write one of {', '.join(sorted(enabled))}."
        return (failure("region", f"Region {wanted.region} does not exist or is not enabled here.", mend),)
    outside = [zone for zone in wanted.zones if not zone.startswith(wanted.region)]
    faults = [
        failure(
            "region",
            f"Zone {zone} of provider.availability_zone is not in {wanted.region}.",
            f"Write zones such as {wanted.region}a.",
        )
        for zone in outside
    ]
    return found("region", faults, f"Region {wanted.region} is enabled.")


def placeholders(wanted: Wanted, facts: Facts) -> tuple[Check, ...]:  # noqa: ARG001
    """Nothing is left of what `generate` could not know."""
    left = sorted({text for text in wanted.text if is_placeholder(text)})
    faults = [
        failure(
            "placeholders",
            f"{text} in the YAML is a placeholder.",
            f"Write {_WHAT[text.partition('-')[0]]} in its place; the comment beside it (TODO(you)) says which.",
        )
        for text in left
    ]
    return found("placeholders", faults, "No placeholder is left in the YAML.")


def is_placeholder(text: str) -> bool:
    """Whether `text` is what `generate` writes where it does not know."""
    return _PLACEHOLDER.fullmatch(text) is not None
