"""`elastic-deploy down` on the lab's laptop: whatever was begun in EC2, half made or cut off, nothing of it is left."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ec2lab.asking import launch, state, until
from tests.ec2lab.commands import Done
from tests.ec2lab.lab import Lab, Timing
from tests.ec2lab.test_ray_up import cluster

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.usefixtures("able"), pytest.mark.timeout(600)]

NAME = "half-made"


def written(lab: Lab, name: str = NAME) -> Path:
    """The cluster YAML in the laptop's home."""
    path = lab.home / f"{name}.yaml"
    document: dict[str, Any] = {**cluster(lab), "cluster_name": name}
    document["available_node_types"]["worker"]["resources"] = {"CPU": 1, "GPU": 1}
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def tags(kind: str, name: str = NAME, **more: str) -> list[dict[str, Any]]:
    """What Ray puts on an instance in the call that launches it."""
    named = {"ray-cluster-name": name, "ray-node-type": kind, "ray-node-status": "uninitialized", **more}
    pairs = [{"Key": key, "Value": value} for key, value in named.items()]
    return [{"ResourceType": "instance", "Tags": pairs}]


def plant(lab: Lab, kind: str, count: int = 1, name: str = NAME, **more: Any) -> list[str]:
    """Launch instances as Ray does; their ids."""
    launched = launch(lab, count=count, TagSpecifications=tags(kind, name), **more)
    return [each["InstanceId"] for each in launched]


def running(lab: Lab, ids: list[str]) -> None:
    until(lambda: all(state(lab, each)["State"]["Name"] == "running" for each in ids))


def nothing(_lab: Lab) -> None:
    """Nothing was launched at all."""


def pending_head(lab: Lab) -> None:
    lab.set_timing(pending=60)
    plant(lab, "head")


def running_head(lab: Lab) -> None:
    running(lab, plant(lab, "head"))


def head_and_workers(lab: Lab) -> None:
    running(lab, plant(lab, "head") + plant(lab, "worker", 2))


def workers_without_head(lab: Lab) -> None:
    running(lab, plant(lab, "worker", 2))


def two_heads(lab: Lab) -> None:
    running(lab, plant(lab, "head") + plant(lab, "head"))


def stopped_head(lab: Lab) -> None:
    (head,) = plant(lab, "head")
    running(lab, [head])
    lab.client("ec2").stop_instances(InstanceIds=[head])
    until(lambda: state(lab, head)["State"]["Name"] == "stopped")


def head_that_shuts_down(lab: Lab) -> None:
    lab.set_timing(shutting_down=6)
    head, worker = [*plant(lab, "head"), *plant(lab, "worker")]
    running(lab, [head, worker])
    lab.client("ec2").terminate_instances(InstanceIds=[head])


def dead_head(lab: Lab) -> None:
    head, worker = [*plant(lab, "head"), *plant(lab, "worker")]
    running(lab, [head, worker])
    lab.kill(head)


def by_our_tag_alone(lab: Lab) -> None:
    pairs = [{"Key": "elastic-deploy:cluster", "Value": NAME}]
    launch(lab, TagSpecifications=[{"ResourceType": "instance", "Tags": pairs}])


STATES: list[Callable[[Lab], None]] = [
    nothing,
    pending_head,
    running_head,
    head_and_workers,
    workers_without_head,
    two_heads,
    stopped_head,
    head_that_shuts_down,
    dead_head,
    by_our_tag_alone,
]


def down(lab: Lab, path: Path, *more: str, limit: float = 180) -> Done:
    return lab.run(["elastic-deploy", "down", str(path), "-y", *more], limit=limit)


@pytest.mark.parametrize("made", STATES, ids=lambda made: made.__name__)
def test_whatever_is_half_made_nothing_is_left(lab: Lab, made: Callable[[Lab], None]) -> None:
    path, (neighbour,) = written(lab), plant(lab, "head", name="neighbour")
    made(lab)
    done = down(lab, path).check()
    assert [each["InstanceId"] for each in lab.instances()] == [neighbour]
    until(lambda: not set(lab.hosts()) - {neighbour})
    assert f"as EC2 in {lab.region} says" in done.stderr
    assert ("Nothing to do" in done.stderr) == (made is nothing)
    # Whoever takes a cluster down makes nothing: no key pair, no role, no security group.
    assert [each["KeyName"] for each in lab.client("ec2").describe_key_pairs()["KeyPairs"]] == [lab.key_name]
    assert lab.client("iam").list_roles()["Roles"] == []
    assert [each["GroupName"] for each in lab.client("ec2").describe_security_groups()["SecurityGroups"]] == ["default"]


def test_what_ec2_refuses_to_end_is_named_with_the_command_that_ends_it(lab: Lab) -> None:
    path, (head,) = written(lab), plant(lab, "head")
    lab.deny("TerminateInstances")
    done = down(lab, path)
    assert done.returncode == 7
    assert f"aws ec2 terminate-instances --region {lab.region} --instance-ids {head}" in done.stderr
    assert "UnauthorizedOperation" in done.stderr
    lab.forgive()
    down(lab, path).check()
    assert lab.instances() == []


def test_throttling_is_waited_out(lab: Lab) -> None:
    path = written(lab)
    plant(lab, "head")
    lab.throttle("TerminateInstances", times=7)
    down(lab, path).check()
    assert lab.instances() == []


def test_what_an_autoscaler_launches_meanwhile_goes_too(lab: Lab) -> None:
    """A head goes on launching workers until it has shut down."""
    lab.set_timing(shutting_down=5)
    path, (head,) = written(lab), plant(lab, "head")
    running(lab, [head])
    command = lab.start(["elastic-deploy", "down", str(path), "-y"])
    until(lambda: state(lab, head)["State"]["Name"] == "shutting-down")
    late = plant(lab, "worker", 2)
    done = command.wait(180).check()
    assert lab.instances() == []
    assert late
    assert "2 instances" in done.stderr


MOMENTS = (
    ("", 0.0),
    ("", 2.0),
    ("is being launched", 0.0),
    ("is being launched", 2.0),
    ("A head node is asked for", 0.0),
    ("A head node is asked for", 1.0),
    ("The head node is there", 0.0),
    ("Commands can be run on the head node", 0.0),
    ("Ray is being started on the head node", 3.0),
    ("The supervisor is being started", 1.0),
)
"""When `up` is killed: so many seconds after it has said this."""


def test_an_up_killed_at_any_moment_leaves_nothing_after_down(tmp_path: Path) -> None:
    with Lab(Timing(), tmp_path / "logs") as lab:
        standing = []
        for number, (said, seconds) in enumerate(MOMENTS):
            path = written(lab, f"killed-{number}")
            command = lab.start(["elastic-deploy", "up", str(path), "--model", "tiny", "--gpus", "1", "-y"])
            until(lambda: said in command.output()[1] or command.ended, limit=200)  # noqa: B023
            time.sleep(seconds)
            assert not command.ended, command.output()
            command.signal(signal.SIGKILL)
            standing.append([each["State"]["Name"] for each in lab.instances()])
            done = down(lab, path, limit=240).check()
            print(number, said, standing[-1], f"down took {done.seconds:.0f} s and said:", done.stderr, sep="\n")
            time.sleep(3)  # whatever went on without its `up` would show by now
            assert lab.instances() == []
            until(lambda: not lab.hosts())
        # The moments are worth something: some had nothing yet, some had a head.
        assert [] in standing
        assert ["running"] in standing


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_up_that_is_broken_off_says_what_the_account_has_and_how_to_remove_it(lab: Lab, number: int) -> None:
    path = written(lab, f"broken-off-{number}")
    command = lab.start(["elastic-deploy", "up", str(path), "--model", "tiny", "--gpus", "1", "-y"])
    until(lambda: "The head node is there" in command.output()[1] or command.ended, limit=200)
    command.signal(number)
    done = command.wait(120)
    (head,) = lab.instances()
    assert done.returncode == 130
    assert "is not finished" in done.stderr
    assert head["InstanceId"] in done.stderr
    assert f"To remove it: elastic-deploy down {path}" in done.stderr
    down(lab, path).check()
    assert lab.instances() == []


def test_a_head_whose_autoscaler_wants_more_nodes_is_taken_down_with_all_of_them(tmp_path: Path) -> None:
    with Lab(Timing(), tmp_path / "logs") as lab:
        path = written(lab, "alive")
        document = yaml.safe_load(path.read_text())
        document["available_node_types"]["worker"]["min_workers"] = 2
        path.write_text(yaml.safe_dump(document))
        lab.run(["ray", "up", "--yes", "--no-config-cache", str(path)], limit=400).check()
        until(lambda: len(lab.instances()) > 1, limit=120)
        done = down(lab, path, limit=300).check()
        print(done.stderr, f"{done.seconds:.0f} s")
        time.sleep(10)
        assert lab.instances() == []
        assert not lab.hosts()
