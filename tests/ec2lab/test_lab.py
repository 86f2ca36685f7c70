"""Instances as hosts: booted, reached over SSH, stopped, started and terminated, and the laptop beside them."""

import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.ec2lab.asking import boot, launch, state, until
from tests.ec2lab.lab import Lab, LabError

pytestmark = pytest.mark.lab


def test_hosts_in_two_zones_answer_ssh_and_find_each_other_by_name(lab: Lab) -> None:
    began = time.monotonic()
    one, other = boot(lab, "us-west-2a"), boot(lab, "us-west-2b")
    print(f"two hosts up: {time.monotonic() - began:.1f} s")
    first, second = state(lab, one), state(lab, other)
    assert [first["Placement"]["AvailabilityZone"], second["Placement"]["AvailabilityZone"]] == [
        "us-west-2a",
        "us-west-2b",
    ]
    assert lab.hosts() == {one: first["PrivateIpAddress"], other: second["PrivateIpAddress"]}
    short = second["PrivateDnsName"].partition(".")[0]
    assert lab.ssh(first["PrivateIpAddress"], "hostname").stdout.strip() == first["PrivateDnsName"].partition(".")[0]
    for name in (short, second["PrivateDnsName"]):
        found = lab.ssh(first["PrivateIpAddress"], f"getent hosts {name}").check().stdout
        assert found.split()[0] == second["PrivateIpAddress"]
        assert lab.ssh(name, "hostname").check().stdout.strip() == short  # the laptop knows it as well
    banner = lab.ssh(first["PrivateIpAddress"], f"exec 3<>/dev/tcp/{short}/22; head -c 4 <&3").check()
    assert banner.stdout == "SSH-"
    assert lab.ssh(first["PublicIpAddress"], "sudo -n whoami", user="ec2-user").check().stdout.strip() == "root"


def test_a_host_has_its_own_processes_and_disk_and_no_way_out(lab: Lab) -> None:
    one, other = boot(lab), boot(lab)
    lab.run_on(one, ["touch", "/etc/only-here", "/tmp/only-here", "/dev/shm/only-here"]).check()
    for path in ("/etc/only-here", "/tmp/only-here", "/dev/shm/only-here"):
        assert lab.run_on(other, ["test", "-e", path]).returncode == 1
    commands = lab.run_on(other, ["ps", "-e", "-o", "args="]).check().stdout
    assert "tests.ec2lab.daemon" not in commands
    assert len(commands.splitlines()) < 10
    outside = lab.run_on(one, ["curl", "-s", "-m", "20", "http://192.0.2.1/"])
    assert outside.returncode == 7  # refused at once, not timed out


def test_an_instance_is_pending_then_runs_then_passes_its_checks(lab: Lab) -> None:
    lab.set_timing(pending=3.0)
    (launched,) = launch(lab)
    instance, ec2 = launched["InstanceId"], lab.client("ec2")
    assert launched["State"] == {"Code": 0, "Name": "pending"}
    assert lab.hosts() == {}
    until(lambda: state(lab, instance)["State"]["Name"] == "running")

    def status() -> dict[str, Any]:
        return dict(ec2.describe_instance_status(InstanceIds=[instance])["InstanceStatuses"][0])

    assert status()["InstanceStatus"]["Status"] in ("initializing", "ok")
    until(lambda: status()["InstanceStatus"]["Status"] == "ok")
    assert status()["SystemStatus"]["Status"] == "ok"


def test_a_terminated_instance_shuts_down_and_takes_its_host_along(lab: Lab) -> None:
    instance = boot(lab)
    lab.run_on(instance, ["sh", "-c", "sleep 4711 & trap 'touch /never' TERM"]).check()
    ec2 = lab.client("ec2")
    (answer,) = ec2.terminate_instances(InstanceIds=[instance])["TerminatingInstances"]
    assert answer["PreviousState"]["Name"] == "running"
    assert state(lab, instance)["State"]["Name"] in ("shutting-down", "terminated")
    until(lambda: state(lab, instance)["State"]["Name"] == "terminated")
    gone = state(lab, instance)
    assert gone["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert "PrivateIpAddress" not in gone
    assert gone["NetworkInterfaces"] == []
    until(lambda: lab.hosts() == {})
    assert "sleep 4711" not in lab.run(["ps", "-e", "-o", "args="]).check().stdout
    with pytest.raises(LabError, match=instance):
        lab.run_on(instance, ["true"])
    assert ec2.describe_volumes()["Volumes"] == []
    assert ec2.describe_network_interfaces()["NetworkInterfaces"] == []


def test_a_stopped_instance_keeps_its_disk_and_address(lab: Lab) -> None:
    instance = boot(lab)
    address = state(lab, instance)["PrivateIpAddress"]
    lab.set_timing(stopping=3.0)
    shut_down = "trap 'touch /home/ubuntu/told; exit' TERM; sleep 600 & wait"  # as a service does
    lab.run_on(instance, ["sh", "-c", f'touch /home/ubuntu/kept; sh -c "{shut_down}" &']).check()
    ec2 = lab.client("ec2")
    ec2.stop_instances(InstanceIds=[instance])
    with pytest.raises(ClientError, match="IncorrectInstanceState"):
        ec2.start_instances(InstanceIds=[instance])  # while it stops
    until(lambda: state(lab, instance)["State"]["Name"] == "stopped")
    until(lambda: lab.hosts() == {})
    ec2.start_instances(InstanceIds=[instance])
    until(lambda: lab.hosts() == {instance: address})
    until(lambda: lab.ssh(address, "test -e kept -a -e told").returncode == 0)


def test_commands_on_the_laptop_have_a_users_environment_and_a_limit(lab: Lab) -> None:
    account = "import boto3; print(boto3.client('sts').get_caller_identity()['Account'])"
    assert lab.run(["python", "-c", account]).check().stdout.strip() == "123456789012"
    assert lab.run(["sh", "-c", "pwd; echo $HOME"]).check().stdout.split() == [str(lab.home)] * 2
    with pytest.raises(TimeoutError, match=r"sleep 600 had not ended after 1 s"):
        lab.run(["sleep", "600"], limit=1)
    assert "sleep 600" not in lab.run(["ps", "-e", "-o", "args="]).stdout
    running = lab.start(["sleep", "601"])
    running.signal(9)
    assert running.wait(20).returncode in (-9, 137)
