"""Scarce capacity, with real nodes and real vLLM: half a gang is released, the next pool serves, a pool is left.

The tests follow one deployment, each going on from where the one before it left off.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import user_of
from tests.e2e.streams import streams_all_the_while
from tests.e2e.test_main_job import REFUSAL, script
from tests.e2e.user import User, kill, live_nodes_of

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

POOLS = ("--pools", "a,b", "--partial-timeout", "6s")


@pytest.fixture(scope="module")
def user(directory: Path) -> Iterator[User]:
    """The user of a cluster with two pools, of which the first has one node left."""
    with user_of(directory, "pools") as one:
        config = yaml.safe_load(one.path.read_text())
        gpu = config["available_node_types"].pop("gpu")
        for pool in ("a", "b"):
            config["available_node_types"][f"gpu-{pool}"] = gpu | {"labels": {"pool": pool}}
        prices = {"gpu-a": 3600.0, "gpu-b": 3600.0}
        config["metadata"]["elastic_deploy"] |= {"prices": prices, "return_after": "10s"}
        one.path.write_text(yaml.safe_dump(config, sort_keys=False))
        script(one, {"node_types": {"gpu-a": {"max_nodes": 1}}})
        yield one
        script(one, None)


def told(user: User, kind: str) -> list[dict[str, Any]]:
    """The events of a kind."""
    return [event for event in user.events() if event["kind"] == kind]


def pools_of_nodes(user: User) -> list[str]:
    """The node types of the workers that live."""
    return sorted(node.type for node in live_nodes_of(user) if not node.is_head)


def test_half_a_gang_is_released_and_the_next_pool_serves(user: User) -> None:
    result = user.up(*POOLS)
    assert result.returncode == 0, result.stderr
    (left,) = told(user, "pool.left")
    assert "1 of 2 GPUs came" in left["message"]
    assert left["cost_usd"] >= 6, "at a dollar a second, by the prices in the YAML"
    assert [event["pool"] for event in told(user, "pool.chosen")] == ["a", "b"]
    (lost,) = told(user, "node.lost")
    assert "it waited in pool a for others that did not come" in lost["message"]
    assert lost["time"] - left["time"] < 30, "it is let go, not left to idle for a minute"
    assert pools_of_nodes(user) == ["gpu-b", "gpu-b"]
    deployment = user.deployment()
    assert deployment["wasted_usd"] >= 6
    assert user.status()["request"]["bundles"] == [{"resources": {"GPU": 1.0}, "count": 2, "labels": {"pool": "b"}}]
    assert user.chat("What are you?")


def test_up_again_changes_nothing(user: User) -> None:
    events = len(user.events())
    result = user.up(*POOLS)
    assert (result.returncode, len(user.events())) == (0, events), result.stderr


def test_it_goes_back_to_the_better_pool_without_a_failed_request(user: User) -> None:
    script(user, None)
    with streams_all_the_while(user):
        result = user.up(*POOLS, "--prefer-return", "--yes")
        assert result.returncode == 0, result.stderr
        user.until("it has gone back", lambda: bool(told(user, "replica.returned")))
        user.until("the former one is gone", lambda: [r["id"] for r in user.deployment()["replicas"]] == ["r1"])
    assert [pool["replicas"] for pool in user.deployment()["pools"]] == [["r1"], []]
    assert user.status()["request"]["bundles"] == [{"resources": {"GPU": 1.0}, "count": 2, "labels": {"pool": "a"}}]
    assert not user.deployment()["recoveries"]
    result = user.up(*POOLS, "--yes")
    assert result.returncode == 0, result.stderr


def test_a_pool_that_refuses_the_replacement_is_moved_out_of(user: User) -> None:
    script(user, {"node_types": {"gpu-a": {"refuse": {"count": 1000, **REFUSAL}}}})
    kill(user.raylet_of_a_worker("gpu-a"))
    user.until("pool a is left", lambda: len(told(user, "pool.left")) == 2, limit=120)
    recovery = user.recovered(0)
    assert "lost" in recovery["cause"]
    assert told(user, "pool.chosen")[-1]["pool"] == "b"
    assert set(pools_of_nodes(user)) >= {"gpu-b"}
    assert [pool["replicas"] for pool in user.deployment()["pools"]] == [[], ["r1"]]


def test_the_words_of_a_wait_name_the_pools(user: User) -> None:
    script(user, {"refuse": {"count": 1000, **REFUSAL}})
    kill(user.raylet_of_a_worker("gpu-b"))
    seen: list[dict[str, Any]] = []

    def both_rest() -> bool:
        seen[:] = [user.status()]
        return "asks for nothing now" in seen[0]["deployments"][0]["reason"]

    user.until("both pools rest", both_rest, limit=120)
    (document,) = seen
    reason = document["deployments"][0]["reason"]
    assert "Pool a rests until" in reason
    assert REFUSAL["code"] in reason
    assert document["request"]["bundles"] == []
