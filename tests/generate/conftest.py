"""What the tests of `generate` share: a home of their own, the program in this process, and an account in moto."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from elastic_deploy.cli.main import run
from elastic_deploy.cluster.aws import lookup
from elastic_deploy.cluster.aws.images import gpu_parameter, head_parameter
from elastic_deploy.cluster.aws.policy import role_name
from elastic_deploy.cluster.aws.steps import group_name
from tests.ec2lab.parameters import publish

REGION = "us-west-2"
GPU_IMAGE, HEAD_IMAGE = "ami-0000000000000gpu", "ami-000000000000head"
CALLER = "203.0.113.7/32"


@dataclass(frozen=True)
class Written:
    """What one run of the program gave."""

    code: int
    out: str
    err: str


Generate = Callable[..., Written]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without keys, tokens, wheels, AWS settings or credentials."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("ELASTIC_DEPLOY_HOME", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return home


@pytest.fixture
def generate(capsys: pytest.CaptureFixture[str]) -> Generate:
    """Run `elastic-deploy generate` with these words."""

    def call(*words: str) -> Written:
        capsys.readouterr()
        code = run(["generate", *words])
        captured = capsys.readouterr()
        return Written(code, captured.out, captured.err)

    return call


@dataclass
class MotoAccount:
    """An account with a default VPC, and what the tests put into it."""

    ec2: Any
    iam: Any
    subnets: dict[str, str] = field(default_factory=dict)
    vpc: str = ""

    def security_group(self, name: str, cidr: str | None = None) -> str:
        """Make a security group, with SSH open from `cidr`."""
        made = self.ec2.create_security_group(GroupName=name, Description="of a test", VpcId=self.vpc)
        if cidr:
            self.ec2.authorize_security_group_ingress(
                GroupId=made["GroupId"], IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp=cidr
            )
        return str(made["GroupId"])

    def follow_the_steps(self, cluster_name: str) -> str:
        """What a file's first commands make: the role and the security group, whose id it returns."""
        role = role_name(cluster_name)
        self.iam.create_role(RoleName=role, AssumeRolePolicyDocument="{}")
        self.iam.create_instance_profile(InstanceProfileName=role)
        self.iam.add_role_to_instance_profile(InstanceProfileName=role, RoleName=role)
        return self.security_group(group_name(cluster_name), CALLER)


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[MotoAccount]:
    """Credentials for an account in moto, which answers the region's public parameters too."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setattr(lookup, "caller_address", lambda: CALLER)
    # moto has no placement groups; what we make of EC2's answer is tested by itself.
    monkeypatch.setattr(lookup._Asker, "_placement_strategy", lambda _self: None)
    with mock_aws():
        ec2 = boto3.client("ec2", region_name=REGION)
        made = MotoAccount(ec2, boto3.client("iam"))
        for subnet in ec2.describe_subnets()["Subnets"]:
            made.subnets[subnet["AvailabilityZone"]] = subnet["SubnetId"]
            made.vpc = subnet["VpcId"]
        for arch in ("x86_64", "arm64"):
            publish(REGION, gpu_parameter(arch), GPU_IMAGE)
            publish(REGION, head_parameter(arch), HEAD_IMAGE)
        yield made
