"""`elastic-deploy logs`: the engines' logs, from the nodes or, after `down`, the last lines that were kept."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from elastic_deploy.cli.options import cluster_argument, output_option
from elastic_deploy.cli.terminal import note, print_json
from elastic_deploy.cluster.config import load_cluster
from elastic_deploy.cluster.head import find_head
from elastic_deploy.cluster.records import engine_log_path, read_records

_SILENCE_S = 60.0  # reading the log of a node that is gone takes the head half of that


@click.command("logs")
@cluster_argument
@click.option("--deployment", metavar="NAME", help="Of this deployment only.")
@click.option("--replica", metavar="ID", help="Of this replica only, such as r0.")
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines, until Ctrl-C.")
@click.option("--lines", type=click.IntRange(min=1), default=200, show_default=True, help="Lines of each engine.")
@output_option
def command(cluster: Path, deployment: str | None, replica: str | None, follow: bool, lines: int, output: str) -> None:
    """Show the logs of the engines, each line with its replica."""
    config = load_cluster(cluster)
    head = find_head(config)
    if head is None:
        path = engine_log_path(config.name)
        note(f"Cluster {config.name} does not run: these are the last lines kept in {path}.")
        kept = [each for each in read_records(path) if replica in (None, each["replica"])]
        found: Iterable[dict[str, Any]] = [each for each in kept if _of(each["engine"], deployment)][-lines:]
    else:
        payload = {"deployment": deployment, "replica": replica, "follow": follow, "lines": lines}
        found = head.stream("logs", payload, None if follow else _SILENCE_S)
    if output == "text":
        for each in found:
            click.echo(f"{each['replica']}  {each['line']}")
    elif follow:
        for each in found:
            print_json(each, lines=True)
    else:
        print_json(list(found))


def _of(engine: str, deployment: str | None) -> bool:
    return deployment is None or engine.startswith(f"engine/{deployment}/")
