"""`doctor` on an account in moto: what is asked arrives, planted faults are found, and the program says so."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto import mock_aws

from elastic_deploy.cli.main import run
from elastic_deploy.cluster.aws.preflight.gather import _Asker

REGION = "us-west-2"


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A cluster YAML that is sound in moto's account. What moto does not have is answered here."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setattr(_Asker, "quotas", lambda _self: {"L-1216C47A": 32.0, "L-DB2E81BA": 16.0})
    monkeypatch.setattr(_Asker, "denied", lambda _self: {})
    with mock_aws():
        ec2, iam = boto3.client("ec2", REGION), boto3.client("iam")
        pair = ec2.create_key_pair(KeyName="ours")
        key = tmp_path / "ours.pem"
        key.write_text(pair["KeyMaterial"])
        key.chmod(0o600)
        subnet = ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": [f"{REGION}a"]}])["Subnets"][0]
        group = ec2.create_security_group(GroupName="g", Description="d", VpcId=subnet["VpcId"])["GroupId"]
        inside = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
        ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "203.0.113.7/32"}]}
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[inside, ssh])
        iam.create_role(RoleName="role", AssumeRolePolicyDocument="{}")
        iam.create_instance_profile(InstanceProfileName="role")
        iam.add_role_to_instance_profile(InstanceProfileName="role", RoleName="role")
        images = ec2.describe_images(Filters=[{"Name": "architecture", "Values": ["x86_64"]}])["Images"]
        node = {
            "ImageId": images[0]["ImageId"],
            "KeyName": "ours",
            "SubnetIds": [subnet["SubnetId"]],
            "SecurityGroupIds": [group],
        }
        types = {
            "head": {"node_config": {"InstanceType": "m5.xlarge", "IamInstanceProfile": {"Name": "role"}, **node}},
            "gpu": {"max_workers": 2, "node_config": {"InstanceType": "g5.xlarge", **node}},
        }
        yield {
            "cluster_name": "c",
            "max_workers": 2,
            "provider": {"type": "aws", "region": REGION},
            "auth": {"ssh_user": "ubuntu", "ssh_private_key": str(key)},
            "available_node_types": types,
            "head_node_type": "head",
        }


def doctor(capsys: pytest.CaptureFixture[str], tmp_path: Path, written: Any, *words: str) -> tuple[int, Any]:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(written))
    capsys.readouterr()
    code = run(["doctor", str(path), "-o", "json", *words])
    captured = capsys.readouterr()
    assert captured.out, captured.err
    return code, json.loads(captured.out)


def bad(document: Any) -> dict[str, str]:
    return {each["name"]: each["sentence"] for each in document["checks"] if each["verdict"] != "pass"}


def test_a_sound_cluster_passes(capsys: pytest.CaptureFixture[str], tmp_path: Path, account: dict[str, Any]) -> None:
    code, document = doctor(capsys, tmp_path, account, "--model", "tiny", "--gpus", "2")
    assert (code, bad(document)) == (0, {})
    assert document["cluster"] == "c"
    assert document["exit_code"] == 0


@pytest.mark.parametrize(
    ("keys", "value", "name", "code"),
    [
        (("ImageId",), "ami-0123456789abcdef0", "images", 7),
        (("InstanceType",), "g5.48xlarge", "quota", 4),
        (("KeyName",), "theirs", "key pair", 7),
        (("SubnetIds",), ["subnet-0123456789abcdef0"], "subnets", 7),
        (("SecurityGroupIds",), ["sg-0123456789abcdef0"], "security group", 7),
        (("SecurityGroupIds",), ["sg-of-c"], "placeholders", 7),
        (("NetworkInterfaces",), [{"InterfaceType": "efa"}], "efa", 7),
        (("IamInstanceProfile",), {"Name": "nobody"}, "role", 7),
        (("ImageId",), "resolve:ssm:/no/such", "images", 7),
    ],
)
def test_a_planted_fault_is_found(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    account: dict[str, Any],
    keys: tuple[str],
    value: Any,
    name: str,
    code: int,
) -> None:
    account["available_node_types"]["gpu"]["node_config"][keys[0]] = value
    ended, document = doctor(capsys, tmp_path, account, "--gpus", "1")
    assert name in bad(document) and ended == code, bad(document)


def test_another_private_key_and_an_open_mode_are_found(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, account: dict[str, Any]
) -> None:
    key = Path(account["auth"]["ssh_private_key"])
    key.write_text(boto3.client("ec2", REGION).create_key_pair(KeyName="other")["KeyMaterial"])
    key.chmod(0o644)
    code, document = doctor(capsys, tmp_path, account)
    assert code == 7 and {"private key", "key pair"} <= set(bad(document)), document


def test_more_gpus_than_the_yaml_allows_never_fit(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, account: dict[str, Any]
) -> None:
    code, document = doctor(capsys, tmp_path, account, "--gpus", "50")
    assert code == 4
    assert "room" in bad(document)


def test_the_text_names_verdict_and_mend(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, account: dict[str, Any]
) -> None:
    account["available_node_types"]["gpu"]["node_config"]["KeyName"] = "theirs"
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(account))
    assert run(["doctor", str(path)]) == 7
    out = capsys.readouterr().out
    assert "FAIL     key pair: EC2 has no key pair theirs in us-west-2.\n         Import" in out
    assert "\x1b" not in out


def test_no_credentials_are_a_failure_and_no_traceback(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, account: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    code, document = doctor(capsys, tmp_path, account)
    assert code == 7
    assert "nobody" in bad(document)["credentials"]
