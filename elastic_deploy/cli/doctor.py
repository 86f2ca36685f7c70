"""`elastic-deploy doctor`: what would go wrong, a line a check, before anything is launched. Starts nothing."""

import sys
import textwrap
from pathlib import Path
from typing import Any

import click

from elastic_deploy.cli.options import cluster_argument, output_option
from elastic_deploy.cli.terminal import is_plain, print_json
from elastic_deploy.cluster.config import load_cluster
from elastic_deploy.cluster.running_checks import running_checks
from elastic_deploy.model.check import Check, Verdict, exit_code

_WORDS = {Verdict.PASS: "PASS", Verdict.WARNING: "WARN", Verdict.FAILURE: "FAIL", Verdict.UNKNOWN: "UNKNOWN"}
_COLOURS = {Verdict.PASS: "green", Verdict.WARNING: "yellow", Verdict.FAILURE: "red", Verdict.UNKNOWN: "cyan"}
_INDENT = 9


@click.command("doctor")
@cluster_argument
@click.option("--model", metavar="M", help="The model that is to be served.  [default: the YAML's]")
@click.option("--gpus", type=click.IntRange(min=1), metavar="N", help="GPUs that it is to have.  [default: the YAML's]")
@output_option
def command(cluster: Path, model: str | None, gpus: int | None, output: str) -> int:
    """Check what a launch needs, and on a cluster that runs, its nodes and ports.

    Ends with 0, with 7 where a check fails, and with 4 where what is asked can never be had.
    """
    config = load_cluster(cluster)
    # Imports boto3, which `doctor --help` should not pay for.
    from elastic_deploy.cluster.aws.preflight import preflight

    checks = preflight(config, model, gpus)
    # Where credentials are missing, no head can be found either, and it has been said why.
    if not any(each.name == "credentials" and each.verdict is Verdict.FAILURE for each in checks):
        checks += running_checks(config)
    if output == "json":
        print_json(document(config.name, checks))
    else:
        for line in lines(checks):
            click.echo(line, color=not is_plain(sys.stdout))
    return int(exit_code(checks))


def document(cluster: str, checks: tuple[Check, ...]) -> dict[str, Any]:
    """The checks as data."""
    return {
        "cluster": cluster,
        "checks": [
            {"name": each.name, "verdict": each.verdict.value, "sentence": each.sentence, "mend": each.mend}
            for each in checks
        ],
        "exit_code": int(exit_code(checks)),
    }


def lines(checks: tuple[Check, ...]) -> list[str]:
    """The checks for a person, the mend indented below each, and a summary. Coloured: whoever prints them takes the
    colours out where the terminal is plain."""
    shown = []
    for each in checks:
        word = click.style(f"{_WORDS[each.verdict]:<{_INDENT}}", fg=_COLOURS[each.verdict])
        shown.append(f"{word}{each.name}: {each.sentence}")
        if each.mend:
            shown.append(textwrap.indent(each.mend, " " * _INDENT))
    numbers = [(sum(each.verdict is verdict for each in checks), word) for verdict, word in _WORDS.items()]
    return [*shown, ", ".join(f"{number} {word}" for number, word in numbers)]
