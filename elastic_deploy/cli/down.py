"""`elastic-deploy down`: stop, end, prove that nothing is left; again is no error."""

from pathlib import Path

import click

from elastic_deploy.cli import removal
from elastic_deploy.cli.options import cluster_argument
from elastic_deploy.cli.terminal import ask, note, say
from elastic_deploy.cluster.config import load_cluster
from elastic_deploy.cluster.head import find_head
from elastic_deploy.cluster.teardown import down_in_words, find, how_known, may_be_launching
from elastic_deploy.model.errors import ExitCode, RefusedError, UsageError


@click.command("down")
@cluster_argument
@click.option("--deployment", metavar="NAME", help="Stop this deployment only, and keep the cluster.")
@click.option(
    "--all", "everything", is_flag=True, help="Remove the role and the security group made for this cluster as well."
)
@click.option("-y", "--yes", is_flag=True, help="Ask nothing.")
def command(cluster: Path, deployment: str | None, everything: bool, yes: bool) -> int:
    """Stop the deployments, end every node, and prove that nothing is left but logs and the journal.

    Needs the cluster YAML and the cloud's credentials, from whatever machine. Where nobody can be asked, it goes on as
    if told -y.
    """
    if deployment and everything:
        raise UsageError("--deployment keeps the cluster, and --all removes even what it shares: give one of them.")
    config = load_cluster(cluster)
    found = find(config)
    if not found.anything and not everything:
        # Even so it is gone about where a launch may be under way, which is not listed yet.
        ended = deployment is None and may_be_launching(config) and removal.take_down(config, say, found)
        note(
            down_in_words(config) if ended else f"Nothing to do: cluster {config.name} does not run{how_known(config)}."
        )
        return ExitCode.DONE
    if deployment and found.not_asked:
        raise RefusedError(f"{deployment} cannot be stopped from here. {found.not_asked}")
    what = f"deployment {deployment} of {config.name}" if deployment else f"cluster {config.name}, all nodes of it"
    if config.provider_kind != "local" and deployment is None:
        for sentence in found.sentences:
            note(sentence)
    if everything:
        what += ", and what was made for it alone"
    if not yes and not ask(f"Take down {what}?", default=_unasked()):
        note("Nothing was changed.")
        return ExitCode.INTERRUPTED
    try:
        if deployment is None:
            removal.take_down(config, say, found, everything=everything)
            note(down_in_words(config))
            return ExitCode.DONE
        head = find_head(config) if found.may_ask_head else None
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
