"""Two of four GPUs can be had: served on, and grown back without a failed request. Real nodes and real vLLM.

The tests follow one deployment, each going on from where the one before it left off.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.e2e.conftest import user_of
from tests.e2e.streams import streams_all_the_while
from tests.e2e.test_main_job import script
from tests.e2e.user import User

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

SIZES = ("--gpus", "4", "--tensor-parallel-size", "4")
LADDER = (*SIZES, "--rung", "2: --max-model-len 512", "--degrade-after", "5s")


@pytest.fixture(scope="module")
def user(directory: Path) -> Iterator[User]:
    """The user of a cluster that can have two nodes."""
    with user_of(directory, "rungs") as one:
        script(one, {"max_nodes": 2})
        yield one
        script(one, None)


def kinds(user: User) -> list[str]:
    """What the journal tells of the ladder."""
    return [event["kind"] for event in user.events() if event["kind"].startswith("deployment.")]


def context(user: User) -> int:
    """The longest context that the engine takes, in tokens."""
    with urlopen(user.request("/tokenize", {"model": "tiny", "prompt": "A node"}, user.key), timeout=60) as answer:
        return int(json.load(answer)["max_model_len"])


def test_it_serves_on_two_of_four_gpus(user: User) -> None:
    result = user.up(*LADDER)
    assert result.returncode == 0, result.stderr
    deployment = user.deployment()
    assert deployment["phase"] == "degraded"
    assert deployment["gpus"] == {"requested": 4, "placed": 2}
    assert (deployment["shape"]["tensor_parallel"], deployment["full_shape"]["tensor_parallel"]) == (2, 4)
    assert "on 2 of 4 GPUs, with --max-model-len 512." in deployment["reason"]
    assert user.status()["request"]["bundles"] == [{"resources": {"GPU": 1.0}, "count": 4}]
    assert kinds(user) == ["deployment.lowered"]
    assert context(user) == 512


def test_up_again_changes_nothing(user: User) -> None:
    events = len(user.events())
    result = user.up(*LADDER)
    assert (result.returncode, len(user.events())) == (0, events), result.stderr


def test_the_full_shape_takes_over_without_a_failed_request(user: User) -> None:
    with streams_all_the_while(user):
        script(user, None)
        user.until("the full shape serves", lambda: user.deployment()["phase"] == "ready")
    assert kinds(user) == ["deployment.lowered", "deployment.raising", "deployment.raised"]
    deployment = user.deployment()
    assert deployment["gpus"] == {"requested": 4, "placed": 4}
    assert deployment["shape"]["tensor_parallel"] == 4
    assert context(user) == 2048
