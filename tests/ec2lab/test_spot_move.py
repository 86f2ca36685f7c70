"""A spot notice under load: the replica moves before its node goes, and no client notices.

Two replicas on spot nodes, and room for one node more. EC2 gives two minutes; here it is five, for an engine's start
beside two others and their clients takes longer than that on two cores.
"""

import json
from collections.abc import Iterator
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
    pytest.mark.timeout(1500),
]

CLUSTER = "spot"
NOTICE = 300.0
ROOT = Path(__file__).parents[2]


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    """A laptop with a generated cluster of three spot nodes at the most."""
    with Lab(Timing(), tmp_path / "logs") as lab:
        prepare_account(lab, CLUSTER)
        flags = ("--zones", "a", "--instance-type", "g6.xlarge", "--nodes", "3", "--spot")
        yield User(lab, lab.home, generate(lab, CLUSTER, *flags), CLUSTER)


def test_a_replica_moves_before_its_spot_node_goes(user: User) -> None:
    lab = user.lab
    done = user.up("--gpus", "2", "--replicas", "2")
    assert done.returncode == 0, done.stderr[-4000:]
    doomed = user.deployment()["replicas"][1]
    (instance,) = doomed["nodes"]
    over = user.home / "over"
    words = [user.deployment()["endpoint"], str(user.key_file), str(over)]
    load = lab.start(["python", "-m", "tests.ec2lab.load", *words], {"PYTHONPATH": str(ROOT)})

    lab.spot_notice(instance, in_seconds=NOTICE)
    told: list[dict[str, Any]] = []

    def moved() -> bool:
        told[:] = user.events()
        return any(event["kind"] == "replica.moved" for event in told)

    try:
        until(moved, NOTICE + 60, every=20.0)
    finally:
        print(*(f"{event['time']:.0f} {event['kind']}: {event['message']}" for event in told), sep="\n")
    until(lambda: instance not in lab.hosts(), NOTICE)
    over.touch()
    requests = [json.loads(line) for line in load.wait(120).check().stdout.splitlines()]
    stall = max(each["stall"] for each in requests)
    print(f"{len(requests)} requests, longest stall {stall:.1f} s")
    assert len(requests) > 20
    assert [each["error"] for each in requests if each["error"]] == []

    kinds = [event["kind"] for event in user.events()]
    assert kinds.index("node.notice") < kinds.index("replica.moving") < kinds.index("replica.moved")
    assert "recovered" not in kinds
    deployment = user.deployment()
    assert deployment["phase"] == "ready"
    nodes = {node for replica in deployment["replicas"] for node in replica["nodes"]}
    assert len(nodes) == 2
    assert instance not in nodes
    assert nodes <= {one["InstanceId"] for one in lab.instances("running")}
    done = user.run("down", user.path, "--yes", limit=ENGINE)
    assert done.returncode == 0, done.stderr[-4000:]
    assert lab.instances() == []
