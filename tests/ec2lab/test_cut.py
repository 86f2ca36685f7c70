"""A network cut between two hosts of a cluster that serves: noticed, healed, and the node behind it not trusted again.

The tests follow one deployment, each going on from where the one before it left off.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.ec2lab.account import generate, prepare_account
from tests.ec2lab.asking import until
from tests.ec2lab.lab import Lab, Timing
from tests.ec2lab.test_up import CLUSTER, GPU_TYPE, SHAPE, gpu_instances
from tests.ec2lab.user import User

pytestmark = [
    pytest.mark.lab,
    pytest.mark.engine,
    pytest.mark.long,
    pytest.mark.usefixtures("able"),
    pytest.mark.timeout(1500),
]

HEALED = 600.0  # seconds: three canaries, a host and its setup, and an engine's start, on a busy machine


@pytest.fixture(scope="module")
def user(able: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """A user whose model serves over two hosts."""
    assert able is None
    with Lab(Timing(), tmp_path_factory.mktemp("logs")) as lab:
        prepare_account(lab, CLUSTER)
        path = generate(lab, CLUSTER, "--zones", "a", "--instance-type", GPU_TYPE, "--nodes", "2")
        user = User(lab, lab.home, path, CLUSTER)
        done = user.up(*SHAPE)
        assert done.returncode == 0, done.stderr[-4000:]
        yield user


def told(user: User, kind: str) -> list[dict[str, Any]]:
    """The events of one kind."""
    return [event for event in user.events() if event["kind"] == kind]


def recovered(user: User, times: int) -> None:
    """Wait until it has recovered so many times in all."""
    until(lambda: len(told(user, "recovered")) == times, HEALED, every=5.0)
    assert not told(user, "deployment.failed")
    recovery = user.status()["deployments"][0]["recoveries"][-1]
    print(f"recovered in {recovery['seconds']:.0f} s: {recovery['cause']}")


def test_of_two_nodes_that_do_not_reach_each_other_one_is_replaced(user: User) -> None:
    """Ray sees nothing of it: the head reaches both."""
    before, text = gpu_instances(user.lab), user.ask()
    one, other = sorted(before)
    user.lab.cut(one, other)
    recovered(user, 1)
    (broken,) = told(user, "network.broken")
    assert all(instance in broken["message"] for instance in before)
    (distrusted,) = told(user, "node.distrusted")
    assert distrusted["node"] in before
    until(lambda: distrusted["node"] not in gpu_instances(user.lab))
    after = gpu_instances(user.lab)
    assert (len(after), len(after & before)) == (2, 1)
    assert user.ask() == text
    assert distrusted["node"] in user.status()["deployments"][0]["recoveries"][-1]["cause"]


def test_a_node_that_the_head_does_not_reach_is_replaced_and_does_not_come_back(user: User) -> None:
    before, text = gpu_instances(user.lab), user.ask()
    (head,) = (one["InstanceId"] for one in user.lab.instances("running") if one["InstanceType"] != GPU_TYPE)
    lost = sorted(before)[0]
    user.lab.cut(head, lost)
    recovered(user, 2)
    until(lambda: lost not in gpu_instances(user.lab))
    user.lab.heal(head, lost)
    assert user.ask() == text
    after = gpu_instances(user.lab)
    assert (len(after), len(after & before)) == (2, 1)
    (replica,) = user.status()["deployments"][0]["replicas"]
    assert set(replica["nodes"]) == after
    assert len(told(user, "node.distrusted")) == 1, "the second cut was Ray's to judge"
