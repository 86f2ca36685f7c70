"""Histories of nodes that hang: on their way, and with engines on them that never speak."""

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from elastic_deploy.model.phase import Phase
from elastic_deploy.model.pool import Pool

from .machines import Node
from .play import Play
from .test_properties import PROFILE
from .test_stories import CHAT, played, ready
from .world import NEVER

A, B = Pool("a", ("gpu-a",)), Pool("b", ("gpu-b",))
STEPS = replace(CHAT, step_timeout=30.0, wait_timeout=None, engine_start_timeout=20.0)
POOLED = replace(STEPS, pools=(A, B), pool_timeout=10.0)


def run(play: Play, seconds: int, *, hangs: Callable[[Node], bool] = lambda _: False, mute: set[str]) -> None:
    """A history in which nodes that come do not join, and engines on `mute` nodes never speak."""
    for _ in range(seconds):
        play.tick()
        for node in play.world.machines.nodes.values():
            if play.now < node.joins_at and hangs(node):
                node.joins_at = NEVER
        for engine in play.world.engines.values():
            if engine.home in mute and play.now < engine.generates_at:
                engine.wedges_at = engine.started


def overdue(play: Play) -> list[tuple[str, str]]:
    """The nodes that were given up, each with its step."""
    return [(event.node, event.data["step"]) for event in play.events if event.kind == "node.overdue"]


def test_a_node_that_never_joins_moves_its_replica_to_the_next_pool() -> None:
    play = played(POOLED)
    run(play, 30, hangs=lambda node: node.pool == "a", mute=set())
    assert play.phase("chat") is Phase.WAITING
    run(play, 20, hangs=lambda node: node.pool == "a", mute=set())
    assert play.phase("chat") is Phase.READY, play.story(["not ready"])
    assert {step for _, step in overdue(play)} == {"launching"}
    assert [event.data["pool"] for event in play.events if event.kind == "pool.left"] == ["a"]


def test_without_another_pool_it_is_said_once_and_the_wait_goes_on() -> None:
    play = played(STEPS)
    run(play, 120, hangs=lambda _: True, mute=set())
    assert play.phase("chat") is Phase.WAITING
    assert sorted(overdue(play)) == sorted({(node, "launching") for node, _ in overdue(play)})
    assert len(overdue(play)) == 2
    for node in play.world.machines.nodes.values():
        node.joins_at = play.now
    play.run(15)
    assert play.phase("chat") is Phase.READY, play.story(["not ready"])


@PROFILE
@given(st.sets(st.integers(0, 5), max_size=3), st.sets(st.integers(0, 5), max_size=3))
def test_a_few_bad_nodes_never_keep_it_from_serving(hung: set[int], mute: set[int]) -> None:
    """Whichever of the first six nodes hang, until Ray ends them, or is mute, it serves at last."""
    play = played(POOLED)
    names: list[str] = []
    since: dict[str, float] = {}

    def order(node: Node) -> int:
        if node.id not in names:
            names.append(node.id)
        return names.index(node.id)

    for _ in range(1500):
        run(
            play,
            1,
            hangs=lambda node: order(node) in hung,
            mute={n for i, n in enumerate(names) if i in sorted(mute)[:1]},
        )
        if play.phase("chat") is Phase.READY:
            break
        for node in list(play.world.machines.nodes.values()):
            since[node.id] = min(since.get(node.id, play.now), play.now)
            if node.joins_at == NEVER and play.now - since[node.id] > 90:
                del play.world.machines.nodes[node.id]
    assert play.phase("chat") is Phase.READY, play.story(["never served"])
    given_up = overdue(play)
    assert len(given_up) == len(set(given_up)), "each is said once"
    again = ready(STEPS)
    again.run(100)
    assert overdue(again) == [], "nothing is given up while it serves"
