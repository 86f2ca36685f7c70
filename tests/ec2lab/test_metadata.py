"""The instance metadata service, as hosts see it."""

import json
import time

import pytest

from tests.ec2lab.asking import TYPE, boot, launch, metadata, token, until
from tests.ec2lab.lab import Lab

pytestmark = pytest.mark.lab


def test_metadata_identifies_the_host_that_asks(lab: Lab) -> None:
    one, other = boot(lab, "us-west-2a"), boot(lab, "us-west-2c")
    assert metadata(lab, one, "meta-data/instance-id") == (200, one)
    assert metadata(lab, other, "meta-data/instance-id") == (200, other)
    assert metadata(lab, other, "meta-data/placement/availability-zone") == (200, "us-west-2c")
    document = json.loads(metadata(lab, one, "dynamic/instance-identity/document")[1])
    assert (document["instanceId"], document["region"], document["instanceType"]) == (one, lab.region, TYPE)
    assert "placement/" in metadata(lab, one, "meta-data/")[1].splitlines()
    assert metadata(lab, one, "meta-data/spot/instance-action")[0] == 404


def test_metadata_wants_a_token_where_the_instance_says_so(lab: Lab) -> None:
    strict = boot(lab, MetadataOptions={"HttpTokens": "required"})
    closed = boot(lab, MetadataOptions={"HttpEndpoint": "disabled"})
    mine = token(lab, strict)
    given = f"X-aws-ec2-metadata-token: {mine}"
    assert metadata(lab, strict, "meta-data/instance-id")[0] == 401
    assert metadata(lab, strict, "meta-data/instance-id", "X-aws-ec2-metadata-token: no")[0] == 401
    assert metadata(lab, strict, "meta-data/instance-id", given) == (200, strict)
    short = token(lab, strict, "1")
    time.sleep(1.5)
    assert metadata(lab, strict, "meta-data/", f"X-aws-ec2-metadata-token: {short}")[0] == 401
    assert token(lab, strict, "0") == token(lab, strict, "21601") == ""
    assert metadata(lab, closed, "meta-data/instance-id")[0] == 403


def test_a_role_gives_its_instances_credentials(lab: Lab) -> None:
    iam = lab.client("iam")
    iam.create_role(RoleName="autoscaler", AssumeRolePolicyDocument="{}")
    iam.create_instance_profile(InstanceProfileName="autoscaler")
    iam.add_role_to_instance_profile(InstanceProfileName="autoscaler", RoleName="autoscaler")
    launched = launch(lab, count=2, IamInstanceProfile={"Name": "autoscaler"})
    until(lambda: len(lab.hosts()) == 2)
    for one in launched:
        instance = one["InstanceId"]
        assert metadata(lab, instance, "meta-data/iam/security-credentials/") == (200, "autoscaler")
        whoami = "import boto3; print(boto3.client('sts', 'us-west-2').get_caller_identity()['Account'])"
        where = f"AWS_ENDPOINT_URL={lab.environment['AWS_ENDPOINT_URL']}"
        said = lab.run_on(instance, ["env", where, "python", "-c", whoami]).check().stdout
        assert said.strip() == "123456789012"
