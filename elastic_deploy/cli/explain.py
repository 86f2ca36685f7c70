"""`elastic-deploy explain`: what a deployment waits for, what was tried, what comes next, what a user could do."""

import time
from dataclasses import asdict
from pathlib import Path

import click

from elastic_deploy.cli.options import cluster_argument, output_option
from elastic_deploy.cli.terminal import note, print_json
from elastic_deploy.cluster.config import load_cluster
from elastic_deploy.cluster.head import find_head
from elastic_deploy.cluster.teardown import standing
from elastic_deploy.core.outlook import Outlook, outlook
from elastic_deploy.model.errors import UsageError


@click.command("explain")
@cluster_argument
@click.option("--deployment", metavar="NAME", help="This deployment only.")
@output_option
def command(cluster: Path, deployment: str | None, output: str) -> None:
    """Tell in a paragraph what each deployment waits for, and what can be done about it."""
    config = load_cluster(cluster)
    head = find_head(config)
    found: list[Outlook] = []
    if head is not None:
        document = head.call("status")
        events = list(head.stream("events", {"after": None, "follow": False}))
        chosen = [each for each in document["deployments"] if deployment in (None, each["name"])]
        if deployment is not None and not chosen:
            names = ", ".join(each["name"] for each in document["deployments"]) or "none"
            raise UsageError(f"Cluster {config.name} has no deployment {deployment}; it has: {names}.")
        now = time.time()
        found = [outlook(each, document, events, now) for each in chosen]
        hint = f"Nothing is deployed on cluster {config.name}: `elastic-deploy up {cluster}` does that."
    elif nodes := standing(config).nodes:
        hint = f"Cluster {config.name} has no head on which Ray runs, only {', '.join(nodes)}: run `up` or `down`."
    else:
        hint = f"Cluster {config.name} does not run: it waits for nothing, and holds nothing."
    if output == "json":
        print_json({"cluster": config.name, "deployments": [{**asdict(one), "text": one.text} for one in found]})
        if not found:
            note(hint)
        return
    click.echo("\n\n".join(one.text for one in found) if found else hint)
