"""moto tied to EC2: what Ray's AWS provider really sends is valid for EC2, and moto takes all of it in.

Ray's own code runs against moto in this process. Every call is recorded, checked against botocore's model of the
service (which is Amazon's), and put through moto's parser: what was sent has to come out again.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import boto3
import pytest
from botocore.model import OperationModel
from botocore.serialize import create_serializer
from botocore.validate import ParamValidator
from moto import mock_aws
from moto.core.parse import PROTOCOL_PARSERS
from moto.core.utils import get_service_model
from ray.autoscaler._private.aws import utils as ray_aws
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from werkzeug.datastructures import Headers, MultiDict

REGION = "us-west-2"
TAGS = {"ray-node-type": "worker", "ray-launch-config": "0", "ray-user-node-type": "worker", "ray-node-status": "new"}

# What Ray's provider calls, read in ray/autoscaler/_private/aws (config.py, node_provider.py) of 2.60: launch
# templates and CloudWatch, which nothing here uses, left out. A Ray that calls something else is noticed below.
CALLED = {
    "ec2": {
        "AuthorizeSecurityGroupIngress",
        "CreateKeyPair",
        "CreateSecurityGroup",
        "CreateTags",
        "DescribeInstanceTypes",
        "DescribeInstances",
        "DescribeKeyPairs",
        "DescribeSecurityGroups",
        "DescribeSubnets",
        "RunInstances",
        "StartInstances",
        "StopInstances",
        "TerminateInstances",
    },
    "iam": {
        "AddRoleToInstanceProfile",
        "AttachRolePolicy",
        "CreateInstanceProfile",
        "CreateRole",
        "GetInstanceProfile",
        "GetRole",
    },
}


@dataclass(frozen=True)
class Call:
    """One call as Ray made it."""

    service: str
    model: OperationModel
    parameters: dict[str, Any]


def run_ray() -> None:
    """Ray's provider from an empty account: bootstrap, launch, tag, stop, start, spot, terminate."""
    image = boto3.client("ec2").describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    disk = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 140, "VolumeType": "gp3", "DeleteOnTermination": True}}
    instance = {"InstanceType": "g5.xlarge", "ImageId": image, "BlockDeviceMappings": [disk]}
    spot = {**instance, "InstanceMarketOptions": {"MarketType": "spot"}}
    nodes = {"head": instance, "worker": instance, "spot": spot}
    config = {
        "cluster_name": "contract",
        "provider": {"type": "aws", "region": REGION, "availability_zone": f"{REGION}a,{REGION}b"},
        "auth": {"ssh_user": "ubuntu"},
        "available_node_types": {name: {"node_config": node, "resources": {}} for name, node in nodes.items()},
        "head_node_type": "head",
    }
    config = AWSNodeProvider.fillout_available_node_types_resources(bootstrap_aws(config))
    provider = AWSNodeProvider({**config["provider"], "cache_stopped_nodes": True}, "contract")
    types = config["available_node_types"]
    assert len(provider.create_node(types["worker"]["node_config"], TAGS, 2)) == 1  # moto alone launches MinCount
    assert provider.create_node(types["spot"]["node_config"], {**TAGS, "ray-user-node-type": "spot"}, 1)
    (worker,) = provider.non_terminated_nodes({"ray-user-node-type": "worker"})
    provider.set_node_tags(worker, {"ray-node-status": "up-to-date"})
    assert provider.internal_ip(worker)
    assert provider.external_ip(worker)
    provider.terminate_nodes([worker])  # stops it
    assert provider.create_node(types["worker"]["node_config"], TAGS, 1)  # starts it again
    provider.cache_stopped_nodes = False
    provider.terminate_nodes(provider.non_terminated_nodes({}))
    assert provider.non_terminated_nodes({}) == []


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Call]]:
    """Every call that Ray's provider makes on the way."""
    made: list[Call] = []

    def record(params: dict[str, Any], model: OperationModel, **_: object) -> None:
        made.append(Call(model.service_model.service_name, model, dict(params)))

    policies = {"iam": {"load_aws_managed_policies": True}}  # `ray up` attaches two of Amazon's own
    with pytest.MonkeyPatch.context() as patch, mock_aws(config=policies):
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        patch.setattr("ray.autoscaler._private.aws.config.time.sleep", lambda _: None)
        ray_aws.resource_cache.cache_clear()
        ray_aws.client_cache.cache_clear()
        boto3.setup_default_session()
        assert boto3.DEFAULT_SESSION
        boto3.DEFAULT_SESSION.events.register("provide-client-params.*.*", record)
        try:
            run_ray()
            yield made
        finally:
            boto3.DEFAULT_SESSION = None
            ray_aws.resource_cache.cache_clear()
            ray_aws.client_cache.cache_clear()


def test_these_are_the_calls_that_ray_makes(calls: list[Call]) -> None:
    made = {service: {call.model.name for call in calls if call.service == service} for service in ("ec2", "iam")}
    made["ec2"].discard("DescribeImages")  # the test's own
    assert made == CALLED


def test_every_call_is_valid_for_amazon(calls: list[Call]) -> None:
    for call in calls:
        report = ParamValidator().validate(call.parameters, call.model.input_shape)
        assert not report.has_errors(), f"{call.model.name}: {report.generate_report()}"


def test_moto_takes_in_all_that_is_sent(calls: list[Call]) -> None:
    for call in calls:
        sent = create_serializer(call.model.service_model.protocol, False).serialize_to_request(
            call.parameters, call.model
        )
        operation = get_service_model(call.service).operation_model(call.model.name)
        parser = PROTOCOL_PARSERS[call.model.service_model.protocol](operation)
        values = MultiDict(sent["body"])
        request = {"method": "POST", "values": values, "headers": Headers(), "url_path": "/", "url_params": {}}
        taken = parser.parse({**request, "body": urlencode(sent["body"])})
        assert plain(taken) == plain(call.parameters), call.model.name


def plain(value: object) -> object:
    """The value with its ends as text and without what is empty: how a number is written is not at issue."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if item not in ([], {}, None)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value).lower()


def test_ray_keeps_its_key_pair_where_the_launcher_can_use_it(calls: list[Call]) -> None:
    keys = [call for call in calls if call.model.name == "CreateKeyPair"]
    assert len(keys) == 1
    assert os.listdir(os.path.expanduser("~/.ssh")) == [f"{keys[0].parameters['KeyName']}.pem"]  # noqa: PTH111, PTH208
