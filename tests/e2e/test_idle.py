"""An idle deployment releases its GPUs, a request that is held has it back, and the load has 1, 3 and 1 replicas serve.

In this order, on one deployment of its own cluster; each test stands on the one before.
"""

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import user_of
from tests.e2e.test_replicas import load
from tests.e2e.user import ENGINE_START, User

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def sleeper(directory: Path) -> Iterator[User]:
    """The user of a cluster with a deployment of none to three replicas."""
    with user_of(directory, "sleeper") as one:
        text = one.path.read_text()
        more = "    requests_per_replica: 2\n    grow_after: 3s\n    shrink_after: 20s\n"
        one.path.write_text(text.replace("  elastic_deploy:\n", f"  elastic_deploy:\n{more}"))
        yield one


def test_it_serves_with_the_least_and_sleeps_when_nobody_asks(sleeper: User) -> None:
    sizes = ("--gpus", "3", "--replicas", "0:3", "--idle-timeout", "30s", "--port", str(sleeper.port))
    told = sleeper.run("up", str(sleeper.path), "--model", "tiny", *sizes, limit=2 * ENGINE_START)
    assert told.returncode == 0, told.stderr
    serving = sleeper.deployment()
    assert (serving["phase"], serving["gpus"]["requested"], serving["scale"]["max"]) == ("ready", 1, 3)
    sleeper.until("it sleeps", lambda: not sleeper.deployment()["replicas"], 120)
    asleep = sleeper.status()
    assert asleep["request"]["bundles"] == []
    assert asleep["deployments"][0]["phase"] == "waiting"
    assert "sleeps" in asleep["deployments"][0]["reason"]


def test_a_held_request_wakes_it_and_is_answered(sleeper: User) -> None:
    key, began = sleeper.key, time.monotonic()
    request = sleeper.request("/v1/completions", {"model": "tiny", "prompt": "Hello", "max_tokens": 8}, key)
    with urllib.request.urlopen(request, timeout=ENGINE_START) as answer:
        assert json.load(answer)["choices"][0]["text"]
    print(f"\nwoken and answered in {time.monotonic() - began:.1f} s")


def ready(user: User) -> int:
    """How many replicas serve."""
    return sum(replica["phase"] == "ready" for replica in user.deployment()["replicas"])


def test_it_grows_and_shrinks_by_load_without_a_failed_request(sleeper: User) -> None:
    with load(sleeper, 6, pause_s=0.05) as streams:
        sleeper.until("three serve", lambda: ready(sleeper) == 3, 2 * ENGINE_START)
        streams.until(len(streams.ended()) + 20, 120)
        ended = list(streams.finish())
    with load(sleeper, 1, pause_s=0.2) as streams:
        sleeper.until("one is left", lambda: len(sleeper.deployment()["replicas"]) == 1, 180)
        ended += streams.finish()
    assert not [stream.error for stream in ended if stream.error]
    told = [event for event in sleeper.events() if event["kind"].startswith("deployment.")]
    assert [event["kind"] for event in told[:2]] == ["deployment.sleeping", "deployment.woken"]
    scaled = [(event["from"], event["to"]) for event in told[2:]]
    print(f"replicas: {scaled}")
    ups = [step for step in scaled if step[0] < step[1]]
    assert {event["kind"] for event in told[2:]} == {"deployment.scaled"}
    assert (ups[0][0], ups[-1][1], scaled[-1][1]) == (1, 3, 1)
    assert scaled == ups + scaled[len(ups) :], "up, then down, and never up again"
