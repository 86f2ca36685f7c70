"""Commands and files on a local node: what SSH and rsync are for a machine elsewhere.

Made by the provider, used by Ray's launcher (`ray up`, `ray exec`, `ray rsync-up`) and by its autoscaler.
"""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
from ray.autoscaler.command_runner import CommandRunnerInterface

from elastic_deploy.cluster.local.state import Node
from elastic_deploy.model.errors import InvalidConfigError


class LocalCommandRunner(CommandRunnerInterface):  # type: ignore[misc]  # Ray has no type stubs
    """Runs commands on one node through its shell."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def run(
        self,
        cmd: str | None = None,
        timeout: int = 120,  # noqa: ARG002 (for SSH's connecting, of which there is none)
        exit_on_fail: bool = False,
        port_forward: list[tuple[int, int]] | None = None,  # noqa: ARG002 (every port is this machine's already)
        with_output: bool = False,
        environment_variables: dict[str, object] | None = None,
        run_env: str = "auto",  # noqa: ARG002 (no containers)
        ssh_options_override_ssh_key: str = "",  # noqa: ARG002
        shutdown_after_run: bool = False,  # noqa: ARG002 (`ray exec --stop` has taken the cluster down by then)
    ) -> bytes | str:
        """Run `cmd` to its end (without one: until interrupted); the output as bytes, as Ray's own runners give it.

        Raises click.ClickException where it fails: Ray's launcher knows what to do with it.
        """
        exports = "".join(
            f"export {name}={shlex.quote(json.dumps(value, separators=(',', ':')))}; "
            for name, value in (environment_variables or {}).items()
        )
        if cmd == "uptime":  # Ray's test whether a node answers; the program is not on every machine
            cmd = ":"
        done = subprocess.run(
            [str(self._node.shell), exports + (cmd or "exec sleep infinity")],
            stdout=subprocess.PIPE if with_output else None,
            check=False,
        )
        sys.stdout.flush()
        if done.returncode:
            hint = "" if exit_on_fail else f" Its log: {self._node.log_dir / 'node.log'}"
            raise click.ClickException(
                f"A command on node {self._node.id} failed with status {done.returncode}: {cmd}.{hint}"
            )
        return done.stdout if with_output else ""

    def run_rsync_up(self, source: str, target: str, options: dict[str, Any] | None = None) -> None:
        """Copy a file or directory to the node."""
        _copy(Path(source).expanduser(), self._on_node(target), options)

    def run_rsync_down(self, source: str, target: str, options: dict[str, Any] | None = None) -> None:
        """Copy a file or directory from the node."""
        _copy(self._on_node(source), Path(target).expanduser(), options)

    def remote_shell_command_str(self) -> str:
        """The command, to which a quoted shell command can be appended, that runs it on the node."""
        return shlex.quote(str(self._node.shell))

    def run_init(self, *, as_head: bool, file_mounts: dict[str, str], sync_run_yet: bool) -> bool:  # noqa: ARG002
        """Nothing to prepare."""
        return False

    def _on_node(self, path: str) -> Path:
        parts = Path(path).parts
        if parts and parts[0] == "~":
            return self._node.home.joinpath(*parts[1:])
        if Path(path).is_absolute() and not Path(path).is_relative_to(self._node.home):
            raise InvalidConfigError(
                f"File mount {path} cannot be made on local nodes, which share the files of this machine: "
                "mount it under `~/`."
            )
        return self._node.home / path


def _copy(source: Path, target: Path, options: dict[str, Any] | None) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        excluded = shutil.ignore_patterns(*((options or {}).get("rsync_exclude") or ()))
        shutil.copytree(source, target, symlinks=True, ignore=excluded, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)
