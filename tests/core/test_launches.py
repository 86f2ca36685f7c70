"""Launches and set-ups in trouble are told in the cloud's words, with what comes next and what mends them."""

from dataclasses import replace

import pytest

from elastic_deploy.core.launches import launch_next, launch_said, setup_next, setup_said
from elastic_deploy.core.ledger import Ledger, advance
from elastic_deploy.core.refusals import mend, other_zones
from elastic_deploy.model.event import EventDraft
from elastic_deploy.model.snapshot import (
    LaunchFailure,
    LaunchOutcome,
    NodeSeen,
    Reading,
    SetupState,
    SetupTrouble,
    Snapshot,
)

ZONES = ("us-west-2a", "us-west-2b")
REFUSED = LaunchFailure("gpu", 2, "InsufficientInstanceCapacity", "No capacity.", 10.0, zones=ZONES)
TROUBLE = SetupTrouble(
    "i-1", "gpu", "10.0.0.7", "the start of Ray", "ray: No space left.", SetupState.RETRYING, 1, 5.0, 10.0
)

LAUNCHES = [
    (
        REFUSED,
        "The launch of 2 gpu nodes was refused in us-west-2a and us-west-2b with InsufficientInstanceCapacity: "
        "No capacity. The autoscaler asks again every few seconds. Try another zone, or another type.",
    ),
    (
        replace(REFUSED, outcome=LaunchOutcome.RETRYING, zones=ZONES[:1]),
        "One try of the launch of 2 gpu nodes was refused in us-west-2a with InsufficientInstanceCapacity: No capacity."
        " It is tried again now, in the next zone where there are several.",
    ),
    (
        replace(REFUSED, outcome=LaunchOutcome.ELSEWHERE, came=2, zones=ZONES[:1]),
        "The launch of 2 gpu nodes was refused in us-west-2a, and then succeeded elsewhere. The refusal was "
        "InsufficientInstanceCapacity: No capacity. Nothing is left to be asked for.",
    ),
    (
        LaunchFailure("gpu", 2, "", "", 10.0, LaunchOutcome.PARTIAL, 1),
        "Only 1 of 2 gpu nodes came. The autoscaler asks for the rest again when it has waited for it: a minute where "
        "the cluster YAML is generated, ten by Ray's own setting.",
    ),
    (
        LaunchFailure("gpu", 1, "InvalidAMIID.NotFound", "The image id '[ami-1]' does not exist", 10.0),
        "The launch of 1 gpu node was refused with InvalidAMIID.NotFound: The image id '[ami-1]' does not exist. The "
        "autoscaler asks again every few seconds. Name an image of this region in ImageId.",
    ),
]


@pytest.mark.parametrize(("failure", "sentences"), LAUNCHES)
def test_a_launch_is_told_with_what_comes_next(failure: LaunchFailure, sentences: str) -> None:
    assert f"{launch_said(failure)}. {launch_next(failure)}" == sentences


SETUPS = [
    (
        TROUBLE,
        "The set-up of node i-1 (gpu, 10.0.0.7) failed at the start of Ray: ray: No space left. It is run again within "
        "half a minute (attempt 1 of 3).",
    ),
    (
        replace(TROUBLE, attempt=3),
        "The set-up of node i-1 (gpu, 10.0.0.7) failed at the start of Ray: ray: No space left. It was the last "
        "attempt: within a minute the node is terminated, and another is asked for.",
    ),
    (
        replace(TROUBLE, attempt=3, state=SetupState.GAVE_UP),
        "Node i-1 (gpu, 10.0.0.7) could not be set up: the start of Ray failed, tried 3 times: ray: No space left. The "
        "node is terminated, and another is asked for.",
    ),
    (
        replace(TROUBLE, step="SSH", message="Connection timed out", state=SetupState.WAITING),
        "Node i-1 (gpu, 10.0.0.7) has not answered SSH for 1m 5s: Connection timed out. Ray waits for 15m, where its "
        "setting is not changed, and tries 3 times before another node is asked for; look after the security group's "
        "port 22, the key pair and the image's user.",
    ),
    (
        replace(TROUBLE, node_type="", address="", message=""),
        "The set-up of node i-1 failed at the start of Ray. It is run again within half a minute (attempt 1 of 3).",
    ),
]


@pytest.mark.parametrize(("trouble", "sentences"), SETUPS)
def test_a_set_up_is_told_with_what_comes_next(trouble: SetupTrouble, sentences: str) -> None:
    assert f"{setup_said(trouble, 70.0)}. {setup_next(trouble)}" == sentences


def test_the_zones_that_the_cloud_recommends_are_in_the_mend() -> None:
    words = "We have none (us-west-2a). You can currently get g5.xlarge capacity by not specifying an Availability Zone"
    words += " in your request or choosing us-west-2b, us-west-2c."
    assert other_zones(words) == "us-west-2b, us-west-2c"
    assert mend("InsufficientInstanceCapacity", words, other_zones(words)).startswith(
        "Try another zone (us-west-2b, us-west-2c)"
    )
    assert mend("NobodyKnows") == ""


def seen(at: float, *troubles: SetupTrouble) -> Snapshot:
    nodes: tuple[NodeSeen, ...] = ()
    return Snapshot(at, Reading(at, nodes), Reading(at, ()), Reading(at, ()), setup_troubles=troubles)


def history(*snapshots: Snapshot) -> list[list[EventDraft]]:
    ledger, told = Ledger(), []
    for snapshot in snapshots:
        ledger, events = advance(ledger, snapshot)
        told.append(list(events))
    return told


def test_a_set_up_that_fails_again_alike_is_told_once_and_again_when_the_node_is_given_up() -> None:
    second = replace(TROUBLE, attempt=2, at=25.0)
    gave_up = replace(TROUBLE, attempt=3, at=90.0, state=SetupState.GAVE_UP)
    told = history(
        seen(11, TROUBLE), seen(12, TROUBLE), seen(26, TROUBLE, second), seen(91, TROUBLE, second, gave_up)
    )  # fmt: skip
    assert [[event.kind for event in events] for events in told] == [["node.setup_failed"], [], [], ["node.given_up"]]
    event = told[0][0]
    assert (event.node, event.subject) == ("i-1", "node:i-1")
    assert event.data == {"node_type": "gpu", "address": "10.0.0.7", "step": "the start of Ray"}


def test_another_step_or_other_words_are_told_at_once() -> None:
    other = replace(TROUBLE, attempt=2, at=25.0, message="another")
    told = history(seen(11, TROUBLE), seen(26, TROUBLE, other))
    assert [len(events) for events in told] == [1, 1]


def test_ssh_that_does_not_answer_is_told_once_however_long_and_whatever_it_says() -> None:
    waits = replace(TROUBLE, step="SSH", message="", state=SetupState.WAITING)
    told = history(*(seen(70 + at, replace(waits, message="timed out" if at else "")) for at in range(9)))
    assert [len(events) for events in told] == [1, *[0] * 8]
