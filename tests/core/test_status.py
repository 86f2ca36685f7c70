"""The status document: exactly the contract's shape, and true to what is observed and remembered."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from elastic_deploy.core.ledger import Ledger, NodeRecord
from elastic_deploy.core.status import ClusterFacts, status_document
from elastic_deploy.model.memory import (
    DeploymentMemory,
    Failure,
    FailureKind,
    Lowered,
    Memory,
    Outage,
    Recovery,
    ReplicaMemory,
    Rest,
)
from elastic_deploy.model.names import EngineName, GroupName
from elastic_deploy.model.phase import Phase
from elastic_deploy.model.pool import Pool
from elastic_deploy.model.rung import Rung
from elastic_deploy.model.shape import Bundle, Shape
from elastic_deploy.model.snapshot import (
    EngineSeen,
    EngineState,
    GroupSeen,
    GroupState,
    NodeNotice,
    NodeSeen,
    NodeState,
    NoticeKind,
    Reading,
    Snapshot,
)
from elastic_deploy.model.spec import ClusterSpec, DeploymentSpec, OnFailure

NOW = 1000.0
FACTS = ClusterFacts("lab", "local", "10.0.0.1:6379", "http://10.0.0.1:8000/v1")
SPEC = DeploymentSpec("chat", "org/model", "chat-small", Shape(2, 1, 1), wait_timeout=600.0)
GROUP = GroupSeen(GroupName("chat", "r0"), "pg1", GroupState.CREATED, ("ray-a", "ray-b"))
ENGINE = EngineSeen(EngineName("chat", "r0", 1), EngineState.RUNNING, "ray-a", "http://10.0.0.2:9000")
NODES = (
    NodeSeen("i-head", "head", NodeState.JOINED, 0, "ray-h", is_head=True),
    NodeSeen("i-a", "gpu", NodeState.JOINED, 1, "ray-a"),
    NodeSeen("i-b", "gpu", NodeState.JOINED, 1, "ray-b"),
)

RUNNING = ReplicaMemory(
    "r0",
    generation=1,
    revision=1,
    started_at=900.0,
    group_asked_at=880.0,
    whole_since=890.0,
    members=("ray-a", "ray-b"),
    fingerprint=SPEC.fingerprint,
)
SERVING = replace(RUNNING, proven_at=950.0, ever_ready=True)
WAITING = ReplicaMemory("r0", group_asked_at=880.0)
RECOVERING = replace(SERVING, proven_at=None, engine_ended=True, outage=Outage(990.0, "node i-b was lost", "node:i-b"))


def snapshot(**changes: Any) -> Snapshot:
    values: dict[str, Any] = {"nodes": NODES, "groups": (GROUP,), "engines": (ENGINE,)} | changes
    nodes, groups, engines = (Reading(NOW, values[part]) for part in ("nodes", "groups", "engines"))
    return Snapshot(NOW, nodes, groups, engines)


def remember(*replicas: ReplicaMemory, **more: Any) -> DeploymentMemory:
    return DeploymentMemory("chat", 1, 700.0, replicas, **more)


def document(
    memory: DeploymentMemory | None, spec: DeploymentSpec = SPEC, seen: Snapshot | None = None, **ledger: Any
) -> dict[str, Any]:
    seen = snapshot() if seen is None else seen
    nodes = ledger.get("nodes", tuple(NodeRecord(node, 800.0) for node in seen.nodes.value or ()))
    whole = Memory((memory,) if memory else (), (Bundle({"GPU": 1.0}, 2),), 995.0)
    return status_document(ClusterSpec((spec,)), whole, Ledger(nodes), seen, FACTS, NOW)


def test_the_document_has_the_contracts_keys_and_no_others_at_every_level() -> None:
    told = document(remember(SERVING, recoveries=(Recovery("r0", 910.0, "node i-c was lost", 12.3456),)))
    assert json.loads(json.dumps(told)) == {
        "cluster": {
            "name": "lab",
            "provider": "local",
            "head_address": "10.0.0.1:6379",
            "nodes": [
                {"id": "i-head", "type": "head", "state": "joined", "gpus": 0, "since": 800.0, "detail": "head"},
                {
                    "id": "i-a",
                    "type": "gpu",
                    "state": "joined",
                    "gpus": 1,
                    "since": 800.0,
                    "detail": "bundles: 1 of chat/r0",
                },
                {
                    "id": "i-b",
                    "type": "gpu",
                    "state": "joined",
                    "gpus": 1,
                    "since": 800.0,
                    "detail": "bundles: 1 of chat/r0",
                },
            ],
            "limits": None,
        },
        "request": {"bundles": [{"resources": {"GPU": 1.0}, "count": 2}], "sent_at": 995.0},
        "deployments": [
            {
                "name": "chat",
                "model": "chat-small",
                "phase": "ready",
                "reason": told["deployments"][0]["reason"],
                "endpoint": "http://10.0.0.1:8000/v1",
                "api_key_file": "",
                "gpus": {"requested": 2, "placed": 2},
                "shape": {"tensor_parallel": 2, "pipeline_parallel": 1, "replicas": 1},
                "full_shape": {"tensor_parallel": 2, "pipeline_parallel": 1, "replicas": 1},
                "rung_arguments": [],
                "replicas": [
                    {
                        "id": "r0",
                        "phase": "ready",
                        "generation": 1,
                        "placement_group": {"id": "pg1", "state": "CREATED"},
                        "nodes": ["i-a", "i-b"],
                    }
                ],
                "recoveries": [{"started_at": 910.0, "cause": "node i-c was lost", "seconds": 12.346}],
                "failure": None,
                "rollout": None,
                "since": None,
                "deadline": None,
                "model_source": "org/model",
                "pools": [],
                "wasted_usd": 0.0,
            }
        ],
        "ledger": [],
    }


def test_the_document_tells_of_the_pools() -> None:
    rest = Rest("a", 2, 990.0, 1110.0, "nothing came from it")
    spec = replace(SPEC, pools=(Pool("a", ("gpu-a",)), Pool("b", ("gpu-b",))))
    told = document(remember(replace(WAITING, pool="b", pool_since=990.0), rests=(rest,), wasted=1.25), spec)
    (found,) = told["deployments"]
    assert found["pools"] == [
        {
            "name": "a",
            "node_types": ["gpu-a"],
            "replicas": [],
            "rests_until": 1110.0,
            "why": "nothing came from it",
            "failures": 2,
        },
        {"name": "b", "node_types": ["gpu-b"], "replicas": ["r0"], "rests_until": None, "why": "", "failures": 0},
    ]
    assert found["wasted_usd"] == 1.25
    assert found["gpus"]["requested"] == 2
    for sentence in ("r0 waits in pool b for 10s.", "Pool a rests until", "have cost 1.25 USD."):
        assert sentence in found["reason"]


def test_the_document_tells_of_a_rung() -> None:
    short = ("--max-model-len", "512")
    spec = replace(SPEC, shape=Shape(4, 1, 1), rungs=(Rung(SPEC.shape, short),))
    (found,) = document(remember(SERVING, lowered=Lowered(SPEC.shape, 900.0, arguments=short)), spec)["deployments"]
    assert found["rung_arguments"] == [*short]
    assert "on 2 of 4 GPUs, with --max-model-len 512." in found["reason"]
    assert found["phase"] == "degraded"
    assert found["shape"] == {"tensor_parallel": 2, "pipeline_parallel": 1, "replicas": 1}
    assert found["full_shape"] == {"tensor_parallel": 4, "pipeline_parallel": 1, "replicas": 1}
    assert found["gpus"] == {"requested": 4, "placed": 2}
    assert "Serving in a smaller shape than asked for 1m 40s, on 2 of 4 GPUs, with" in found["reason"]
    assert "the full shape takes over when it has come: 2 of 4 GPUs have come, 2 are missing" in found["reason"]


def test_nothing_is_requested_while_all_pools_rest() -> None:
    spec = replace(SPEC, pools=(Pool("a", ("gpu-a",)),))
    rest = Rest("a", 1, 990.0, 1110.0, "nothing came from it")
    (found,) = document(remember(replace(WAITING, pool=None), rests=(rest,)), spec, snapshot(groups=()))["deployments"]
    assert found["gpus"]["requested"] == 0
    assert "r0 asks for nothing now; pool a is asked again at" in found["reason"]


def _failed(kind: FailureKind) -> DeploymentMemory:
    return remember(RECOVERING, failure=Failure(kind, "It was given up.", 990.0))


TWO = replace(SPEC, shape=Shape(2, 1, 2))
CASES: dict[str, tuple[Phase, DeploymentSpec, Callable[[], DeploymentMemory | None]]] = {
    "never looked at": (Phase.WAITING, SPEC, lambda: None),
    "waiting": (Phase.WAITING, SPEC, lambda: remember(WAITING)),
    "starting": (Phase.STARTING, SPEC, lambda: remember(RUNNING)),
    "ready": (Phase.READY, SPEC, lambda: remember(SERVING)),
    "recovering": (Phase.RECOVERING, SPEC, lambda: remember(RECOVERING)),
    "degraded": (
        Phase.DEGRADED,
        replace(TWO, wait_timeout=100.0),
        lambda: remember(SERVING, replace(WAITING, id="r1")),
    ),
    "no engine": (Phase.FAILED, SPEC, lambda: _failed(FailureKind.ENGINE)),
    "no gpus": (Phase.FAILED, SPEC, lambda: _failed(FailureKind.WAIT_TIMEOUT)),
    "stopped": (Phase.STOPPED, replace(SPEC, wanted=False), lambda: remember()),
    "stopping": (Phase.STOPPED, replace(SPEC, wanted=False), lambda: remember(SERVING)),
}


@pytest.mark.parametrize(("phase", "spec", "memory"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("blind", [False, True])
def test_every_phase_has_a_reason_in_words(
    phase: Phase, spec: DeploymentSpec, memory: Callable[[], DeploymentMemory | None], blind: bool
) -> None:
    unseen: Reading[Any] = Reading(NOW, error="no answer within 15 s")
    seen = Snapshot(NOW, unseen, unseen, unseen) if blind else snapshot()
    [told] = document(memory(), spec, seen)["deployments"]
    assert told["phase"] == phase
    assert told["reason"].endswith(".")
    assert len(told["reason"].split()) > 3
    assert json.dumps(told)


def test_phase_and_reason_agree_from_the_moment_in_which_the_user_stops_it() -> None:
    before = remember(SERVING, phase=Phase.READY.value)
    [told] = document(before, replace(SPEC, wanted=False))["deployments"]
    assert told["phase"] == "stopped"
    assert "stopped" in told["reason"]


@pytest.mark.parametrize(
    ("spec", "memory", "requested"),
    [
        (SPEC, remember(WAITING), 2),
        (SPEC, _failed(FailureKind.ENGINE), 0),
        (replace(SPEC, on_failure=OnFailure.KEEP), _failed(FailureKind.ENGINE), 2),
        (replace(SPEC, wanted=False), remember(SERVING), 0),
    ],
    ids=["waiting", "failed", "failed and kept", "stopped"],
)
def test_the_gpus_requested_are_those_still_asked_for(
    spec: DeploymentSpec, memory: DeploymentMemory, requested: int
) -> None:
    assert document(memory, spec)["deployments"][0]["gpus"]["requested"] == requested


@pytest.mark.parametrize(
    ("group", "nodes", "placed"),
    [
        (GROUP, NODES, 2),
        (replace(GROUP, state=GroupState.RESCHEDULING, bundle_nodes=("ray-a", "")), NODES, 1),
        (GROUP, (*NODES[:2], replace(NODES[2], state=NodeState.DEAD)), 1),
        (replace(GROUP, state=GroupState.PENDING, bundle_nodes=("", "")), NODES, 0),
        (replace(GROUP, state=GroupState.REMOVED), NODES, 0),
    ],
    ids=["whole", "one lost", "on a dead node", "pending", "removed"],
)
def test_the_gpus_placed_are_bundles_on_living_nodes(
    group: GroupSeen, nodes: tuple[NodeSeen, ...], placed: int
) -> None:
    told = document(remember(RUNNING), seen=snapshot(groups=(group,), nodes=nodes))
    assert told["deployments"][0]["gpus"] == {"requested": 2, "placed": placed}


@pytest.mark.parametrize("order", [1, -1])
def test_a_removed_group_never_hides_the_one_that_took_its_name(order: int) -> None:
    removed = replace(GROUP, id="pg0", state=GroupState.REMOVED, bundle_nodes=("", ""))
    seen = snapshot(groups=(GROUP, removed)[::order])
    assert document(remember(RUNNING), seen=seen)["deployments"][0]["replicas"][0]["placement_group"] == {
        "id": "pg1",
        "state": "CREATED",
    }


def test_a_replica_without_a_group_says_so() -> None:
    [replica] = document(remember(WAITING), seen=snapshot(groups=()))["deployments"][0]["replicas"]
    assert replica["placement_group"] == {"id": "", "state": "ABSENT"}
    assert replica["nodes"] == []


@pytest.mark.parametrize(
    ("timeout", "memory", "deadline"),
    [(600.0, remember(WAITING), 1300.0), (None, remember(WAITING), None), (600.0, remember(RUNNING), None)],
    ids=["waiting", "without a deadline", "no longer waiting"],
)
def test_a_wait_says_until_when(timeout: float | None, memory: DeploymentMemory, deadline: float | None) -> None:
    assert document(memory, replace(SPEC, wait_timeout=timeout))["deployments"][0]["deadline"] == deadline


def test_a_failure_is_told_with_its_kind() -> None:
    [told] = document(_failed(FailureKind.WAIT_TIMEOUT))["deployments"]
    assert told["failure"] == {"kind": "wait_timeout", "message": "It was given up."}
    assert "It was given up." in told["reason"]


CHANGED = replace(SPEC, engine_arguments=("--seed", "2"), former=SPEC, surge=True)
REFUSED = Failure(FailureKind.ENGINE, "It did not come up.", 990.0)
OLD = replace(SERVING, version=SPEC.fingerprint)
NEW = replace(SERVING, id="r1", fingerprint=CHANGED.fingerprint, version=CHANGED.fingerprint)


@pytest.mark.parametrize(
    ("spec", "memory", "expected"),
    [
        (CHANGED, remember(OLD), {"state": "rolling", "proven": 0, "replicas": 1, "failure": None}),
        (CHANGED, remember(OLD, NEW), {"state": "rolling", "proven": 1, "replicas": 1, "failure": None}),
        (
            CHANGED,
            remember(replace(OLD, version=CHANGED.fingerprint, draining_since=NOW)),
            {"state": "rolling", "proven": 0, "replicas": 1, "failure": None},
        ),
        (
            replace(SPEC, former=replace(CHANGED, former=None), restoring=True),
            remember(OLD, refused=REFUSED),
            {
                "state": "restoring",
                "proven": 1,
                "replicas": 1,
                "failure": {"kind": "engine", "message": "It did not come up."},
            },
        ),
        (
            SPEC,
            remember(OLD, refused=REFUSED),
            {
                "state": "given_up",
                "proven": 1,
                "replicas": 1,
                "failure": {"kind": "engine", "message": "It did not come up."},
            },
        ),
        (CHANGED, None, {"state": "rolling", "proven": 0, "replicas": 1, "failure": None}),
    ],
    ids=["begun", "proven", "one drains to be changed", "restoring", "given up", "not looked at yet"],
)
def test_how_a_change_fares_is_told(
    spec: DeploymentSpec, memory: DeploymentMemory | None, expected: dict[str, Any]
) -> None:
    assert document(memory, spec)["deployments"][0]["rollout"] == expected


def test_while_a_change_is_rolled_out_its_gpus_are_those_of_both_versions() -> None:
    [told] = document(remember(OLD, NEW), CHANGED)["deployments"]
    assert (told["phase"], told["gpus"]["requested"]) == ("ready", 4)
    assert [replica["phase"] for replica in told["replicas"]] == ["ready", "ready"]


@pytest.mark.parametrize(
    ("node", "detail"),
    [
        (replace(NODES[1], detail="spot"), "bundles: 1 of chat/r0"),
        (replace(NODES[1], suspect=True), "refuses connections; Ray has not declared it dead"),
        (replace(NODES[1], state=NodeState.DEAD, detail="missed heartbeats"), "missed heartbeats"),
        (replace(NODES[1], ray_id="", state=NodeState.LAUNCHING, detail="installing"), "installing"),
        (replace(NODES[1], ray_id="ray-c", detail=""), ""),
    ],
    ids=["holds a bundle", "suspect", "dead", "launching", "idle"],
)
def test_a_nodes_detail_is_what_one_wants_to_know_of_it(node: NodeSeen, detail: str) -> None:
    told = document(remember(RUNNING), nodes=(NodeRecord(node, 1.0),))
    assert told["cluster"]["nodes"][0]["detail"] == detail


def test_a_cluster_that_nothing_was_asked_of_yet_has_a_document_too() -> None:
    told = status_document(ClusterSpec(), Memory(), Ledger(), snapshot(), FACTS, NOW)
    assert told["request"] == {"bundles": [], "sent_at": None}
    assert told["deployments"] == []


def test_a_node_that_the_cloud_takes_says_when() -> None:
    draining = replace(NODES[1], state=NodeState.DRAINING)
    notices = (
        NodeNotice(draining.ray_id, NoticeKind.INTERRUPTION, NOW + 120, NOW),
        NodeNotice(draining.ray_id, NoticeKind.REBALANCE, None, NOW),
    )
    seen = replace(snapshot(), notices=notices)
    [told] = document(remember(RUNNING), seen=seen, nodes=(NodeRecord(draining, 1.0),))["cluster"]["nodes"]
    assert (told["state"], told["detail"]) == ("draining", "the cloud takes it at 00:18:40 UTC (spot interruption)")


def test_a_node_on_its_way_holds_none_of_the_bundles_that_are_not_placed() -> None:
    asked = NodeSeen("gpu-asked-1", "gpu", NodeState.ASKED)
    pending = replace(GROUP, state=GroupState.PENDING, bundle_nodes=("", ""))
    told = document(remember(WAITING), seen=snapshot(nodes=(*NODES[:1], asked), groups=(pending,)))
    assert [node["detail"] for node in told["cluster"]["nodes"]] == ["head", ""]
