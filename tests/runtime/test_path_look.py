"""Two nodes of a small real Ray are asked whether they reach each other."""

import asyncio
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import ray

from elastic_deploy.model.names import EngineName
from elastic_deploy.model.snapshot import BrokenPath, PathsSeen
from elastic_deploy.runtime import path_look, ray_tables
from elastic_deploy.runtime.path_look import PathLook

from .test_ray import RayProcess, _second_node, gcs
from .test_spot_watch import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

__all__ = ["gcs"]

ENGINE = EngineName("chat", "r0", 1)
NEXT = EngineName("chat", "r0", 2)


@pytest.fixture(scope="module")
def pair(gcs: str) -> Iterator[tuple[str, str]]:
    """The ids of two nodes."""
    del gcs
    process: RayProcess = _second_node()
    try:
        yield ray.get_runtime_context().get_node_id(), process.node
    finally:
        process.end()


def looked(name: EngineName, nodes: tuple[str, ...]) -> PathsSeen:
    """What two nodes say, and that the supervisor is woken when they have, and only then."""
    woken: list[float] = []

    async def story() -> PathsSeen:
        look = PathLook(lambda: woken.append(time.time()))

        def seen() -> tuple[PathsSeen, ...]:
            return look.seen

        look.follow({name: nodes})
        assert seen() == (PathsSeen(name),), "the core has to know that they are being asked"
        await until(lambda: woken)
        look.follow({name: nodes})
        (said,) = seen()
        assert said.at is not None
        await asyncio.sleep(1)
        assert len(woken) == 1, "an engine's nodes are asked once"
        look.follow({})
        assert seen() == ()
        return said

    return asyncio.run(asyncio.wait_for(story(), 120))


def test_nodes_that_reach_each_other_say_so(pair: tuple[str, str]) -> None:
    assert looked(ENGINE, pair).broken == ()


def test_a_node_that_does_not_reach_the_other_says_so_and_why(
    pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair
    real = ray_tables.nodes
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        port = closed.getsockname()[1]

        def moved(client: object) -> list[ray_tables.RayNode]:
            return [replace(n, address="127.0.0.1", port=port) if n.id == other else n for n in real(client)]

        monkeypatch.setattr(ray_tables, "nodes", moved)
        said = looked(ENGINE, pair)
    assert said.broken == (BrokenPath(one, other, "Connection refused"),)


def test_of_a_node_that_is_no_more_or_does_not_answer_nothing_is_said(
    pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert looked(ENGINE, (pair[0], "f" * 56)).broken == ()
    monkeypatch.setattr(path_look, "LIMIT", 0.0)
    assert looked(NEXT, pair).broken == ()


def test_ray_says_when_a_node_joined(pair: tuple[str, str]) -> None:
    started = {node.id: node.started_at / 1000 for node in ray_tables.nodes(ray_tables.gcs_client())}
    assert started[pair[0]] < started[pair[1]]
    assert abs(time.time() - started[pair[1]]) < 240
