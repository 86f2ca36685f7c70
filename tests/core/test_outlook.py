"""What `explain` tells: what is waited for, what was tried, what comes next and when, what a user could do."""

from typing import Any

import pytest

from elastic_deploy.core.outlook import outlook

NOW = 10_000.0
BEFORE = {"median": 60.0, "worst": 90.0, "times": 3}


def entry(step: str, since: float = NOW - 20, what: str = "node", **more: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "what": what,
        "id": "i-1",
        "node_type": "gpu",
        "replicas": [],
        "refused": None,
        "expected": None,
    }
    return {**known, "step": step, "since": since, "steps": [], **more}


def replica(step: str, **more: Any) -> dict[str, Any]:
    return entry(step, what="replica", **{"id": "chat/r0", "node_type": "", "replicas": ["chat/r0"], **more})


def refused(code: str = "InsufficientInstanceCapacity") -> dict[str, Any]:
    return {"at": NOW - 5, "code": code, "message": "no capacity", "times": 4}


def deployment(phase: str, **more: Any) -> dict[str, Any]:
    known = {"name": "chat", "phase": phase, "reason": f"The reason for {phase}.", "since": NOW - 100}
    return {**known, "gpus": {"placed": 0, "requested": 2}, "replicas": [], "deadline": None, **more}


def told(one: dict[str, Any], *ledger: dict[str, Any], events: Any = (), nodes: Any = ()) -> Any:
    return outlook(one, {"ledger": list(ledger), "cluster": {"nodes": list(nodes)}}, events, NOW)


def event(at: float, kind: str, message: str = "It was told.", deployment: str | None = None) -> dict[str, Any]:
    return {"time": at, "kind": kind, "message": message, "deployment": deployment}


@pytest.mark.parametrize(
    ("one", "ledger", "words", "next_at"),
    [
        pytest.param(
            deployment("waiting", pools=[{"rests_until": NOW + 60}, {"rests_until": None}, {"rests_until": NOW + 20}]),
            [replica("resting")],
            ["Next, a pool is asked again at 02:47:00 UTC; nothing is asked for meanwhile.", "You could wait,"],
            None,
            id="all pools rest",
        ),
        pytest.param(
            deployment("waiting", deadline=NOW + 300),
            [entry("ssh", expected=BEFORE), replica("gathering", expected=BEFORE)],
            [
                "chat is waiting since 02:45:00 UTC, for 1m 40s. The reason for waiting.",
                "Node i-1: it boots, and its SSH is awaited, for 20s so far (before: 1m in the middle, 1m 30s at",
                "Next, the nodes on their way join, at about 02:47:20 UTC if it takes as long as before",
                "At 02:51:40 UTC, in 5m, the wait is given up.",
            ],
            NOW + 40,
            id="a node boots as others did",
        ),
        pytest.param(
            deployment("waiting", deadline=NOW + 300),
            [entry("setup", since=NOW - 500, expected=BEFORE)],
            ["which is longer than ever before", "Next, the nodes on their way join; when"],
            NOW + 300,
            id="a set-up that lasts longer than ever",
        ),
        pytest.param(
            deployment("waiting"),
            [entry("launching")],
            ["this cluster's journal does not know how long that takes", "The wait has no deadline."],
            None,
            id="no history, no expectation",
        ),
        pytest.param(
            deployment("waiting"),
            [entry("refused", id="", refused=refused())],
            ["the autoscaler goes on asking the cloud every few seconds", "Try another zone, or another type."],
            None,
            id="refused",
        ),
        pytest.param(
            deployment("starting"),
            [replica("starting", expected=BEFORE)],
            ["Replica chat/r0: its engine starts, for 20s", "Next, the engine generates", "elastic-deploy logs -f"],
            NOW + 40,
            id="the engine starts",
        ),
        pytest.param(
            deployment("recovering"),
            [replica("pausing")],
            ["its engine failed, and the next start is put off", "another engine is started when its pause is over"],
            None,
            id="between two starts",
        ),
        pytest.param(deployment("failed"), [], ["until it is applied again", "run `up` again"], None, id="failed"),
        pytest.param(deployment("stopped"), [], ["Nothing more is tried.", "It holds no GPU."], None, id="stopped"),
        pytest.param(
            deployment("ready"),
            [replica("ready"), entry("placed", replicas=["chat/r0"])],
            ["chat is serving since 02:45:00 UTC, for 1m 40s.", "a node that is lost is asked for again by itself"],
            None,
            id="it serves",
        ),
        pytest.param(
            deployment("waiting", since=None), [], ["chat is waiting. The reason"], None, id="since when is not known"
        ),
    ],
)
def test_what_is_told(one: dict[str, Any], ledger: list[dict[str, Any]], words: list[str], next_at: float) -> None:
    found = told(one, *ledger)
    assert [word for word in words if word not in found.text] == [], found.text
    assert found.next_at == next_at


def test_what_was_tried_is_this_phases_and_this_deployments() -> None:
    events = [
        event(NOW - 500, "launch.failed", "An older one."),
        event(NOW - 90, "launch.failed"),
        event(NOW - 80, "engine.failed", "Another's.", deployment="other"),
        event(NOW - 70, "launch.failed"),
        event(NOW - 60, "node.given_up", "Node i-9 could not be set up."),
    ]
    found = told(deployment("waiting"), events=events)
    assert found.tried == (
        "So far a refusal of launches was told 2 times, a node was given up 1 time.",
        "The latest, 1m ago: Node i-9 could not be set up.",
    )
    assert told(deployment("ready"), events=events).tried == ()
    said = told(deployment("waiting", reason="The launch was refused with Full."), events=events[:4])
    assert said.tried == ("So far a refusal of launches was told 2 times.",)


def test_other_deployments_replicas_are_not_told_of() -> None:
    other = replica("starting", id="other/r0", replicas=["other/r0"])
    assert "other/r0" not in told(deployment("starting"), other).text


def test_many_nodes_on_their_way_are_counted() -> None:
    found = told(deployment("waiting"), *[entry("launching", id=f"i-{n}") for n in range(40)])
    assert "36 more are on their way." in found.text
    assert len(found.text) < 2000


def test_what_is_held_counts_its_own_nodes_and_says_what_is_idle_beside() -> None:
    def node(id_: str, gpus: int = 4, state: str = "joined") -> dict[str, Any]:
        return {"id": id_, "type": "g5", "state": state, "gpus": gpus, "since": NOW - 1800}

    one = deployment("ready", gpus={"placed": 8, "requested": 8}, replicas=[{"nodes": ["a", "b"]}])
    found = told(one, nodes=[node("head", 0), node("a"), node("b"), node("c"), node("d", state="dead")])
    assert found.holds == (
        "It holds 8 GPUs on 2 nodes (2 x g5), 4.0 GPU hours so far; what an hour costs is in your cloud's price list."
        " 1 GPU node beside is there and holds nothing of it, which costs as much."
    )
    assert (found.gpus, found.nodes, found.gpu_hours) == (8, 2, 4.0)
