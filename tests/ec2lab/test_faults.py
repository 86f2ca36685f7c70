"""What goes wrong with hosts that were launched: deaths, silence, failing commands, cuts, interruptions."""

import json
import sys
import time
from pathlib import Path

import pytest

from tests.ec2lab.asking import boot, launch, metadata, state, until
from tests.ec2lab.lab import LAPTOP, Lab

pytestmark = pytest.mark.lab


def test_an_instance_that_dies_is_gone_at_once_with_its_reason(lab: Lab) -> None:
    instance = boot(lab)
    lab.kill(instance)
    assert state(lab, instance)["State"]["Name"] == "terminated"
    assert state(lab, instance)["StateReason"]["Code"] == "Server.InternalError"
    until(lambda: lab.hosts() == {})


def test_a_muted_host_never_answers_ssh(lab: Lab) -> None:
    lab.mute_ssh()
    muted = launch(lab)[0]
    until(lambda: muted["InstanceId"] in lab.hosts())
    until(lambda: "import socket" in lab.run_on(muted["InstanceId"], ["ps", "-e", "-o", "args="]).stdout)
    time.sleep(1)
    connect = f"import socket; socket.create_connection(('{muted['PrivateIpAddress']}', 22), timeout=4)"
    assert "TimeoutError" in lab.run(["python", "-c", connect]).stderr
    boot(lab)  # only the next host was meant


def test_a_slow_host_refuses_ssh_for_a_while(lab: Lab) -> None:
    lab.slow_boot(6)
    slow = launch(lab)[0]
    until(lambda: slow["InstanceId"] in lab.hosts())
    up = time.monotonic()
    connect = f"import socket; socket.create_connection(('{slow['PrivateIpAddress']}', 22), timeout=4)"
    assert "ConnectionRefusedError" in lab.run(["python", "-c", connect]).stderr
    until(lambda: lab.ssh(slow["PrivateIpAddress"], "true").returncode == 0)
    assert time.monotonic() - up > 5


def test_a_setup_command_fails_on_the_next_host_only(lab: Lab) -> None:
    """And not on this machine, whose environment hosts see as it is where it lies below /tmp."""
    own = Path(sys.prefix) / "bin" / "pip"
    before = own.read_bytes()
    lab.break_setup("pip", "No space left on device", 28)
    lab.break_setup("nvidia-smi", 'says "$HOME" 100%', 9)
    broken, sound = boot(lab), boot(lab)
    for command in ("pip --version", "bash --login -c 'pip --version'"):
        done = lab.ssh(lab.hosts()[broken], command)
        assert (done.returncode, done.stderr.strip()[-28:]) == (28, "pip: No space left on device")
        assert lab.ssh(lab.hosts()[sound], command).returncode == 0
    assert own.read_bytes() == before
    other = lab.ssh(lab.hosts()[broken], "nvidia-smi")
    assert (other.returncode, other.stderr) == (9, 'nvidia-smi: says "$HOME" 100%\n')


def test_faults_meant_for_one_type_pass_the_others_by(lab: Lab) -> None:
    lab.break_setup("rsync", instance_type="g5.*")
    other, meant = boot(lab, InstanceType="m5.large"), boot(lab)
    assert lab.run_on(other, ["rsync", "--version"]).returncode == 0
    assert lab.run_on(meant, ["rsync", "--version"]).returncode == 1


def test_a_cut_is_a_black_hole_between_two_and_heals(lab: Lab) -> None:
    one, other, third = boot(lab), boot(lab), boot(lab)
    hosts = lab.hosts()

    def reach(here: str, there: str) -> str:
        connect = f"import socket; socket.create_connection(('{hosts[there]}', 22), timeout=3)"
        said = lab.run_on(here, ["python", "-c", connect]).stderr.strip().splitlines()
        return said[-1].partition(":")[0] if said else "reached"

    assert reach(one, other) == reach(other, one) == "reached"
    lab.cut(one, other)
    assert reach(one, other) == reach(other, one) == "TimeoutError"
    assert reach(one, third) == reach(third, other) == "reached"
    lab.heal(one, other)
    assert reach(one, other) == reach(other, one) == "reached"
    lab.cut(LAPTOP, one)
    assert lab.ssh(hosts[one], "true").returncode == 255
    assert reach(other, one) == "reached"
    lab.heal(LAPTOP, one)
    assert lab.ssh(hosts[one], "true").returncode == 0


def test_a_spot_instance_is_told_and_then_taken(lab: Lab) -> None:
    instance = boot(lab, InstanceMarketOptions={"MarketType": "spot"})
    shown = state(lab, instance)
    assert shown["InstanceLifecycle"] == "spot"
    assert shown["SpotInstanceRequestId"].startswith("sir-")
    lab.rebalance(instance)
    assert "noticeTime" in json.loads(metadata(lab, instance, "meta-data/events/recommendations/rebalance")[1])
    lab.spot_notice(instance, in_seconds=6)
    action = json.loads(metadata(lab, instance, "meta-data/spot/instance-action")[1])
    assert action["action"] == "terminate"
    assert state(lab, instance)["State"]["Name"] == "running"
    until(lambda: state(lab, instance)["State"]["Name"] == "terminated")
    assert state(lab, instance)["StateReason"]["Code"] == "Server.SpotInstanceTermination"
    until(lambda: lab.hosts() == {})
