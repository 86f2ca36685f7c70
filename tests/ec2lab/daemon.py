"""The process that is a lab: EC2's API, instance metadata and all hosts. `python -m tests.ec2lab.daemon`, by Lab only.

It is process 1 of the lab's outer PID namespace, so that everything in the lab ends when it does, however it does.
It ends by itself when its owner does. The owner and what it tells the daemon: see `lab.py`.
"""

import argparse
import contextlib
import logging
import os
import select
import signal
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from werkzeug.serving import make_server

from elastic_deploy.cluster.aws.images import gpu_parameter, head_parameter
from tests.ec2lab import control, laptop, network, words
from tests.ec2lab.cloud import REGION, Cloud
from tests.ec2lab.hosts import Hosts, Settings
from tests.ec2lab.metadata import MetadataServer
from tests.ec2lab.parameters import publish
from tests.ec2lab.requirements import SEARCHED
from tests.ec2lab.trouble import BootFault, Failure, Limits
from tests.ec2lab.words import Refusal

TICK = 100  # milliseconds


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--directory", type=Path, required=True)
    options.add_argument("--owner", type=int, required=True, help="a pidfd of the process whose end is ours")
    options.add_argument("--listener", type=int, required=True, help="a socket of the machine's own network")
    arguments = options.parse_args()
    os.setsid()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logging.getLogger("werkzeug").setLevel(logging.ERROR)

    directory: Path = arguments.directory
    needed = [Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[2]]
    room = laptop.furnish(directory / "room", needed)
    network.run_ip(network.outer())
    network.refuse_promptly()
    cloud = Cloud()
    for name in (gpu_parameter("x86_64"), head_parameter("x86_64")):
        publish(REGION, name, image_of(cloud))
    (directory / "hosts").mkdir()
    settings = Settings(
        disks=room.disks,
        logs=directory / "hosts",
        hosts_file=room.hosts_file,
        carry=room.carry,
        carried=room.carried,
        search_path=f"{sys.prefix}/bin:{SEARCHED}",
        mark=(directory.name,),
    )
    hosts = Hosts(settings, cloud.faults)
    for inside in (
        make_server(network.GATEWAY, network.API_PORT, cloud.front, threaded=True),
        make_server("127.0.0.1", 0, cloud.front, threaded=True, fd=arguments.listener),
    ):
        threading.Thread(target=inside.serve_forever, name="api", daemon=True).start()
    MetadataServer(network.METADATA, cloud.identity).start()
    stop = threading.Event()
    control.serve(directory / "control", actions(cloud, hosts, stop))
    try:
        live(cloud, hosts, room.hosts_file, arguments.owner, stop)
    finally:
        hosts.end_all()


def live(cloud: Cloud, hosts: Hosts, hosts_file: Path, owner: int, stop: threading.Event) -> None:
    """Let time pass until the owner ends or says so."""
    watch = select.poll()
    watch.register(owner, select.POLLIN)
    while not stop.is_set() and not watch.poll(TICK):
        cloud.advance()
        names = cloud.names()
        if names != hosts_file.read_text():
            hosts_file.write_text(names)  # in place: it is mounted on every host
        hosts.sync(cloud.machines())
        reap()


def image_of(cloud: Cloud) -> str:
    """The machine image that the tests launch: one that moto has of Amazon's."""
    images = cloud.backend.describe_images(filters={"owner-alias": ["amazon"], "architecture": ["x86_64"]})
    return images[0].id if images else ""


def reap() -> None:
    """Take the orphans that have ended, as process 1 has to. Our own children, which are waited for by those who
    started them, are told by their session: it is ours."""
    for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        with contextlib.suppress(OSError, ValueError):
            state, _, _, session = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[:4]
            if state == "Z" and int(session) != os.getsid(0):
                os.waitpid(int(child), os.WNOHANG)


def actions(cloud: Cloud, hosts: Hosts, stop: threading.Event) -> control.Actions:
    """What the owner may ask, by name."""

    def describe() -> dict[str, object]:
        subnets = {one.availability_zone: one.id for one in cloud.backend.describe_subnets()}
        return {"region": REGION, "subnets": subnets, "image": image_of(cloud)}

    def limit(kind: str, key: list[str], number: int | None) -> None:
        with cloud.lock:
            if kind == "addresses":
                cloud.set_addresses(key[0], number)
                return
            table: dict[Any, int | None] = {**getattr(cloud.limits, kind), tuple(key): number}
            known = {name: value for name, value in table.items() if value is not None}
            cloud.limits = replace(cloud.limits, **{kind: known})

    def fail(operation: str, status: int, code: str, message: str, times: int | None) -> None:
        with cloud.lock:
            cloud.failures.append(Failure(operation, Refusal(status, code, message), times))

    def deny(operation: str) -> None:
        with cloud.lock:
            cloud.failures.append(Failure(operation, words.not_allowed(operation), None))

    def forgive() -> None:
        with cloud.lock:
            cloud.failures, cloud.boot_faults = [], []
            for zone in list(cloud.limits.addresses):
                cloud.set_addresses(zone, None)
            cloud.limits = Limits()

    def boot_fault(**fault: Any) -> None:
        with cloud.lock:
            cloud.boot_faults.append(BootFault(**fault))

    def timing(**seconds: float) -> dict[str, float]:
        with cloud.lock:
            cloud.timing = replace(cloud.timing, **seconds)
            return asdict(cloud.timing)

    return {
        "describe": describe,
        "limit": limit,
        "fail": fail,
        "deny": deny,
        "forgive": forgive,
        "boot_fault": boot_fault,
        "timing": timing,
        "kill": cloud.kill,
        "spot_notice": cloud.spot_notice,
        "rebalance": cloud.rebalance,
        "cut": hosts.cut,
        "heal": hosts.heal,
        "hosts": hosts.addresses,
        "first_process": hosts.first_process,
        "stop": stop.set,
    }


if __name__ == "__main__":
    main()
