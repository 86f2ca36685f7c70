"""What is left of a lab, however it ends: nothing. And two labs at once keep out of each other's way."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.ec2lab import directory
from tests.ec2lab.asking import until
from tests.ec2lab.conftest import QUICK
from tests.ec2lab.lab import Lab, LabError

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("able")]

OWNER = """
import sys, time
from tests.ec2lab.lab import Lab, Timing
lab = Lab(Timing(pending=0.2)).__enter__()
lab.client("ec2").run_instances(ImageId=lab.image, InstanceType="m5.large", MinCount=2, MaxCount=2, KeyName="lab")
while len(lab.hosts()) < 2:
    time.sleep(0.1)
lab.start(["sh", "-c", f"sleep 600; : {lab.directory.name}"])
print(lab.directory.name, lab.daemon, flush=True)
time.sleep(600)
"""


def left(name: str) -> list[str]:
    """Whatever on this machine has to do with the lab of this name: processes, mounts, namespaces, links, directory."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if name in line:
            found.append(f"process {process.info['pid']}: {line[:200]}")
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if name in line]
    for command in (["ip", "netns"], ["ip", "-brief", "link"]):
        listed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
        found += [line for line in listed.splitlines() if re.match(r"h[0-9a-f]{12}\b|br0\b", line)]
    return found + ([str(directory.HOME / name)] if (directory.HOME / name).exists() else [])


def someone_elses_lab() -> tuple[subprocess.Popen[str], str, int]:
    """A process that owns a lab with two hosts; the process, the lab's name and its daemon."""
    root = Path(__file__).parents[2]
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout
    said = owner.stdout.readline().split()
    if len(said) != 2:
        end(owner)
        pytest.fail("The lab of another process did not start.")
    return owner, said[0], int(said[1])


def end(owner: subprocess.Popen[str]) -> None:
    """End the process, as a crash would."""
    owner.kill()
    owner.wait(timeout=20)
    if owner.stdout:
        owner.stdout.close()


def test_a_lab_that_is_closed_leaves_nothing() -> None:
    with Lab(QUICK) as lab:
        request = {"ImageId": lab.image, "InstanceType": "m5.large", "MinCount": 2, "MaxCount": 2}
        lab.client("ec2").run_instances(**request)
        until(lambda: len(lab.hosts()) == 2)
        running = lab.start(["sleep", "600"])
        assert left(lab.directory.name)  # it is seen while it is there
    assert running.ended
    assert left(lab.directory.name) == []


def test_a_lab_ends_with_the_process_that_made_it() -> None:
    owner, name, daemon = someone_elses_lab()
    end(owner)
    until(lambda: not psutil.pid_exists(daemon))
    assert directory.sweep() == [name]
    assert left(name) == []


def test_a_killed_daemon_takes_all_with_it_and_its_directory_is_swept() -> None:
    owner, name, daemon = someone_elses_lab()
    try:
        os.kill(daemon, signal.SIGKILL)
        until(lambda: not any("process" in one for one in left(name)))
        done = subprocess.run(
            [sys.executable, "-m", "tests.ec2lab.sweep"],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stdout == f"Swept {name}.\n"
        assert left(name) == []
    finally:
        end(owner)


def test_a_daemon_that_outlives_its_owner_is_ended_by_the_sweep() -> None:
    owner, name, daemon = someone_elses_lab()
    os.kill(daemon, signal.SIGSTOP)  # it cannot notice
    end(owner)
    assert directory.sweep() == [name]
    until(lambda: left(name) == [])


def test_two_labs_at_once_have_the_same_addresses_and_do_not_meet() -> None:
    with Lab(QUICK) as one, Lab(QUICK) as other:
        assert directory.sweep() == []  # both are alive
        for lab in (one, other):
            request = {"ImageId": lab.image, "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1, "KeyName": "lab"}
            lab.client("ec2").run_instances(**request, SubnetId=lab.subnets["us-west-2a"])
        until(lambda: one.hosts() and other.hosts())
        (mine,), (theirs,) = one.hosts().items(), other.hosts().items()
        assert mine[0] != theirs[0]
        assert mine[1] == theirs[1]
        for lab, instance in ((one, mine[0]), (other, theirs[0])):
            lab.run_on(instance, ["sh", "-c", f"echo {instance} > /home/ubuntu/who"]).check()
        for lab, instance in ((one, mine[0]), (other, theirs[0])):
            until(lambda lab=lab: lab.ssh(mine[1], "true").returncode == 0)  # type: ignore[misc]
            assert lab.ssh(mine[1], "cat who").check().stdout.strip() == instance
        one.close()
        assert other.ssh(theirs[1], "true").returncode == 0


def test_a_lab_that_cannot_start_says_why_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(directory.HOME.iterdir())
    monkeypatch.setattr(
        "tests.ec2lab.process.SEPARATE", ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "false"]
    )
    with pytest.raises(LabError, match="did not start"), Lab():
        pass
    assert set(directory.HOME.iterdir()) == before
