"""What `generate aws` writes against those who read it: Ray's validation and launcher, botocore, and EC2 as moto is.

Each combination goes through the functions that `ray up` runs, down to RunInstances for every node type. botocore
checks each parameter's name and kind on the way.
"""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.tags import TAG_RAY_LAUNCH_CONFIG, TAG_RAY_NODE_KIND, TAG_RAY_USER_NODE_TYPE

from elastic_deploy.cluster.aws.instances import known_instance
from elastic_deploy.cluster.config import load_cluster
from elastic_deploy.planning.pools import pools_of
from elastic_deploy.planning.settings import Settings

from .conftest import REGION, Generate, MotoAccount

SMALL = "--gpu L4"
COMBINATIONS = [
    "",
    SMALL,
    f"{SMALL} --zones a",
    f"{SMALL} --zones a,b --nodes 8",
    f"{SMALL} --zones us-west-2b,us-west-2a --mix-zones",
    f"{SMALL} --spot",
    f"{SMALL} --spot --zones a,b,c",
    f"{SMALL} --spot-fallback",
    f"{SMALL} --spot-fallback --zones a",
    f"{SMALL} --spot-fallback --zones a,b --mix-zones",
    f"{SMALL} --internal-ips --disk 500 --idle-timeout 0",
    "--gpu L40S --gpus-per-node 4 --spot-fallback --zones a,b",
    "--gpu A10G --gpus-per-node 8 --zones a --placement-group close",
    "--gpu T4g --zones a",
    "--gpu h100 --gpus-per-node 8 --zones a --efa",
    "--instance-type g5.12xlarge --image ami-12345678 --ssh-user admin",
    "--instance-type g6e.24xlarge --efa --zones b",
    "--instance-type g6.8xlarge --efa --zones a --spot",
    "--instance-type p4d.24xlarge --efa --zones a --placement-group close --spot-fallback",
    "--instance-type p5.48xlarge --efa --zones a --placement-group close",
    "--instance-type p5en.48xlarge --efa --zones a --nodes 16 --internal-ips",
    "--instance-type p6-b300.48xlarge --efa --zones a --offline",
    "--instance-type g6.xlarge --key-name mine --private-key ~/.ssh/mine.pem --head-instance-type m5.large",
    f"{SMALL} --zones a --offline",
    f"{SMALL} --zones a,b --spot-fallback --offline",
    "--gpu H200 --gpus-per-node 8 --zones a --efa --placement-group close --offline",
]


def filled_in(text: str, account: MotoAccount, group: str) -> str:
    """What the user makes of the placeholders."""
    text = re.sub(r"subnet-of-(us-west-2\w)", lambda found: account.subnets[found[1]], text)
    text = text.replace("subnet-of-your-zone", account.subnets["us-west-2a"])
    return re.sub(r"\bsg-of-[\w-]+", group, text)


def as_ray_up_would(config: dict[str, Any]) -> dict[str, Any]:
    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return dict(bootstrap_aws(prepared))


def launch(config: dict[str, Any], node_type: str, kind: str, count: int) -> None:
    """Launch nodes as Ray does."""
    tags = {TAG_RAY_NODE_KIND: kind, TAG_RAY_LAUNCH_CONFIG: "hash", TAG_RAY_USER_NODE_TYPE: node_type}
    node = copy.deepcopy(config["available_node_types"][node_type]["node_config"])
    AWSNodeProvider(config["provider"], config["cluster_name"]).create_node(node, tags, count)


@pytest.mark.parametrize("words", COMBINATIONS, ids=[words or "nothing said" for words in COMBINATIONS])
def test_ray_launches_what_is_written(
    words: str, generate: Generate, account: MotoAccount, tmp_path: Path, own_home: Path
) -> None:
    group = account.follow_the_steps("it")
    account.ec2.create_key_pair(KeyName="mine")
    region = [] if "--region" in words else ["--region", REGION]
    written = generate("aws", "--cluster-name", "it", *region, *words.split())
    assert written.code == 0, written.err
    path = tmp_path / "it.yaml"
    path.write_text(filled_in(written.out, account, group))

    loaded = load_cluster(path)
    assert loaded.raw == yaml.safe_load(path.read_text())
    assert loaded.name == "it"
    workers = [each for each in loaded.capacity.node_types if not each.is_head]
    best_first = sorted(workers, key=lambda each: -each.priority)
    pools = tuple(dict(each.labels)["pool"] for each in best_first) if len(workers) > 1 else None
    assert loaded.settings == Settings(pools=pools)
    if pools is not None:
        assert len(pools_of(loaded.capacity, pools)) == len(workers)

    groups_before = account.ec2.describe_security_groups()["SecurityGroups"]
    config = as_ray_up_would(loaded.raw)
    assert account.ec2.describe_security_groups()["SecurityGroups"] == groups_before
    assert [each["RoleName"] for each in account.iam.list_roles()["Roles"]] == ["elastic-deploy-it"]

    for name, node_type in config["available_node_types"].items():
        head = name == config["head_node_type"]
        launch(config, name, "head" if head else "worker", 1)
        (node,) = running(account, name)
        check_node(node, node_type, account, group, head=head)
    assert not (own_home / ".elastic-deploy").exists()


def running(account: MotoAccount, node_type: str) -> list[dict[str, Any]]:
    filters = [{"Name": f"tag:{TAG_RAY_USER_NODE_TYPE}", "Values": [node_type]}]
    found = account.ec2.describe_instances(Filters=filters)["Reservations"]
    return [node for reservation in found for node in reservation["Instances"]]


def check_node(
    node: dict[str, Any], node_type: dict[str, Any], account: MotoAccount, group: str, *, head: bool
) -> None:
    config = node_type["node_config"]
    assert node["InstanceType"] == config["InstanceType"]
    assert node["ImageId"] == config["ImageId"]
    assert {"Key": "elastic-deploy:cluster", "Value": "it"} in node["Tags"]
    interfaces = config.get("NetworkInterfaces", [])
    if interfaces:
        # moto keeps the interfaces' groups to itself.
        assert all(each["Groups"] == [group] for each in interfaces)
        check_interfaces(interfaces, node["InstanceType"])
    else:
        assert {each["GroupId"] for each in node["SecurityGroups"]} == {group}
    assert node["MetadataOptions"]["HttpTokens"] == "required"
    assert node["MetadataOptions"]["HttpPutResponseHopLimit"] == 2
    assert config["BlockDeviceMappings"][0]["Ebs"]["VolumeType"] == "gp3"
    assert ("IamInstanceProfile" in config) == head
    zones = {name: zone for zone, name in account.subnets.items()}
    labels = node_type.get("labels", {})
    if "zone" in labels:
        used = config.get("SubnetIds", [each["SubnetId"] for each in interfaces])
        assert {zones[each] for each in used} == {labels["zone"]}
    spot = config.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
    assert head or labels["market"] == ("spot" if spot else "on-demand")


def check_interfaces(interfaces: list[dict[str, Any]], instance_type: str) -> None:
    """One primary interface that speaks IP, every EFA that the type has, and no place taken twice."""
    known = known_instance(instance_type)
    assert known is not None
    places = [(each["NetworkCardIndex"], each["DeviceIndex"]) for each in interfaces]
    assert len(set(places)) == len(places)
    assert [each["InterfaceType"] != "efa-only" for each in interfaces] == [place == (0, 0) for place in places]
    assert sum(each["InterfaceType"] != "interface" for each in interfaces) == known.efa
    assert len({each["SubnetId"] for each in interfaces}) == 1


def test_the_combinations_are_many_and_not_the_same() -> None:
    assert len(set(COMBINATIONS)) == len(COMBINATIONS) >= 20
