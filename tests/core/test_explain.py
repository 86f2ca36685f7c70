"""The sentences that `status` shows, word for word."""

from dataclasses import replace

import pytest

from elastic_deploy.core.explain import Expectation, eta, reason
from elastic_deploy.model.memory import DeploymentMemory, Failure, FailureKind, Outage
from elastic_deploy.model.names import GroupName
from elastic_deploy.model.shape import Shape
from elastic_deploy.model.snapshot import (
    GroupState,
    LaunchFailure,
    LaunchOutcome,
    NodeSeen,
    NodeState,
    Reading,
    SetupState,
    SetupTrouble,
    Snapshot,
)
from elastic_deploy.model.spec import DeploymentSpec, OnFailure

from .scenes import (
    NODES,
    NOW,
    SERVING,
    SPEC,
    STARTING,
    WHOLE,
    blind,
    deployment,
    ended,
    engine,
    failed,
    fresh,
    group,
    running,
    serving,
    snapshot,
)

PENDING = (group(GroupState.PENDING, ("", "")),)
LAUNCHING = NodeSeen("i-l", "gpu", NodeState.LAUNCHING)
ASKED = NodeSeen("gpu-asked-1", "gpu", NodeState.ASKED)
TWO = replace(SPEC, shape=Shape(2, 1, 2))
ENDLESS = replace(SPEC, wait_timeout=None, engine_start_timeout=None)
KEEP = replace(SPEC, on_failure=OnFailure.KEEP)
REFUSED = LaunchFailure("gpu", 2, "InsufficientInstanceCapacity", "We do not have enough p5.48xlarge.", NOW - 4)
OUTAGE = Outage(NOW - 12, "node i-b was lost", "node:i-b")
WAITS = deployment(fresh())
RECOVERS = deployment(serving(engine_ended=True, whole_since=None, outage=OUTAGE))
RESCHEDULING = snapshot((group(GroupState.RESCHEDULING, ("a", "")),), (ended(),), nodes=(NODES[0], LAUNCHING))
TIMED_OUT = Failure(FailureKind.WAIT_TIMEOUT, "Waited 5m for 2 GPUs: 0 of 2 GPUs have come.", NOW)
CRASHED = Failure(FailureKind.ENGINE, "The engine of chat/r0 failed once with all its nodes well.", NOW)
CHANGING = replace(SPEC, engine_arguments=("--seed", "2"), former=SPEC, surge=True)
OLD = serving()

WAITING_FOR_ONE = (
    "Waiting for 2 GPUs: 1 of 2 GPUs has come, 1 is missing (1 node launching); 30s so far, 4m 30s until the deadline."
)
RECOVERING = (
    "Recovering for 12s, since node i-b was lost: waiting for its 2 GPUs together: "
    "1 of 2 GPUs has come, 1 is missing (1 node launching). Recovery has no deadline."
)

CASES: dict[str, tuple[DeploymentSpec, DeploymentMemory | None, Snapshot, str]] = {
    "just handed over": (
        SPEC,
        None,
        snapshot(),
        "It has been handed to the supervisor, which has not looked at it yet.",
    ),
    "waiting, one of two": (SPEC, WAITS, snapshot(PENDING, nodes=(NODES[0], LAUNCHING)), WAITING_FOR_ONE),
    "waiting, none, several on their way": (
        SPEC,
        WAITS,
        snapshot(nodes=(LAUNCHING, ASKED, replace(ASKED, id="gpu-asked-2"))),
        "Waiting for 2 GPUs: 0 of 2 GPUs have come, 2 are missing (1 node launching, 2 nodes asked for); "
        "30s so far, 4m 30s until the deadline.",
    ),
    "waiting without a deadline": (
        ENDLESS,
        WAITS,
        snapshot(nodes=()),
        "Waiting for 2 GPUs: 0 of 2 GPUs have come, 2 are missing (no node is on its way); "
        "30s so far, and the wait has no deadline.",
    ),
    "waiting, all come, not placed": (
        SPEC,
        WAITS,
        snapshot(PENDING),
        "Waiting for 2 GPUs: all 2 GPUs have come, 0 of them placed by Ray so far; "
        "30s so far, 4m 30s until the deadline.",
    ),
    "waiting while another deployment holds a node": (
        SPEC,
        WAITS,
        snapshot((*PENDING, replace(group(nodes=("b",)), name=GroupName("aside", "r0")))),
        "Waiting for 2 GPUs: 1 of 2 GPUs has come, 1 is missing (no node is on its way); "
        "30s so far, 4m 30s until the deadline.",
    ),
    "waiting for the second replica": (
        TWO,
        deployment(serving(), fresh(id="r1")),
        snapshot((group(),), (engine(),)),
        "Waiting for 4 GPUs: 2 of 4 GPUs have come, 2 are missing (no node is on its way); "
        "30s so far, 4m 30s until the deadline. 1 of 2 replicas serves.",
    ),
    "waiting while the cloud refuses": (
        SPEC,
        WAITS,
        snapshot(
            PENDING,
            nodes=(NODES[0], LAUNCHING),
            launch_failures=(
                replace(REFUSED, at=NOW - 9),
                REFUSED,
                replace(REFUSED, code="SpotMaxPriceTooLow", message="", count=1, at=NOW - 120),
                replace(REFUSED, code="TooOld", at=NOW - 121),
            ),
        ),
        f"{WAITING_FOR_ONE} The launch of 2 gpu nodes was refused with InsufficientInstanceCapacity: We do not have "
        "enough p5.48xlarge (4s ago, 2 times in 9s). The autoscaler asks again every few seconds. Try another zone, or "
        "another type. The launch of 1 gpu node was refused with SpotMaxPriceTooLow (2m ago). The autoscaler asks again"
        " every few seconds. Try another zone, or another type.",
    ),
    "waiting, and one zone's refusal was made good by another zone": (
        SPEC,
        WAITS,
        snapshot(
            PENDING,
            nodes=(NODES[0], LAUNCHING),
            launch_failures=(
                replace(REFUSED, at=NOW - 9, outcome=LaunchOutcome.RETRYING, code="Tried"),
                LaunchFailure("gpu", 2, "", "", NOW - 4, LaunchOutcome.PARTIAL, 1),
            ),
        ),
        f"{WAITING_FOR_ONE} Only 1 of 2 gpu nodes came (4s ago). The autoscaler asks for the rest again when it has "
        "waited for it: a minute where the cluster YAML is generated, ten by Ray's own setting.",
    ),
    "waiting while a node cannot be set up": (
        SPEC,
        WAITS,
        replace(
            snapshot(PENDING, nodes=(NODES[0], LAUNCHING)),
            setup_troubles=(
                SetupTrouble("i-c", "gpu", "", "SSH", "", SetupState.RETRYING, 1, NOW - 300, NOW - 121),
                SetupTrouble("i-d", "gpu", "10.0.0.8", "SSH", "timed out", SetupState.WAITING, 1, NOW - 200, NOW - 140),
            ),
        ),
        f"{WAITING_FOR_ONE} Node i-d (gpu, 10.0.0.8) has not answered SSH for 3m 20s: timed out. Ray waits for 15m, "
        "where its setting is not changed, and tries 3 times before another node is asked for; look after the security "
        "group's port 22, the key pair and the image's user.",
    ),
    "waiting while the monitor is dead": (
        SPEC,
        WAITS,
        snapshot(PENDING, nodes=(NODES[0], LAUNCHING), monitor_alive=Reading(NOW, False)),
        f"{WAITING_FOR_ONE} Ray's autoscaler is dead: no node will be launched until it is back.",
    ),
    "waiting and blind": (
        SPEC,
        WAITS,
        blind(snapshot(PENDING), "nodes"),
        "Waiting for 2 GPUs: how many have come is unknown at the moment; 30s so far, 4m 30s until the deadline. "
        "Not everything can be seen now (nodes: no answer within 15 s): nothing is started or ended meanwhile.",
    ),
    "starting": (
        SPEC,
        deployment(running()),
        STARTING,
        "The engine of chat/r0 (generation 1) was started 20s ago and has not generated yet; it has 1m 40s left.",
    ),
    "starting without a deadline": (
        ENDLESS,
        deployment(running(fingerprint=ENDLESS.fingerprint)),
        STARTING,
        "The engine of chat/r0 (generation 1) was started 20s ago and has not generated yet; it has no deadline.",
    ),
    "starting, found running": (
        SPEC,
        deployment(running(adopted=True)),
        STARTING,
        "The engine of chat/r0 (generation 1) was found running 20s ago and has not generated yet; it has 1m 40s left.",
    ),
    "starting, about to": (
        SPEC,
        deployment(fresh(whole_since=NOW, members=("a", "b"))),
        WHOLE,
        "Its GPUs are whole and its engine is about to be started.",
    ),
    "starting, backing off": (
        SPEC,
        deployment(failed(failures=2, retry_at=NOW + 2, last_words="ValueError: no")),
        WHOLE,
        "The engine of chat/r0 (generation 1) failed, 2 times in a row of at most 3 (its last words: ValueError: no); "
        "the next is started in 2s.",
    ),
    "starting, sweeping": (
        SPEC,
        deployment(failed()),
        STARTING,
        "What is left of the engine of chat/r0 (generation 1) is being ended before its successor is started.",
    ),
    "ready": (
        SPEC,
        deployment(serving()),
        SERVING,
        "Serving for 10s: a real generation has come back from every replica.",
    ),
    "recovering, waiting for a node": (SPEC, RECOVERS, RESCHEDULING, RECOVERING),
    "recovering, starting": (
        SPEC,
        deployment(running(ever_ready=True, outage=OUTAGE)),
        STARTING,
        "Recovering for 12s, since node i-b was lost: the engine of chat/r0 (generation 1) was started 20s ago "
        "and has not generated yet; it has 1m 40s left. Recovery has no deadline.",
    ),
    "recovering, a node suspect": (
        SPEC,
        deployment(failed(ever_ready=True, outage=Outage(NOW - 3, "the engine ended", ""))),
        snapshot((group(),), (ended(),), nodes=(NODES[0], replace(NODES[1], suspect=True))),
        "Recovering for 3s, since the engine ended: node i-b refuses connections, and Ray's verdict on it is awaited "
        "before an engine is started. Recovery has no deadline.",
    ),
    "recovering while the cloud refuses": (
        SPEC,
        RECOVERS,
        replace(RESCHEDULING, launch_failures=(REFUSED,)),
        f"{RECOVERING} The launch of 2 gpu nodes was refused with InsufficientInstanceCapacity: We do not have enough "
        "p5.48xlarge (4s ago). The autoscaler asks again every few seconds. Try another zone, or another type.",
    ),
    "degraded": (
        TWO,
        deployment(serving(), fresh(id="r1"), waiting_since=NOW - 300),
        snapshot((group(),), (engine(),)),
        "Serving in a smaller shape than asked. 1 of 2 replicas serves. Of the rest, r1: waiting for its 2 GPUs "
        "together: 2 of 4 GPUs have come, 2 are missing (no node is on its way). This has no deadline.",
    ),
    "a change, its first new replica starts": (
        CHANGING,
        deployment(OLD, running(id="r1", fingerprint=CHANGING.fingerprint, version=CHANGING.fingerprint)),
        SERVING,
        "Serving for 10s: a real generation has come back from every replica. A change is being rolled out: "
        "0 of 1 replica serves it so far; r1: waiting for its 2 GPUs together: 2 of 4 GPUs have come, 2 are missing "
        "(no node is on its way).",
    ),
    "a change, an old replica drains": (
        CHANGING,
        deployment(
            replace(OLD, leaving="a new version serves in its place", draining_since=NOW - 1),
            serving(id="r1", fingerprint=CHANGING.fingerprint, version=CHANGING.fingerprint),
        ),
        SERVING,
        "Serving for 10s: a real generation has come back from every replica. A change is being rolled out: "
        "1 of 1 replica serves it so far; r0 finishes what it was asked.",
    ),
    "a change in place, the only replica drains": (
        replace(CHANGING, surge=False),
        deployment(replace(OLD, version=CHANGING.fingerprint, draining_since=NOW - 1)),
        SERVING,
        "The engine of chat/r0 (generation 1) finishes what it was asked before it is changed. A change is being "
        "rolled out: 0 of 1 replica serves it so far; r0 finishes what it was asked.",
    ),
    "a change was given up and what was before is restored": (
        replace(SPEC, former=replace(CHANGING, former=None), restoring=True),
        deployment(running(), refused=CRASHED),
        STARTING,
        "The engine of chat/r0 (generation 1) was started 20s ago and has not generated yet; it has 1m 40s left. "
        "Its last change was given up, and what was before is restored: 0 of 1 replica serves it so far. "
        "The engine of chat/r0 failed once with all its nodes well.",
    ),
    "a change was given up": (
        SPEC,
        deployment(serving(), refused=CRASHED),
        SERVING,
        "Serving for 10s: a real generation has come back from every replica. Its last change was given up, and what "
        "was before serves on. The engine of chat/r0 failed once with all its nodes well.",
    ),
    "failed for want of GPUs": (
        SPEC,
        deployment(failure=TIMED_OUT),
        snapshot(),
        "Waited 5m for 2 GPUs: 0 of 2 GPUs have come. Its GPUs were released: wait longer with --wait-timeout, "
        "or ask for fewer GPUs, and run `up` again.",
    ),
    "failed, its GPUs kept": (
        KEEP,
        deployment(failure=CRASHED),
        snapshot(),
        "The engine of chat/r0 failed once with all its nodes well. Its GPUs are kept: mend what the engine's log "
        "names, and run `up` again, or `down` to release them.",
    ),
    "stopped": (
        replace(SPEC, wanted=False),
        deployment(),
        snapshot(),
        "It was stopped: nothing of it runs, and no GPU is asked for.",
    ),
    "being stopped": (
        replace(SPEC, wanted=False),
        deployment(serving(engine_ended=True)),
        SERVING,
        "It was stopped: what is left of r0 is being ended and its GPUs released.",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_reason(name: str) -> None:
    spec, memory, seen, expected = CASES[name]
    assert reason(spec, memory, seen, NOW) == expected


def test_an_expectation_is_the_middle_and_the_worst_of_what_was() -> None:
    assert eta([40.0, 20.0, 90.0]) == Expectation(40.0, 90.0, 3)
    assert eta([10.0, 20.0]) == Expectation(15.0, 20.0, 2)


def test_where_nothing_was_nothing_is_expected() -> None:
    assert eta([]) is None
