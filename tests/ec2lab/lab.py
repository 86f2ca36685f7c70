"""A lab, as tests use it: an EC2 whose instances are real Linux hosts, and a laptop that runs commands beside them.

    with Lab() as lab:
        lab.capacity["us-west-2a", "g5.xlarge"] = 1
        lab.run(["ray", "up", "--yes", str(lab.home / "cluster.yaml")], limit=300).check()
        lab.kill(instance)

Several labs can run at once: each has namespaces, addresses and a directory of its own. What the laptop and the tests
share stands in `lab.home`: the laptop's /tmp is its own.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import boto3
from botocore.config import Config

from tests.ec2lab import commands, network, requirements, words
from tests.ec2lab.commands import Command, Done
from tests.ec2lab.control import LabError
from tests.ec2lab.lifecycle import Timing
from tests.ec2lab.network import LAPTOP
from tests.ec2lab.process import LabProcess

__all__ = ["LAPTOP", "Lab", "LabError", "Limit", "Timing"]

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "lab-access-key", "AWS_SECRET_ACCESS_KEY": "lab-secret-key"}


class Limit:
    """One of EC2's limits, to be set and taken back like the entries of a dictionary. What is not set is unlimited."""

    def __init__(self, lab: "Lab", kind: str) -> None:
        self._lab, self._kind = lab, kind

    def __setitem__(self, key: str | tuple[str, str], number: int) -> None:
        self._lab.ask("limit", kind=self._kind, key=[key] if isinstance(key, str) else list(key), number=number)

    def __delitem__(self, key: str | tuple[str, str]) -> None:
        self._lab.ask("limit", kind=self._kind, key=[key] if isinstance(key, str) else list(key), number=None)


class Lab:
    """One lab. It ends with the `with` block, or else with this process.

    `capacity[zone, type]`: how many instances may run there at once; a launch that finds some gets some.
    `quota[market, bucket]`: how many vCPUs the account may run; `on-demand` or `spot`, and `g`, `p`, `standard`, ...
    `addresses[zone]`: how many addresses the zone's subnet has.
    """

    region = "us-west-2"
    zones = ("us-west-2a", "us-west-2b", "us-west-2c")
    key_name = "lab"

    def __init__(self, timing: Timing | None = None, logs: Path | None = None) -> None:
        self._timing, self._logs = timing or Timing(), logs
        self._started: list[Command] = []
        self.capacity, self.quota, self.addresses = (Limit(self, kind) for kind in ("capacity", "quota", "addresses"))

    @staticmethod
    def missing() -> list[str]:
        """What this machine lacks for a lab, a sentence each; empty when nothing."""
        return requirements.missing()

    def __enter__(self) -> "Lab":
        self._process = LabProcess(self._logs)
        self.directory, self.endpoint, self.ask = self._process.directory, self._process.endpoint, self._process.ask
        try:
            self._furnish()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the lab and all that is in it; nothing when it has ended."""
        self._process.close()
        while self._started:
            self._started.pop().reap()

    def _furnish(self) -> None:
        self.home = self.directory / "home"  # the laptop's home directory, and the tests' to put files in
        self._commands = self.directory / "commands"
        self.home.mkdir(mode=0o700)
        self._commands.mkdir()
        said = cast(dict[str, Any], self.ask("describe"))
        self.subnets: dict[str, str] = said["subnets"]  # by zone
        self.image: str = said["image"]
        self.set_timing(**asdict(self._timing))
        self.key_file = self.home / ".ssh" / f"{self.key_name}.pem"
        self.key_file.parent.mkdir(mode=0o700)
        made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(self.key_file)]
        subprocess.run(made, timeout=60, check=True)
        public = self.key_file.with_suffix(".pem.pub").read_bytes()
        self.client("ec2").import_key_pair(KeyName=self.key_name, PublicKeyMaterial=public)

    @property
    def daemon(self) -> int:
        """The number of the lab's daemon on this machine."""
        return self._process.daemon

    def daemon_log(self) -> str:
        """What the daemon has said."""
        return self._process.said()

    def console(self, instance: str) -> str:
        """What a host's first process has said."""
        return (self.directory / "hosts" / f"{instance}.log").read_text(errors="replace")

    # The API and the hosts.

    def client(self, service: str, retries: int = 0) -> Any:
        """A boto3 client of the lab's API, for the tests' own process."""
        return boto3.client(
            service,
            region_name=self.region,
            endpoint_url=self.endpoint,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            config=Config(retries={"max_attempts": retries}),
        )

    def hosts(self) -> dict[str, str]:
        """The private address of every host that is up, by instance: what really runs, whatever the API says."""
        return cast(dict[str, str], self.ask("hosts"))

    def instances(self, *states: str) -> list[dict[str, Any]]:
        """The instances that the API lists in these states; those that cost money when none is named."""
        wanted = states or ("pending", "running", "stopping", "stopped", "shutting-down")
        pages = self.client("ec2").get_paginator("describe_instances").paginate()
        listed = [one for page in pages for reservation in page["Reservations"] for one in reservation["Instances"]]
        return [one for one in listed if one["State"]["Name"] in wanted]

    # Commands.

    @property
    def environment(self) -> dict[str, str]:
        """The environment of commands on the laptop: a user's, with credentials, who has Python's own programs."""
        return {
            "HOME": str(self.home),
            "PATH": f"{sys.prefix}/bin:{requirements.SEARCHED}",
            "LANG": "C.UTF-8",
            "USER": "root",
            "AWS_ENDPOINT_URL": network.ENDPOINT,
            "AWS_DEFAULT_REGION": self.region,
            **CREDENTIALS,
            **{name: os.environ[name] for name in ("PYTHONPATH", "CI") if name in os.environ},
        }

    def start(self, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> Command:
        """Start a command on the laptop."""
        entrance = commands.laptop_entrance(self.daemon, self.home)
        started = Command(argv, entrance, {**self.environment, **(environment or {})}, self._commands)
        self._started.append(started)
        return started

    def run(self, argv: Sequence[str], limit: float = 120.0, environment: Mapping[str, str] | None = None) -> Done:
        """Run a command on the laptop for `limit` seconds at most; TimeoutError when it needs longer."""
        return self.start(argv, environment).wait(limit)

    def run_on(self, instance: str, argv: Sequence[str], limit: float = 120.0) -> Done:
        """Run a command on a host, as root and past its sshd. LabError when the instance has no host."""
        first = cast(int, self.ask("first_process", instance=instance))
        entrance = commands.host_entrance(self.daemon, first)
        path = {"PATH": self.environment["PATH"], "HOME": "/root", "LANG": "C.UTF-8"}
        return Command(argv, entrance, path, self._commands).wait(limit)

    def ssh(self, address: str, command: str, limit: float = 60.0, user: str = "ubuntu") -> Done:
        """Run a shell command on a host by SSH from the laptop, with the lab's key pair."""
        options = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=5"]
        flags = [word for option in options for word in ("-o", option)]
        return self.run(["ssh", "-i", str(self.key_file), *flags, "-q", f"{user}@{address}", command], limit)

    # Trouble.

    def set_timing(self, **seconds: float) -> None:
        """Change how long states take from now on: the fields of `Timing`."""
        self.ask("timing", **seconds)

    def fail_next(self, operation: str, code: str, message: str, times: int | None = 1, status: int = 400) -> None:
        """Refuse the next `times` calls of operations like `operation` (`Describe*`); None: until `forgive`."""
        self.ask("fail", operation=operation, status=status, code=code, message=message, times=times)

    def throttle(self, operation: str = "*", times: int | None = 3) -> None:
        """Refuse the next calls as too many. SDKs try them again by themselves."""
        refusal = words.throttled()
        self.fail_next(operation, refusal.code, refusal.message, times, refusal.status)

    def deny(self, operation: str) -> None:
        """The caller may not do this (an operation of EC2) until `forgive`."""
        self.ask("deny", operation=operation)

    def forgive(self) -> None:
        """All scripted trouble that is still to come is called off: refusals, limits, faults of the next hosts."""
        self.ask("forgive")

    def mute_ssh(self, hosts: int = 1, instance_type: str = "*") -> None:
        """The next hosts never answer on port 22: connections to it time out."""
        self.ask("boot_fault", hosts=hosts, instance_type=instance_type, mute_ssh=True)

    def slow_boot(self, seconds: float, hosts: int = 1, instance_type: str = "*") -> None:
        """The next hosts refuse SSH for so many seconds after their instance has begun to run."""
        self.ask("boot_fault", hosts=hosts, instance_type=instance_type, slow=seconds)

    def break_setup(
        self,
        command: str,
        message: str = "No space left on device",
        status: int = 1,
        hosts: int = 1,
        instance_type: str = "*",
    ) -> None:
        """On the next hosts the command (`pip`, `ray`) fails with this message and status."""
        fault: dict[str, Any] = {"broken": command, "message": message, "status": status}
        self.ask("boot_fault", hosts=hosts, instance_type=instance_type, **fault)

    def kill(self, instance: str, code: str = "Server.InternalError", message: str = "") -> None:
        """The instance dies this moment, without a shutdown, as by a failure of the machine under it."""
        text = message or f"{code}: An internal error caused the instance to terminate."
        self.ask("kill", name=instance, code=code, message=text)

    def cut(self, one: str, other: str) -> None:
        """Nothing that either sends reaches the other any more: a black hole, not a refusal. Instances, or LAPTOP."""
        self.ask("cut", one=one, other=other)

    def heal(self, one: str, other: str) -> None:
        """Undo a cut."""
        self.ask("heal", one=one, other=other)

    def spot_notice(self, instance: str, in_seconds: float = 120.0) -> None:
        """The instance's metadata says that it will be interrupted, and when; then it is terminated."""
        self.ask("spot_notice", name=instance, seconds=in_seconds)

    def rebalance(self, instance: str) -> None:
        """The instance's metadata recommends to rebalance: it runs an elevated risk of interruption."""
        self.ask("rebalance", name=instance)
