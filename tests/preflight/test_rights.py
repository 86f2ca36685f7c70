"""Each right of the head's role is asked on its own resource, and one that is missing is named.

moto does not simulate policies (`simulate_principal_policy` is not implemented there), so that one call is answered
here, by a reading of IAM's rules that is enough for these policies: an Allow whose action, resource and StringEquals
conditions match. What is asked is held against botocore's own description of the call.
"""

import copy
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.validate import ParamValidator
from moto import mock_aws

from elastic_deploy.cluster.aws.preflight.facts import RightsFact, Unknown
from elastic_deploy.cluster.aws.preflight.gather import gather
from elastic_deploy.cluster.aws.preflight.wanted import Wanted, WantedNode

REGION, ACCOUNT = "us-west-2", "123456789012"
EC2 = f"arn:aws:ec2:{REGION}:{ACCOUNT}:"
TAG = {"StringEquals": {"aws:RequestTag/ray-cluster-name": "c"}}
OURS = {"StringEquals": {"aws:ResourceTag/ray-cluster-name": "c"}}
AT_LAUNCH = {"StringEquals": {"ec2:CreateAction": "RunInstances"}}
PARAMETER = f"arn:aws:ssm:{REGION}::parameter/gpu"
USED = ("key-pair/*", "network-interface/*", "security-group/*", "subnet/*", "volume/*", "spot-instances-request/*",
        "placement-group/close")  # fmt: skip
SOUND: dict[str, tuple[list[str], list[str], dict[str, Any]]] = {
    "see": (["ec2:DescribeInstances"], ["*"], {}),
    "launch": (["ec2:RunInstances"], [EC2 + "instance/*"], TAG),
    "image": (["ec2:RunInstances"], [f"arn:aws:ec2:{REGION}::image/*"], {}),
    **{each.partition("/")[0]: (["ec2:RunInstances"], [EC2 + each], {}) for each in USED},
    "tag": (["ec2:CreateTags"], [EC2 + "instance/*"], AT_LAUNCH),
    "end": (["ec2:TerminateInstances"], [EC2 + "instance/*"], OURS),
    "find": (["ssm:GetParameters"], [PARAMETER], {}),
    "pass": (["iam:PassRole"], [f"arn:aws:iam::{ACCOUNT}:role/worker"],
             {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}),
}  # fmt: skip


class Simulation:
    """The policy of the head's role, and what IAM says of it. `missing`: context keys that it misses."""

    def __init__(self) -> None:
        self.policy = copy.deepcopy(SOUND)
        self.missing: list[str] = []
        self.refusal: Exception | None = None

    def answer(self, client: BaseClient, asked: dict[str, Any]) -> dict[str, Any]:
        shape = client.meta.service_model.operation_model("SimulatePrincipalPolicy").input_shape
        assert not ParamValidator().validate(asked, shape).has_errors()
        if self.refusal:
            raise self.refusal
        context = {each["ContextKeyName"]: each["ContextKeyValues"] for each in asked["ContextEntries"]}
        (action,), (resource,) = asked["ActionNames"], asked["ResourceArns"]
        allowed = any(
            action in actions
            and any(fnmatchcase(resource, each) for each in resources)
            and all(value in context.get(key, []) for key, value in condition.get("StringEquals", {}).items())
            for actions, resources, condition in self.policy.values()
        )
        decision = "allowed" if allowed else "implicitDeny"
        result = {"EvalActionName": action, "EvalDecision": decision, "MissingContextValues": self.missing}
        return {"EvaluationResults": [result], "IsTruncated": False}


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulation]:
    made, call = Simulation(), BaseClient._make_api_call

    def answered(client: BaseClient, operation: str, asked: dict[str, Any]) -> Any:
        if operation == "SimulatePrincipalPolicy":
            return made.answer(client, asked)
        return call(client, operation, asked)

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(BaseClient, "_make_api_call", answered)
    with mock_aws():
        iam = boto3.client("iam")
        for name in ("head", "worker"):
            iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
            iam.create_instance_profile(InstanceProfileName=name)
            iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
        yield made


def rights(image: str = "") -> RightsFact:
    image = image or boto3.client("ec2", REGION).describe_images()["Images"][0]["ImageId"]
    head = WantedNode(name="head", instance_type="m5.large", is_head=True, count=1, profile="head", groups=("sg-head",))
    gpu = WantedNode(
        name="gpu",
        instance_type="g5.xlarge",
        count=2,
        image=image,
        key_name="ours",
        subnets=("subnet-1", "subnet-2"),
        groups=("sg-1",),
        spot=True,
        profile="worker",
        placement_group="close",
    )
    told = gather(Wanted(cluster="c", region=REGION, zones=(), nodes=(head, gpu)), {}).rights
    assert not isinstance(told, Unknown), told
    (fact,) = told.values()
    return fact


@pytest.mark.usefixtures("simulation")
def test_a_role_with_the_least_rights_has_them_all() -> None:
    assert rights() == RightsFact()
    boto3.client("ssm", REGION).put_parameter(Name="/gpu", Value="ami-1", Type="String")
    assert rights("resolve:ssm:/gpu") == RightsFact()


@pytest.mark.parametrize(
    ("without", "refused"),
    [
        ("see", ["ec2:DescribeInstances"]),
        ("launch", ["ec2:RunInstances on instances"]),
        ("image", ["ec2:RunInstances on image ami-"]),
        ("key-pair", ["ec2:RunInstances on key-pair ours"]),
        ("network-interface", ["ec2:RunInstances on network interfaces"]),
        ("security-group", ["ec2:RunInstances on security-group sg-1"]),
        ("subnet", ["ec2:RunInstances on subnet subnet-1", "ec2:RunInstances on subnet subnet-2"]),
        ("volume", ["ec2:RunInstances on volumes"]),
        ("spot-instances-request", ["ec2:RunInstances on spot-instances-request sir-"]),
        ("placement-group", ["ec2:RunInstances on placement-group close"]),
        ("tag", ["ec2:CreateTags on instances"]),
        ("end", ["ec2:TerminateInstances on instances"]),
        ("pass", ["iam:PassRole on role worker"]),
    ],
)
def test_a_right_that_is_missing_is_named(simulation: Simulation, without: str, refused: list[str]) -> None:
    del simulation.policy[without]
    fact = rights()
    assert len(fact.refused) == len(refused)
    assert all(said.startswith(each) for said, each in zip(fact.refused, refused, strict=True)), fact
    assert fact.undecided == ()


def test_the_image_behind_a_parameter_needs_a_right_of_its_own(simulation: Simulation) -> None:
    boto3.client("ssm", REGION).put_parameter(Name="/gpu", Value="ami-1", Type="String")
    del simulation.policy["find"]
    assert rights("resolve:ssm:/gpu").refused == ("ssm:GetParameters on parameter /gpu",)


def test_a_subnet_of_another_name_is_refused(simulation: Simulation) -> None:
    simulation.policy["subnet"] = (["ec2:RunInstances"], [EC2 + "subnet/subnet-1"], {})
    assert rights().refused == ("ec2:RunInstances on subnet subnet-2",)


def test_conditions_that_a_simulation_is_not_told_decide_nothing(simulation: Simulation) -> None:
    del simulation.policy["subnet"]
    simulation.missing = ["aws:ResourceTag/ray-cluster-name"]
    assert rights().refused, "a subnet does not carry the cluster's tag: that it is wanted there is a refusal"
    simulation.missing = ["ec2:Vpc"]
    fact = rights()
    assert fact.refused == ()
    assert fact.undecided == ("ec2:RunInstances on subnet subnet-1", "ec2:RunInstances on subnet subnet-2")
