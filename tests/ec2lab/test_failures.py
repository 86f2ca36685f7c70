"""Refused launches and broken set-ups on EC2, as the real autoscaler tells of them: read off its log on the head.

One cluster for all: each test asks for a node more, and takes its trouble back. These tests notice when a new Ray
tells of a failure in other words than those that we read.
"""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from elastic_deploy.model.snapshot import LaunchFailure, LaunchOutcome, SetupState, SetupTrouble
from elastic_deploy.runtime.launch_log import LaunchLog
from elastic_deploy.runtime.monitor_log import MonitorLog
from elastic_deploy.runtime.setup_log import SSH_PATIENCE, SetupLog
from tests.ec2lab.asking import until
from tests.ec2lab.lab import Lab, Timing
from tests.ec2lab.test_ray_up import cluster

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.usefixtures("able"), pytest.mark.timeout(600)]

GPU = "g5.xlarge"
TYPES = ("elsewhere", "refused", "quota", "denied", "partial", "setup", "mute")
WITHIN = 30.0  # seconds from the request: ten of them are the promise, the rest is the machine's
LOGS = "/tmp/ray/session_latest/logs"


class Head:
    """The cluster's head: what is asked of its autoscaler, and what its log tells."""

    def __init__(self, lab: Lab, instance: str, logs: Path) -> None:
        self.lab, self._instance, self._logs = lab, instance, logs
        self._files, self._launch_log, self._setup_log = MonitorLog(logs), LaunchLog(), SetupLog()
        self._asked: list[dict[str, int]] = []
        self.launches: list[LaunchFailure] = []
        self.setups: list[SetupTrouble] = []

    def ask(self, node_type: str, count: int = 1) -> None:
        """Ask for nodes of a type, beside those that came."""
        self._request([*self._asked, *({node_type: 1} for _ in range(count))])

    def keep(self, node_type: str) -> None:
        """One node of the type came and stays; nothing else is asked for."""
        self._asked.append({node_type: 1})
        self._request(self._asked)

    def give_up(self) -> None:
        """Ask for nothing but what came."""
        self._request(self._asked)

    def _request(self, bundles: list[dict[str, int]]) -> None:
        ask = f"from ray.autoscaler.sdk import request_resources; request_resources(bundles={json.dumps(bundles)})"
        code = f"import ray; ray.init(address='auto', log_to_driver=False); {ask}"
        self.lab.run_on(self._instance, ["python", "-c", code], limit=120).check()

    def look(self) -> None:
        """Read what the autoscaler has written since the last look."""
        for kind in ("log", "out", "err"):
            text = self.lab.run_on(self._instance, ["cat", f"{LOGS}/monitor.{kind}"], limit=60).check().stdout
            (self._logs / f"monitor.{kind}").write_text(text)
        now = time.time()
        lines = self._files.poll(now)
        self.launches += self._launch_log.read(lines, now)
        self.setups += [*self._setup_log.read(lines, now), *self._setup_log.waiting(now)]

    def launch(self, node_type: str) -> LaunchFailure:
        """The first trouble with a launch of the type."""
        self._until(lambda: any(failure.node_type == node_type for failure in self.launches), WITHIN)
        return next(failure for failure in self.launches if failure.node_type == node_type)

    def setup(self, node_type: str, limit: float) -> SetupTrouble:
        """The first trouble with a set-up of the type."""
        self._until(lambda: any(trouble.node_type == node_type for trouble in self.setups), limit)
        return next(trouble for trouble in self.setups if trouble.node_type == node_type)

    def _until(self, condition: Callable[[], bool], limit: float) -> None:
        def told() -> bool:
            self.look()
            return condition()

        until(told, limit=limit)


@pytest.fixture(scope="module")
def head(able: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A cluster's head, with a type of GPU node for each test."""
    assert able is None
    logs = tmp_path_factory.mktemp("head")
    with Lab(Timing(), tmp_path_factory.mktemp("lab")) as lab:
        config = cluster(lab)
        instance = {"InstanceType": GPU, "ImageId": lab.image}
        config["available_node_types"] = {
            "head": config["available_node_types"]["head"],  # type: ignore[index]
            **{
                name: {"resources": {"CPU": 1, name: 1}, "node_config": dict(instance), "max_workers": 2}
                for name in TYPES
            },
        }
        config["max_workers"] = 8
        path = lab.home / "cluster.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        lab.run(["ray", "up", "--yes", "--no-config-cache", str(path)], limit=400).check()
        (one,) = lab.hosts()
        yield Head(lab, one, logs)


def test_a_zone_without_capacity_is_named_though_another_one_has_some(head: Head) -> None:
    head.lab.capacity["us-west-2a", GPU] = 0
    head.ask("elsewhere")
    failure = head.launch("elsewhere")
    head.lab.forgive()
    head.keep("elsewhere")
    assert (failure.code, failure.outcome) == ("InsufficientInstanceCapacity", LaunchOutcome.ELSEWHERE)
    assert failure.zones == ("us-west-2a",)


def test_all_zones_without_capacity_are_named(head: Head) -> None:
    for zone in head.lab.zones:
        head.lab.capacity[zone, GPU] = 0
    head.ask("refused")
    failure = head.launch("refused")
    head.give_up()
    head.lab.forgive()
    assert (failure.code, failure.outcome) == ("InsufficientInstanceCapacity", LaunchOutcome.REFUSED)
    assert set(failure.zones) == set(head.lab.zones)


@pytest.mark.parametrize(
    ("node_type", "code", "words"),
    [
        ("quota", "VcpuLimitExceeded", "You have requested more vCPU capacity than your current vCPU limit of 4"),
        ("denied", "UnauthorizedOperation", "You are not authorized to perform this operation."),
    ],
)
def test_a_refusal_has_the_clouds_code_and_words(head: Head, node_type: str, code: str, words: str) -> None:
    if node_type == "quota":
        head.lab.quota["on-demand", "g"] = 4
    else:
        head.lab.deny("RunInstances")
    head.ask(node_type)
    failure = head.launch(node_type)
    head.give_up()
    head.lab.forgive()
    assert failure.code == code
    assert failure.message.startswith(words)


def test_a_launch_that_gets_one_of_two_nodes_says_so_at_once(head: Head) -> None:
    for zone in head.lab.zones:
        head.lab.capacity[zone, GPU] = 0
    head.lab.capacity["us-west-2a", GPU] = 1
    head.ask("partial", 2)
    failure = head.launch("partial")
    head.keep("partial")
    head.lab.forgive()
    assert (failure.outcome, failure.count, failure.came) == (LaunchOutcome.PARTIAL, 2, 1)


def test_a_node_whose_setup_fails_is_named_with_the_commands_last_words(head: Head) -> None:
    head.lab.break_setup("ray", message="No space left on device", instance_type=GPU)
    before = set(head.lab.hosts())
    head.ask("setup")
    trouble = head.setup("setup", limit=60)
    assert trouble.node in set(head.lab.hosts()) - before
    assert (trouble.address, trouble.step) == (head.lab.hosts()[trouble.node], "the start of Ray")
    assert (trouble.message, trouble.state) == ("ray: No space left on device", SetupState.RETRYING)
    head.give_up()


def test_a_node_that_never_answers_ssh_is_named_while_it_does_not(head: Head) -> None:
    head.lab.mute_ssh(instance_type=GPU)
    before = set(head.lab.hosts())
    head.ask("mute")
    trouble = head.setup("mute", limit=SSH_PATIENCE + 180)
    assert trouble.node in set(head.lab.hosts()) - before
    assert (trouble.address, trouble.step) == (head.lab.hosts()[trouble.node], "SSH")
    assert (trouble.message, trouble.state) == ("Connection timed out", SetupState.WAITING)
