"""What has to exist in the account before the first start, as commands that a person can run and read. Pure.

`generate` makes nothing in the cloud. What it found there is not listed.
"""

from elastic_deploy.cluster.aws.choose import Choice
from elastic_deploy.cluster.aws.order import Market, arguments
from elastic_deploy.cluster.aws.policy import role_name
from elastic_deploy.cluster.generate.commented import wrapped_command

CALLER = "YOUR.ADDRESS/32"
_TRUST = (
    '\'{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole",\n'
    '    "Principal":{"Service":"ec2.amazonaws.com"}}]}\''
)


def group_name(cluster_name: str) -> str:
    """The security group that is looked for, and that the commands make."""
    return f"elastic-deploy-{cluster_name}"


def placeholder_group(cluster_name: str) -> str:
    """Stands for the security group's id until there is one. EC2 refuses it: nothing starts unprotected."""
    return f"sg-of-{cluster_name}"


def placeholder_subnet(zone: str) -> str:
    """Stands for the id of a subnet in `zone`."""
    return f"subnet-of-{zone or 'your-zone'}"


def ssh_range(choice: Choice) -> str:
    """From where SSH may come: as the user said, else the address that AWS sees us under, else a placeholder."""
    return choice.order.ssh_from or choice.account.caller or CALLER


def first_steps(choice: Choice) -> str:
    """The commands, a line each, indented; empty if nothing is missing."""
    parts = []
    if choice.account.has_role is not True:
        parts.append(_role(choice))
    if not (choice.order.security_group or choice.account.security_group):
        parts.append(_security_group(choice))
    if choice.order.placement_group and not choice.account.placement_strategy:
        parts.append(_placement_group(choice))
    if choice.order.market is not Market.ON_DEMAND:
        parts.append(
            "  # Once in an account's life, for spot; that it exists already is no error:\n"
            "  aws iam create-service-linked-role --aws-service-name spot.amazonaws.com || true"
        )
    if not parts:
        return ""
    return "\n".join([f"  export AWS_DEFAULT_REGION={choice.region}", *parts])


def _role(choice: Choice) -> str:
    name = role_name(choice.order.cluster_name)
    return (
        "  # The head's role: to launch, tag and end instances of this cluster, and nothing else.\n"
        f"{wrapped_command(f'elastic-deploy generate aws {arguments(choice.order)} --policy > policy.json')}\n"
        f"  aws iam create-role --role-name {name} --assume-role-policy-document \\\n"
        f"    {_TRUST}\n"
        f"  aws iam put-role-policy --role-name {name} --policy-name autoscaler \\\n"
        "    --policy-document file://policy.json\n"
        f"  aws iam create-instance-profile --instance-profile-name {name}\n"
        f"{wrapped_command(f'aws iam add-role-to-instance-profile --instance-profile-name {name} --role-name {name}')}"
    )


def _security_group(choice: Choice) -> str:
    name = choice.order.cluster_name
    vpc = f" --vpc-id {choice.account.subnets[0].vpc}" if choice.account.subnets else ""
    egress = (
        "\n  aws ec2 authorize-security-group-egress --group-id $GROUP \\\n"
        "    --ip-permissions IpProtocol=-1,UserIdGroupPairs=[{GroupId=$GROUP}]"
        if choice.order.efa
        else ""
    )
    fabric = "\n  # EFA wants the way out to the group itself named as well." if choice.order.efa else ""
    return (
        f"  # The nodes' security group: everything among the nodes, SSH from {ssh_range(choice)} only.{fabric}\n"
        f"  GROUP=$(aws ec2 create-security-group --group-name {group_name(name)}{vpc} \\\n"
        f"    --description 'Ray cluster {name}' --query GroupId --output text)\n"
        f"  aws ec2 authorize-security-group-ingress --group-id $GROUP --protocol all --source-group $GROUP{egress}\n"
        "  aws ec2 authorize-security-group-ingress --group-id $GROUP --protocol tcp --port 22 \\\n"
        f"    --cidr {ssh_range(choice)}\n"
        f"  echo $GROUP   # instead of {placeholder_group(name)} below"
    )


def _placement_group(choice: Choice) -> str:
    return (
        "  # The placement group: nodes close to each other, for the shortest way between GPUs.\n"
        f"  aws ec2 create-placement-group --group-name {choice.order.placement_group} --strategy cluster"
    )
