"""The hosts: boots one for every instance that runs, ends those that should not, and cuts and heals between them.

Only the daemon uses it, inside the lab's outer namespaces. It is told what each instance should be (`Machine`) and
makes it so; why an instance runs is the cloud's affair.
"""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.ec2lab import network
from tests.ec2lab.trouble import BootFault

BOOT = Path(__file__).with_name("host.sh")
UV = Path(__file__).with_name("uv.py")  # seen by the hosts under the same path
BOOTED = ".booted"  # a file that host.sh makes in the root directory when all is as it should be
BOOT_LIMIT = 20.0  # seconds


@dataclass(frozen=True)
class Machine:
    """What an instance's host is made from, and the state that its instance is in."""

    instance: str
    instance_type: str
    state: str
    address: str
    public: str | None
    name: str
    public_key: str

    @property
    def plug(self) -> str:
        """The name of the host's network namespace and of its cable: 15 characters at most."""
        return f"h{self.instance[-12:]}"


@dataclass(frozen=True)
class Settings:
    """What all hosts of a lab have in common.

    `disks` is where their disks stand, `logs` where their consoles do, `hosts_file` the table of names that they share.
    `carried` are paths below /tmp or /run that hosts need to see, and `carry` has a copy of their tree.
    """

    disks: Path
    logs: Path
    hosts_file: Path
    carry: Path
    carried: tuple[Path, ...]
    search_path: str
    mark: tuple[str, ...] = ()  # words that tell the lab's hosts from others' in a list of processes


@dataclass
class Host:
    """A host that is up, from the daemon's side."""

    machine: Machine
    process: subprocess.Popen[bytes]
    told: bool = False  # to shut down

    @property
    def first_process(self) -> int | None:
        """The host's process 1, by its number in the lab; None when there is none (any more)."""
        with contextlib.suppress(OSError, ValueError):
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
            return int(children.split()[0]) if children.split() else None
        return None


@dataclass
class Hosts:
    """All hosts of one lab. `faults` is asked once for each, when it boots for the first time."""

    settings: Settings
    faults: Callable[[str], list[BootFault]]
    _up: dict[str, Host] = field(default_factory=dict)
    _booted_with: dict[str, list[BootFault]] = field(default_factory=dict)
    _cuts: set[frozenset[str]] = field(default_factory=set)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def sync(self, machines: Iterable[Machine]) -> None:
        """Boot what runs, shut down what is leaving, switch off the rest, forget the disks of what is gone."""
        by_instance = {machine.instance: machine for machine in machines}
        with self._lock:
            for instance, host in list(self._up.items()):
                state = by_instance[instance].state if instance in by_instance else "forgotten"
                if state in ("shutting-down", "stopping"):
                    self._tell(host)
                elif state != "running":
                    self._end(host)
            for machine in by_instance.values():
                if machine.state == "running" and machine.instance not in self._up:
                    self._boot(machine)
            for instance in list(self._booted_with):
                if instance not in by_instance or by_instance[instance].state == "terminated":
                    shutil.rmtree(self.settings.disks / instance, ignore_errors=True)
                    del self._booted_with[instance]
                    self._cuts = {cut for cut in self._cuts if instance not in cut}

    def addresses(self) -> dict[str, str]:
        """The private address of every host that is up, by instance."""
        with self._lock:
            return {instance: host.machine.address for instance, host in self._up.items()}

    def first_process(self, instance: str) -> int:
        """The number, in the lab, of a host's process 1, once it has booted. KeyError when the instance has no host."""
        until = time.monotonic() + BOOT_LIMIT
        while time.monotonic() < until:
            with self._lock:
                found = self._up[instance].first_process
                if found is not None and self._booted(instance).exists():
                    return found
            time.sleep(0.05)
        raise TimeoutError(f"The host of {instance} has not booted within {BOOT_LIMIT:.0f} s.")

    def cut(self, one: str, other: str) -> None:
        """From now on nothing that either sends reaches the other. An end is an instance, or the laptop."""
        with self._lock:
            self._cuts.add(frozenset((one, other)))
            self._wire(one, other, network.blind)
            self._wire(other, one, network.blind)

    def heal(self, one: str, other: str) -> None:
        """The reverse of `cut`; nothing when there is no cut."""
        with self._lock:
            if frozenset((one, other)) in self._cuts:
                self._cuts.discard(frozenset((one, other)))
                self._wire(one, other, network.seeing)
                self._wire(other, one, network.seeing)

    def end_all(self) -> None:
        """Switch every host off."""
        with self._lock:
            for host in list(self._up.values()):
                self._end(host)

    def _booted(self, instance: str) -> Path:
        return self.settings.disks / instance / "upper" / BOOTED

    def _wire(self, here: str, peer: str, lines: Callable[[str, str], list[str]]) -> None:
        known = {network.LAPTOP: network.GATEWAY, **self.addresses()}
        if here in known and peer in known:
            inside = None if here == network.LAPTOP else self._up[here].machine.plug
            network.run_ip(lines(known[peer], "eth0" if inside else "br0"), inside)

    def _boot(self, machine: Machine) -> None:
        settings, instance = self.settings, machine.instance
        if instance not in self._booted_with:
            self._booted_with[instance] = self.faults(machine.instance_type)
        faults = self._booted_with[instance]
        broken = [fault for fault in faults if fault.broken]
        disk = settings.disks / instance
        disk.mkdir(parents=True, exist_ok=True)
        self._booted(instance).unlink(missing_ok=True)
        network.run_ip(network.cable(machine.plug, machine.address))
        network.run_ip(network.inside(machine.address, machine.public), machine.plug)
        if machine.public:
            network.run_ip(network.public_route(machine.address, machine.public))
        environment = {
            "PATH": settings.search_path,
            "DISK": str(disk),
            "HOST_NAME": machine.name,
            "HOSTS_FILE": str(settings.hosts_file),
            "CARRY": str(settings.carry),
            "CARRIED": " ".join(map(shlex.quote, map(str, settings.carried))),
            "GATEWAY": network.GATEWAY,
            "ENDPOINT": network.ENDPOINT,
            "PUBLIC_KEY": machine.public_key,
            "HOST_PATH": settings.search_path,
            "UV": str(UV),
            "PYTHON": sys.executable,
            "SSH": "mute" if any(fault.mute_ssh for fault in faults) else "answers",
            "SSH_AFTER": str(max((fault.slow for fault in faults), default=0.0)),
            "BROKEN": "\n".join(f"{fault.broken} {fault.status} {fault.message}" for fault in broken),
        }
        separate = ["unshare", "--pid", "--mount", "--uts", "--ipc", "--fork", "--kill-child"]
        with (settings.logs / f"{instance}.log").open("ab") as console:
            process = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{machine.plug}", *separate, "bash", str(BOOT), *settings.mark],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        self._up[instance] = Host(machine, process)
        for cut in self._cuts:
            if instance in cut:
                one, other = cut
                self._wire(one, other, network.blind)
                self._wire(other, one, network.blind)

    def _tell(self, host: Host) -> None:
        first = host.first_process
        if not host.told and first is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(first, signal.SIGTERM)
        host.told = True

    def _end(self, host: Host) -> None:
        """Switch a host off. Its first process takes all others with it, and is reaped only when they are gone."""
        instance, first = host.machine.instance, host.first_process
        for cut in [cut for cut in self._cuts if instance in cut]:  # its address may soon be another's
            (peer,) = cut - {instance}
            self._wire(peer, instance, network.seeing)
        with contextlib.suppress(ProcessLookupError):
            os.kill(first or host.process.pid, signal.SIGKILL)
        try:
            host.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            host.process.kill()
            host.process.wait(timeout=20)
        network.run_ip(network.unplug(host.machine.plug, host.machine.public), check=False)
        del self._up[instance]
