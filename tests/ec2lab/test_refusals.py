"""Launches that EC2 refuses or cuts short, through real boto3: code, text and status as EC2's."""

import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest
from botocore.exceptions import ClientError

from tests.ec2lab import words
from tests.ec2lab.asking import TYPE, launch
from tests.ec2lab.lab import Lab
from tests.ec2lab.words import Refusal

pytestmark = pytest.mark.lab


REFUSALS: dict[str, tuple[Callable[[Lab], None], dict[str, Any], Refusal]] = {
    "capacity": (
        lambda lab: lab.capacity.__setitem__(("us-west-2a", TYPE), 0),
        {},
        words.no_capacity(TYPE, "us-west-2a", ["us-west-2b", "us-west-2c", "us-west-2d"]),
    ),
    "spot capacity": (
        lambda lab: lab.capacity.__setitem__(("us-west-2a", TYPE), 0),
        {"InstanceMarketOptions": {"MarketType": "spot"}},
        words.no_spot_capacity(),
    ),
    "quota": (lambda lab: lab.quota.__setitem__(("on-demand", "g"), 3), {}, words.over_quota(3)),
    "spot quota": (
        lambda lab: lab.quota.__setitem__(("spot", "g"), 0),
        {"InstanceMarketOptions": {"MarketType": "spot"}},
        words.over_spot_quota(),
    ),
    "throttled": (lambda lab: lab.throttle("RunInstances"), {}, words.throttled()),
    "denied": (lambda lab: lab.deny("RunInstances"), {}, words.not_allowed("RunInstances")),
    "image": (lambda _: None, {"ImageId": "ami-00000000000000000"}, words.no_image("ami-00000000000000000")),
    "key pair": (lambda _: None, {"KeyName": "lost"}, words.no_key_pair("lost")),
    "scripted": (
        lambda lab: lab.fail_next("Run*", "Unsupported", "Not <here>."),
        {},
        Refusal(400, "Unsupported", "Not <here>."),
    ),
}


@pytest.mark.parametrize("trouble", REFUSALS)
def test_a_launch_is_refused_in_the_words_of_ec2(lab: Lab, trouble: str) -> None:
    plant, request, expected = REFUSALS[trouble]
    plant(lab)
    with pytest.raises(ClientError) as refused:
        launch(lab, **request)
    answer = refused.value.response
    assert answer["Error"]["Code"] == expected.code
    assert answer["Error"]["Message"] == expected.message
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == expected.status
    assert lab.instances() == []


def test_a_subnet_runs_out_of_addresses_and_shows_it(lab: Lab) -> None:
    subnet = lab.subnets["us-west-2b"]
    lab.addresses["us-west-2b"] = 1

    def free() -> int:
        (shown,) = lab.client("ec2").describe_subnets(SubnetIds=[subnet])["Subnets"]
        return int(shown["AvailableIpAddressCount"])

    assert free() == 1
    assert len(launch(lab, "us-west-2b", 2)) == 1
    assert free() == 0
    with pytest.raises(ClientError) as refused:
        launch(lab, "us-west-2b")
    assert refused.value.response["Error"]["Message"] == words.no_addresses(subnet).message
    del lab.addresses["us-west-2b"]
    assert free() > 4000


def test_a_launch_that_finds_some_room_gets_some(lab: Lab) -> None:
    lab.capacity["us-west-2a", TYPE] = 2
    assert len(launch(lab, count=3)) == 2
    assert len(launch(lab, "us-west-2b", count=3)) == 3
    with pytest.raises(ClientError, match="InsufficientInstanceCapacity"):
        launch(lab)
    lab.capacity["us-west-2a", TYPE] = 3
    with pytest.raises(ClientError, match="InsufficientInstanceCapacity"):
        launch(lab, count=2, MinCount=2)
    assert len(launch(lab)) == 1


def test_an_sdk_that_tries_again_gets_through_a_throttle(lab: Lab) -> None:
    lab.throttle("Describe*", times=2)
    answer = lab.client("ec2", retries=4).describe_instances()
    assert answer["ResponseMetadata"]["RetryAttempts"] == 2


@pytest.mark.parametrize(("service", "root"), [("ec2", "Response"), ("iam", "ErrorResponse")])
def test_refusals_are_in_the_xml_of_their_service(lab: Lab, service: str, root: str) -> None:
    lab.fail_next("CreateThing", "AccessDenied", "Not <allowed>.", status=403)
    scope = f"AWS4-HMAC-SHA256 Credential=key/20260101/{lab.region}/{service}/aws4_request, SignedHeaders=host"
    request = urllib.request.Request(lab.endpoint, b"Action=CreateThing", {"Authorization": scope})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=20)
    with refused.value as answer:
        document = ElementTree.fromstring(answer.read())
    assert (refused.value.code, document.tag) == (403, root)
    assert [element.text for element in document.iter("Message")] == ["Not <allowed>."]


def test_a_launch_that_names_no_zone_finds_one_with_room(lab: Lab) -> None:
    lab.capacity["us-west-2a", TYPE] = 0
    answer = lab.client("ec2").run_instances(ImageId=lab.image, InstanceType=TYPE, MinCount=1, MaxCount=1)
    assert answer["Instances"][0]["Placement"]["AvailabilityZone"] == "us-west-2b"
    assert answer["Instances"][0]["SubnetId"] == lab.subnets["us-west-2b"]


@pytest.mark.parametrize(
    ("request_", "code"),
    [({"InstanceType": "g99.huge"}, "InvalidInstanceType"), ({"SubnetId": "subnet-no"}, "InvalidSubnetID")],
)
def test_types_and_subnets_that_do_not_exist_are_refused(lab: Lab, request_: dict[str, Any], code: str) -> None:
    with pytest.raises(ClientError, match=code):
        launch(lab, **request_)


def test_the_quota_that_launches_are_held_to_can_be_asked_for(lab: Lab) -> None:
    def shown(code: str) -> float:
        answer = lab.client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode=code)
        return float(answer["Quota"]["Value"])

    lab.quota["on-demand", "g"] = 64
    assert shown("L-DB2E81BA") == 64
    assert shown("L-3819A6DF") > 1000  # spot is limited by itself
    with pytest.raises(ClientError, match="NoSuchResource"):
        shown("L-00000000")
