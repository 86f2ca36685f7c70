"""`elastic-deploy events`: the journal, from the head or, after `down`, from its local copy."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from elastic_deploy.cli.event_tail import EventTail
from elastic_deploy.cli.options import cluster_argument, output_option
from elastic_deploy.cli.render import journal_line
from elastic_deploy.cli.terminal import note, print_json
from elastic_deploy.cluster.config import load_cluster
from elastic_deploy.cluster.head import Head, find_head
from elastic_deploy.cluster.records import journal_path, read_records

_PATIENCE_S = 1.0


@click.command("events")
@cluster_argument
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now on, until Ctrl-C.")
@click.option("--deployment", metavar="NAME", help="Of this deployment only.")
@output_option
def command(cluster: Path, follow: bool, deployment: str | None, output: str) -> None:
    """Show what happened to the cluster and its deployments, and what each event led to."""
    config = load_cluster(cluster)
    head = find_head(config)
    if head is None:
        note(f"Cluster {config.name} does not run: this is the journal's copy in {journal_path(config.name)}.")
        found: Iterable[dict[str, Any]] = read_records(journal_path(config.name))
    elif follow:
        found = _following(head)
    else:
        found = head.stream("events", {"after": None, "follow": False})
    chosen = (event for event in found if deployment in (None, event.get("deployment")))
    if output == "text":
        for event in chosen:
            click.echo(journal_line(event))
    elif follow:
        for event in chosen:
            print_json(event, lines=True)
    else:
        print_json(list(chosen))


def _following(head: Head) -> Iterator[dict[str, Any]]:
    told = ""
    with EventTail(head, None) as tail:
        while True:
            yield from tail.wait(_PATIENCE_S)
            if tail.trouble and tail.trouble != told:
                note(tail.trouble)
            told = tail.trouble
