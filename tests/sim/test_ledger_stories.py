"""The ledger of the waits, of histories in the scripted world: what each node and replica went through."""

from pathlib import Path
from typing import Any

import pytest

from elastic_deploy.core.outlook import outlook
from elastic_deploy.core.steps import AT_REST, Kind, Track, tracks_of
from elastic_deploy.core.timeline import timeline_of
from elastic_deploy.model.spec import ClusterSpec

from .machines import Machines
from .recorded import Recorded
from .test_stories import CHAT
from .world import World


@pytest.fixture
def play(tmp_path: Path) -> Recorded:
    return Recorded(World(Machines()), ClusterSpec((CHAT,)), path=tmp_path)


def tracks(play: Recorded, kind: Kind) -> list[Track]:
    return [track for track in tracks_of(play.told) if track.kind is kind]


def names(track: Track) -> list[str]:
    return [step.name for step in track.steps]


def entries(play: Recorded, what: str) -> list[dict[str, Any]]:
    return [entry for entry in play.document()["ledger"] if entry["what"] == what]


def test_a_first_wait_has_every_step_with_its_seconds_and_expects_nothing(play: Recorded) -> None:
    play.run(2)
    (first, *_) = entries(play, "node")
    assert (first["step"], first["expected"]) == ("launching", None), "no history: nothing is expected"
    play.run(13)
    replica = tracks(play, Kind.REPLICA)[0]
    assert names(replica) == ["gathering", "clearing", "starting", "weights", "engine", "ready"]
    for node in entries(play, "node"):
        assert [step["step"] for step in node["steps"]] == ["launching", "joined", "placed"]
        assert node["steps"][0]["seconds"] == 3.0
        assert node["replicas"] == ["chat/r0"]
        assert node["step"] in AT_REST
    (entry,) = entries(play, "replica")
    took = [("starting", 3.0), ("weights", 2.0), ("engine", 1.0), ("ready", None)]
    assert [(s["step"], s["seconds"]) for s in entry["steps"]][2:] == took


def test_what_a_recovery_waits_for_is_compared_with_what_it_took_before(play: Recorded) -> None:
    play.run(15)
    play.world.machines.kill(0, play.now, detected_after=3)
    play.run(5)
    launching = [entry for entry in entries(play, "node") if entry["step"] == "launching"]
    assert [entry["expected"] for entry in launching] == [{"median": 3.0, "worst": 3.0, "times": 2}]
    (replica,) = entries(play, "replica")
    assert replica["step"] == "gathering", "that its engine is ended meanwhile is a part of the wait"
    assert replica["expected"]["times"] == 1
    play.run(20)
    (replica,) = entries(play, "replica")
    assert replica["step"] == "ready"
    assert [mark.kind for mark in tracks(play, Kind.REPLICA)[0].marks] == [
        "engine.failed",
        "group.rescheduling",
        "recovered",
    ]
    dead = [track for track in tracks(play, Kind.NODE) if track.over]
    assert [names(track)[-1] for track in dead] == ["placed"]
    assert {entry["id"] for entry in entries(play, "node")}.isdisjoint({track.name for track in dead})


def test_a_refused_launch_is_an_entry_with_the_clouds_code_and_words_until_a_node_comes(play: Recorded) -> None:
    play.world.machines.refusing_until = play.now + 90
    play.run(20)
    (entry,) = entries(play, "node")
    assert (entry["step"], entry["refused"]["code"]) == ("refused", "InsufficientInstanceCapacity")
    assert "sufficient capacity" in entry["refused"]["message"]
    told = outlook(play.document()["deployments"][0], play.document(), play.told, play.now)
    assert "a refusal of launches was told 1 time" in " ".join(told.tried)
    assert "zone" in told.text
    assert told.next_at == play.document()["deployments"][0]["deadline"]
    play.spec = ClusterSpec((CHAT,))
    play.run(25)
    assert entries(play, "node")[0]["refused"]["at"] > entry["refused"]["at"] - 1


def test_a_deadline_and_a_failed_start_do_not_count_as_steps_that_were_passed(play: Recorded) -> None:
    play.world.failing_starts = 1
    play.run(30)
    replica = tracks(play, Kind.REPLICA)[0]
    again = ["starting", "weights", "engine", "ready"]
    assert names(replica) == ["gathering", "clearing", "starting", "pausing", *again]
    assert [step.passed for step in replica.steps if step.name == "starting"] == [False, True]


def test_the_rest_of_a_start_is_expected_to_take_what_its_steps_took_before(play: Recorded) -> None:
    play.run(15)
    play.world.machines.kill(0, play.now, detected_after=3)
    while not any(entry["step"] == "weights" for entry in entries(play, "replica")):
        play.run(1)
    (entry,) = entries(play, "replica")
    assert (entry["expected"], entry["then"]) == ({"median": 2.0, "worst": 2.0, "times": 1}, 1.0)


def test_the_steps_of_any_history_follow_each_other_without_a_gap(play: Recorded) -> None:
    play.run(15)
    for fault in range(5):
        play.world.machines.kill(fault, play.now, detected_after=2 + fault)
        play.run(17)
    play.restart()
    play.run(20)
    for track in tracks_of(play.told):
        for before, after in zip(track.steps, track.steps[1:], strict=False):
            assert before.until == after.since, track
        assert all(step.until is not None for step in track.steps[:-1]), track
    timeline = timeline_of(play.told, play.now)
    assert timeline is not None
    assert all(timeline.start <= bar.start <= bar.end <= timeline.end for row in timeline.rows for bar in row.bars)


def test_serving_is_explained_with_since_when_and_what_is_held(play: Recorded) -> None:
    play.run(15)
    document = play.document()
    document["deployments"][0]["since"] = play.now - 3
    for node in document["cluster"]["nodes"]:
        node["since"] = play.now - 1800
    told = outlook(document["deployments"][0], document, play.told, play.now)
    assert told.text.startswith("chat is serving since ")
    assert "2 GPUs on 2 nodes (2 x gpu), 1.0 GPU hours so far" in told.holds
    assert told.you_could == told.tried == ()
    assert told.next_at is None


def test_an_entry_has_the_documented_keys_and_no_others(play: Recorded) -> None:
    play.world.machines.refusing_until = play.now + 8
    play.run(5)
    refused = play.document()["ledger"]
    play.run(15)
    whole = play.document()["ledger"]
    keys = {"what", "id", "node_type", "replicas", "step", "since", "expected", "then", "refused", "unserved", "steps"}
    for entry in (*refused, *whole):
        assert set(entry) == keys
        assert (entry["unserved"] is not None) is (entry["what"] == "node" and entry["step"] != "refused")
        assert all(set(step) == {"step", "since", "seconds", "expected"} for step in entry["steps"])
    assert [set(entry["refused"]) for entry in refused if entry["refused"]] == [{"at", "code", "message", "times"}]
    assert {entry["what"] for entry in whole} == {"node", "replica"}
