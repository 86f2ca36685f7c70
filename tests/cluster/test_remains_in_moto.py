"""`down` against an account in moto: what is found by tag, what is ended, kept and named, and `--all`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.parsers import ResponseParserError
from botocore.stub import Stubber
from moto import mock_aws

from elastic_deploy.cli.main import run
from elastic_deploy.cli.undertaking import Undertaking
from elastic_deploy.cluster import turn
from elastic_deploy.cluster.aws import ending, shared, tagged
from elastic_deploy.cluster.aws.policy import role_name
from elastic_deploy.cluster.aws.remains import Instance, Kind, Remains
from elastic_deploy.cluster.aws.steps import group_name
from elastic_deploy.cluster.config import ClusterConfig, load_cluster
from elastic_deploy.model.errors import RefusedError

REGION = "us-west-2"
NAME = "mine"
IMAGE = "ami-03cf127a"  # moto launches any


@pytest.fixture(autouse=True)
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop with credentials and nothing else, on which time is short."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "ELASTIC_DEPLOY_HOME"):
        monkeypatch.delenv(name, raising=False)
    for module, name in ((ending, "_BETWEEN_S"), (shared, "_BETWEEN_S"), (shared, "_IN_USE_LIMIT_S")):
        monkeypatch.setattr(module, name, 0.01)
    monkeypatch.setattr(ending, "LOOSE_LIMIT_S", 1.0)
    monkeypatch.setattr("elastic_deploy.cli.undertaking._LISTED_LATE_S", 0.01)


@pytest.fixture
def ec2() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client("ec2", region_name=REGION)


@pytest.fixture
def config(tmp_path: Path) -> ClusterConfig:
    path = tmp_path / "mine.yaml"
    node: dict[str, Any] = {"InstanceType": "g6.xlarge", "ImageId": "ami-1", "KeyName": "team"}
    document = {
        "cluster_name": NAME,
        "max_workers": 2,
        "provider": {"type": "aws", "region": REGION},
        "auth": {"ssh_user": "ubuntu", "ssh_private_key": "~/.ssh/not-here.pem"},
        "available_node_types": {
            "head": {"resources": {"CPU": 4}, "node_config": {**node, "IamInstanceProfile": {"Name": "x"}}},
            "gpu": {"resources": {"GPU": 1}, "max_workers": 2, "node_config": node},
        },
        "head_node_type": "head",
    }
    path.write_text(yaml.safe_dump(document))
    return load_cluster(path)


def tag(key: str, value: str = NAME) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value}]


def launch(ec2: Any, tags: list[dict[str, str]], **more: Any) -> str:
    answer = ec2.run_instances(
        ImageId=IMAGE,
        InstanceType="g6.xlarge",
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
        **more,
    )
    return str(answer["Instances"][0]["InstanceId"])


def head(ec2: Any, name: str = NAME) -> str:
    return launch(ec2, [*tag("ray-cluster-name", name), *tag("ray-node-type", "head")])


def state(ec2: Any, instance: str) -> str:
    return str(ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["State"]["Name"])


class Refusing:
    """A client whose `operation` is refused where its arguments name `what`: moto never protects, nor is in use."""

    def __init__(self, client: Any, operation: str, what: str, code: str) -> None:
        self._client, self._operation, self._what, self._code = client, operation, what, code

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._client, name)

        def call(**arguments: Any) -> Any:
            if name == self._operation and self._what in str(arguments):
                raise ClientError({"Error": {"Code": self._code, "Message": "It may not go."}}, name)
            return real(**arguments)

        return call if name == self._operation else real


def refuse(monkeypatch: pytest.MonkeyPatch, module: Any, operation: str, what: str, code: str) -> None:
    made = module.client
    monkeypatch.setattr(module, "client", lambda *words: Refusing(made(*words), operation, what, code))


def test_either_tag_finds_an_instance_once_and_no_neighbours(ec2: Any, config: ClusterConfig) -> None:
    by_ray, by_us = head(ec2), launch(ec2, tag("elastic-deploy:cluster"))
    by_both = launch(ec2, tag("elastic-deploy:cluster") + tag("ray-cluster-name"))
    launch(ec2, tag("ray-cluster-name", "mine-2"))
    gone = head(ec2)
    ec2.terminate_instances(InstanceIds=[gone])
    found = tagged.look(config).instances
    assert sorted(each.id for each in found) == sorted([by_ray, by_us, by_both])
    assert [each.id for each in found if each.is_head] == [by_ray]


def test_everything_of_the_cluster_goes_and_nothing_else(ec2: Any, config: ClusterConfig) -> None:
    mine, other = [head(ec2), launch(ec2, tag("elastic-deploy:cluster"))], head(ec2, "other")
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    for name in (NAME, "other"):
        tags = [{"ResourceType": "network-interface", "Tags": tag("elastic-deploy:cluster", name)}]
        ec2.create_network_interface(SubnetId=subnet, TagSpecifications=tags)
    assert {each.kind for each in tagged.look(config).things} == {Kind.INTERFACE}
    said: list[str] = []
    assert ending.end(config, said.append)
    assert [state(ec2, each) for each in mine] == ["terminated", "terminated"]
    assert state(ec2, other) == "running"
    assert len(ec2.describe_network_interfaces(Filters=[{"Name": "status", "Values": ["available"]}])) >= 1
    left = ec2.describe_network_interfaces(Filters=[{"Name": "tag-key", "Values": ["elastic-deploy:cluster"]}])
    assert [each["TagSet"] for each in left["NetworkInterfaces"]] == [tag("elastic-deploy:cluster", "other")]
    assert "2 instances" in said[0]
    assert not ending.end(config, said.append)


def test_a_volume_that_stays_is_named_and_never_deleted(ec2: Any, config: ClusterConfig) -> None:
    head(ec2)
    tags = [{"ResourceType": "volume", "Tags": tag("elastic-deploy:cluster")}]
    volume = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=200, TagSpecifications=tags)["VolumeId"]
    with pytest.raises(RefusedError) as caught:
        ending.end(config, lambda _line: None)
    assert f"volume {volume} (200 GiB, available)" in caught.value.message
    assert f"aws ec2 delete-volume --region {REGION} --volume-id {volume}" in caught.value.message
    assert tagged.look(config).instances == ()
    assert len(tagged.look(config).things) == 1


def test_an_open_spot_request_is_cancelled(ec2: Any, config: ClusterConfig) -> None:
    tags = [{"ResourceType": "spot-instances-request", "Tags": tag("elastic-deploy:cluster")}]
    ec2.request_spot_instances(
        SpotPrice="1", LaunchSpecification={"ImageId": IMAGE, "InstanceType": "g6.xlarge"}, TagSpecifications=tags
    )
    assert ending.end(config, lambda _line: None)
    states = {each["State"] for each in ec2.describe_spot_instance_requests()["SpotInstanceRequests"]}
    assert states <= {"cancelled", "closed"}


def test_one_protected_instance_does_not_keep_the_others(
    ec2: Any, config: ClusterConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    protected, other = launch(ec2, tag("ray-cluster-name")), head(ec2)
    refuse(monkeypatch, ending, "terminate_instances", protected, "OperationNotPermitted")
    with pytest.raises(RefusedError) as caught:
        ending.end(config, lambda _line: None)
    assert (state(ec2, protected), state(ec2, other)) == ("running", "terminated")
    words = caught.value.message
    assert "OperationNotPermitted" in words
    assert f"modify-instance-attribute --region {REGION} --instance-id {protected} --no-disable-api" in words
    assert other not in words


def test_a_question_without_an_answer_is_no_proof(
    ec2: Any, config: ClusterConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = head(ec2)

    def refuse(_ec2: Any, _name: str) -> Iterator[Any]:
        raise ClientError({"Error": {"Code": "UnauthorizedOperation", "Message": "No."}}, "DescribeVolumes")

    monkeypatch.setitem(tagged._QUESTIONS, Kind.VOLUME, refuse)
    with pytest.raises(RefusedError, match="which volumes mine has: UnauthorizedOperation: No"):
        ending.end(config, lambda _line: None)
    assert state(ec2, instance) == "terminated"


@pytest.mark.parametrize(
    "trouble", [EndpointConnectionError(endpoint_url="https://ec2"), ResponseParserError("invalid XML received")]
)
def test_a_line_that_breaks_meanwhile_is_waited_for(
    ec2: Any, config: ClusterConfig, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    instance, looks = head(ec2), 0
    ask = tagged._instances

    def unreachable_at_times(client: Any, name: str) -> Iterator[Any]:
        nonlocal looks
        looks += 1
        if looks in (2, 3):
            raise trouble
        return ask(client, name)

    monkeypatch.setattr(tagged, "_instances", unreachable_at_times)
    said: list[str] = []
    assert ending.end(config, said.append)
    assert state(ec2, instance) == "terminated"
    assert sum("does not say which instances" in line for line in said) == 2


@pytest.mark.usefixtures("ec2")
def test_what_does_not_end_within_the_limit_is_named(config: ClusterConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Remains((Instance("i-slow", "p5.48xlarge", "shutting-down"),))
    monkeypatch.setattr(ending, "LIMIT_S", 0.1)
    monkeypatch.setattr(ending, "look", lambda *_: slow)
    said: list[str] = []
    with pytest.raises(RefusedError) as caught:
        ending.end(config, said.append)
    assert "1 instance (1 p5.48xlarge shutting-down): i-slow" in caught.value.message
    assert f"aws ec2 terminate-instances --region {REGION} --instance-ids i-slow" in caught.value.message
    assert said == ["Being ended: 1 instance (1 p5.48xlarge shutting-down)."]


def test_our_placement_groups_are_asked_for_where_nodes_stand_in_one(config: ClusterConfig) -> None:
    """moto has none: EC2's answer is written here."""
    config.raw["available_node_types"]["gpu"]["node_config"]["Placement"] = {"GroupName": "close"}
    ec2 = boto3.client("ec2", region_name=REGION)
    with Stubber(ec2) as stub:
        group = {"GroupName": "close", "State": "available", "Strategy": "cluster"}
        filters = [{"Name": "tag:elastic-deploy:cluster", "Values": [NAME]}]
        stub.add_response("describe_placement_groups", {"PlacementGroups": [group]}, {"Filters": filters})
        (thing,) = tagged._QUESTIONS[Kind.PLACEMENT_GROUP](ec2, NAME)
        stub.add_response("delete_placement_group", {}, {"GroupName": "close"})
        assert ending._end(ec2, Remains((), (thing,)), {}) == {}
        stub.assert_no_pending_responses()
    assert tagged._names_placement_group(config)


def furnish(ec2: Any) -> dict[str, str]:
    """What generated files' first commands make, and what Ray makes; the groups' ids by name."""
    iam = boto3.client("iam", region_name=REGION)
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}]}
    for name in (role_name(NAME), "ray-autoscaler-v1"):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
        iam.put_role_policy(RoleName=name, PolicyName="autoscaler", PolicyDocument=json.dumps(policy))
        iam.create_instance_profile(InstanceProfileName=name)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    ec2.create_key_pair(KeyName=f"ray-autoscaler_{REGION}")
    names = (group_name(NAME), f"ray-autoscaler-{NAME}", "ray-autoscaler-other")
    return {name: ec2.create_security_group(GroupName=name, Description="of a test")["GroupId"] for name in names}


def groups(ec2: Any) -> set[str]:
    return {each["GroupName"] for each in ec2.describe_security_groups()["SecurityGroups"]} - {"default"}


def roles() -> list[str]:
    return [each["RoleName"] for each in boto3.client("iam", region_name=REGION).list_roles()["Roles"]]


def test_shared_things_are_kept_unless_all_is_said(
    ec2: Any, config: ClusterConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    furnish(ec2)
    instance = head(ec2)
    assert run(["down", str(config.path), "-y"]) == 0
    assert state(ec2, instance) == "terminated"
    assert len(groups(ec2)) == 3
    said = capsys.readouterr().err
    assert "1 instance (1 g6.xlarge running)" in said
    assert "0.80 USD an hour" in said
    assert "the SSH key of mine is not on this machine" in said
    assert f"as EC2 in {REGION} says" in said

    # Also when nothing runs any more.
    assert run(["down", str(config.path), "-y", "--all"]) == 0
    assert groups(ec2) == {"ray-autoscaler-other"}
    assert roles() == ["ray-autoscaler-v1"]
    assert [each["KeyName"] for each in ec2.describe_key_pairs()["KeyPairs"]] == [f"ray-autoscaler_{REGION}"]
    said = capsys.readouterr().err
    assert f"Role {role_name(NAME)} is removed." in said
    assert "Key pair team: kept" in said

    assert run(["down", str(config.path), "-y", "--all"]) == 0


def test_a_group_in_use_is_named_with_its_command_and_the_rest_goes(
    ec2: Any, config: ClusterConfig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    group = furnish(ec2)[group_name(NAME)]
    refuse(monkeypatch, shared, "delete_security_group", group, "DependencyViolation")
    assert run(["down", str(config.path), "-y", "--all"]) == 7
    said = capsys.readouterr().err
    assert "Something else still uses it" in said
    assert f"delete-security-group --region {REGION} --group-id {group}" in said
    assert groups(ec2) == {group_name(NAME), "ray-autoscaler-other"}
    assert roles() == ["ray-autoscaler-v1"]


def test_nothing_to_do_is_said_and_is_no_error(
    ec2: Any, config: ClusterConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    head(ec2, "other")
    assert run(["down", str(config.path), "-y"]) == 0
    assert (
        capsys.readouterr().err == f"Nothing to do: cluster {NAME} does not run, as EC2 in {REGION} says of its tags.\n"
    )


def test_one_deployment_and_all_contradict_each_other(config: ClusterConfig) -> None:
    assert run(["down", str(config.path), "--deployment", "d", "--all"]) == 2


def test_a_deployment_is_not_stopped_without_the_key(
    ec2: Any, config: ClusterConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    instance = head(ec2)
    assert run(["down", str(config.path), "--deployment", "d", "-y"]) == 7
    assert "SSH key" in capsys.readouterr().err
    assert state(ec2, instance) == "running"


def test_without_credentials_it_is_exit_7(
    config: ClusterConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert run(["down", str(config.path), "-y"]) == 7
    assert "aws configure" in capsys.readouterr().err


@pytest.mark.usefixtures("ec2")
def test_a_launch_of_this_machine_is_not_taken_from_under_it(
    config: ClusterConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    with turn.turn(NAME, "launching"):
        assert run(["down", str(config.path), "-y"]) == 7
    assert "is launching mine" in capsys.readouterr().err


def test_an_up_that_is_broken_off_says_what_the_account_says_and_removes_it(
    ec2: Any, config: ClusterConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = Undertaking(config.path, config, "d", launched=True)
    instance = head(ec2)
    begun.leave(remove=True)
    said = capsys.readouterr().err
    assert "The launch of cluster mine is not finished." in said
    assert f"Of mine there stand in {REGION}: 1 instance (1 g6.xlarge running): {instance}." in said
    assert state(ec2, instance) == "terminated"

    begun = Undertaking(config.path, config, "d", launched=True)
    begun.leave(remove=False)
    assert capsys.readouterr().err == f"Nothing of mine stands in {REGION}.\n"
