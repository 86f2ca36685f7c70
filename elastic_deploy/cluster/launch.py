"""Launches a cluster, ends it, and finds its head, each by a `launcher` process that is watched to its end.

Called by `cli` and `cluster.head`. Everything that Ray prints goes to a log file; what is shown are the lines that
`say` is given. Does not import Ray, and does not know whether a launch is needed.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from elastic_deploy.cluster.carried import completed
from elastic_deploy.cluster.config import ClusterConfig
from elastic_deploy.cluster.line_pipe import LinePipe
from elastic_deploy.cluster.own_wheel import own_wheel
from elastic_deploy.cluster.ray_token import lacks_token, make_token, token_path
from elastic_deploy.cluster.telling import hindrance, telling_lines
from elastic_deploy.model.duration import format_duration
from elastic_deploy.model.errors import RefusedError
from elastic_deploy.model.home import cluster_dir, private_dir, write_private

UP_LIMIT_S = 3600.0
"""A head may take this long: its setup commands may install vLLM over a slow line, and Ray sets them no limit."""
DOWN_LIMIT_S = 900.0
"""EC2 takes one to four minutes to end an instance; Ray waits for all of them at once."""
HEAD_LIMIT_S = 120.0
LAUNCHED = "launched.yaml"
"""The completed YAML below the cluster's directory. It may hold what the user's own holds, secrets among it."""
_LAUNCHER = "elastic_deploy.cluster.launcher"
_REMIND_S = 15.0
_END_GRACE_S = 10.0

_STEPS = {
    "up_started": "The cluster YAML is read; what it leaves to the provider is looked up or made.",
    "acquiring_new_head_node": "A head node is asked for.",
    "head_node_acquired": "The head node is there.",
    "ssh_control_acquired": "Commands can be run on the head node.",
    "run_initialization_cmd": "Initialization commands run on the head node.",
    "run_setup_cmd": "Setup commands run on the head node.",
    "start_ray_runtime": "Ray is being started on the head node.",
    "start_ray_runtime_completed": "Ray runs on the head node.",
    "cluster_booting_completed": "The cluster is up.",
}
"""Ray's launch events (`autoscaler/_private/event_system.py`) for a person. The commands themselves are not shown:
they are the user's, and may hold secrets."""


@dataclass(slots=True)
class _Report:
    """What a launcher has told so far."""

    error: str | None = None
    shell: str | None = None
    steps: list[str] = field(default_factory=list)
    output: Callable[[], str] = str
    """Reads what it has printed so far."""


def launch(config: ClusterConfig, say: Callable[[str], None]) -> None:
    """Bring the cluster's head up. On KeyboardInterrupt the launcher is ended; what it had made then stands.

    Raises RefusedError with Ray's or the cloud's last words and the log's path.
    """
    if config.provider_kind != "local" and make_token(config):
        say(f"A Ray token was made for {config.name}: without it, nobody gets at its Ray.")
    _run("up", config, say, UP_LIMIT_S)


def bring_package(config: ClusterConfig, say: Callable[[str], None]) -> None:
    """Install our package on a head that runs already, with what runs on it left alone.

    Nodes that the autoscaler launches from now on get it as well. Raises RefusedError as `launch` does, and where the
    token that the cluster runs with is not on this machine: another one would shut everybody out.
    """
    if lacks_token(config):
        raise RefusedError(
            f"The head of {config.name} runs without elastic-deploy, and it cannot be brought there from here: the"
            f" YAML carries {token_path(config.name)} to the nodes, which is not on this machine. Run this where the"
            " cluster was launched, or copy that file from there."
        )
    _run("bring", config, say, UP_LIMIT_S)


def tear_down(config: ClusterConfig, say: Callable[[str], None]) -> None:
    """End every node of the cluster. Raises RefusedError with Ray's or the cloud's last words and the log's path."""
    _run("down", config, say, DOWN_LIMIT_S)


def head_shell(config: ClusterConfig) -> str | None:
    """The command that opens a shell on the head, None where the cluster has none. Raises RefusedError."""
    return _run("head", config, lambda _line: None, HEAD_LIMIT_S).shell


def launch_log(cluster_name: str, verb: str) -> Path:
    """Where the output of Ray's launcher goes."""
    return cluster_dir(cluster_name) / "logs" / f"ray-{verb}.log"


def _run(verb: str, config: ClusterConfig, say: Callable[[str], None], limit: float) -> _Report:
    log_path = launch_log(config.name, verb)
    private_dir(log_path.parent)
    report = _Report()
    read = _completed(config) if verb in ("up", "bring") else config.path
    with log_path.open("ab") as log, LinePipe() as pipe:
        began = log.tell()
        report.output = lambda: _printed(log_path, began)
        process = subprocess.Popen(
            [sys.executable, "-m", _LAUNCHER, verb, str(read), "--progress", str(pipe.write_end)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[pipe.write_end],
            env=_environment(),
            start_new_session=True,
        )
        try:
            pipe.close_write_end()
            _follow(process, pipe, report, say, limit)
        finally:
            _end(process)
    if process.returncode == 0:
        return report
    doing = {"up": "launched", "bring": "set up", "down": "taken down", "head": "reached"}[verb]
    words = telling_lines(report.output(), report.error or "")
    reason = words or f"Ray's launcher ended with status {process.returncode}"
    raise RefusedError(f"{config.name} could not be {doing}: {reason}. The whole output is in {log_path}.")


def _completed(config: ClusterConfig) -> Path:
    """The YAML that Ray is to read: nodes that are not this machine get our package with it."""
    if config.provider_kind == "local":
        return config.path
    path = cluster_dir(config.name) / LAUNCHED
    try:
        write_private(path, yaml.safe_dump(completed(config, str(own_wheel())), sort_keys=False))
    except OSError as error:
        raise RefusedError(
            f"{config.name} is not launched: what its nodes need could not be written below {path.parents[1]}"
            f" ({error.strerror}). Make room there, or name another place in ELASTIC_DEPLOY_HOME."
        ) from error
    return path


def _follow(
    process: "subprocess.Popen[bytes]", pipe: LinePipe, report: _Report, say: Callable[[str], None], limit: float
) -> None:
    started = said = time.monotonic()
    # The pipe ends with the launcher; its process is asked as well, should something of Ray's hold the pipe open.
    while not pipe.ended and process.poll() is None:
        now = time.monotonic()
        if now - started > limit:
            report.error = f"it was not done within {format_duration(limit)}"
            return
        for line in pipe.read(0.5):
            if _note(json.loads(line), report):
                say(report.steps[-1])
                said = now
        if now - said > _REMIND_S and report.steps:
            held_up = hindrance(report.output())
            say(f"{report.steps[-1]} ({format_duration(now - started)} so far{held_up and '; '}{held_up})")
            said = now
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_GRACE_S)
    for line in pipe.read(0.0):
        _note(json.loads(line), report)


def _printed(log_path: Path, began: int) -> str:
    with log_path.open("rb") as log:
        log.seek(began)
        return log.read().decode(errors="replace")


def _note(told: dict[str, Any], report: _Report) -> bool:
    """Keep what the launcher told; True where it is a step that a person has not heard of."""
    if "error" in told:
        report.error = told["error"]
    if told.get("shell"):
        report.shell = told["shell"]
    step = _STEPS.get(told.get("event", ""))
    if step is None or (report.steps and report.steps[-1] == step):
        return False
    report.steps.append(step)
    return True


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "RAY_UP_enable_autoscaler_v2": "1",
        "RAY_USAGE_STATS_ENABLED": os.environ.get("RAY_USAGE_STATS_ENABLED", "0"),
    }


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the launcher with what it runs itself. Nodes of this machine have sessions of their own, and go on."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_GRACE_S)
