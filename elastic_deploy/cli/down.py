"""`elastic-deploy down`: stop, end, prove that nothing is left; again is no error."""

from pathlib import Path

import click

from elastic_deploy.cli import removal
from elastic_deploy.cli.options import cluster_argument
from elastic_deploy.cli.terminal import ask, note, say
from elastic_deploy.cluster.config import load_cluster
from elastic_deploy.cluster.head import find_head
from elastic_deploy.cluster.teardown import forget_secrets
from elastic_deploy.model.errors import ExitCode


@click.command("down")
@cluster_argument
@click.option("--deployment", metavar="NAME", help="Stop this deployment only, and keep the cluster.")
@click.option("-y", "--yes", is_flag=True, help="Ask nothing.")
def command(cluster: Path, deployment: str | None, yes: bool) -> int:
    """Stop the deployments, end every node, and prove that nothing is left but logs and the journal.

    Where nobody can be asked, it goes on as if told -y.
    """
    config = load_cluster(cluster)
    if not removal.exists(config):
        forget_secrets(config.name)
        note(f"Nothing to do: cluster {config.name} does not run.")
        return ExitCode.DONE
    what = f"deployment {deployment} of {config.name}" if deployment else f"cluster {config.name}, all nodes of it"
    if not yes and not ask(f"Take down {what}?", default=_unasked()):
        note("Nothing was changed.")
        return ExitCode.INTERRUPTED
    try:
        if deployment is None:
            removal.take_down(config, say)
            note(f"Cluster {config.name} is down, and nothing of it is left but its logs and journal.")
            return ExitCode.DONE
        head = find_head(config)
        stopped = removal.stop(head, deployment, say) if head else []
    except KeyboardInterrupt:
        note(f"Interrupted: part of {what} may still stand. To finish: elastic-deploy down {cluster}")
        return ExitCode.INTERRUPTED
    done = f"{deployment} is stopped" if stopped else f"Nothing to do: {deployment} does not run"
    note(f"{done}; cluster {config.name} stays as it is.")
    return ExitCode.DONE


def _unasked() -> bool:
    """The answer for a script, which cannot be asked; a person has to say yes."""
    from elastic_deploy.cli.terminal import may_ask

    return not may_ask()
