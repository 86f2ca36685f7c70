"""`elastic-deploy smoke`: rehearse the whole path on this machine, without a GPU and without a cloud.

On the local template, or on a user's own cluster YAML, whose node types it maps to local nodes.
"""

import secrets
import shutil
import socket
import sys
import tempfile
from importlib.resources import as_file, files
from pathlib import Path

import click
import yaml

from elastic_deploy.cli.terminal import note, print_json
from elastic_deploy.cluster.config import ClusterConfig, load_cluster
from elastic_deploy.cluster.rehearse import rehearsal_of
from elastic_deploy.model.errors import InvalidConfigError
from elastic_deploy.model.home import cluster_dir
from elastic_deploy.rehearsal.junit import report
from elastic_deploy.rehearsal.smoke_run import Rehearsal

GPUS = 2
"""GPUs of a rehearsal where neither the command line nor the YAML says how many: the fewest that make a gang."""


@click.command("smoke")
@click.argument("cluster", type=click.Path(path_type=Path), metavar="[CLUSTER]", required=False)
@click.option("--gpus", type=int, metavar="N", help=f"GPUs of the rehearsal.  [default: the YAML's, or {GPUS}]")
@click.option("--tensor-parallel-size", type=int, metavar="N", help="As for `up`.")
@click.option("--pipeline-parallel-size", type=int, metavar="N", help="As for `up`.")
@click.option("--replicas", type=int, metavar="N", help="As for `up`.")
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write a JUnit report.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="What is printed.")
def command(
    cluster: Path | None,
    gpus: int | None,
    tensor_parallel_size: int | None,
    pipeline_parallel_size: int | None,
    replicas: int | None,
    junit: Path | None,
    output: str,
) -> int:
    """Rehearse the whole path: up, a request, a node killed, recovery, down, nothing left.

    CLUSTER is any cluster YAML; its node types are mapped to processes on this machine, its GPUs to numbers. Without
    it, the local template is rehearsed. The engine is real vLLM (its CPU build) with the tiny model.
    """
    with as_file(files("elastic_deploy.cluster.local") / "template.yaml") as path:
        template = load_cluster(path)
    config = load_cluster(cluster) if cluster else template
    sizes = {
        "--gpus": gpus or config.settings.gpus or GPUS,
        "--tensor-parallel-size": tensor_parallel_size or config.settings.tensor_parallel_size,
        "--pipeline-parallel-size": pipeline_parallel_size or config.settings.pipeline_parallel_size,
        "--replicas": replicas or config.settings.replicas,
    }
    if cluster is None and not any((gpus, tensor_parallel_size, pipeline_parallel_size, replicas)):
        sizes["--tensor-parallel-size"] = GPUS  # one engine over two nodes: the smallest real gang
    options = [word for name, value in sizes.items() if value is not None for word in (name, str(value))]
    rehearsal = _rehearse(config, template, ("--model", "tiny", "--port", str(_free_port()), *options))
    if junit is not None:
        try:
            junit.write_text(report(f"elastic-deploy smoke {config.name}", rehearsal.cases))
        except OSError as error:
            raise InvalidConfigError(f"The report cannot be written to {junit}: {error.strerror}.") from error
    if output == "json":
        steps = [
            {"name": c.name, "seconds": round(c.seconds, 3), "failure": c.failure or None, "skipped": c.skipped}
            for c in rehearsal.cases
        ]
        print_json({"cluster": config.name, "steps": steps, "exit_code": int(rehearsal.exit_code)})
    else:
        for case in rehearsal.cases:
            result = "FAILED" if case.failure else "skipped" if case.skipped else "passed"
            click.echo(f"{case.name:28} {result:8} {case.seconds:8.1f} s")
    return int(rehearsal.exit_code)


def _rehearse(config: ClusterConfig, template: ClusterConfig, options: tuple[str, ...]) -> Rehearsal:
    """Run it on a cluster of its own name; what it leaves is its logs, and those only where it failed."""
    name = f"{config.name[:40]}-smoke-{secrets.token_hex(3)}"
    with tempfile.TemporaryDirectory(prefix="elastic-deploy-smoke-") as directory:
        path = Path(directory) / "cluster.yaml"
        path.write_text(yaml.safe_dump(rehearsal_of(config, template, name), sort_keys=False))
        note(f"Rehearsing {config.name} as {name}, on local processes.")
        rehearsal = Rehearsal(path, name, options, lambda line: print(line, file=sys.stderr, flush=True))
        rehearsal.run()
    if rehearsal.failure is None:
        shutil.rmtree(cluster_dir(name), ignore_errors=True)
    else:
        note(f"Its logs: {cluster_dir(name)}")
    return rehearsal


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
