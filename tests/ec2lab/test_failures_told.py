"""What goes wrong on EC2 is told by `up`, `status` and `events`, in the cloud's words, within ten seconds.

No engine runs here: the trouble comes before one could be started.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.ec2lab.account import generate, prepare_account
from tests.ec2lab.asking import until
from tests.ec2lab.commands import Done
from tests.ec2lab.lab import Lab, Timing

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.usefixtures("able"), pytest.mark.timeout(600)]

CLUSTER = "words"
GPU_TYPE = "g6.xlarge"
HEAD_TYPE = "m5.large"
SHAPE = ("--model", "tiny", "--gpus", "2", "--tensor-parallel-size", "2")


@dataclass(frozen=True)
class User:
    """Somebody at the laptop with a generated cluster YAML."""

    lab: Lab
    path: str

    def run(self, *arguments: str, limit: float = 120.0) -> Done:
        return self.lab.run(["elastic-deploy", *arguments], limit)

    def document(self, verb: str) -> Any:
        return json.loads(self.run(verb, self.path, "-o", "json").check().stdout)

    def event(self, kind: str, *words: str, limit: float = 60.0) -> dict[str, Any]:
        """The first event of a kind with all of the words in its message."""
        found: list[dict[str, Any]] = []
        events: list[dict[str, Any]] = []

        def told() -> bool:
            said = self.run("events", self.path, "-o", "json")  # which fails while no supervisor runs yet
            events[:] = json.loads(said.stdout) if said.returncode == 0 else []
            found[:] = [e for e in events if e["kind"] == kind and all(word in e["message"] for word in words)]
            return bool(found)

        try:
            until(told, limit=limit, every=3.0)
        finally:
            if not found:
                print(*(f"{e['time']:.0f} {e['kind']}: {e['message']}" for e in events), sep="\n")
        return found[0]

    def reason(self) -> str:
        (deployment,) = self.document("status")["deployments"]
        said: str = deployment["reason"]
        return said


@pytest.fixture(scope="module")
def user(able: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """A laptop before the first `up`."""
    assert able is None
    with Lab(Timing(), tmp_path_factory.mktemp("logs")) as lab:
        prepare_account(lab, CLUSTER)
        path = generate(lab, CLUSTER, "--zones", "a,b", "--mix-zones", "--instance-type", GPU_TYPE, "--nodes", "2")
        yield User(lab, path)


def refuse_all(user: User, instance_type: str) -> None:
    for zone in user.lab.zones:
        user.lab.capacity[zone, instance_type] = 0


def test_a_head_that_ec2_refuses_is_told_of_in_its_words(user: User) -> None:
    user.lab.fail_next("RunInstances", "VcpuLimitExceeded", "You have requested more vCPU capacity.", times=None)
    done = user.run("up", user.path, *SHAPE, "--yes", limit=200)
    user.lab.forgive()
    assert done.returncode == 7, done.stderr
    assert "EC2 refused the head node: VcpuLimitExceeded: You have requested more vCPU capacity." in done.stderr
    assert "Service Quotas" in done.stderr


def test_gpu_nodes_that_ec2_refuses_are_told_of_within_ten_seconds(user: User) -> None:
    refuse_all(user, GPU_TYPE)
    user.lab.start(["elastic-deploy", "up", user.path, *SHAPE, "--yes"])
    event = user.event("launch.failed", "InsufficientInstanceCapacity", limit=400)
    asked = next(e for e in user.document("events") if e["kind"] == "request")
    print(json.dumps(event, indent=1), event["time"] - asked["time"])
    until(lambda: "InsufficientInstanceCapacity" in user.reason(), limit=30)
    print(user.reason())
    assert user.lab.zones[0] in event["zones"]


def test_one_of_two_is_told_of_at_once(user: User) -> None:
    user.lab.capacity[user.lab.zones[0], GPU_TYPE] = 1
    event = user.event("launch.partial", "Only 1 of 2")
    print(json.dumps(event, indent=1), time.time() - event["time"])
    assert "Only 1 of 2" in user.reason()


def test_a_set_up_that_fails_names_the_node_in_status_and_events(user: User) -> None:
    user.lab.forgive()
    user.lab.break_setup("uv", message="No space left on device", instance_type=GPU_TYPE)
    event = user.event("node.setup_failed", "No space left on device", limit=300)
    print(json.dumps(event, indent=1))
    assert event["node"] in user.lab.hosts()
    assert event["node"] in user.reason()
    nodes: Callable[[], list[Any]] = lambda: user.document("status")["cluster"]["nodes"]  # noqa: E731
    assert any(n["id"] == event["node"] and "No space left on device" in n["detail"] for n in nodes())
    print(user.reason())
    print(nodes())
