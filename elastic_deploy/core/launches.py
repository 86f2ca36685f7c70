"""What is said of launches that did not go as asked and of set-ups in trouble: what happened, and what comes next.

Pure; used by `core.ledger` for events, by `core.explain` for `status`'s reason, by the observer for a node's detail.
"""

from elastic_deploy.core.refusals import mend, other_zones
from elastic_deploy.core.tally import counted
from elastic_deploy.model.duration import format_duration
from elastic_deploy.model.snapshot import LaunchFailure, LaunchOutcome, SetupState, SetupTrouble

SETUP_ATTEMPTS = 3
"""How often Ray runs a node's set-up (`ThreadedRayInstaller`) before it gives the node up."""

SSH_LIMIT = 900.0
"""Seconds for which Ray waits for SSH (AUTOSCALER_NODE_START_WAIT_S, where the head's environment does not say)."""

_KINDS = {
    LaunchOutcome.REFUSED: "launch.failed",
    LaunchOutcome.RETRYING: "launch.failed",
    LaunchOutcome.ELSEWHERE: "launch.elsewhere",
    LaunchOutcome.PARTIAL: "launch.partial",
    LaunchOutcome.BLIND: "autoscaler.refused",
}
_SETUP_KINDS = {
    SetupState.WAITING: "node.unreachable",
    SetupState.RETRYING: "node.setup_failed",
    SetupState.GAVE_UP: "node.given_up",
}


def launch_kind(failure: LaunchFailure) -> str:
    """The kind of its event."""
    return _KINDS[failure.outcome]


def launch_next(failure: LaunchFailure) -> str:
    """What happens next, and what a person can do, as a sentence or two."""
    if failure.outcome is LaunchOutcome.ELSEWHERE:
        return "Nothing is left to be asked for."
    if failure.outcome is LaunchOutcome.RETRYING:
        return "It is tried again now, in the next zone where there are several."
    help_ = mend(failure.code, failure.message, other_zones(failure.message))
    help_ = f" {help_}" if help_ else ""
    if failure.outcome is LaunchOutcome.BLIND:
        return f"No node is launched or replaced until it can; it tries again every few seconds.{help_}"
    if failure.outcome is LaunchOutcome.PARTIAL:
        return (
            "The autoscaler asks for the rest again when it has waited for it: a minute where the cluster YAML is"
            f" generated, ten by Ray's own setting.{help_}"
        )
    return f"The autoscaler asks again every few seconds.{help_}"


def launch_said(failure: LaunchFailure) -> str:
    """What happened, with the cloud's code, text and zones, without a full stop."""
    nodes = _nodes(failure.count, failure.node_type)
    where = f" in {' and '.join(failure.zones)}" if failure.zones else ""
    words = ": ".join(part for part in (failure.code, failure.message.rstrip(".")) if part)
    if failure.outcome is LaunchOutcome.PARTIAL:
        return f"Only {failure.came} of {nodes} came" + (f"; the rest was refused{where} with {words}" if words else "")
    if failure.outcome is LaunchOutcome.ELSEWHERE:
        return f"The launch of {nodes} was refused{where}, and then succeeded elsewhere. The refusal was {words}"
    if failure.outcome is LaunchOutcome.BLIND:
        return f"Ray's autoscaler could not ask the cloud which nodes run: {words}"
    what = "One try of the launch" if failure.outcome is LaunchOutcome.RETRYING else "The launch"
    return f"{what} of {nodes} was refused{where} with {words}"


def _nodes(count: int, node_type: str) -> str:
    return f"{count} {node_type} node{'' if count == 1 else 's'}"


def setup_kind(trouble: SetupTrouble) -> str:
    """The kind of its event."""
    return _SETUP_KINDS[trouble.state]


def setup_said(trouble: SetupTrouble, now: float) -> str:
    """What is wrong with a node's set-up, without a full stop."""
    inside = ", ".join(part for part in (trouble.node_type, trouble.address) if part)
    name = f"Node {trouble.node} ({inside})" if inside else f"Node {trouble.node}"
    words = f": {trouble.message.rstrip('.')}" if trouble.message else ""
    if trouble.state is SetupState.WAITING:
        return f"{name} has not answered SSH for {format_duration(max(0.0, now - trouble.since))}{words}"
    if trouble.state is SetupState.GAVE_UP:
        times = "once" if trouble.attempt == 1 else f"{trouble.attempt} times"
        return f"{name} could not be set up: {trouble.step} failed, tried {times}{words}"
    return f"The set-up of {_lower(name)} failed at {trouble.step}{words}"


def setup_next(trouble: SetupTrouble) -> str:
    """What happens next, as a sentence."""
    if trouble.state is SetupState.WAITING:
        return (
            f"Ray waits for {format_duration(SSH_LIMIT)}, where its setting is not changed, and tries"
            f" {counted(SETUP_ATTEMPTS, 'time')} before another node is asked for; look after the security group's"
            " port 22, the key pair and the image's user."
        )
    if trouble.state is SetupState.GAVE_UP:
        return "The node is terminated, and another is asked for."
    if trouble.attempt >= SETUP_ATTEMPTS:
        return "It was the last attempt: within a minute the node is terminated, and another is asked for."
    return f"It is run again within half a minute (attempt {trouble.attempt} of {SETUP_ATTEMPTS})."


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
