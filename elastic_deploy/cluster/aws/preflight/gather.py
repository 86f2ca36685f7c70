"""Asks AWS everything that the checks need, at once, and never longer than a few seconds. Reads only.

Called by `preflight`. An answer that does not come is an `Unknown` with AWS's reason; nothing is raised for it.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from elastic_deploy.cluster.aws.images import RESOLVE
from elastic_deploy.cluster.aws.preflight.facts import (
    Facts,
    GroupFact,
    Identity,
    ImageFact,
    PlacementFact,
    RightsFact,
    SubnetFact,
    TypeFact,
    Unknown,
)
from elastic_deploy.cluster.aws.preflight.files import without_comment
from elastic_deploy.cluster.aws.preflight.groups import called, made_by_ray, rule
from elastic_deploy.cluster.aws.preflight.quota import quota_code
from elastic_deploy.cluster.aws.preflight.rights import Question, questions, undecided_by
from elastic_deploy.cluster.aws.preflight.wanted import Wanted

Answer = TypeVar("Answer")

_PATIENCE = Config(connect_timeout=3, read_timeout=8, retries={"max_attempts": 2, "mode": "standard"})
_AT_ONCE = 8
_SERVICES = ("sts", "ec2", "service-quotas", "ssm", "iam")

_LIVING = ("pending", "running")
"""States of instances that count against a quota."""


def gather(wanted: Wanted, credentials: Mapping[str, str], *, cheap: bool = False) -> Facts:
    """The answers. `cheap` leaves out what takes longer or matters less: simulated rights, placement groups, what
    each zone offers. `credentials` are the YAML's own (boto3's arguments), empty where boto3 is to find some."""
    try:
        profile = boto3.Session(region_name=wanted.region)
        # A session is not safe between threads; its clients are.
        clients = {name: profile.client(name, config=_PATIENCE, **credentials) for name in _SERVICES}
        identity = _answer(lambda: _identity(clients["sts"]))
    except BotoCoreError as error:
        identity, clients = Unknown(_words(error)), {}
    if isinstance(identity, Unknown):
        # Nobody answers without credentials, and each would take its time not to.
        return Facts(identity=identity, **dict.fromkeys(_ASKED, Unknown("who you are is not known")))  # type: ignore[arg-type]
    asker = _Asker(wanted, clients)
    left_out = ("rights", "placement_groups", "offered") if cheap else ()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        asked: dict[str, Future[Any]] = {
            name: pool.submit(_answer, getattr(asker, name)) for name in _ASKED if name not in left_out
        }
        return Facts(identity=identity, **{name: future.result() for name, future in asked.items()})


_ASKED = (
    "enabled_regions",
    "types",
    "offered",
    "quotas",
    "in_use",
    "images",
    "key_pairs",
    "subnets",
    "groups",
    "placement_groups",
    "roles",
    "rights",
)
"""The fields of `Facts` that AWS answers, each by the method of the same name."""


def _answer(question: Callable[[], Answer]) -> Answer | Unknown:
    try:
        return question()
    except (BotoCoreError, ClientError) as error:
        return Unknown(_words(error))
    except Exception as error:  # noqa: BLE001 (an answer in another form than ours must not end all checks)
        return Unknown(f"its answer was not understood: {type(error).__name__}: {str(error)[:120]}")


def _words(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _identity(sts: Any) -> Identity:
    answer = sts.get_caller_identity()
    return Identity(str(answer["Account"]), str(answer["Arn"]))


class _Asker:
    """The questions, a method for each fact."""

    def __init__(self, wanted: Wanted, clients: dict[str, Any]) -> None:
        self._wanted = wanted
        self._ec2, self._iam = clients["ec2"], clients["iam"]
        self._quotas, self._ssm = clients["service-quotas"], clients["ssm"]

    def enabled_regions(self) -> tuple[str, ...]:
        return tuple(each["RegionName"] for each in self._ec2.describe_regions()["Regions"])

    def types(self) -> dict[str, TypeFact]:
        # A filter leaves out what EC2 does not know; a list of names would fail as a whole.
        found = self._ec2.describe_instance_types(
            Filters=[{"Name": "instance-type", "Values": list(self._wanted.instance_types)}]
        )["InstanceTypes"]
        return {
            each["InstanceType"]: _type(each) for each in found if each["InstanceType"] in self._wanted.instance_types
        }

    def offered(self) -> dict[str, tuple[str, ...]]:
        found = self._ec2.describe_instance_type_offerings(
            LocationType="availability-zone",
            Filters=[{"Name": "instance-type", "Values": list(self._wanted.instance_types)}],
        )["InstanceTypeOfferings"]
        zones: dict[str, tuple[str, ...]] = {}
        for each in found:
            zones[each["InstanceType"]] = (*zones.get(each["InstanceType"], ()), each["Location"])
        return zones

    def quotas(self) -> dict[str, float]:
        """Those that are told; it is an error only where none is."""
        codes = {quota_code(each.instance_type, spot=each.spot) for each in self._wanted.nodes if each.count}
        found: dict[str, float] = {}
        refused: ClientError | None = None
        for code in sorted(filter(None, codes)):
            try:
                found[code] = self._quota(code)
            except ClientError as error:
                refused = error
        if refused and not found:
            raise refused
        return found

    def _quota(self, code: str) -> float:
        asked = {"ServiceCode": "ec2", "QuotaCode": code}
        try:
            return float(self._quotas.get_service_quota(**asked)["Quota"]["Value"])
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchResourceException":
                raise
            # Nobody has changed it in this account: what AWS gives to everybody holds.
            return float(self._quotas.get_aws_default_service_quota(**asked)["Quota"]["Value"])

    def in_use(self) -> dict[str, int]:
        """vCPUs by quota, those of this cluster left out: what runs of it need not be launched."""
        used: dict[str, int] = {}
        filters = [{"Name": "instance-state-name", "Values": list(_LIVING)}]
        for page in self._ec2.get_paginator("describe_instances").paginate(Filters=filters):
            for each in (instance for reservation in page["Reservations"] for instance in reservation["Instances"]):
                tags = {tag["Key"]: tag["Value"] for tag in each.get("Tags", [])}
                code = quota_code(each["InstanceType"], spot=each.get("InstanceLifecycle") == "spot")
                if code is None or tags.get("ray-cluster-name") == self._wanted.cluster:
                    continue
                cores = each.get("CpuOptions") or {}
                used[code] = used.get(code, 0) + cores.get("CoreCount", 0) * cores.get("ThreadsPerCore", 1)
        return used

    def images(self) -> dict[str, ImageFact]:
        ids = {}
        for written in {each.image for each in self._wanted.nodes if each.image}:
            image = self._parameter(written.removeprefix(RESOLVE)) if written.startswith(RESOLVE) else written
            if image:
                ids[written] = image
        if not ids:
            return {}
        filters = [{"Name": "image-id", "Values": sorted(set(ids.values()))}]
        found = {each["ImageId"]: _image(each) for each in self._ec2.describe_images(Filters=filters)["Images"]}
        return {written: found[image] for written, image in ids.items() if image in found}

    def _parameter(self, name: str) -> str | None:
        try:
            return str(self._ssm.get_parameter(Name=name)["Parameter"]["Value"])
        except ClientError as error:
            if error.response["Error"]["Code"] == "ParameterNotFound":
                return None
            raise

    def key_pairs(self) -> dict[str, str]:
        names = sorted({each.key_name for each in self._wanted.nodes if each.key_name})
        if not names:
            return {}
        by_name = [{"Name": "key-name", "Values": names}]
        found = self._ec2.describe_key_pairs(Filters=by_name, IncludePublicKey=True)["KeyPairs"]
        return {each["KeyName"]: without_comment(each.get("PublicKey", "")) for each in found}

    def subnets(self) -> dict[str, SubnetFact]:
        if not self._wanted.subnets:
            return {}
        found = self._ec2.describe_subnets(Filters=[{"Name": "subnet-id", "Values": list(self._wanted.subnets)}])
        return {
            each["SubnetId"]: SubnetFact(
                each["VpcId"],
                each["AvailabilityZone"],
                each["AvailableIpAddressCount"],
                bool(each.get("MapPublicIpOnLaunch")),
            )
            for each in found["Subnets"]
        }

    def groups(self) -> dict[str, GroupFact]:
        name = self._wanted.named_group
        ids = [each for each in self._wanted.groups if each != name]
        found = self._ec2.describe_security_groups(Filters=[{"Name": "group-id", "Values": ids}]) if ids else {}
        known = {each["GroupId"]: _group(each) for each in found.get("SecurityGroups", [])}
        return known | ({name: self._named_group(name)} if name in self._wanted.groups else {})

    def _named_group(self, name: str) -> GroupFact:
        """As Ray does: the group of that name in the VPC of the nodes, else the one that Ray makes and fills."""
        vpcs = sorted({each.vpc for each in self.subnets().values()})
        filters = [{"Name": "group-name", "Values": [name]}]
        filters += [{"Name": "vpc-id", "Values": vpcs}] if vpcs else []
        found = self._ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
        if found and found[0]["IpPermissions"]:
            return called(name, _group(found[0]), found[0]["GroupId"])
        return made_by_ray(name, found[0]["VpcId"] if found else "", self._wanted.named_permissions)

    def placement_groups(self) -> dict[str, PlacementFact]:
        names = sorted({each.placement_group for each in self._wanted.nodes if each.placement_group})
        if not names:
            return {}
        found = self._ec2.describe_placement_groups(Filters=[{"Name": "group-name", "Values": names}])
        return {each["GroupName"]: PlacementFact(each["Strategy"], each["State"]) for each in found["PlacementGroups"]}

    def roles(self) -> dict[str, tuple[str, ...]]:
        found = {}
        for name in sorted({each.profile for each in self._wanted.nodes if each.profile}):
            try:
                profile = self._iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
            except ClientError as error:
                if error.response["Error"]["Code"] == "NoSuchEntity":
                    continue
                raise
            found[name] = tuple(each["Arn"] for each in profile["Roles"])
        return found

    def rights(self) -> dict[str, RightsFact]:
        """Each right is asked with its own resource: simulated together, resources hide each other's refusals."""
        roles, images = self.roles(), self.images()
        heads = [arn for name in self._head_profiles() for arn in roles.get(name, ())]
        return {arn: self._rights_of(arn, questions(self._wanted, arn, roles, images)) for arn in heads}

    def _rights_of(self, role: str, asked: tuple[Question, ...]) -> RightsFact:
        refused: list[str] = []
        undecided: list[str] = []
        for each in asked:
            results = self._iam.simulate_principal_policy(
                PolicySourceArn=role,
                ActionNames=[each.action],
                ResourceArns=[each.resource],
                ContextEntries=[
                    {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"}
                    for key, value in each.context
                ],
            )["EvaluationResults"]
            for result in results:
                if result["EvalDecision"] == "allowed":
                    continue
                explicit = result["EvalDecision"] == "explicitDeny"
                missing = undecided_by(result.get("MissingContextValues", []))
                (undecided if missing and not explicit else refused).append(each.in_words)
        return RightsFact(tuple(dict.fromkeys(refused)), tuple(dict.fromkeys(undecided)))

    def _head_profiles(self) -> set[str]:
        return {each.profile for each in self._wanted.nodes if each.is_head}


def _type(each: dict[str, Any]) -> TypeFact:
    return TypeFact(
        each["VCpuInfo"]["DefaultVCpus"],
        tuple(each["ProcessorInfo"]["SupportedArchitectures"]),
        bool(each.get("NetworkInfo", {}).get("EfaSupported")),
    )


def _image(each: dict[str, Any]) -> ImageFact:
    disks = {disk["DeviceName"]: disk.get("Ebs", {}) for disk in each.get("BlockDeviceMappings", [])}
    root = disks.get(each.get("RootDeviceName", ""), {})
    return ImageFact(each["ImageId"], each["State"], each["Architecture"], int(root.get("VolumeSize", 0)))


def _group(each: dict[str, Any]) -> GroupFact:
    return GroupFact(each["VpcId"], tuple(map(rule, each["IpPermissions"])))
