"""Histories in which a node joins, is placed on, and lets no engine speak: it is given up and another one comes."""

from dataclasses import replace

import pytest

from elastic_deploy.core.silence import SILENT_STARTS
from elastic_deploy.model.phase import Phase
from elastic_deploy.model.shape import Shape

from .play import Play
from .test_stories import CHAT, played

START = 30.0
SPEC = replace(CHAT, engine_start_timeout=START)


def given_up(play: Play) -> list[str]:
    """The nodes that were trusted no more, in order."""
    return [event.node for event in play.events if event.kind == "node.distrusted"]


def until(play: Play, phase: Phase, limit: int) -> None:
    for _ in range(limit):
        if play.phase("chat") is phase:
            return
        play.run(1)
    raise AssertionError(play.story([f"not {phase} within {limit} s"]))


@pytest.mark.parametrize("mute", ["n1", "n2"])
def test_the_node_is_replaced_and_the_deployment_serves(mute: str) -> None:
    play = played(SPEC)
    play.world.mute = {mute}
    until(play, Phase.READY, 300)
    assert given_up(play)[-1] == f"i-{mute}"
    assert len(given_up(play)) <= 2, "one that is well may have been suspected before it"
    (engine,) = play.serving()
    assert mute not in engine.hosts
    (event, *_) = [event for event in play.events if event.kind == "node.distrusted"]
    assert f"{SILENT_STARTS} engines in a row that were started on it did not generate within 30s" in event.message
    (memory,) = play.remembered("chat").replicas  # type: ignore[union-attr]
    assert (memory.silent, memory.given_up, memory.failures) == ((), 0, 0)


def test_one_silent_engine_is_no_reason_to_give_up_a_node() -> None:
    play = played(SPEC)
    play.world.mute = {"n1"}
    while "engine.failed" not in [event.kind for event in play.events]:
        play.run(1)
    play.world.mute = set()
    until(play, Phase.READY, 60)
    assert given_up(play) == []


def test_a_single_node_that_lets_no_engine_speak_is_replaced() -> None:
    play = played(replace(SPEC, shape=Shape(1, 1, 1)))
    play.world.mute = {"n1"}
    until(play, Phase.READY, 200)
    assert given_up(play) == ["i-n1"]


def test_where_no_node_lets_an_engine_speak_it_is_given_up_in_the_end() -> None:
    """Each of its nodes is replaced once at the most; then it is not the nodes."""
    play = played(SPEC)
    play.world.mute = {f"n{number}" for number in range(1, 50)}
    until(play, Phase.FAILED, 1200)
    assert len(given_up(play)) == 2


def test_what_the_silent_engines_have_in_common_is_found_among_three() -> None:
    play = played(replace(SPEC, shape=Shape(3, 1, 1)))
    play.world.mute = {"n1"}
    until(play, Phase.READY, 400)
    assert given_up(play) == ["i-n3", "i-n2", "i-n1"]
