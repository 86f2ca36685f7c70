"""Zones as pools on EC2: a zone that refuses, half a gang, fewer GPUs than are wanted, with real vLLM on real hosts.

The tests follow one deployment, each going on from where the one before it left off.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.ec2lab.account import generate, prepare_account
from tests.ec2lab.asking import until
from tests.ec2lab.lab import Lab, Timing
from tests.ec2lab.user import ENGINE, User

pytestmark = [
    pytest.mark.lab,
    pytest.mark.long,
    pytest.mark.engine,
    pytest.mark.usefixtures("able"),
    pytest.mark.timeout(1200),
]

CLUSTER = "zones"
GPU_TYPE = "g6.xlarge"
A, B = "us-west-2a", "us-west-2b"
SHAPE = ("--gpus", "2", "--tensor-parallel-size", "2", "--partial-timeout", "30s")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def user(able: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """A laptop with a generated cluster over two zones, each of which is a pool."""
    assert able is None
    with Lab(Timing(), tmp_path_factory.mktemp("logs")) as lab:
        prepare_account(lab, CLUSTER)
        path = generate(lab, CLUSTER, "--zones", "a,b", "--instance-type", GPU_TYPE, "--nodes", "2")
        yield User(lab, lab.home, path, CLUSTER)


@contextmanager
def told_if_it_fails(user: User) -> Iterator[None]:
    """Print the journal where what is inside does not come true."""
    try:
        yield
    except BaseException:
        print(*(f"{event['time']:.0f} {event['kind']}: {event['message']}" for event in user.events()), sep="\n")
        raise


def capacity(user: User, **zones: int | None) -> None:
    """How many GPU instances each zone has (None: as many as are asked for)."""
    user.lab.forgive()
    for zone, number in zones.items():
        if number is not None:
            user.lab.capacity[{"a": A, "b": B}[zone], GPU_TYPE] = number


def of(user: User, kind: str) -> list[dict[str, Any]]:
    """The events of a kind."""
    return [event for event in user.events() if event["kind"] == kind]


def zones(user: User) -> list[str]:
    """The zones of the GPU instances that run."""
    running = user.lab.instances("pending", "running")
    return sorted(one["Placement"]["AvailabilityZone"] for one in running if one["InstanceType"] == GPU_TYPE)


def test_a_zone_that_refuses_is_left_for_the_next(user: User) -> None:
    capacity(user, a=0)
    with told_if_it_fails(user):
        done = user.up(*SHAPE)
        assert done.returncode == 0, done.stderr[-4000:]
        (left,) = of(user, "pool.left")
        assert "InsufficientInstanceCapacity" in left["message"]
        assert zones(user) == [B, B]
        refusals = [entry["refused"] for entry in user.status()["ledger"] if entry["refused"]]
        assert [each["code"] for each in refusals] == ["InsufficientInstanceCapacity"]
        assert user.ask()
    print(f"up with its first zone refused: {done.seconds:.0f} s")


def test_half_a_gang_is_released_and_tried_again_until_both_come(user: User) -> None:
    capacity(user, a=1, b=0)
    lost = user.deployment()["replicas"][0]["nodes"][0]
    user.lab.client("ec2").terminate_instances(InstanceIds=[lost])
    with told_if_it_fails(user):
        # Zone b refuses the replacement, zone a gives one of two.
        until(lambda: any("1 of 2 GPUs came" in event["message"] for event in of(user, "pool.left")), 300, every=5.0)
        until(lambda: zones(user) == [], 120, every=2.0)
        assert user.deployment()["wasted_usd"] > 0
        capacity(user)
        until(lambda: user.deployment()["phase"] == "ready", ENGINE, every=5.0)
        assert len(zones(user)) == 2
        assert len(set(zones(user))) == 1
        assert user.ask()


def test_fewer_than_are_wanted_serve_and_all_take_over_without_a_failed_request(user: User) -> None:
    (zone,) = set(zones(user))
    ladder = ("--min-gpus", "1", "--degrade-after", "20s")
    done = user.up(*SHAPE, *ladder)
    assert done.returncode == 0, done.stderr[-4000:]
    capacity(user, **{"a": 0, "b": 0} | {"a" if zone == A else "b": 1})
    lost = user.deployment()["replicas"][0]["nodes"][0]
    with told_if_it_fails(user):
        user.lab.client("ec2").terminate_instances(InstanceIds=[lost])
        until(lambda: user.deployment()["phase"] == "degraded", ENGINE, every=5.0)
        assert user.deployment()["gpus"] == {"requested": 2, "placed": 1}
        assert zones(user) == [zone]
        over = user.home / "over"
        words = [user.deployment()["endpoint"], str(user.key_file), str(over)]
        load = user.lab.start(["python", "-m", "tests.ec2lab.load", *words], {"PYTHONPATH": str(ROOT)})
        try:
            capacity(user)
            until(lambda: bool(of(user, "deployment.raised")), ENGINE, every=10.0)
        finally:
            over.touch()
        requests = [json.loads(line) for line in load.wait(180).check().stdout.splitlines()]
        assert [each["error"] for each in requests if each["error"]] == []
        assert len(requests) >= 4
        assert user.deployment()["phase"] == "ready"
        assert zones(user) == [zone, zone]
    stall = max(each["stall"] for each in requests)
    print(f"{len(requests)} requests, longest stall {stall:.1f} s")


def test_nothing_is_left(user: User) -> None:
    done = user.run("down", user.path, "--yes", limit=300)
    assert done.returncode == 0, done.stderr[-4000:]
    assert user.lab.instances() == []
