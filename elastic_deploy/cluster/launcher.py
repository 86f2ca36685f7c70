"""The one program of ours that launches and ends clusters through Ray: `python -m elastic_deploy.cluster.launcher`.

Started by `cluster.launch` as a process of its own, because `import ray` takes a second, Ray's launcher prints as it
likes, and a Ctrl-C must not cut it in two. It tells its parent how far it is in JSON lines on an inherited pipe:
{"event": ...} while it works, {"error": "..."} where it failed, {"shell": ... | null} for `head`.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main(arguments: list[str] | None = None) -> int:
    """Do what the arguments ask; the exit status is 0 only where it is done."""
    parser = argparse.ArgumentParser(prog="elastic_deploy.cluster.launcher")
    parser.add_argument("verb", choices=("up", "bring", "down", "head"))
    parser.add_argument("cluster", type=Path)
    parser.add_argument("--progress", type=int, required=True, help="file descriptor for progress")
    given = parser.parse_args(arguments)
    os.set_inheritable(given.progress, False)  # what Ray starts may outlive us, and must not keep the pipe open
    with os.fdopen(given.progress, "w", buffering=1) as pipe:

        def tell(**words: object) -> None:
            print(json.dumps(words), file=pipe)

        verbs: dict[str, Callable[[Path, Callable[..., None]], None]] = {
            "up": _up,
            "bring": _bring,
            "down": _down,
            "head": _head,
        }
        try:
            verbs[given.verb](given.cluster, tell)
        except BaseException as error:
            tell(error=_words(error))
            raise
    return 0


def _up(cluster: Path, tell: Callable[..., None]) -> None:
    _create_or_update(cluster, tell, no_restart=False)


def _bring(cluster: Path, tell: Callable[..., None]) -> None:
    _create_or_update(cluster, tell, no_restart=True)


def _create_or_update(cluster: Path, tell: Callable[..., None], *, no_restart: bool) -> None:
    from ray.autoscaler import sdk
    from ray.autoscaler._private.event_system import CreateClusterEvent

    for event in CreateClusterEvent:
        sdk.register_callback_handler(event, lambda data: _tell_event(data, tell))
    sdk.create_or_update_cluster(str(cluster), no_config_cache=True, no_restart=no_restart)


def _down(cluster: Path, _tell: Callable[..., None]) -> None:
    from ray.autoscaler import sdk

    # Ray caches the completed configuration in the temporary directory, and would take an old one from there.
    with tempfile.TemporaryDirectory(prefix="elastic-deploy-") as directory:
        tempfile.tempdir = directory
        sdk.teardown_cluster(str(cluster))


def _head(cluster: Path, tell: Callable[..., None]) -> None:
    from ray.autoscaler import sdk
    from ray.autoscaler._private import commands
    from ray.autoscaler._private.providers import _get_node_provider

    try:
        sdk.get_head_node_ip(str(cluster))
    except RuntimeError:  # Ray's word for: there is none
        tell(shell=None)
        return
    # Only now: completing the configuration makes keys and roles where none are, and a head needed them already.
    import yaml

    config = commands._bootstrap_config(yaml.safe_load(cluster.read_text()), no_config_cache=True)
    provider = _get_node_provider(config["provider"], config["cluster_name"])
    runner = provider.get_command_runner(
        log_prefix="",
        node_id=commands._get_running_head_node(config, str(cluster), None),
        auth_config=config["auth"],
        cluster_name=config["cluster_name"],
        process_runner=None,
        use_internal_ip=config["provider"].get("use_internal_ips", False),
        docker_config=config.get("docker"),
    )
    tell(shell=runner.remote_shell_command_str().strip())


def _tell_event(data: dict[str, Any], tell: Callable[..., None]) -> None:
    tell(event=data["event_name"].name)


def _words(error: BaseException) -> str:
    """The error for a person: Ray raises click's exceptions, whose text is in `message`, or a bare SystemExit."""
    text = str(getattr(error, "message", "") or error).strip()
    if isinstance(error, SystemExit):
        return ""
    return text if text and type(error).__module__.startswith("click") else f"{type(error).__name__}: {text}"


if __name__ == "__main__":
    sys.exit(main())
