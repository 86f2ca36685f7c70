"""What is looked up in an account (moto's), what is made of refusals, and that nothing is asked with --offline."""

import io
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import boto3
import pytest
import yaml
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from elastic_deploy.cluster.aws import lookup
from elastic_deploy.cluster.aws.instances import known_instances
from elastic_deploy.cluster.aws.lookup import caller_address, look_up
from elastic_deploy.cluster.aws.order import Order
from elastic_deploy.model.errors import InvalidConfigError

from .conftest import CALLER, GPU_IMAGE, HEAD_IMAGE, REGION, Generate, MotoAccount


def order(**said: Any) -> Order:
    return Order(**{"cluster_name": "it", "region": REGION, "gpu": "L4", **said})


def found(**said: Any) -> Any:
    return look_up(order(**said))


def test_an_account_with_everything_leaves_no_question(generate: Generate, account: MotoAccount) -> None:
    group = account.follow_the_steps("it")
    written = generate("aws", "--cluster-name", "it", "--region", REGION, "--zones", "a,c", "--spot-fallback")
    assert written.code == 0
    assert written.err == ""
    raw = yaml.safe_load(written.out)
    head = raw["available_node_types"].pop("head")["node_config"]
    assert (head["ImageId"], head["SecurityGroupIds"]) == (HEAD_IMAGE, [group])
    assert head["SubnetIds"] == [account.subnets["us-west-2a"]]
    for name, node_type in raw["available_node_types"].items():
        zone = node_type["labels"]["zone"]
        assert name.endswith(zone)
        assert node_type["node_config"]["SubnetIds"] == [account.subnets[zone]]
        assert node_type["node_config"]["ImageId"] == GPU_IMAGE
    assert "create-security-group" not in written.out
    assert "create-role" not in written.out


class Page(BaseHTTPRequestHandler):
    """A proxy that shows everybody its own page."""

    def do_POST(self) -> None:
        """Answer whatever was asked."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        page = b"<html><body><p>Please sign in.</body></html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_a_page_in_place_of_an_answer_leaves_questions(generate: Generate, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "something")
        written = generate("aws", "--cluster-name", "it", "--region", REGION, "--gpu", "L4", "--zones", "a")
        server.shutdown()
    assert written.code == 0
    assert "What answered when AWS was asked who you are is not AWS" in written.err
    assert yaml.safe_load(written.out)["cluster_name"] == "it"


def test_an_account_with_nothing_is_told_what_to_make(generate: Generate, account: MotoAccount) -> None:
    assert account.vpc
    written = generate("aws", "--cluster-name", "it", "--region", REGION)
    assert "make the role elastic-deploy-it" in written.err
    assert "write the security group's id here" in written.err
    assert "aws iam create-role --role-name elastic-deploy-it" in written.out
    assert f"--group-name elastic-deploy-it --vpc-id {account.vpc}" in written.out


def test_zones_that_offer_the_type_are_taken(account: MotoAccount) -> None:
    offered = account.ec2.describe_instance_type_offerings(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": ["g6.2xlarge"]}]
    )["InstanceTypeOfferings"]
    assert set(found().offered_in) == {each["Location"] for each in offered}


def test_the_token_is_mounted_whether_it_is_there_yet_or_not(generate: Generate, account: MotoAccount) -> None:
    account.follow_the_steps("it")
    written = generate("aws", "--cluster-name", "it", "--region", REGION)
    assert "openssl rand -hex 32 > ~/.elastic-deploy/it/ray-token" in written.out
    assert yaml.safe_load(written.out)["file_mounts"] == {
        "~/.elastic-deploy/node/ray-token": "~/.elastic-deploy/it/ray-token"
    }


def test_the_callers_address_is_let_in_and_no_other(generate: Generate, account: MotoAccount) -> None:
    assert account.vpc
    words = ("aws", "--region", REGION)
    assert f"--cidr {CALLER}" in generate(*words).out
    assert "--cidr 198.51.100.0/24" in generate(*words, "--ssh-from", "198.51.100.0/24").out
    assert "0.0.0.0" not in generate(*words).out


def test_a_group_that_lets_everybody_in_is_a_question(generate: Generate, account: MotoAccount) -> None:
    group = account.security_group("wide", "0.0.0.0/0")
    narrow = account.security_group("narrow", "198.51.100.0/24")
    words = ("aws", "--region", REGION, "--security-group")
    assert f"{group} lets the whole world try SSH" in generate(*words, group).err
    assert "whole world" not in generate(*words, narrow).err


@pytest.mark.parametrize(
    ("rule", "opens"),
    [
        ({"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}, True),
        ({"IpProtocol": "tcp", "FromPort": 0, "ToPort": 65535, "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}, True),
        ({"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}, True),
        ({"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-1"}]}, False),
        ({"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}, False),
        ({"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}, False),
    ],
)
def test_which_rules_open_ssh_to_the_world(rule: dict[str, Any], opens: bool) -> None:
    assert lookup._opens_ssh(rule) is opens


def test_what_the_user_names_must_be_there(account: MotoAccount) -> None:
    assert account.vpc
    with pytest.raises(InvalidConfigError, match="no security group sg-12345678 in us-west-2"):
        found(security_group="sg-12345678")
    with pytest.raises(InvalidConfigError, match="no such subnet"):
        found(subnets=("subnet-12345678",))
    with pytest.raises(InvalidConfigError, match=r"EC2 does not know the instance type g99\.xlarge in us-west-2"):
        found(gpu=None, instance_type="g99.xlarge")


def test_a_group_of_another_vpc_is_refused(account: MotoAccount) -> None:
    other = account.ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    group = account.ec2.create_security_group(GroupName="g", Description="d", VpcId=other)["GroupId"]
    with pytest.raises(InvalidConfigError, match=f"is in {other}, and the subnets are in {account.vpc}"):
        found(security_group=group)


def test_private_subnets_are_for_internal_addresses_alone(generate: Generate, account: MotoAccount) -> None:
    private = account.ec2.create_subnet(VpcId=account.vpc, CidrBlock="172.31.96.0/20", AvailabilityZone="us-west-2a")
    name = private["Subnet"]["SubnetId"]
    words = ("aws", "--region", REGION, "--zones", "a", "--subnets", name)
    refused = generate(*words)
    assert (refused.code, refused.out) == (3, "")
    assert f"None of the subnets {name} can serve us-west-2a" in refused.err
    taken = yaml.safe_load(generate(*words, "--internal-ips").out)
    assert taken["available_node_types"]["gpu"]["node_config"]["SubnetIds"] == [name]
    assert taken["provider"]["use_internal_ips"] is True


def test_without_a_default_vpc_the_subnets_are_asked_for(generate: Generate, account: MotoAccount) -> None:
    for subnet in account.subnets.values():
        account.ec2.delete_subnet(SubnetId=subnet)
    written = generate("aws", "--region", REGION, "--zones", "a,b")
    assert written.code == 0
    assert "subnet-of-us-west-2a" in written.out
    assert "write the id of a subnet in us-west-2b here" in written.err


def test_a_refused_question_is_said_and_the_file_is_written(
    generate: Generate, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert account.vpc

    def refused(_self: object, _name: str) -> tuple[str, ...]:
        raise ClientError({"Error": {"Code": "UnauthorizedOperation", "Message": "no"}}, "Describe")

    monkeypatch.setattr(lookup._Asker, "_offered_in", refused)
    written = generate("aws", "--region", REGION)
    assert written.code == 0
    assert "AWS did not say the zones that offer it: UnauthorizedOperation." in written.err
    assert yaml.safe_load(written.out)["provider"]["region"] == REGION


def test_without_credentials_the_file_is_that_of_offline(generate: Generate) -> None:
    words = ("aws", "--region", REGION, "--zones", "a")
    without, offline = generate(*words), generate(*words, "--offline")
    assert without.code == 0
    assert "AWS could not be asked who you are: Unable to locate credentials." in without.err
    assert yaml.safe_load(without.out) == yaml.safe_load(offline.out)
    assert without.out.count("TODO(you)") == offline.out.count("TODO(you)")


def test_offline_asks_nothing(generate: Generate, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_arguments: object, **_named: object) -> None:
        raise AssertionError("something was asked")

    monkeypatch.setattr(boto3, "Session", forbidden)
    monkeypatch.setattr(urllib.request, "urlopen", forbidden)
    assert generate("aws", "--offline").code == 0


def test_the_region_is_botos_where_none_is_said(
    generate: Generate, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert account.vpc
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    written = generate("aws")
    assert yaml.safe_load(written.out)["provider"]["region"] == "eu-central-1"
    assert "provider.region" not in written.err


def test_a_kind_of_gpu_that_the_table_lacks_is_searched_in_ec2(
    account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert account.vpc
    everything = known_instances()
    monkeypatch.setattr(lookup, "known_instances", list)
    monkeypatch.setattr(lookup._Asker, "_everything", lambda _self: everything)
    assert found(gpu="H100", gpus_per_node=8).instance.type == "p5.48xlarge"


@pytest.mark.parametrize(("groups", "strategy"), [([{"Strategy": "cluster"}], "cluster"), ([], "")])
def test_a_placement_group_is_looked_for(
    groups: list[dict[str, str]], strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = boto3.client("ec2", region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x")
    asker = lookup._Asker(order(placement_group="close"))
    monkeypatch.setattr(asker, "_client", lambda _service: client)
    with Stubber(client) as stub:
        filters = [{"Name": "group-name", "Values": ["close"]}]
        stub.add_response("describe_placement_groups", {"PlacementGroups": groups}, {"Filters": filters})
        assert asker._placement_strategy() == strategy


def test_this_machines_address_is_asked_of_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_a, **_n: io.BytesIO(b"203.0.113.9\n"))
    assert caller_address() == "203.0.113.9/32"

    def unreachable(*_arguments: object, **_named: object) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    assert caller_address() is None
