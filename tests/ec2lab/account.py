"""What a user does once in an account before the first `up`: the head's role and the nodes' security group."""

import json
from typing import Any

from elastic_deploy.cluster.aws.policy import role_name
from elastic_deploy.cluster.aws.steps import group_name
from tests.ec2lab.lab import Lab

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}],
}


def prepare_account(lab: Lab, cluster: str) -> None:
    """Follow the first commands of a generated file: SSH from one address only, everything among the nodes."""
    iam, ec2, role = lab.client("iam"), lab.client("ec2"), role_name(cluster)
    iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(TRUST))
    iam.create_instance_profile(InstanceProfileName=role)
    iam.add_role_to_instance_profile(InstanceProfileName=role, RoleName=role)
    (vpc,) = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    made = ec2.create_security_group(GroupName=group_name(cluster), Description="nodes", VpcId=vpc["VpcId"])
    ssh: dict[str, Any] = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
    inside = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": made["GroupId"]}]}
    permissions = [{**ssh, "IpRanges": [{"CidrIp": "198.51.100.7/32"}]}, inside]
    ec2.authorize_security_group_ingress(GroupId=made["GroupId"], IpPermissions=permissions)


def generate(lab: Lab, cluster: str, *flags: str) -> str:
    """`generate aws` on the laptop, with the lab's key pair; the file's path there."""
    path = str(lab.home / f"{cluster}.yaml")
    known = ("--cluster-name", cluster, "--region", lab.region, "--key-name", lab.key_name)
    key = ("--private-key", str(lab.key_file))
    lab.run(["elastic-deploy", "generate", "aws", *known, *key, *flags, "--output", path]).check()
    return path
