"""`elastic-deploy status`: the cluster, what is asked for it, every deployment, replica and node."""

import time
from pathlib import Path
from typing import Any

import click

from elastic_deploy.cli.key_files import with_key_files
from elastic_deploy.cli.options import cluster_argument, output_option
from elastic_deploy.cli.page import print_page
from elastic_deploy.cli.render import status_page
from elastic_deploy.cli.terminal import note, print_json
from elastic_deploy.cluster.config import ClusterConfig, load_cluster
from elastic_deploy.cluster.head import find_head
from elastic_deploy.cluster.teardown import standing


@click.command("status")
@cluster_argument
@output_option
def command(cluster: Path, output: str) -> None:
    """Show the cluster, what is asked for it, every deployment, replica and node, on one page."""
    config = load_cluster(cluster)
    head = find_head(config)
    document = with_key_files(head.call("status")) if head else absent(config)
    if head and output == "text":
        print_page(status_page(document, time.time()))
    elif head:
        print_json(document)
    else:
        hint = f"Cluster {config.name} does not run. To start it: elastic-deploy up {cluster} --model M --gpus N"
        if nodes := standing(config).nodes:
            hint = f"Cluster {config.name} has no head on which Ray runs, only {', '.join(nodes)}: run `up` or `down`."
        if output == "json":
            print_json(document)
            note(hint)
        else:
            click.echo(hint)


def absent(config: ClusterConfig) -> dict[str, Any]:
    """The status of a cluster that does not run."""
    return {
        "cluster": {"name": config.name, "provider": config.provider_kind, "head_address": "", "nodes": []},
        "request": {"bundles": [], "sent_at": None},
        "deployments": [],
        "ledger": [],
    }
