"""The lab's EC2: moto, with the lab's instances, behind the lab's front; and what the lab has told it to do badly.

The daemon owns one and calls `advance` again and again; the API's threads come in through `front`. One lock guards
all that the two share. Hosts are made by `hosts.py` from what `machines` says.
"""

import os

# moto reads these when it is imported. `ray up` attaches AWS's own policies to the role that it creates; and a type of
# instance that does not exist is refused.
os.environ |= {"MOTO_IAM_LOAD_MANAGED_POLICIES": "true", "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION": "true"}

import threading
import time
from dataclasses import replace
from typing import Any

from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from tests.ec2lab import instance as instances
from tests.ec2lab import quotas, words
from tests.ec2lab.front import Front, Parameters
from tests.ec2lab.hosts import Machine
from tests.ec2lab.instance import LabInstance
from tests.ec2lab.lifecycle import Timing
from tests.ec2lab.metadata import Identity
from tests.ec2lab.trouble import BootFault, Failure, Launch, Limits, Running, boot_faults, first_failure, grant
from tests.ec2lab.words import Refusal

REGION = "us-west-2"


class Cloud:
    """One region of one account."""

    def __init__(self) -> None:
        instances.install()
        quotas.install(REGION, lambda: self.limits.quota)
        self.timing = Timing()
        self.limits = Limits()
        self.failures: list[Failure] = []
        self.boot_faults: list[BootFault] = []
        self.lock = threading.RLock()
        moto = DomainDispatcherApplication(create_backend_app)
        self.front = Front(moto, self._refusal, self._place, self.lock)
        self.backend: Any = get_backend("ec2")[DEFAULT_ACCOUNT_ID][REGION]
        self._room = {subnet.id: subnet.available_ip_address_count for subnet in self.backend.describe_subnets()}

    def instances(self) -> list[LabInstance]:
        """Every instance that is listed, in whatever state."""
        return [one for reservation in list(self.backend.reservations.values()) for one in reservation.instances]

    def instance(self, name: str) -> LabInstance:
        """The instance of this id. KeyError when none is listed."""
        found = next((one for one in self.instances() if one.id == name), None)
        if found is None:
            raise KeyError(f"No instance {name} is listed.")
        return found

    def advance(self) -> None:
        """Let time pass for every instance."""
        with self.lock:
            for name, reservation in list(self.backend.reservations.items()):
                reservation.instances = [one for one in reservation.instances if one.advance(self.timing)]
                if not reservation.instances:
                    del self.backend.reservations[name]
                self._share_profile(reservation.instances)

    def machines(self) -> list[Machine]:
        """Every instance as its host should be."""
        with self.lock:
            return [
                Machine(
                    instance=one.id,
                    instance_type=one.instance_type,
                    state=one.state,
                    address=str(one.private_ip),
                    public=one.public_ip,
                    name=one.private_dns_name.partition(".")[0],
                    public_key=self._public_key(one),
                )
                for one in self.instances()
                if one.state != "terminated" and one.private_ip
            ]

    def names(self) -> str:
        """The table of names that all hosts share: every instance by its short and its full name."""
        with self.lock:
            known = [one for one in self.instances() if one.state != "terminated"]
            full = [(one.private_ip, one.private_dns_name) for one in known]
        lines = [f"{address} {name} {name.partition('.')[0]}" for address, name in full]
        return "\n".join(["127.0.0.1 localhost", *lines, ""])

    def identity(self, address: str) -> Identity | None:
        """What the instance with this address can learn about itself; None when nobody running has it."""
        with self.lock:
            one = next((one for one in self.instances() if one.private_ip == address and one.state == "running"), None)
            if one is None:
                return None
            association = self.backend.iam_instance_profile_associations.get(one.id)
            profile = association.iam_instance_profile if association else None
            return Identity(
                instance=one.id,
                instance_type=one.instance_type,
                image=one.image_id,
                account=DEFAULT_ACCOUNT_ID,
                region=REGION,
                zone=one.placement.zone,
                address=address,
                public=one.public_ip,
                name=one.private_dns_name,
                launched=one.launch_time.timestamp(),
                spot=one.lifecycle == "spot",
                security_groups=tuple(group.name for group in one.security_groups),
                key_name=one.key_name,
                public_key=self._public_key(one),
                profile=(profile.arn, profile.id) if profile else None,
                role=profile.roles[0].name if profile and profile.roles else None,
                tags=tuple((tag["key"], tag["value"]) for tag in one.get_tags()),
                token_required=one.metadata_options.http_tokens == "required",
                enabled=one.metadata_options.http_endpoint == "enabled",
                tags_shown=one.metadata_options.instance_metadata_tags == "enabled",
                interruption=one.interruption,
                rebalance=one.rebalance,
            )

    def set_addresses(self, zone: str, number: int | None) -> None:
        """So many addresses in all in the zone's subnets, which DescribeSubnets then shows; None: as it was."""
        with self.lock:
            addresses = {**self.limits.addresses, zone: number}
            known = {name: limit for name, limit in addresses.items() if limit is not None}
            self.limits = replace(self.limits, addresses=known)
            for subnet in self.backend.describe_subnets():
                if subnet.availability_zone == zone:
                    subnet._available_ip_addresses = self._room[subnet.id] if number is None else number

    def kill(self, name: str, code: str, message: str) -> None:
        """The instance is terminated at once, as by a failure of what is under it."""
        with self.lock:
            one = self.instance(name)
            one.leave(code, message)
            one.end()

    def spot_notice(self, name: str, seconds: float) -> None:
        """The instance will be interrupted, and is told."""
        with self.lock:
            self.instance(name).interruption = time.time() + seconds

    def rebalance(self, name: str) -> None:
        """The instance is told that it may soon be interrupted."""
        with self.lock:
            self.instance(name).rebalance = time.time()

    def faults(self, instance_type: str) -> list[BootFault]:
        """The faults with which a host of this type now boots for the first time."""
        with self.lock:
            due, self.boot_faults = boot_faults(instance_type, self.boot_faults)
            return due

    def _share_profile(self, launched: list[LabInstance]) -> None:
        """Give all instances of a launch the instance profile that moto gives only the first."""
        associations = self.backend.iam_instance_profile_associations
        first = next((associations[one.id] for one in launched if one.id in associations), None)
        for one in launched:
            if first and one.id not in associations and one.state != "terminated":
                self.backend.associate_iam_instance_profile(
                    instance_id=one.id, iam_instance_profile_arn=first.iam_instance_profile.arn
                )

    def _public_key(self, one: LabInstance) -> str:
        pair = self.backend.key_pairs.get(one.key_name)
        return pair.public_key.strip() if pair else ""

    def _refusal(self, operation: str) -> Refusal | None:
        with self.lock:
            refusal, self.failures = first_failure(operation, self.failures)
            return refusal

    def _place(self, asked: Parameters) -> Parameters | Refusal:
        """The launch with a zone and with as many instances as there is room for, or why it gets none.

        A launch that names no subnet goes to the default subnet of its zone, and one that names no zone to the first
        that has room. What moto refuses in EC2's words is left to moto.
        """
        with self.lock:
            image, key_name = asked.get("ImageId", ""), asked.get("KeyName")
            if image and image not in self.backend.amis:
                return words.no_image(image)
            if key_name and key_name not in self.backend.key_pairs:
                return words.no_key_pair(key_name)
            subnets = {one.id: one for one in self.backend.describe_subnets()}
            named = asked.get("SubnetId") or asked.get("NetworkInterface.1.SubnetId")
            if named and named not in subnets:
                return asked
            zones = [zone.name for zone in self.backend.describe_availability_zones()]
            defaults = [one for one in subnets.values() if one.default_for_az]
            chosen = [subnets[named]] if named else defaults
            if (zone := asked.get("Placement.AvailabilityZone")) and not named:
                chosen = [one for one in chosen if one.availability_zone == zone]
            running = self._running()
            answer: Parameters | Refusal = asked
            for subnet in chosen:
                launch = Launch(
                    instance_type=asked.get("InstanceType", "m1.small"),
                    zone=subnet.availability_zone,
                    subnet=subnet.id,
                    spot=asked.get("InstanceMarketOptions.MarketType") == "spot",
                    vcpus=self._vcpus(asked.get("InstanceType", "m1.small")),
                    minimum=int(asked.get("MinCount", "1")),
                    maximum=int(asked.get("MaxCount", "1")),
                )
                granted = grant(launch, running, self.limits, zones)
                if not isinstance(granted, Refusal):
                    in_subnet = {} if named else {"SubnetId": subnet.id}
                    return {**asked, **in_subnet, "MinCount": str(granted)}
                answer = granted
            return answer

    def _running(self) -> list[Running]:
        taking = [one for one in self.instances() if one.state in ("pending", "running")]
        return [
            Running(one.instance_type, one.placement.zone, one.lifecycle == "spot", self._vcpus(one.instance_type))
            for one in taking
        ]

    def _vcpus(self, instance_type: str) -> int:
        known = (one for one in self.backend.instance_types if one["InstanceType"] == instance_type)
        return next((int(one["VCpuInfo"]["DefaultVCpus"]) for one in known), 1)
