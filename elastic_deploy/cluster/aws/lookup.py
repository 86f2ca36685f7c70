"""Asks EC2 and the account what the user did not say, through boto3. Reads only; makes nothing, changes nothing.

An answer that does not come (no credentials, no right, no network) leaves the fact unknown, and why in `unanswered`:
the file is written all the same. What the user named and EC2 does not know is an error.
"""

import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from elastic_deploy.cluster.aws.account import Account, Subnet
from elastic_deploy.cluster.aws.choose import wanted_instance
from elastic_deploy.cluster.aws.images import gpu_parameter, head_parameter
from elastic_deploy.cluster.aws.instances import Instance, counts_of, known_instances, read_instance
from elastic_deploy.cluster.aws.order import DEFAULT_REGION, Order
from elastic_deploy.cluster.aws.policy import role_name
from elastic_deploy.cluster.aws.steps import group_name
from elastic_deploy.model.errors import InvalidConfigError

Answer = TypeVar("Answer")

_PATIENCE = Config(connect_timeout=5, read_timeout=20, retries={"max_attempts": 3, "mode": "standard"})
_ADDRESS_URL = "https://checkip.amazonaws.com"
_ADDRESS_LIMIT_S = 5.0


def caller_address() -> str | None:
    """This machine's address as AWS sees it, as a range of one; None where nobody says."""
    try:
        with urllib.request.urlopen(_ADDRESS_URL, timeout=_ADDRESS_LIMIT_S) as answer:
            return f"{answer.read(100).decode().strip()}/32"
    except (urllib.error.URLError, OSError, UnicodeDecodeError):
        return None


def look_up(order: Order) -> Account:
    """Everything that can be known. Raises InvalidConfigError for a type, subnet or group that is not there."""
    return _Asker(order).account()


class _Asker:
    """The questions to one region, and what could not be asked."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._session = boto3.Session(region_name=order.region)
        self._named_region: str | None = self._session.region_name
        self._region = self._named_region or DEFAULT_REGION
        self._unanswered: list[str] = []

    def account(self) -> Account:
        order = self._order
        identity = self._ask("who you are", lambda: self._client("sts").get_caller_identity()["Account"])
        if identity is None:
            return Account(region=self._named_region, unanswered=(*self._unanswered, "So EC2 was not asked at all."))
        instance = self._instance()
        subnets = self._ask("the subnets", self._subnets)
        group, open_to_world = self._ask("the security group", lambda: self._security_group(subnets)) or (None, False)
        known_group = order.security_group or group
        head_name = order.head_instance_type
        return Account(
            region=self._named_region,
            id=identity,
            instance=instance,
            head=self._ask("the head's instance type", lambda: self._described(head_name)) if head_name else None,
            offered_in=self._ask("the zones that offer it", lambda: self._offered_in(instance.type)),
            subnets=subnets,
            security_group=group,
            open_to_world=open_to_world,
            gpu_image=self._parameter("the current GPU image", gpu_parameter(instance.arch)),
            head_image=self._parameter("the current image for the head", head_parameter(instance.arch)),
            has_role=self._ask("the role", self._has_role),
            placement_strategy=self._ask("the placement group", self._placement_strategy),
            caller=None if order.ssh_from or known_group else caller_address(),
            unanswered=tuple(self._unanswered),
        )

    def _client(self, service: str) -> Any:
        return self._session.client(service, region_name=self._region, config=_PATIENCE)

    def _ask(self, what: str, question: Callable[[], Answer]) -> Answer | None:
        try:
            return question()
        except ClientError as error:
            self._unanswered.append(f"AWS did not say {what}: {error.response['Error']['Code']}.")
        except BotoCoreError as error:
            self._unanswered.append(f"AWS could not be asked {what}: {' '.join(str(error).split())}.")
        except ResponseParserError:  # a proxy's page, or another service behind AWS_ENDPOINT_URL
            self._unanswered.append(f"What answered when AWS was asked {what} is not AWS: no reply in AWS's form came.")
        return None

    def _instance(self) -> Instance:
        """The GPU nodes' type; where the table does not have the GPU, EC2's whole list is searched."""
        order = self._order
        if order.instance_type:
            name = order.instance_type
            return self._ask("the instance type", lambda: self._described(name)) or wanted_instance(order)
        if order.gpu and not counts_of(order.gpu, known_instances()):
            everything = self._ask("the instance types", self._everything)
            return wanted_instance(order, everything)
        return wanted_instance(order)

    def _described(self, name: str) -> Instance:
        try:
            return read_instance(self._client("ec2").describe_instance_types(InstanceTypes=[name])["InstanceTypes"][0])
        except ClientError as error:
            if error.response["Error"]["Code"] == "InvalidInstanceType":
                raise InvalidConfigError(f"EC2 does not know the instance type {name} in {self._region}.") from error
            raise

    def _everything(self) -> list[Instance]:
        pages = self._client("ec2").get_paginator("describe_instance_types").paginate()
        return [read_instance(each) for page in pages for each in page["InstanceTypes"]]

    def _offered_in(self, name: str) -> tuple[str, ...]:
        answer = self._client("ec2").describe_instance_type_offerings(
            LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": [name]}]
        )
        return tuple(sorted(each["Location"] for each in answer["InstanceTypeOfferings"]))

    def _subnets(self) -> tuple[Subnet, ...]:
        """Those that the user named, else the default VPC's, the zones' own default subnets first."""
        ec2, named = self._client("ec2"), list(self._order.subnets)
        if named:
            try:
                found = ec2.describe_subnets(SubnetIds=named)["Subnets"]
            except ClientError as error:
                if error.response["Error"]["Code"].startswith("InvalidSubnetI"):
                    raise InvalidConfigError(
                        f"{self._region} has no such subnet: {error.response['Error']['Message']}"
                    ) from error
                raise
            found.sort(key=lambda each: named.index(each["SubnetId"]))
        else:
            vpcs = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
            ids = [each["VpcId"] for each in vpcs]
            found = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": ids}])["Subnets"] if ids else []
            found.sort(key=lambda each: (not each.get("DefaultForAz"), each["SubnetId"]))
        return tuple(
            Subnet(each["SubnetId"], each["AvailabilityZone"], each["VpcId"], each.get("MapPublicIpOnLaunch", False))
            for each in found
        )

    def _security_group(self, subnets: tuple[Subnet, ...] | None) -> tuple[str | None, bool]:
        """The group that the user named, else the one that our commands make; and whether SSH is open to all."""
        ec2, named = self._client("ec2"), self._order.security_group
        vpc = subnets[0].vpc if subnets else None
        if named:
            filters = [{"Name": "group-id", "Values": [named]}]
        elif vpc:
            names = [group_name(self._order.cluster_name)]
            filters = [{"Name": "group-name", "Values": names}, {"Name": "vpc-id", "Values": [vpc]}]
        else:
            return None, False
        found = ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
        if named and not found:
            raise InvalidConfigError(f"There is no security group {named} in {self._region}.")
        if named and vpc and found[0]["VpcId"] != vpc:
            raise InvalidConfigError(
                f"The security group {named} is in {found[0]['VpcId']}, and the subnets are in {vpc}: name subnets, or"
                " a group, of the same VPC."
            )
        return (found[0]["GroupId"], any(map(_opens_ssh, found[0]["IpPermissions"]))) if found else (None, False)

    def _parameter(self, what: str, name: str) -> str | None:
        if self._order.image:
            return None
        return self._ask(what, lambda: str(self._client("ssm").get_parameter(Name=name)["Parameter"]["Value"]))

    def _has_role(self) -> bool:
        """Whether the head's instance profile exists and has a role."""
        try:
            name = role_name(self._order.cluster_name)
            profile = self._client("iam").get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchEntity":
                return False
            raise
        return bool(profile["Roles"])

    def _placement_strategy(self) -> str | None:
        name = self._order.placement_group
        if name is None:
            return None
        filters = [{"Name": "group-name", "Values": [name]}]
        found = self._client("ec2").describe_placement_groups(Filters=filters)["PlacementGroups"]
        return str(found[0]["Strategy"]) if found else ""


def _opens_ssh(rule: dict[str, Any]) -> bool:
    everybody = any(each["CidrIp"] == "0.0.0.0/0" for each in rule.get("IpRanges", []))
    everybody = everybody or any(each["CidrIpv6"] == "::/0" for each in rule.get("Ipv6Ranges", []))
    all_ports = rule["IpProtocol"] == "-1"
    return everybody and (all_ports or rule.get("FromPort", 0) <= 22 <= rule.get("ToPort", 65535))
