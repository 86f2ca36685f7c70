"""`elastic-deploy generate`: writes a complete, commented cluster YAML, and lists what only the user can fill in.

The file goes to stdout or to --output, the list to stderr. Nothing is written where something is wrong, and nothing is
ever made in a cloud.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from elastic_deploy.cli.terminal import note
from elastic_deploy.cluster.aws.account import NOTHING, Account
from elastic_deploy.cluster.aws.choose import Choice, choose
from elastic_deploy.cluster.aws.document import document, header
from elastic_deploy.cluster.aws.order import DEFAULT_IDLE_TIMEOUT, DEFAULT_USER, Market, Order, check_order
from elastic_deploy.cluster.aws.policy import autoscaler_policy
from elastic_deploy.cluster.generate.commented import questions, render
from elastic_deploy.cluster.generate.local import local_yaml
from elastic_deploy.cluster.generate.names import check_cluster_name
from elastic_deploy.cluster.generate.onprem import Machines, check_machines, onprem_document, onprem_header
from elastic_deploy.cluster.generate.release import installed_release, local_files
from elastic_deploy.model.errors import UsageError

Function = TypeVar("Function", bound=Callable[..., Any])


class Listed(click.ParamType[tuple[str, ...]]):
    """Words with commas between them."""

    name = "list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """The words; an empty one is a usage error."""
        if isinstance(value, tuple):
            return value
        words = tuple(word.strip() for word in str(value).split(","))
        if not all(words):
            self.fail(f"{value!r} has an empty place between its commas.", param, ctx)
        return words


@click.group("generate")
def command() -> None:
    """Write a complete, commented cluster YAML, which `up` and `ray up` take."""


def _output_options(function: Function) -> Function:
    function = click.option("--force", is_flag=True, help="Write over FILE if it exists.")(function)
    return click.option(
        "--output", type=click.Path(path_type=Path), metavar="FILE", help="Where to write.  [default: stdout]"
    )(function)


def _name_option(default: str) -> Callable[[Function], Function]:
    return click.option("--cluster-name", default=default, show_default=True, metavar="N", help="The cluster's name.")


_positive = click.IntRange(min=1)


@command.command("aws")
@_name_option("elastic-aws")
@click.option("--region", metavar="R", help="AWS region.  [default: boto3's, else us-west-2]")
@click.option("--zones", type=Listed(), default=(), metavar="a,b", help="Zones, the preferred first: a,b or in full.")
@click.option("--instance-type", metavar="T", help="EC2 type of the GPU nodes, such as p5.48xlarge.")
@click.option("--gpu", metavar="KIND", help="Or the GPU, such as L4 or H100.  [default: L4]")
@click.option("--gpus-per-node", type=_positive, metavar="N", help="And how many on each node.  [default: 1]")
@click.option("--nodes", type=_positive, default=2, show_default=True, metavar="N", help="GPU nodes at most.")
@click.option("--spot", is_flag=True, help="Buy the GPU nodes as spot instances.")
@click.option("--spot-fallback", is_flag=True, help="Spot first, and on-demand pools to fall back on.")
@click.option("--mix-zones", is_flag=True, help="One pool over all zones, not one for each.")
@click.option("--efa", is_flag=True, help="Elastic Fabric Adapter on every network card; one zone.")
@click.option("--placement-group", metavar="NAME", help="Cluster placement group of the GPU nodes; one zone.")
@click.option("--image", metavar="AMI", help="Image of all nodes.  [default: AWS's deep-learning base; Ubuntu's]")
@click.option("--ssh-user", default=DEFAULT_USER, show_default=True, metavar="U", help="The image's user.")
@click.option("--key-name", metavar="K", help="Key pair in EC2.  [default: Ray makes one]")
@click.option("--private-key", metavar="FILE", help="Its private key.  [default: ~/.ssh/K.pem]")
@click.option("--subnets", type=Listed(), default=(), metavar="S,S", help="Subnets.  [default: the default VPC's]")
@click.option("--security-group", metavar="G", help="Security group of all nodes.")
@click.option("--internal-ips", is_flag=True, help="Reach the nodes at their private addresses.")
@click.option("--disk", type=_positive, metavar="GIB", help="Root disk of a GPU node.")
@click.option(
    "--idle-timeout",
    type=click.IntRange(min=0),
    default=DEFAULT_IDLE_TIMEOUT,
    show_default=True,
    metavar="MIN",
    help="Minutes until an idle node is terminated.",
)
@click.option("--ssh-from", metavar="CIDR", help="From where SSH may come.  [default: this machine's address]")
@click.option("--head-instance-type", metavar="T", help="EC2 type of the head.  [default: m7i.xlarge]")
@click.option("--offline", is_flag=True, help="Ask AWS nothing.")
@click.option("--policy", is_flag=True, help="Print the IAM policy of the head's role instead.")
@_output_options
def aws(output: Path | None, force: bool, policy: bool, spot: bool, spot_fallback: bool, **said: Any) -> None:
    """EC2: GPU nodes of one type in one or more zones, on demand or spot.

    What is not said is looked up with your AWS credentials, or becomes a question in the file.
    """
    if spot and spot_fallback:
        raise UsageError("--spot and --spot-fallback contradict each other: give one of them.")
    market = Market.SPOT_FALLBACK if spot_fallback else Market.SPOT if spot else Market.ON_DEMAND
    order = Order(market=market, **said)
    check_cluster_name(order.cluster_name)
    check_order(order)
    account = _account(order)
    choice = choose(order, account)
    if policy:
        _write(json.dumps(autoscaler_policy(choice), indent=2) + "\n", output, force)
    else:
        _write_aws(choice, output, force)
    for sentence in account.unanswered:
        note(sentence)


@command.command("local")
@_name_option("elastic-local")
@click.option("--nodes", type=_positive, default=4, show_default=True, metavar="N", help="GPU nodes at most.")
@click.option("--gpus-per-node", type=_positive, default=1, show_default=True, metavar="N", help="GPUs of each.")
@_output_options
def local(output: Path | None, force: bool, cluster_name: str, nodes: int, gpus_per_node: int) -> None:
    """This machine: every node a group of processes, every GPU a number."""
    check_cluster_name(cluster_name)
    _write(local_yaml(cluster_name, nodes, gpus_per_node), output, force)


@command.command("onprem")
@_name_option("onprem-ssh")
@click.option("--hosts", type=Listed(), required=True, metavar="H,H", help="Addresses: the head, then GPU machines.")
@click.option("--ssh-user", default="ubuntu", show_default=True, metavar="U", help="User on all of them.")
@click.option("--private-key", metavar="FILE", help="Private key that opens them.")
@click.option("--gpus-per-node", type=_positive, metavar="N", help="GPUs of each, for the header.")
@_output_options
def onprem(
    output: Path | None,
    force: bool,
    cluster_name: str,
    hosts: tuple[str, ...],
    ssh_user: str,
    private_key: str | None,
    gpus_per_node: int | None,
) -> None:
    """Machines that already run, over SSH, for Ray alone: nothing can be launched there."""
    check_cluster_name(cluster_name)
    machines = Machines(
        cluster_name=cluster_name, hosts=hosts, ssh_user=ssh_user, private_key=private_key, gpus=gpus_per_node
    )
    check_machines(machines)
    release = installed_release()
    tree = onprem_document(machines, release, local_files(cluster_name))
    _write_tree(tree, onprem_header(machines, release), output, force)


def _account(order: Order) -> Account:
    if order.offline:
        return NOTHING
    # Imported here: boto3 takes half a second, which nobody should pay who asks nothing.
    from elastic_deploy.cluster.aws.lookup import look_up

    return look_up(order)


def _write_aws(choice: Choice, output: Path | None, force: bool) -> None:
    release = installed_release()
    tree = document(choice, release, local_files(choice.order.cluster_name))
    _write_tree(tree, header(choice, release), output, force)


def _write_tree(tree: Mapping[str, Any], head: str, output: Path | None, force: bool) -> None:
    _write(render(tree, head), output, force)
    asked = [f"  {each.place}: {each.sentence}" for each in questions(tree)]
    if asked:
        note("\n".join([f"To be filled in, marked TODO(you) in {output or 'the file'}:", *asked]))


def _write(text: str, output: Path | None, force: bool) -> None:
    """To `output`, all of it or nothing, and never over a file that was not given up."""
    if output is None:
        click.echo(text, nl=False)
        return
    if output.exists() and not force:
        raise UsageError(f"{output} exists, and is left as it is: name another file, or add --force.")
    draft = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(output)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise UsageError(f"{output} cannot be written ({error.strerror}): name another file.") from error
