"""The fold of a journal into the steps of its nodes and replicas; `journals/spot.jsonl` was written by a local run."""

import json
from pathlib import Path
from typing import Any

import pytest

from elastic_deploy.core.steps import Fold, Kind, Track, tracks_of
from elastic_deploy.core.waiting import lengths

SPOT = [json.loads(line) for line in (Path(__file__).parent / "journals" / "spot.jsonl").read_text().splitlines()]
"""One GPU, whose node the cloud took after it had served; a node of version before `node.placed` was told."""
UUID = "229d96e5-8a32-4416-b156-5711f0aa3ea3"


def event(number: int, at: float, kind: str, **more: Any) -> dict[str, Any]:
    return {"id": f"{number:06d}", "time": at, "kind": kind, "message": f"{kind} was told", **more}


def node(number: int, at: float, kind: str, id_: str, type_: str = "gpu", **more: Any) -> dict[str, Any]:
    return event(number, at, f"node.{kind}", node=id_, node_type=type_, **more)


def shown(track: Track) -> tuple[str, list[tuple[str, float, float | None]]]:
    return track.name, [(step.name, step.since, step.until) for step in track.steps]


def test_a_real_journal_tells_each_nodes_and_replicas_way() -> None:
    began = SPOT[0]["time"]
    ways = {
        track.name: [(step.name, round(step.since - began, 1)) for step in track.steps] for track in tracks_of(SPOT)
    }
    assert ways == {
        "tiny/r0": [
            ("gathering", 1.4), ("clearing", 10.1), ("starting", 10.1), ("ready", 75.6), ("draining", 184.6),
            ("ending", 186.6),
        ],
        "gpu-4d5ba6a7fe62": [("asked", 2.5), ("launching", 3.5), ("joined", 10.1), ("draining", 86.4)],
        "tiny/r1": [
            ("gathering", 86.4), ("clearing", 101.6), ("starting", 101.6), ("ready", 189.9), ("draining", 238.6),
            ("ending", 240.7),
        ],
        "gpu-1108c720f46b": [("asked", 87.4), ("launching", 88.4), ("joined", 101.6)],
    }  # fmt: skip


def test_only_steps_that_were_passed_tell_how_long_one_takes() -> None:
    past = {key[2]: [round(one, 1) for one in took] for key, took in lengths(tracks_of(SPOT)).items()}
    assert past == {
        "asked": [1.0, 1.0],
        "launching": [6.6, 13.1],
        "gathering": [8.7, 15.2],
        "clearing": [0.0, 0.0],
        "starting": [65.5, 88.3],
    }, "joined is not there: the one node that left it was drained"


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param(
            [
                node(1, 1, "asked", "gpu-asked-1"),
                node(2, 2, "launching", "i-1"),
                node(3, 3, "ssh", "i-1"),
                node(4, 5, "setup", "i-1"),
                node(5, 9, "joined", "i-1"),
                node(6, 9, "placed", "i-1", deployment="chat", replica="r0"),
            ],
            [("i-1", [("asked", 1, 2), ("launching", 2, 3), ("ssh", 3, 5), ("setup", 5, 9), ("joined", 9, 9),
                      ("placed", 9, None)])],
            id="asked, then known by the cloud's id",
        ),
        pytest.param(
            [node(1, 1, "asked", "gpu-asked-1"), node(2, 2, "launching", UUID), node(3, 4, "joined", "gpu-a")],
            [("gpu-a", [("asked", 1, 2), ("launching", 2, 4), ("joined", 4, None)])],
            id="by the autoscaler's id, then its own",
        ),
        pytest.param(
            [
                node(1, 1, "asked", "gpu-asked-1"),
                node(2, 2, "asked", "gpu-asked-2"),
                node(3, 5, "launching", "i-1"),
            ],
            [("i-1", [("asked", 1, 5), ("launching", 5, None)]), ("gpu-asked-1", [("asked", 2, None)])],
            id="the first of two comes, and the second is the first from then on",
        ),
        pytest.param(
            [
                node(1, 1, "asked", "a-asked-1", "a"),
                node(2, 1, "asked", "b-asked-1", "b"),
                node(3, 2, "launching", "i-b", "b"),
            ],
            [("a-asked-1", [("asked", 1, None)]), ("i-b", [("asked", 1, 2), ("launching", 2, None)])],
            id="a node of one type is none of another",
        ),
        pytest.param(
            [node(1, 1, "launching", "i-1"), node(2, 8, "given_up", "i-1"), node(3, 9, "asked", "gpu-asked-1")],
            [("i-1", [("launching", 1, 8)]), ("gpu-asked-1", [("asked", 9, None)])],
            id="given up, and another is asked for",
        ),
        pytest.param(
            [node(1, 1, "asked", "gpu-asked-1"), event(2, 5, "request", bundles=[])],
            [("gpu-asked-1", [("asked", 1, 5)])],
            id="the request is cleared",
        ),
        pytest.param(
            [node(7, 1, "joined", "i-1"), event(1, 900, "supervisor.started"), node(2, 901, "joined", "i-2")],
            [("i-1", [("joined", 1, 1)]), ("i-2", [("joined", 901, None)])],
            id="the cluster was launched again",
        ),
        pytest.param(
            [node(1, 1, "setup", "i-1"), node(2, 4, "ssh", "i-1")],
            [("i-1", [("setup", 1, 4), ("ssh", 4, None)])],
            id="the set-up is run again",
        ),
        pytest.param(
            [{"id": "x"}, {"kind": "node.asked"}, node(3, 1, "asked", ""), event(4, 2, "node.lost", node="i-9")],
            [],
            id="what cannot be read is passed over",
        ),
    ],
)  # fmt: skip
def test_the_way_of_a_node(events: list[dict[str, Any]], expected: list[tuple[str, list[Any]]]) -> None:
    assert [shown(track) for track in tracks_of(events)] == expected


def test_refusals_belong_to_the_node_that_is_asked_for_until_one_of_its_type_is_given() -> None:
    events = [
        event(1, 1, "launch.failed", node_type="gpu", code="Full"),
        node(2, 1, "asked", "gpu-asked-1"),
        event(3, 60, "launch.failed", node_type="gpu", code="Full"),
        event(4, 61, "launch.failed", node_type="other", code="No"),
        node(5, 70, "launching", "i-1"),
        node(6, 80, "asked", "gpu-asked-1"),
    ]
    first, second = tracks_of(events)
    assert first.refusals is not None
    assert (first.refusals.code, first.refusals.times, first.refusals.at) == ("Full", 2, 60)
    assert second.refusals is None


def test_a_journal_that_has_grown_is_read_on_from_where_it_was() -> None:
    fold = Fold()
    for event_ in SPOT:
        fold.read([event_])
        fold.tracks()
    assert fold.tracks() == tracks_of(SPOT)


@pytest.mark.parametrize("kind", list(Kind))
def test_every_prefix_of_a_real_journal_can_be_read(kind: Kind) -> None:
    for length in range(len(SPOT)):
        for track in tracks_of(SPOT[:length]):
            if track.kind is kind:
                assert track.steps
                assert all(step.until is None or step.until >= step.since for step in track.steps)
