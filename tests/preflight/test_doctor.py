"""`doctor` on an account in moto: what is asked arrives, planted faults are found, and the program says so."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.exceptions import NoCredentialsError
from botocore.stub import Stubber
from moto import mock_aws

from elastic_deploy.cli import doctor as cli_doctor
from elastic_deploy.cli import up as cli_up
from elastic_deploy.cli.main import run
from elastic_deploy.cluster.aws.preflight import on_aws
from elastic_deploy.cluster.aws.preflight.gather import _Asker
from elastic_deploy.cluster.aws.preflight.wanted import read_wanted
from elastic_deploy.cluster.config import load_cluster
from elastic_deploy.model.errors import RefusedError

REGION = "us-west-2"
TEMPLATES = Path(__file__).parents[2] / "cluster-templates"


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A cluster YAML that is sound in moto's account. What moto does not have is answered here."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setattr(_Asker, "quotas", lambda _self: {"L-1216C47A": 32.0, "L-DB2E81BA": 16.0})
    monkeypatch.setattr(_Asker, "rights", lambda _self: {})
    monkeypatch.setattr(cli_doctor, "running_checks", lambda _config: ())  # by a process of its own, which has no moto
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
    ("keys", "value", "name", "code", "besides"),
    [
        (("ImageId",), "ami-0123456789abcdef0", "images", 7, ()),
        (("InstanceType",), "g5.48xlarge", "quota", 4, ()),
        (("KeyName",), "theirs", "key pair", 7, ()),
        (("SubnetIds",), ["subnet-0123456789abcdef0"], "subnets", 7, ()),
        (("SecurityGroupIds",), ["sg-0123456789abcdef0"], "security group", 7, ()),
        (("SecurityGroupIds",), ["sg-of-c"], "placeholders", 7, ("security group",)),
        (("NetworkInterfaces",), [{"InterfaceType": "efa"}], "efa", 7, ()),
        (("IamInstanceProfile",), {"Name": "nobody"}, "role", 7, ()),
        (("ImageId",), "resolve:ssm:/no/such", "images", 7, ()),
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
    besides: tuple[str, ...],
) -> None:
    account["available_node_types"]["gpu"]["node_config"][keys[0]] = value
    ended, document = doctor(capsys, tmp_path, account, "--gpus", "1")
    assert set(bad(document)) == {name, *besides}, bad(document)
    assert ended == code


@pytest.mark.parametrize(
    ("permissions", "code", "said"),
    [
        # None: Ray finds no group of that name, makes it, and lets anybody try SSH.
        (None, 0, "to which Ray gives its rules, lets anybody try SSH"),
        ([], 0, "to which Ray gives its rules, lets anybody try SSH"),
        (
            [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "203.0.113.7/32"}]}],
            7,
            "all tra",
        ),
        ([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}], 7, "opens every port"),
        ("sound", 0, ""),
    ],
)
def test_the_group_that_the_provider_names_is_read_as_those_of_node_types(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    account: dict[str, Any],
    permissions: Any,
    code: int,
    said: str,
) -> None:
    ec2 = boto3.client("ec2", REGION)
    for each in account["available_node_types"].values():
        (group,) = each["node_config"].pop("SecurityGroupIds")
    if permissions == "sound":
        account["provider"]["security_group"] = {"GroupName": "g"}
    else:
        account["provider"]["security_group"] = {"GroupName": "ours"}
        if permissions is not None:
            vpc = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["VpcId"]
            made = ec2.create_security_group(GroupName="ours", Description="d", VpcId=vpc)["GroupId"]
            if permissions:
                ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=permissions)
    ended, document = doctor(capsys, tmp_path, account, "--gpus", "1")
    assert ended == code, bad(document)
    assert set(bad(document)) == ({"security group"} if said else set()), bad(document)
    assert said in bad(document).get("security group", "")


def test_what_the_yaml_has_ray_open_to_the_world_is_found(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, account: dict[str, Any]
) -> None:
    for each in account["available_node_types"].values():
        del each["node_config"]["SecurityGroupIds"]
    everybody = [{"IpProtocol": "tcp", "FromPort": 8265, "ToPort": 8265, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    account["provider"]["security_group"] = {"GroupName": "new", "IpPermissions": everybody}
    code, document = doctor(capsys, tmp_path, account, "--gpus", "1")
    assert code == 7
    assert any("8265" in each["sentence"] for each in document["checks"])


def test_another_private_key_and_an_open_mode_are_found(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, account: dict[str, Any]
) -> None:
    key = Path(account["auth"]["ssh_private_key"])
    key.write_text(boto3.client("ec2", REGION).create_key_pair(KeyName="other")["KeyMaterial"])
    key.chmod(0o644)
    code, document = doctor(capsys, tmp_path, account)
    assert code == 7
    assert {"private key", "key pair"} <= set(bad(document)), document


def test_a_quota_that_nobody_has_changed_is_aws_own_and_one_that_is_not_told_is_unknown_alone() -> None:
    client = boto3.client("service-quotas", REGION, aws_access_key_id="test", aws_secret_access_key="test")
    wanted = read_wanted(load_cluster(TEMPLATES / "aws-spot.yaml"), {"gpu-spot-us-west-2a": 1})
    asker = _Asker(wanted, {"ec2": None, "iam": None, "ssm": None, "service-quotas": client})
    spot = {"ServiceCode": "ec2", "QuotaCode": "L-3819A6DF"}
    head = {"ServiceCode": "ec2", "QuotaCode": "L-1216C47A"}
    with Stubber(client) as answers:
        answers.add_client_error("get_service_quota", "AccessDeniedException", expected_params=head)
        answers.add_client_error("get_service_quota", "NoSuchResourceException", expected_params=spot)
        answers.add_response("get_aws_default_service_quota", {"Quota": {"Value": 64.0}}, spot)
        assert asker.quotas() == {"L-3819A6DF": 64.0}
        answers.assert_no_pending_responses()


def test_up_launches_nothing_where_a_check_fails(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, account: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_up, "find_head", lambda _config: None)
    monkeypatch.setattr(cli_up, "launch", lambda _config, _say: pytest.fail("it was launched"))
    path = tmp_path / "c.yaml"
    for key, value, code, said in (
        ("KeyName", "theirs", 7, "EC2 has no key pair theirs"),
        ("InstanceType", "g5.48xlarge", 4, "quota"),
    ):
        written = yaml.safe_load(yaml.safe_dump(account))
        written["available_node_types"]["gpu"]["node_config"][key] = value
        path.write_text(yaml.safe_dump(written))
        assert run(["up", str(path), "--model", "tiny", "--gpus", "1"]) == code
        err = capsys.readouterr().err
        assert "c is not launched." in err
        assert said in err


def test_the_yamls_own_credentials_are_asked_with(
    account: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"aws_access_key_id": "AKIA-other", "aws_secret_access_key": "other"}
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({**account, "provider": {**account["provider"], "aws_credentials": other}}))
    seen: list[dict[str, Any]] = []

    def client(_session: Any, _service: str, **told: Any) -> Any:
        seen.append(told)
        raise NoCredentialsError

    monkeypatch.setattr(boto3.Session, "client", client)
    on_aws(load_cluster(path), None)
    assert [other.items() <= told.items() for told in seen] == [True]


def test_up_asks_for_the_plan_that_it_has_made(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, account: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sizes that the user insists on are in it; what `doctor` would plan by itself is not asked."""

    def launched(_config: Any, _say: Any) -> None:
        raise RefusedError("as far as a launch")

    monkeypatch.setattr(cli_up, "find_head", lambda _config: None)
    monkeypatch.setattr(cli_up, "launch", launched)
    monkeypatch.setattr("elastic_deploy.cli.undertaking.Undertaking.describe", lambda _self: [])
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(account))
    assert run(["up", str(path), "--model", "tiny", "--gpus", "2", "--tensor-parallel-size", "2"]) == 7
    assert "as far as a launch" in capsys.readouterr().err
    types = account["available_node_types"]
    types = {**types, "gpu": {**types["gpu"], "max_workers": 8}}
    path.write_text(yaml.safe_dump({**account, "available_node_types": types, "max_workers": 8}))
    assert run(["up", str(path), "--model", "tiny", "--gpus", "8"]) == 4, "four nodes more than the quota has room for"
    assert "8 x g5.xlarge need 32 vCPUs" in capsys.readouterr().err


def test_a_token_that_up_makes_is_not_missed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, account: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ELASTIC_DEPLOY_HOME", raising=False)
    account["file_mounts"] = {"~/token": "~/.elastic-deploy/c/ray-token"}
    assert doctor(capsys, tmp_path, account, "--gpus", "1")[0] == 0
    account["file_mounts"] = {"~/token": "~/.elastic-deploy/other/ray-token"}
    assert set(bad(doctor(capsys, tmp_path, account, "--gpus", "1")[1])) == {"file mounts"}


def test_without_credentials_only_what_is_here_is_checked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    written = yaml.safe_load((TEMPLATES / "aws-small.yaml").read_text())
    code, document = doctor(capsys, tmp_path, written)
    assert code == 7
    assert {"credentials", "placeholders"} <= set(bad(document))


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
