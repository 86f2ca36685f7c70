"""`elastic-deploy tunnel`: the cluster's endpoint on this machine, through SSH, for as long as the command runs."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from elastic_deploy.cli.key_files import with_key_files
from elastic_deploy.cli.options import cluster_argument
from elastic_deploy.cli.terminal import note, say
from elastic_deploy.cluster.config import load_cluster
from elastic_deploy.cluster.head import find_head
from elastic_deploy.cluster.launch import head_shell
from elastic_deploy.cluster.tunnel import Way, hold, require_free
from elastic_deploy.model.errors import ExitCode, RefusedError


@click.command("tunnel")
@cluster_argument
@click.option(
    "--port", type=click.IntRange(1, 65535), metavar="LOCAL", help="Port on this machine.  [default: the endpoint's]"
)
def command(cluster: Path, port: int | None) -> int:
    """Hold an SSH tunnel from this machine to the cluster's endpoint, until Ctrl-C."""
    config = load_cluster(cluster)
    if port is not None and config.provider_kind != "local":
        require_free(port)  # before the cloud is asked, which takes seconds
    head = find_head(config)
    if head is None:
        raise RefusedError(f"Cluster {config.name} does not run: `elastic-deploy up` starts it.")
    deployment = served(with_key_files(head.call("status")))
    if deployment is None:
        raise RefusedError(f"Nothing is deployed on {config.name}, so it has no endpoint: `elastic-deploy up` deploys.")
    endpoint = urlsplit(str(deployment["endpoint"]))
    if config.provider_kind == "local":
        note(f"No tunnel is needed: {config.name} runs on this machine.")
        click.echo(deployment["endpoint"])
        return ExitCode.DONE
    shell = head_shell(config)
    if shell is None or endpoint.hostname is None or endpoint.port is None:
        raise RefusedError(f"The head of {config.name} has just gone: `elastic-deploy status` says what is left.")
    way = Way(shell, port or endpoint.port, endpoint.hostname, endpoint.port)
    local = f"{endpoint.scheme}://localhost:{way.port}/v1"

    def ready() -> None:
        click.echo(local)
        note(example(local, str(deployment["api_key_file"]), endpoint.scheme))

    try:
        hold(way, ready, say)
    except KeyboardInterrupt:
        note("The tunnel is closed.")
    return ExitCode.DONE


def served(document: dict[str, Any]) -> dict[str, Any] | None:
    """The first deployment of a status with an endpoint, the ones that have stopped last; None where there is none."""
    found = [each for each in document["deployments"] if each["endpoint"]]
    return min(found, key=lambda each: each["phase"] == "stopped", default=None)


def example(local: str, key_file: str, scheme: str) -> str:
    """What to type next, for a person."""
    lines = [f'  curl {local}/models -H "Authorization: Bearer $(cat {key_file})"', "Ctrl-C closes the tunnel."]
    if scheme == "https":
        lines.insert(0, "The certificate may not name localhost: a client may have to be told the name that it does.")
    return "\n".join(lines)
