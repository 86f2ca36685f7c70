"""The role's policy against the calls that Ray's node provider really makes, recorded while it works."""

import copy
import fnmatch
import json
from typing import Any

import botocore.client
import pytest
import yaml
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config
from ray.autoscaler.tags import TAG_RAY_CLUSTER_NAME, TAG_RAY_LAUNCH_CONFIG, TAG_RAY_NODE_KIND

from elastic_deploy.cluster.aws.policy import CLUSTER_TAG

from .conftest import REGION, Generate, MotoAccount


def statements(generate: Generate, *words: str) -> list[dict[str, Any]]:
    written = generate("aws", "--cluster-name", "it", "--region", REGION, "--policy", *words)
    assert written.code == 0, written.err
    found: list[dict[str, Any]] = json.loads(written.out)["Statement"]
    return found


def actions(found: list[dict[str, Any]]) -> set[str]:
    return {action for statement in found for action in statement["Action"]}


def test_it_allows_what_the_autoscaler_does_and_nothing_else(
    generate: Generate, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.follow_the_steps("it")
    written = generate("aws", "--cluster-name", "it", "--region", REGION, "--zones", "a")
    config = bootstrap_aws(prepare_config(yaml.safe_load(written.out)))
    called: set[str] = set()
    call = botocore.client.BaseClient._make_api_call

    def recording(client: Any, operation: str, arguments: dict[str, Any]) -> Any:
        called.add(f"{client.meta.service_model.service_name}:{operation}")
        return call(client, operation, arguments)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", recording)
    # The head reads the configuration that `ray up` made, and keeps it.
    config = prepare_config(copy.deepcopy(config))
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    tags = {TAG_RAY_NODE_KIND: "worker", TAG_RAY_LAUNCH_CONFIG: "hash"}
    made = list(provider.create_node(config["available_node_types"]["gpu"]["node_config"], tags, 1))
    assert provider.non_terminated_nodes({}) == made
    assert provider.is_running(made[0])
    provider.set_node_tags(made[0], {"ray-node-status": "up-to-date"})
    provider.internal_ip(made[0])
    provider.external_ip(made[0])
    provider.terminate_node(made[0])
    provider.terminate_nodes(made)

    calls = frozenset(called)
    # RunInstances with TagSpecifications needs CreateTags as well.
    assert actions(statements(generate, "--zones", "a")) == calls
    assert calls == {"ec2:DescribeInstances", "ec2:RunInstances", "ec2:CreateTags", "ec2:TerminateInstances"}


def test_instances_of_other_clusters_are_out_of_its_reach(generate: Generate) -> None:
    assert CLUSTER_TAG == TAG_RAY_CLUSTER_NAME
    for statement in statements(generate, "--offline"):
        touching = set(statement["Action"]) & {"ec2:TerminateInstances", "ec2:CreateTags", "ec2:RunInstances"}
        on_instances = any(fnmatch.fnmatch(each, "*:instance/*") for each in statement["Resource"])
        if touching and on_instances:
            (condition,) = statement["Condition"]["StringEquals"].items()
            assert condition in {
                ("aws:RequestTag/ray-cluster-name", "it"),
                ("aws:ResourceTag/ray-cluster-name", "it"),
                ("ec2:CreateAction", "RunInstances"),
            }


def test_only_seeing_goes_beyond_region_and_account(generate: Generate, account: MotoAccount) -> None:
    assert account.vpc
    for statement in statements(generate):
        if statement["Action"] == ["ec2:DescribeInstances"]:
            continue
        for resource in statement["Resource"]:
            assert resource.startswith((f"arn:aws:ec2:{REGION}:123456789012:", f"arn:aws:ec2:{REGION}::image/"))


@pytest.mark.parametrize(
    ("words", "resource"),
    [
        (["--spot"], "spot-instances-request/*"),
        (["--spot-fallback"], "spot-instances-request/*"),
        (["--placement-group", "close"], "placement-group/close"),
        (["--key-name", "k"], "key-pair/*"),
    ],
)
def test_what_a_launch_uses_is_allowed_when_it_is_used(generate: Generate, words: list[str], resource: str) -> None:
    def used(*more: str) -> list[str]:
        found = statements(generate, "--offline", *more)
        return [
            each for statement in found if "ec2:RunInstances" in statement["Action"] for each in statement["Resource"]
        ]

    assert any(each.endswith(f":{resource}") for each in used(*words))
    if "key" not in resource:
        assert not any(each.endswith(f":{resource}") for each in used())


def test_a_parameter_in_place_of_an_image_may_be_read(generate: Generate) -> None:
    (statement,) = [each for each in statements(generate, "--offline") if each["Action"] == ["ssm:GetParameters"]]
    (resource,) = statement["Resource"]
    assert resource.startswith(f"arn:aws:ssm:{REGION}::parameter/aws/service/deeplearning/")
    assert "ssm:GetParameters" not in actions(statements(generate, "--offline", "--image", "ami-1"))


@pytest.mark.parametrize(("region", "partition"), [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")])
def test_other_partitions_have_their_own_names(generate: Generate, region: str, partition: str) -> None:
    written = generate("aws", "--region", region, "--offline", "--policy")
    resources = [each for statement in json.loads(written.out)["Statement"] for each in statement["Resource"]]
    assert all(each == "*" or each.startswith(f"arn:{partition}:") for each in resources)
